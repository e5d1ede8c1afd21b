"""How a hospital weighs in a round, what it sends at most, and how much noise that leaves on what is averaged.

Every cell answers for itself (see `cell`); here are the answers that most share. What is left out on purpose: how much
noise there is, and what it costs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wardround.privacy.cells.traits import Traits
from wardround.rounds import Assignment

__all__ = ["SumGrid", "Weights", "noise_apart", "noise_together"]


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


@dataclass(frozen=True)
class Weights(Traits):
    """The part of a cell that weighs: each hospital by its records."""

    __slots__ = ()

    def vector_weight(self, num_train: int) -> float:
        """Return what a hospital's vector weighs in a secure sum (> 0): its records."""
        return float(num_train)

    def cohort_weight(self, num_train: int, total: int, size: int) -> float:
        """Return a hospital's share in the average over the round's cohort, in (0, 1].

        Args:
            num_train: its training records (>= 1).
            total: of all in the cohort.
            size: hospitals in the cohort.
        """
        return num_train / total

    def contribution(self, num_train: int, most_records: float) -> float:
        """Return what the clipped update is multiplied with before a sum of integers, in (0, 1].

        Args:
            num_train: its training records (>= 1).
            most_records: that any hospital of the round has at most.
        """
        return 1.0

    def share(self, assignment: Assignment) -> float:
        """Return what a hospital's contribution is multiplied with in the released sum."""
        return assignment.weight

    def update_bound(
        self, *, max_update: float, most_records: int, sensitivity: float, noise_multiplier: float
    ) -> float:
        """Return the largest magnitude that a coordinate of what a hospital sends can have.

        Args:
            max_update: [aggregation] max-update, which holds where no clip bounds it.
            most_records: training records that any hospital of the round has at most.
            sensitivity: the largest in the round, L2 (> 0).
            noise_multiplier: the largest in the round (>= 0).
        """
        return max_update

    def bound_beside(self, own_bound: float, asked: float) -> float:
        """Return the bound of a secure sum that a hospital accepts, whose own contribution has its own bound.

        Args:
            own_bound: of what it sends (see `update_bound`).
            asked: by the server, for all of the round.
        """
        return own_bound

    def rounding_distance(
        self,
        *,
        sensitivity: float,
        num_records: Sequence[int],
        most_records: int,
        dimension: int,
        levels: int | None,
        bound: float,
    ) -> float:
        """Return by how much (L2) rounding can add to the distance of neighbours' sums before their noise.

        Local noise is in what is rounded, which makes the rounding post-processing; noise in shares is added to whole
        numbers whose norm was checked. So it is 0 but where the server adds the noise (see `server_noise`).

        Args:
            sensitivity: of the round, L2 (> 0).
            num_records: training records of each hospital of the planned cohort.
            most_records: that any of them has at most.
            dimension: coordinates of the sum.
            levels: of the quantiser of secure aggregation; None without.
            bound: largest magnitude of a number that is summed (see `update_bound`).
        """
        return 0.0

    def surplus(self, num_replies: int, num_shares: int) -> float:
        """Return replies divided by those that are guaranteed to carry the whole noise: 1 where nobody has a share."""
        return 1.0

    def clips_sent(self, num_records: int) -> int:
        """Return how many clips long what a hospital sends can be, of a hospital with so many records."""
        return num_records

    def grid(self, num_train: Sequence[int], most_records: int) -> SumGrid:
        """Return how the contributions of a cohort lie on the grids that they are rounded to before they are summed.

        Args:
            num_train: training records of each in the cohort.
            most_records: that any of them has at most, as was agreed.
        """
        return SumGrid(stretch=len(num_train), largest_weight=1.0, sides=1.0, clips=sum(num_train))

    def stddev_on_average(
        self,
        stddevs: Sequence[float],
        num_train: Sequence[int],
        batches: Sequence[float],
        *,
        most_records: int,
        num_shares: int,
    ) -> float:
        """Return the stddev, in every coordinate, of the noise on what a cohort averages once.

        That is the average gradient of one step, weighted with the hospitals' records: each hospital's sum over its
        batch has noise of its own.

        Args:
            stddevs: of the noise in what each hospital releases, or in the sum of all.
            num_train: training records of each.
            batches: records that each expects in a batch.
            most_records: that any of them has at most, as was agreed.
            num_shares: replies guaranteed, where hospitals add shares of one noise.
        """
        return noise_apart(stddevs, [float(number) for number in num_train], batches)


def noise_apart(stddevs: Sequence[float], shares: Sequence[float], divisors: Sequence[float]) -> float:
    """Return the stddev of the noise on a weighted mean of what has noise of its own.

    >>> noise_apart([1.0] * 4, [10.0] * 4, [1.0] * 4)
    0.5

    Args:
        stddevs: of each.
        shares: weights, in any unit.
        divisors: that what each releases is divided by.
    """
    parts = [share * stddev / divisor for share, stddev, divisor in zip(shares, stddevs, divisors, strict=True)]
    return math.hypot(*parts) / math.fsum(shares)


def noise_together(stddevs: Sequence[float], shares: Sequence[float], largest: float, surplus: float = 1.0) -> float:
    """Return the stddev of the noise on a weighted mean where one noise covers the sum of all.

    >>> noise_together([1.0] * 4, [10.0] * 4, 10.0)
    0.25

    Args:
        stddevs: of the noise on the sum, as each hospital is billed: all alike.
        shares: weights, in any unit.
        largest: weight, in that unit, of what the noise is relative to.
        surplus: replies, divided by those that are guaranteed to carry the whole noise.
    """
    return max(stddevs) * largest * math.sqrt(surplus) / math.fsum(shares)
