"""Poisson batches at exactly the rate that is billed, counted as they are drawn."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wardround.errors import ConfigError

__all__ = ["PoissonSampler"]


class PoissonSampler:
    """Draws batches in which every record is, independently, with the same probability.

    Attributes:
        sample_rate: that probability, in (0, 1].
        num_draws: batches so far, empty ones included.
    """

    def __init__(self, num_records: int, sample_rate: float, draw_from: Callable[[], np.random.Generator]) -> None:
        """Sample from `num_records` records (>= 1) at `sample_rate`; at a rate of 1 no stream is asked for.

        Raises:
            ConfigError: the rate is not in (0, 1].
        """
        if not 0 < sample_rate <= 1:
            raise ConfigError(f"sample-rate = {sample_rate} must be > 0 and <= 1 ([training] sample-rate)")
        self.sample_rate = sample_rate
        self.num_draws = 0
        self._num_records = num_records
        self._generator = draw_from() if sample_rate < 1 else None

    def draw(self) -> Tensor:
        """Return the next batch: the indices of its records, int64, ascending, possibly none."""
        return torch.from_numpy(self.draw_together(1))

    def draw_together(self, num_draws: int) -> NDArray[np.int64]:
        """Return the next batches as one, int64, ascending: i * num_records + a record's index, for batch i from 0.

        They are the batches that as many calls of `draw` would return.
        """
        self.num_draws += num_draws
        if self._generator is None:
            return np.arange(num_draws * self._num_records)
        return np.flatnonzero(self._generator.random((num_draws, self._num_records)) < self.sample_rate)
