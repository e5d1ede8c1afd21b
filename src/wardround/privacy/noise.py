"""Gaussian noise from a stream of its own, counted as it is drawn.

For simulation only: the stream follows from the run's seed, so whoever knows the seed can subtract the noise.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["GaussianNoise"]


class GaussianNoise:
    """Draws the noise of one hospital in one round, and counts it.

    On a CPU the numbers come from the NumPy stream itself: torch's CPU generator keeps 32 bits of its seed, so two of
    10^5 hospital-rounds would be likely to share all their noise. On CUDA a torch generator is seeded with 64 bits.

    Attributes:
        num_draws: noisy steps so far.
        stddev: standard deviation used in every step so far; nan before the first.
    """

    def __init__(self, generator: np.random.Generator, device: torch.device) -> None:
        """Draw from `generator` for parameters on `device`."""
        self.num_draws = 0
        self.stddev = float("nan")
        self._generator = generator
        self._cuda = None
        if device.type == "cuda":
            self._cuda = torch.Generator(device=device)
            self._cuda.manual_seed(int(generator.integers(2**63)))

    def noise_for(self, parameters: Sequence[Tensor], stddev: float) -> list[Tensor]:
        """Return one step's noise: N(0, stddev^2) for every coordinate of every parameter, independent.

        Parameters give the shapes, dtypes and device. A stddev (>= 0) of 0 gives zeros, and is counted as well.

        Raises:
            ValueError: the scale changed within a round.
        """
        self._count(1, stddev)
        return [self._draw(parameter, stddev) for parameter in parameters]

    def fill(self, drawn: NDArray[np.float32], stddev: float) -> None:
        """Fill (steps, coordinates), contiguous, with the next steps' noise before it is scaled: N(0, 1), on a CPU.

        Times the stddev they are the numbers of as many calls of `noise_for`, whose parameters follow each other in a
        row. A stddev (>= 0) of 0 leaves zeros, and draws nothing.

        Raises:
            ValueError: the scale changed within a round.
        """
        self._count(len(drawn), stddev)
        if stddev == 0:
            drawn.fill(0.0)
        else:
            self._generator.standard_normal(out=drawn, dtype=np.float32)

    def _count(self, num_draws: int, stddev: float) -> None:
        if self.num_draws and stddev != self.stddev:
            raise ValueError(f"the noise scale changed within a round from {self.stddev} to {stddev}")
        self.num_draws += num_draws
        self.stddev = stddev

    def _draw(self, parameter: Tensor, stddev: float) -> Tensor:
        if stddev == 0:
            return torch.zeros_like(parameter)
        if self._cuda is not None:
            drawn = torch.randn(parameter.shape, generator=self._cuda, device=parameter.device, dtype=torch.float32)
        else:
            drawn = torch.from_numpy(
                np.asarray(self._generator.standard_normal(tuple(parameter.shape), dtype=np.float32))
            )
        return (drawn * stddev).to(parameter.dtype)
