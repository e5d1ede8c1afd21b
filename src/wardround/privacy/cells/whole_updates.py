"""What the cells share whose unit is a whole hospital, which releases its clipped update once a round."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from wardround.privacy import deltas
from wardround.privacy.cells.released_sums import Arrays, ReleasedSum, Sums, moved
from wardround.privacy.cells.sums import SummedCell, SumScale
from wardround.privacy.cells.weights import Member
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

    def num_units(self, num_train: int, num_hospitals: int) -> int:
        """Return the number of hospitals, of which one is protected."""
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

    def overlap_needed(self, hospitals_per_patient: int) -> int:
        """Return 1: all its patients are hidden with a hospital, and each hospital pays for its own."""
        return 1

    def unbounded_overlap(self, patient_overlap: int) -> str:
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

    def _divisor(self, member: Member) -> float:
        return 1.0

    def sum_scale(self, num_records: Sequence[int], most_records: int) -> SumScale:
        """Return the units: a hospital that is zeroed out contributes exact zeros, so that one side is rounded."""
        return SumScale(grids=1.0, largest=most_records / sum(num_records), sides=0.5, longest=1.0)

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
