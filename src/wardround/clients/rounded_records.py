"""Records whose clipped gradients are rounded to integers one by one, each to a vector of a bounded norm.

What is left out on purpose: the noise, which is added to their sum (see `residues`).
"""

import numpy as np
from numpy.typing import NDArray

from wardround.clients.steps import LocalRound
from wardround.privacy.integers import round_within
from wardround.privacy.skellam import norm_bound_squared
from wardround.streams import Draw

__all__ = ["RoundedRecords"]


_MOST_RECORDS, _MOST_FLOATS = 64, 2**22
"""Records, and numbers of theirs, that are rounded at a time."""


class RoundedRecords:
    """The sum of a hospital's records, rounded by draws of its own.

    Each record is rounded by itself, so that zeroing one out takes one vector within the bound from the sum: a gradient
    of zero is rounded to zero.
    """

    def __init__(self, local: LocalRound, num_parameters: int) -> None:
        """Begin a sum of nothing."""
        event = local.assignment.event
        self._scale = event.scaled_norm / local.clip
        self._norm_bound_squared = norm_bound_squared(event.scaled_norm, event.dimension)
        self._generator = local.key.generator(Draw.ROUNDING)
        self._integers = np.zeros(num_parameters, np.int64)
        self._waiting = np.zeros((0, num_parameters))
        self._size = max(1, min(_MOST_RECORDS, _MOST_FLOATS // num_parameters))

    def add(self, clipped: NDArray[np.float64]) -> None:
        """Add records' clipped gradients (n, num_parameters); what is drawn for them hangs on their order alone."""
        self._waiting = np.concatenate([self._waiting, clipped])
        while len(self._waiting) >= self._size:
            self._round(self._size)

    def total(self) -> NDArray[np.int64]:
        """Return the sum of all, (num_parameters,); nothing is added after it."""
        if len(self._waiting):
            self._round(len(self._waiting))
        return self._integers

    def _round(self, num_records: int) -> None:
        steps = self._waiting[:num_records] * self._scale
        self._integers += round_within(steps, self._norm_bound_squared, self._generator).sum(axis=0)
        self._waiting = self._waiting[num_records:]
