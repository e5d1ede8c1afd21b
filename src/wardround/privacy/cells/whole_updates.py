"""What the cells share whose unit is a whole hospital, which releases its clipped update once a round."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from wardround.privacy.cells.cell import Cell
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

    def update_bound(
        self, *, max_update: float, most_records: int, sensitivity: float, noise_multiplier: float
    ) -> float:
        """Return the clip, with room for rounding to float32."""
        return sensitivity * FLOAT32_SLACK
