"""What the cells share whose unit is a whole hospital, which releases its clipped update once a round."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from wardround.exact_sums import Arrays
from wardround.privacy import deltas
from wardround.privacy.cells.released_sums import ReleasedSum, Sums, moved
from wardround.privacy.cells.sums import SummedCell
from wardround.privacy.cells.weights import SumGrid, noise_apart, noise_together
from wardround.privacy.clipping import COUNT_NAME, quantile_of
from wardround.privacy.ranges import FLOAT32_SLACK
from wardround.rounds import Assignment, Schedule
from wardround.step_events import EventShape

__all__ = ["WholeUpdates"]


@dataclass(frozen=True)
class WholeUpdates(SummedCell):
    """One update a round, of training that is nobody's concern but the hospital's."""

    __slots__ = ()
    unit: ClassVar[str] = "hospital"
    relation: ClassVar[str] = "zero-out-one-hospital"
    clips_records: ClassVar[bool] = False

    def _overlap(self, setting: str) -> Iterator[str]:
        yield f'{setting} has no meaning with unit = "hospital", which protects whole hospitals: remove it'

    def billed(self, schedule: Schedule) -> tuple[int, float]:
        """Return one step at rate 1: one update is released, whoever was sampled to make it."""
        return 1, 1.0

    def shape(
        self,
        *,
        sample_rate: float = 1.0,
        dimension: int = 0,
        num_shares: int = 0,
        most_contributions: int = 0,
        most_replies: int = 0,
    ) -> EventShape:
        """Return what a billed step is, except for its noise: its rate is 1, whatever the optimizer's."""
        return super().shape(
            sample_rate=1.0,
            dimension=dimension,
            num_shares=num_shares,
            most_contributions=most_contributions,
            most_replies=most_replies,
        )

    def most_contributions(self, *, num_hospitals: int, num_records: int, max_records: int | None) -> int:
        """Return how many vectors one sum may have at most: one of each hospital."""
        return num_hospitals

    def check_deltas(
        self, target_delta: float | Mapping[str, float], num_train: Mapping[str, int], num_hospitals: int
    ) -> dict[str, float]:
        """Return every hospital's delta, refusing one that is no promise to so few hospitals.

        Raises:
            ConfigError: a delta is too large, out of range, missing, or for a hospital that doesn't exist.
        """
        return deltas.check_hospital_deltas(target_delta, num_train, num_hospitals)

    def delta_warning(self, target_deltas: Mapping[str, float], num_train: Mapping[str, int]) -> str:
        """Return a sentence where a delta is larger than is customary for so many hospitals; empty where none is."""
        return deltas.delta_warning(target_deltas, dict.fromkeys(num_train, len(num_train)), unit=self.unit)

    def check_shared_patients(self, hospitals_per_patient: int, patient_overlap: int) -> None:
        """Refuse none: all patients are hidden with their hospital, and each hospital pays for its own."""

    def without_bound(self, patient_overlap: int) -> str:
        """Return nothing: patients are hidden with their hospitals."""
        return ""

    def update_bound(
        self, *, max_update: float, most_records: int, sensitivity: float, noise_multiplier: float
    ) -> float:
        """Return the clip, with room for rounding to float32."""
        return sensitivity * FLOAT32_SLACK

    def plan_notes(self, *, num_hospitals: int, honest_survivors: int, noise_ratio: float) -> Iterator[str]:
        """Yield what few hospitals cost."""
        yield from super().plan_notes(
            num_hospitals=num_hospitals, honest_survivors=honest_survivors, noise_ratio=noise_ratio
        )
        if noise_ratio >= 1:
            yield (
                f"hospitals are the unit, and {num_hospitals} are few: the noise on the average update is "
                f"{noise_ratio:.3g} times as large as the largest update that the clip lets through, so little is "
                "learned"
            )

    def clips_sent(self, num_records: int) -> int:
        """Return 1: the update is clipped."""
        return 1

    def grid(self, num_train: Sequence[int], most_records: int) -> SumGrid:
        """Return how updates lie on the grids: a hospital that is zeroed out contributes exact zeros, on one side."""
        return SumGrid(stretch=1.0, largest_weight=most_records / sum(num_train), sides=0.5, clips=1.0)

    def stddev_on_average(
        self,
        stddevs: Sequence[float],
        num_train: Sequence[int],
        batches: Sequence[float],
        *,
        most_records: int,
        num_shares: int,
    ) -> float:
        """Return the stddev of the noise on the average update, weighted with the hospitals' records."""
        shares = [float(number) for number in num_train]
        if not self.shares_noise:
            return noise_apart(stddevs, shares, [1.0] * len(shares))
        largest = self.largest_share(shares, most_records)
        return noise_together(stddevs, shares, largest, self.surplus(len(shares), num_shares))

    def largest_share(self, shares: Sequence[float], most_records: int) -> float:
        """Return the weight that the noise of a sum is relative to: the largest in the cohort."""
        return max(shares)

    def sum_factor(self, answered: Sequence[Assignment]) -> float:
        """Return the weights of those who answered."""
        return sum(assignment.weight for assignment in answered)

    def reply(
        self,
        arrays: Arrays,
        summed: Sums,
        answered: Sequence[Assignment],
        assignments: Sequence[Assignment],
        learning_rate: float,
    ) -> ReleasedSum:
        """Return the model moved by the average update, and what the count says of the clip."""
        average = moved(arrays, summed, 1 / self._total_share(answered))
        if COUNT_NAME not in summed:
            return ReleasedSum(arrays=average)
        count = float(summed[COUNT_NAME]) / self._total_share(assignments)
        return ReleasedSum(arrays=average, quantile=quantile_of(count, float(answered[0].max_grad_norm or 0.0)))

    def _total_share(self, assignments: Sequence[Assignment]) -> float:
        return math.fsum(self.share(assignment) for assignment in assignments)
