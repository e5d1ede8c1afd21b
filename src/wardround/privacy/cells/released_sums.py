"""A round's exact sum, what is left of it when it is released, and the plain arithmetic on the way there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround import exact_sums
from wardround.exact_sums import Arrays
from wardround.privacy.clipping import COUNT_NAME
from wardround.rounds import Assignment
from wardround.streams import Source

__all__ = ["NOTHING", "Averaging", "Memory", "PlannedSum", "ReleasedSum", "RoundSum", "SumGrid", "Sums", "moved"]

Sums = Mapping[str, NDArray[np.floating[Any]]]
Memory = Mapping[str, NDArray[Any]]
_BLOCK = 32_768  # numbers that are worked on at a time, so that they stay in the cache
NOTHING: Memory = MappingProxyType({})
"""What a cell whose rounds are independent remembers of earlier ones."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundSum:
    """What a release is made of.

    Attributes:
        arrays: the current model.
        total: exact sum over those who answered: of parameters, clipped gradient sums or clipped updates times their
            weights, or of residues (see `Cell.sum_weight`).
        answered: assignments of those in the sum, at least one, in name order.
        assignments: of the whole cohort; denominators of gradients and of the count are theirs, whoever answered.
        learning_rate: of the server's step on a gradient sum.
        weight_decay: of the server's step on a gradient sum, in the gradient (>= 0).
        source: of the server's noise; drawn from only where the server adds any, once a coordinate.
        rounding: see `Cell.rounding_distance`.
        memory: what the server's noise goes on from (see `Cell.noise_memory`).
    """

    arrays: Arrays
    total: exact_sums.FixedSum
    answered: Sequence[Assignment]
    assignments: Sequence[Assignment]
    learning_rate: float
    source: Source
    weight_decay: float = 0.0
    rounding: float = 0.0
    memory: Memory = field(default_factory=lambda: NOTHING)

    @property
    def weight(self) -> float:
        """Weights of those who answered, added up."""
        return sum(assignment.weight for assignment in self.answered)

    def like(self) -> dict[str, NDArray[np.float64]]:
        """Return zeros of what is summed: of the parameters, and of a count where one travels along."""
        like = {name: np.broadcast_to(np.zeros(()), np.shape(array)) for name, array in self.arrays.items()}
        return like | ({COUNT_NAME: np.zeros(())} if self.assignments[0].adaptive_clipping else {})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReleasedSum:
    """What is left of a round's sum.

    Attributes:
        arrays: the parameters that the strategy sees as the round's one reply.
        quantile: with adaptive clipping the noisy share of updates within the clip, in [0, 1]; else None.
        memory: what the server's noise of later rounds follows from; nothing where rounds are independent.
    """

    arrays: Arrays
    quantile: float | None = None
    memory: Memory = field(default_factory=lambda: NOTHING)


class Averaging(NamedTuple):
    """How what hospitals release is averaged, and what its noise is relative to.

    Attributes:
        weights: of each hospital, in any unit.
        divisors: that what each releases is divided by, where each has noise of its own.
        largest: weight, in that unit, of what one noise on the sum of all is relative to.
    """

    weights: Sequence[float]
    divisors: Sequence[float]
    largest: float


class PlannedSum(NamedTuple):
    """What is known of a round's sum before anybody answers, as far as rounding hangs on it.

    Attributes:
        sensitivity: see `Cell`.
        num_records: training records of each hospital of the planned cohort.
        most_records: see `Cell`.
        dimension: see `Cell`.
        levels: of the quantiser of secure aggregation; None without.
        bound: largest magnitude of a number that is summed (`Cell.update_bound`).
    """

    sensitivity: float
    num_records: Sequence[int]
    most_records: int
    dimension: int
    levels: int | None
    bound: float


class SumGrid(NamedTuple):
    """How the contributions of a cohort lie on the grids that they are rounded to (see `server_noise`).

    Attributes:
        stretch: by how much the exact sum is multiplied after it was rounded.
        largest_weight: that a contribution is multiplied with before it is quantised, at most.
        sides: of two neighbours' sums, how many are rounded where they differ, times a half step each.
        clips: length of the longest sum there can be, in clips.
    """

    stretch: float
    largest_weight: float
    sides: float
    clips: float


def moved(arrays: Arrays, direction: Sums, factor: float) -> Arrays:
    """Return the arrays moved by a factor times a direction, in their own types; worked out in the direction's."""
    found: Arrays = {}
    for name, array in arrays.items():
        found[name] = np.empty(np.shape(array), array.dtype)
        before, after, by = (np.asarray(each).reshape(-1) for each in (array, found[name], direction[name]))
        for part in (slice(start, start + _BLOCK) for start in range(0, before.size, _BLOCK)):
            step = by[part] * factor
            step += before[part]
            after[part] = step
    return found
