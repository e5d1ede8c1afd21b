"""What the cells share whose unit is a whole hospital, which releases its clipped update once a round."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wardround.privacy import deltas
from wardround.privacy.cells.cell import SummedCell
from wardround.privacy.cells.released_sums import Averaging, ReleasedSum, RoundSum, SumGrid, Sums, moved
from wardround.privacy.clipping import COUNT_NAME, quantile_of
from wardround.privacy.ranges import FLOAT32_SLACK
from wardround.rounds import Assignment, Schedule

__all__ = ["WholeUpdates"]


@dataclass(frozen=True)
class WholeUpdates(SummedCell):
    """One update a round, of training that is nobody's concern but the hospital's."""

    unit = "hospital"
    relation = "zero-out-one-hospital"
    clips_records = False

    def _overlap(self, setting: str) -> Iterator[str]:
        yield f'{setting} has no meaning with unit = "hospital", which protects whole hospitals: remove it'

    def billed(self, schedule: Schedule) -> tuple[int, float]:
        """Return one step at rate 1: one update is released, whoever was sampled to make it."""
        return 1, 1.0

    def most_contributions(self, *, num_hospitals: int, num_records: int, max_records: int | None) -> int:
        """Return how many vectors one sum may have at most: one of each hospital."""
        return num_hospitals

    def check_deltas(
        self, target_delta: float | Mapping[str, float], num_train: Mapping[str, int], num_hospitals: int
    ) -> dict[str, float]:
        """Return every hospital's delta, refusing one that is no promise to so few hospitals."""
        return deltas.check_hospital_deltas(target_delta, num_train, num_hospitals)

    def delta_warning(self, target_deltas: Mapping[str, float], num_train: Mapping[str, int]) -> str:
        """Return a sentence where a delta is larger than is customary for so many hospitals; empty where none is."""
        return deltas.delta_warning(target_deltas, dict.fromkeys(num_train, len(num_train)), unit=self.unit)

    def plan_notes(self, num_hospitals: int, honest_survivors: int, noise_ratio: float) -> Iterator[str]:
        """Yield what few hospitals cost."""
        yield from super().plan_notes(num_hospitals, honest_survivors, noise_ratio)
        if noise_ratio >= 1:
            yield (
                f"hospitals are the unit, and {num_hospitals} are few: the noise on the average update is "
                f"{noise_ratio:.3g} times as large as the largest update that the clip lets through, so little is "
                "learned"
            )

    def update_bound(self, *, most_records: int, sensitivity: float, noise_multiplier: float) -> float | None:
        """Return the clip, with room for rounding to float32."""
        return sensitivity * FLOAT32_SLACK

    def averaging(self, num_train: Sequence[int], batches: Sequence[float], most_records: int) -> Averaging:
        """Return the average update by records; one noise on the sum is relative to the largest of the cohort."""
        return Averaging(weights=num_train, divisors=[1.0] * len(num_train), largest=max(num_train))

    def grid(self, num_train: Sequence[int], most_records: int) -> SumGrid:
        """Return that one side is rounded: a hospital that is zeroed out contributes exact zeros."""
        return SumGrid(stretch=1.0, largest_weight=most_records / sum(num_train), sides=0.5, clips=1.0)

    def sum_factor(self, answered: Sequence[Assignment]) -> float:
        """Return the weights of those who answered."""
        return sum(assignment.weight for assignment in answered)

    def reply(self, released: Sums, summed: RoundSum) -> ReleasedSum:
        """Return the model moved by the average update, and what the count says of the clip."""
        average = moved(summed.arrays, released, 1 / self._total_share(summed.answered))
        if COUNT_NAME not in released:
            return ReleasedSum(arrays=average)
        count = float(released[COUNT_NAME]) / self._total_share(summed.assignments)
        clip = float(summed.answered[0].max_grad_norm or 0.0)
        return ReleasedSum(arrays=average, quantile=quantile_of(count, clip))

    def _total_share(self, assignments: Sequence[Assignment]) -> float:
        return math.fsum(self.share(assignment) for assignment in assignments)
