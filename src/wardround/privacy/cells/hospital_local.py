"""Hospitals, noise at the hospital: it clips its update and adds Gaussian noise before anything leaves it.

Neighbours are any two updates within the clip, so they are two clips apart, and the bill is that of one Gaussian
release whose noise is relative to that.
"""

from dataclasses import dataclass

from wardround.privacy.cells.whole_updates import WholeUpdates
from wardround.privacy.cells.words import PlainWords
from wardround.privacy.ranges import FLOAT32_SLACK
from wardround.privacy.skellam import TAIL_DEVIATIONS

__all__ = ["HospitalLocal"]


@dataclass(frozen=True)
class HospitalLocal(WholeUpdates):
    """A clipped update with noise of its own."""

    name = "hospital-local"
    placement = "local"
    mechanism = "gaussian"
    relation = "replace-one-update"
    clips_apart = 2.0
    plain_words = PlainWords(
        noise="Gaussian noise, once a round, by the hospital",
        formula="2zC / sqrt(n)",
    )
    sent = "the hospital's clipped update"

    def update_bound(self, *, most_records: int, sensitivity: float, noise_multiplier: float) -> float | None:
        """Return the sensitivity and 16 standard deviations of the noise, with room for rounding to float32."""
        return sensitivity * (1 + TAIL_DEVIATIONS * noise_multiplier) * FLOAT32_SLACK

    def bound_beside(self, own_bound: float, asked: float) -> float:
        """Return the larger: the sum's bound is that of the largest noise in it, and this update has its noise."""
        return max(own_bound, asked)
