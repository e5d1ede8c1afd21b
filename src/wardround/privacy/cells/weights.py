"""How a hospital weighs: the one place for shares, contributions, bounds, and the noise on what is averaged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wardround.privacy.cells.traits import Traits
from wardround.rounds import Assignment

__all__ = ["Member", "Weights"]


class Member(NamedTuple):
    """A hospital in an average: its records, the batch that a step expects, and the stddev of the noise that it bills.

    `stddev` is the noise multiplier times the sensitivity.
    """

    num_train: int
    expected_batch_size: float
    stddev: float


@dataclass(frozen=True)
class Weights(Traits):
    """Hospitals weigh as many as they have records, as in most cells."""

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

    def clips_in_sum(self, most_records: int) -> int:
        """Return how many clips a hospital's contribution may be long, if it has so many records."""
        return 1

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

    def stddev_on_average(self, members: Sequence[Member], *, num_shares: int, most_records: int) -> float:
        """Return the stddev, in every coordinate, of the noise on what the federation averages once; nan of nobody.

        Where records are the unit that is the average gradient of one step of the cohort: the weighted mean of the
        hospitals' with local noise, the sum over the expected batch of all otherwise. Where hospitals are, it is the
        average update of a round.

        Args:
            members: of the cohort; everyone answers.
            num_shares: replies guaranteed.
            most_records: training records that any of the cohort has at most.
        """
        if not members:
            return math.nan
        weights = [self._averaged_weight(member) for member in members]
        if not self.shares_noise:
            parts = [
                weight * member.stddev / self._divisor(member) for weight, member in zip(weights, members, strict=True)
            ]
            return math.hypot(*parts) / math.fsum(weights)
        largest = self._largest_share(weights, most_records)
        surplus = self._noise_surplus(len(members), num_shares)
        return max(member.stddev for member in members) * largest * math.sqrt(surplus) / math.fsum(weights)

    def _averaged_weight(self, member: Member) -> float:
        return float(member.num_train)

    def _divisor(self, member: Member) -> float:
        return member.expected_batch_size

    def _largest_share(self, weights: Sequence[float], most_records: int) -> float:
        return max(weights)

    def _noise_surplus(self, num_members: int, num_shares: int) -> float:
        """Return how many times the billed variance is in a sum that everyone answered."""
        return 1.0
