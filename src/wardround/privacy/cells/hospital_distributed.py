"""Hospitals, noise in shares: each rounds its clipped update and adds a share of Skellam noise.

Zeroing a hospital out takes one integer vector from the sum, whose norm is checked after rounding. Updates are
multiplied with a share of the largest hospital's records before they are rounded, so that none is more than one clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from wardround.privacy.cells.integer_sums import IntegerSums, sum_words
from wardround.privacy.cells.whole_updates import WholeUpdates
from wardround.privacy.cells.words import PlainWords
from wardround.rounds import Assignment

__all__ = ["HOSPITAL_DISTRIBUTED", "HospitalDistributed"]


@dataclass(frozen=True)
class HospitalDistributed(IntegerSums, WholeUpdates):
    """A clipped update as integers, with noise in shares."""

    __slots__ = ()
    name: ClassVar[str] = "hospital-distributed"
    mechanism: ClassVar[str] = "skellam"
    adapts_clip: ClassVar[bool] = True
    plain_words: ClassVar[PlainWords] = sum_words("the hospital's clipped update, rounded")

    def contribution(self, num_train: int, most_records: float) -> float:
        """Return its records as a share of the most that any hospital of the round has."""
        return num_train / most_records

    def largest_share(self, shares: Sequence[float], most_records: int) -> float:
        """Return the records that contributions are relative to, whoever takes part."""
        return float(most_records)

    def share(self, assignment: Assignment) -> float:
        """Return its contribution."""
        return assignment.contribution


HOSPITAL_DISTRIBUTED = HospitalDistributed()
"""The one of its kind."""
