"""Hospitals, noise in shares: each rounds its clipped update and adds a share of Skellam noise.

Zeroing a hospital out takes one integer vector from the sum, whose norm is checked after rounding. Updates are
multiplied with a share of the largest hospital's records before they are rounded, so that none is more than one clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.privacy.cells.integer_sums import IntegerSums
from wardround.privacy.cells.released_sums import Averaging
from wardround.privacy.cells.whole_updates import WholeUpdates
from wardround.rounds import Assignment

__all__ = ["HospitalDistributed"]


@dataclass(frozen=True)
class HospitalDistributed(IntegerSums, WholeUpdates):
    """A clipped update (`WholeUpdates`) as integers, with noise in shares (`IntegerSums`)."""

    name = "hospital-distributed"
    mechanism = "skellam"
    adapts_clip = True
    sent = "the hospital's clipped update, rounded"

    def contribution(self, num_train: int, most_records: float) -> float:
        """Return its records as a share of the most that any hospital of the round has."""
        return num_train / most_records

    def averaging(self, num_train: Sequence[int], batches: Sequence[float], most_records: int) -> Averaging:
        """Return the average update by records, with noise relative to the most that any has, whoever answers."""
        return super().averaging(num_train, batches, most_records)._replace(largest=most_records)

    def share(self, assignment: Assignment) -> float:
        """Return its contribution."""
        return assignment.contribution
