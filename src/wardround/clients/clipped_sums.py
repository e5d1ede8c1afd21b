"""The clipped sum of per-record gradients, added up so that no record moves it by more than the clip.

A sum of floats depends on all its terms at once: in float32, among 60,000 records one was seen to move the sum by
1.8e-3 of the clip more than it may. Here float32 gradients are summed in float64, with factors for a clip that is
smaller by CLIP_MARGIN, so that one record zeroed out moves the computed sum by at most C.

Let u = 2^-53, n <= 2^23 records in a batch, p <= 2^30 parameters, gradients g_i in float32, and c = C (1 - 1e-6).

1. Squares of float32 are exact in float64 and not negative, so a norm N of p of them is computed within (p/2 + 2) u N
   in whatever order (Higham 2002, lemma 3.1). The factor f = min(1, c / (N + 1e-6)) then leaves a record's clipped
   gradient at most c (1 + (p/2 + 8) u) <= c (1 + 6.1e-8) long. It is a function of that record alone, and
   of how many rows there are, which decides the order of additions; a record that is zeroed out is still a row.
   Automatic clipping has f = c / (N + 0.01), and so the same bound.
2. In blocks of B <= 64 records any order of additions errs by at most 64 u sum_i |f_i g_i| in each coordinate
   (Higham 2002, section 3.1). Blocks are added with the errors kept (Ogita, Rump, Oishi 2005, algorithm 4.1, Sum2),
   which adds u |sum| and (n/B)^2 u^2 sum_i |f_i g_i|. By the triangle inequality over coordinates the whole sum is
   within 66 u n c of the exact one.
3. Two sums that differ in one record are then within c (1 + 6.1e-8 + 2 * 66 u n) <= c (1 + 1.9e-7) < C of each other.

In closed form (`by_record.OuterProducts`) a linear layer's gradient is g a^T for float32 g and a, and is never rounded
itself: its squared length is a product of sums of squares, which is within (p/2 + 4) u N in 1, and a term of a sum,
(f g_j) a_i, is rounded twice, so that 66 becomes 68 in 2. Gradients that are formed there, of convolutions, norms and
layers that see several positions, are rounded to float32 before they are clipped, as functions of their record.

Where classes count several times ("duplicate"), a record of class y enters with factor m f, for a whole number
m = m_y between 1 and g: as if its clipped gradient stood m times in the sum. Its class is its own, and the m are the
same for all neighbours, since they are settings or follow from what was released. One more rounding, of m f, leaves a
term at most g c (1 + (p/2 + 9) u) long, so that in 1 to 3 each c is g c, and one record zeroed out moves the computed
sum by at most g C. That is the sensitivity which noise, steps of integers and bounds are relative to. A batch holds a
record with all of its copies or not at all, so that the sum is that of one Poisson batch and no accountant changes.

Ghost clipping sums a chunk in one backward pass in float64. There 2 holds with the chunk's rows times the positions of
a layer's input for B, and with the lengths of a record's terms for its clipped gradient's: it keeps to C unless the
terms of one gradient cancel to a 10^5th of their lengths or less, for which nothing is proved.

What is left out on purpose: noise, which is added to this sum and changes nothing about how far a record moves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wardround.clients.closed_form.by_record import ByRecord

__all__ = ["CLIP_MARGIN", "SumInParts", "clipped", "with_margin"]

CLIP_MARGIN = 1e-6
"""By how much the clip is made smaller, so that rounding has room: what is needed is proved above."""

_STABILITY = 0.01
"""That automatic clipping adds to a norm, so that next to nothing is not made a whole clip long."""
_LARGEST = float(torch.finfo(torch.float32).max)


def clipped(
    parts: Sequence[ByRecord], clips: Tensor | float, *, is_automatic: bool = False
) -> tuple[list[ByRecord], Tensor, Tensor]:
    """Return gradients in float64, what to multiply each with so that it is clipped, and which are not finite.

    Those are zeros in what is returned; so is one that is longer than float32's largest number, which has no gradient
    in float32.

    Args:
        parts: gradients by every layer of a model, which are clipped over all together.
        clips: with its margin (`with_margin`); of each hospital, (hospitals, 1), or of all.
        is_automatic: whether short gradients are made longer, too: c / (N + 0.01) of each, which is below c long
            like min(1, c / N) of it, so that nothing else changes.

    Returns:
        The gradients, and of (hospitals, records) factors in float64 and what is lost.

    Source: Bu, Wang, Zha, Karypis 2023 (arXiv 2206.07136), AUTO-S, equation 4.
    """
    parts = [part.double() for part in parts]
    norms = torch.stack([part.squared_norms() for part in parts]).sum(dim=0).sqrt_()
    factors = clips / (norms + _STABILITY) if is_automatic else (clips / (norms + 1e-6)).clamp(max=1.0)
    is_lost = ~(norms <= _LARGEST)  # a nan is no less than anything
    if bool(is_lost.any()):
        parts = [part.emptied(~is_lost) for part in parts]
        factors = factors.where(~is_lost, 0.0)
    return parts, factors, is_lost


def with_margin(max_grad_norm: float) -> float:
    """Return the clip that leaves rounding its room."""
    return max_grad_norm * (1 - CLIP_MARGIN)


@dataclass(slots=True)
class SumInParts:
    """The sum of float64 blocks of one parameter's size, which keeps what rounding takes off (Knuth's two-sum)."""

    total: Tensor | None = None
    lost: Tensor | None = None

    def add(self, block: Tensor) -> None:
        """Add a block."""
        if self.total is None:
            self.total = block
            return
        before, self.total = self.total, self.total + block
        shown = self.total - before
        lost = (before - (self.total - shown)) + (block - shown)
        self.lost = lost if self.lost is None else self.lost + lost

    def value_like(self, parameter: Tensor) -> Tensor:
        """Return the sum in the parameter's shape; zeros where nothing was added."""
        if self.total is None:
            return torch.zeros_like(parameter, dtype=torch.float64)
        return (self.total if self.lost is None else self.total + self.lost).view_as(parameter)
