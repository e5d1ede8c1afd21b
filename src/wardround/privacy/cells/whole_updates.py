"""What the cells share whose unit is a whole hospital, which releases its clipped update once a round."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from wardround.privacy.cells.cell import Cell
from wardround.privacy.cells.weights import SumGrid, noise_apart, noise_together
from wardround.privacy.ranges import FLOAT32_SLACK
from wardround.rounds import Schedule
from wardround.step_events import EventShape

__all__ = ["WholeUpdates"]


@dataclass(frozen=True)
class WholeUpdates(Cell):
    """One update a round, of training that is nobody's concern but the hospital's."""

    __slots__ = ()
    unit: ClassVar[str] = "hospital"
    relation: ClassVar[str] = "zero-out-one-hospital"

    def _overlap(self, setting: str) -> Iterator[str]:
        yield f'{setting} has no meaning with unit = "hospital", which protects whole hospitals: remove it'

    def _adaptive_clipping(self) -> Iterator[str]:
        if not self.shares_noise:
            yield from Cell._adaptive_clipping(self)

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

    def check_shared_patients(self, hospitals_per_patient: int, patient_overlap: int) -> None:
        """Refuse none: all patients are hidden with their hospital, and each hospital pays for its own."""

    def without_bound(self, patient_overlap: int) -> str:
        """Return nothing: patients are no units here."""
        return ""

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

    def caution(self, num_hospitals: int, clips_of_noise: float) -> str:
        """Return a sentence where the noise on the average update drowns the largest update there can be."""
        if clips_of_noise < 1:
            return ""
        return (
            f"hospitals are the unit, and {num_hospitals} are few: the noise on the average update is "
            f"{clips_of_noise:.3g} times as large as the largest update that the clip lets through, so little is "
            "learned"
        )

    def update_bound(
        self, *, max_update: float, most_records: int, sensitivity: float, noise_multiplier: float
    ) -> float:
        """Return the clip, with room for rounding to float32."""
        return sensitivity * FLOAT32_SLACK
