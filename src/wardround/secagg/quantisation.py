"""From weighted numbers to residues modulo 2^32 and back, with room for the sum of all hospitals.

With n members, |x| <= R and weights in [0, W], each coordinate becomes the whole number nearest to x (w / W) Q / R
where Q = floor((2^31 - 1) / n), and the weight the one nearest to w Q / W. No sum of n of them leaves [-2^31, 2^31), so
that none wraps around. A coordinate's sum is within n R W / (2 Q) of the exact one, the sum of weights within
n W / (2 Q), so that the weighted mean, which is S / w for the two sums as `sums` returns them, is within

    n (R + |mean|) W / (2 Q w) <= n^2 R W / ((2^31 - n) w)

of the exact one, before it is rounded to the parameter's own type; double precision adds less than 1e-5 of that. With
all weights W it is n R / (2^31 - n), which is 5e-9 R for ten hospitals; with all of them W / 100 it is 100 times that.

*Sums that get their noise afterwards* (payload "values"). One member may add anything, so that the sum of the others
lies at any place of the circle of 2^32 numbers that it chose. Noise that comes later would not hide where the circle is
cut open, at 2^31, nor a refusal of what lies beyond a bound. So there no number is refused, and the circle is folded
instead: Q is floor((2^30 - 1) / n), and what lies beyond 2^30 is read as far below it as it is above, back to 0 at
2^31. Reading is then continuous around the whole circle and takes no two sums further apart than they are, nor does
holding them to a bound: whatever a member adds, neighbours stay as close as the noise was made for.

What is left out on purpose: residues of integer noise, which are sums of whole numbers already (`privacy.integers`),
and which wrap around with the noise in them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.errors import CohortError, ProtocolError, UpdateError
from wardround.exact_sums import Arrays, Shaped, check_real
from wardround.secagg.terms import Terms

__all__ = ["Quantiser", "flattened", "quantiser_for", "saturated", "split_like"]

_BLOCK = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiser:
    """Turns one hospital's weighted numbers into residues, and a sum of them back into numbers.

    Attributes:
        num_members: hospitals that one sum may have at most (1 to 65,536).
        max_update: largest magnitude of a number, R (> 0).
        max_weight: largest weight, W (> 0).
        is_folded: whether the sum gets its noise afterwards.
    """

    num_members: int
    max_update: float
    max_weight: float
    is_folded: bool = False

    @property
    def levels(self) -> int:
        """Q, the largest magnitude of one hospital's whole numbers."""
        return ((2**30 if self.is_folded else 2**31) - 1) // self.num_members

    def residues(self, values: NDArray[Any], weight: float, before: NDArray[Any] | None = None) -> NDArray[np.uint32]:
        """Return the weighted values and, last, the weight as residues, shape (dimension + 1,).

        >>> quantiser = Quantiser(num_members=2, max_update=1.0, max_weight=3.0)
        >>> both = quantiser.residues(np.array([0.5, -1.0]), 3.0) + quantiser.residues(np.array([0.5, 0.0]), 1.0)
        >>> values, weight = quantiser.sums(both)
        >>> values.round(6), round(weight, 6)
        (array([ 2., -3.]), 4.0)

        Args:
            values: real numbers of any type, shape (dimension,).
            weight: in [0, max_weight].
            before: what to subtract from the values first, same shape; None subtracts nothing.

        Raises:
            UpdateError: the weight or a value is out of range; nothing is clipped or wrapped around.
        """
        # The messages go to the server, so they do not say by how much.
        if not 0 <= weight <= self.max_weight:
            raise UpdateError(
                f"the weight of an update must be >= 0 and <= {self.max_weight:g}, the largest that was agreed: raise "
                "max_weight on the server"
            )
        residues = np.empty(len(values) + 1, np.uint32)
        signed = residues.view(np.int32)
        scale = weight / self.max_weight * self.levels / self.max_update
        buffer = np.empty(min(_BLOCK, len(values)))
        for start in range(0, len(values), _BLOCK):
            part = buffer[: min(_BLOCK, len(values) - start)]
            with np.errstate(invalid="ignore", over="ignore"):  # refused below
                less = 0.0 if before is None else before[start : start + _BLOCK]
                np.subtract(values[start : start + _BLOCK], less, out=part, dtype=np.float64)
            # Both carry a nan along, so that every number is checked.
            if not max(part.max(), -part.min()) <= self.max_update:
                raise UpdateError(
                    f"an update is not finite, or larger than {self.max_update:g} in magnitude (max-update): raise "
                    "max-update on the server, or lower the learning rate"
                )
            part *= scale
            signed[start : start + len(part)] = np.rint(part, out=part)
        signed[-1] = round(weight / self.max_weight * self.levels)
        return residues

    def sums(self, total: NDArray[np.uint32]) -> tuple[NDArray[np.float64], float]:
        """Return the weighted sum of the values, shape (dimension,), and that of the weights, from that of residues."""
        signed = total.view(np.int32)
        values = signed[:-1].astype(np.float64)
        if self.is_folded:
            far = np.abs(values) > 2.0**30
            values[far] = np.copysign(2.0**31, values[far]) - values[far]
        values *= self.max_update * self.max_weight / self.levels
        return values, float(signed[-1]) * self.max_weight / self.levels

    def mean(
        self, total: NDArray[np.uint32], num_summed: int, known_weight: float | None = None
    ) -> tuple[NDArray[np.float64], float]:
        """Return the weighted mean of the values, shape (dimension,), and the sum of the weights.

        One hospital alone can shift the sums of weights and values, as nobody sees what it adds; a mean of values that
        are all within max_update is within it, too, and weights are of at most so many hospitals.

        Args:
            total: sum of residues modulo 2^32, shape (dimension + 1,).
            num_summed: hospitals in the sum (1 to num_members).
            known_weight: what the weights must sum to; None believes what the sum says, within its bounds.

        Raises:
            CohortError: the weights sum to 0.
            ProtocolError: the weights do not sum to the known one.
            UpdateError: the weights or the mean are not what so many hospitals can have.
        """
        values, weight = self.sums(total)
        slack = num_summed * self.max_weight / (2 * self.levels)
        if known_weight is not None:
            if abs(weight - known_weight) > 2 * slack:
                raise ProtocolError(
                    f"the weights in the sum add up to {weight:g}, and must to {known_weight:g}: a hospital holds "
                    "another number of records than it said at first, and the sum is refused"
                )
            weight = known_weight
        elif abs(weight) <= slack:
            raise CohortError("the weights of all hospitals sum to 0: at least one must have examples")
        elif not 0 < weight <= num_summed * self.max_weight + slack:
            raise UpdateError(
                f"the weights in the sum add up to {weight:g}, and must to 0 to {num_summed * self.max_weight:g} for "
                f"{num_summed} hospitals: one of them sent something else than its vector, and nobody can tell which"
            )
        return self.mean_of(values, weight, num_summed), weight

    def mean_of(self, values: NDArray[np.float64], weight: float, num_summed: int) -> NDArray[np.float64]:
        """Return a sum, shape (dimension,), divided in place by the sum of the weights (> 0), within max_update.

        Raises:
            UpdateError: the mean is larger than the rounding of so many hospitals' numbers can make it; never where it
                is folded.
        """
        # In place: a pass over a new array of this size takes twice as long.
        values /= weight
        largest = max(values.max(initial=0.0), -values.min(initial=0.0))
        if not largest <= self.max_update:
            # The bound of the mean's error, which is far below 0.01 where weights are near max_weight.
            slack = min(0.01, 2 * num_summed * self.max_weight / (self.levels * weight))
            if not self.is_folded and not largest <= self.max_update * (1 + slack):
                raise UpdateError(
                    f"a coordinate of the mean is {largest:g} in magnitude, and must be <= max-update = "
                    f"{self.max_update:g}: one of {num_summed} hospitals sent something else than its vector, and "
                    "nobody can tell which"
                )
            np.clip(values, -self.max_update, self.max_update, out=values)
        return values


