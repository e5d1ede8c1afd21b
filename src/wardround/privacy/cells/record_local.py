"""Records, noise at the hospital: DP-SGD (Abadi et al. 2016, arXiv 1607.00133) with any number of local steps.

A step's sum of clipped gradients of a Poisson batch differs between neighbours by one clipped gradient, so by at most
one clip, and has Gaussian noise before anything else sees it: the release is the model after all steps, which follows
from the noisy sums. Every step is billed at its sample rate, whoever looks.
"""

from dataclasses import dataclass

from wardround.privacy.cells.cell import Cell
from wardround.privacy.cells.words import PlainWords

__all__ = ["RecordLocal"]


@dataclass(frozen=True)
class RecordLocal(Cell):
    """DP-SGD at the hospital."""

    name = "record-local"
    placement = "local"
    mechanism = "poisson-subsampled-gaussian"
    releases_models = True
    plain_words = PlainWords(
        noise="Gaussian noise in every local step, by the hospital (DP-SGD)",
        formula="zC / sqrt(n)",
    )
    sent = "the model after local steps"
