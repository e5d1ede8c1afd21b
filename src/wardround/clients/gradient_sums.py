"""What a hospital sends where the noise is not in its own steps: the clipped gradient sum of one Poisson batch.

Opacus computes and clips the per-record gradients as in `gradients`; these optimizers keep the sum where others add
noise and step. Left out on purpose: the step, which is the server's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wardround.clients.clipped_sums import sum_of
from wardround.clients.gradients import GhostOptimizer, PrivateOptimizer
from wardround.privacy.integers import round_within

__all__ = ["GhostSum", "GradientSum", "RoundedSum"]


class _KeptSum:
    """Keeps the clipped sum, in float64, instead of a noisy step."""

    gradient_sum: Sequence[Tensor] = ()

    def add_noise(self: Any) -> None:
        self.gradient_sum = [sum_of(parameter) for parameter in self.params]
        for parameter in self.params:
            parameter.grad = torch.zeros_like(parameter)


class GradientSum(_KeptSum, PrivateOptimizer):
    """Sums clipped per-record gradients."""


class GhostSum(_KeptSum, GhostOptimizer):
    """Sums gradients that arrive clipped."""


class RoundedSum(_KeptSum, PrivateOptimizer):
    """Rounds every record's clipped gradient to integers of a bounded norm, and sums those.

    Each record is rounded by itself, so that zeroing one out takes one vector within the bound from the sum:
    a gradient of zero is rounded to zero.
    """

    def round_with(self, *, scale: float, norm_bound_squared: int, generator: np.random.Generator) -> None:
        """Set integer steps per unit, the squared norm that a rounded gradient is held to, and who draws."""
        self._scale = scale
        self._norm_bound_squared = norm_bound_squared
        self._generator = generator
        self.integer_sum = np.zeros(sum(parameter.numel() for parameter in self.params), np.int64)

    def add_up(self, block: Sequence[Tensor], factors: Tensor) -> None:
        """Add the rounded gradients of a block of records to `integer_sum`, shape (num_parameters,), int64."""
        clipped = [(factors[:, None] * rows).cpu().numpy() for rows in block]
        self.integer_sum += self._rounded(np.concatenate(clipped, axis=1)).sum(axis=0)

    def _rounded(self, clipped: NDArray[np.float64]) -> NDArray[np.int64]:
        return round_within(clipped * self._scale, self._norm_bound_squared, self._generator)