def quantiser_for(terms: Terms, num_members: int) -> Quantiser:
    """Return the quantiser that everybody in a round uses whose payload is not residues."""
    return Quantiser(
        num_members=num_members,
        max_update=terms.max_update,
        max_weight=terms.max_weight,
        is_folded=terms.payload == "values",
    )


def saturated(
    values: NDArray[Any], max_update: float, before: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], int]:
    """Return the values, or their difference to what was before, within the bound, and how many were beyond it.

    What is not a number becomes 0. It looks at nothing but what is about to be sent, so that noise which is in it keeps
    its guarantee (post-processing), and no refusal tells that an update was too large.

    >>> saturated(np.array([0.5, -3.0, np.nan]), 1.0)
    (array([ 0.5, -1. ,  0. ]), 2)

    Args:
        values: real numbers of any type, shape (dimension,).
        max_update: largest magnitude (> 0).
        before: what to subtract first, same shape; None subtracts nothing.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        moved = np.subtract(values, 0.0 if before is None else before, dtype=np.float64)
        num_beyond = int(np.count_nonzero(~(np.abs(moved) <= max_update)))
    if num_beyond:
        np.nan_to_num(moved, copy=False, nan=0.0, posinf=max_update, neginf=-max_update)
        np.clip(moved, -max_update, max_update, out=moved)
    return moved, num_beyond


def flattened(arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return all arrays one after the other, shape (dimension,); refuses what is not a real number.

    Raises:
        UpdateError: a dtype that is not a number.
    """
    check_real(arrays)
    parts = [np.asarray(array).reshape(-1) for array in arrays.values()] or [np.zeros(0)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def split_like(flat: NDArray[Any], like: Mapping[str, Shaped]) -> Arrays:
    """Return views of a flat array with the names and shapes of `like`, in its order.

    >>> split_like(np.arange(3), {"weight": np.zeros((1, 2)), "bias": np.zeros(1)})
    {'weight': array([[0, 1]]), 'bias': array([2])}

    Args:
        flat: shape (dimension,).
        like: anything with shapes, of dimension elements in all.
    """
    edges = np.cumsum([math.prod(array.shape) for array in like.values()])[:-1]
    return {
        name: part.reshape(array.shape) for (name, array), part in zip(like.items(), np.split(flat, edges), strict=True)
    }
