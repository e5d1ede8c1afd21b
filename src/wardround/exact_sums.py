"""Exact weighted sums of named arrays: the same bits whatever the order, the grouping and the number of workers.

Floating-point addition depends on its order; integer addition does not. Every contribution x * weight is rounded once
to a multiple of 2**-40 and kept as an int64, and from there on every addition is exact.

No overflow is possible: with |x| < 2**22 and weights of a cohort that sum to at most 1, a total stays within 2**62,
half of what an int64 holds, which leaves room for the rounding of the weights themselves.

Error bound: with n contributions whose weights sum to W, `mean` is within

    n * 2**-41 / W + max |x| * 2**-51

of the exact weighted mean, before it is rounded to the parameter's own dtype: the first term is the rounding to the
grid, the second covers the products x * weight and the final division. For a thousand hospitals the first is 5e-10.

Residues modulo 2**32 are summed as they are, without weights: up to 2**31 of them fit an int64, and the sum modulo
2**32 is what they stand for.

Left out on purpose: quantisation and masks (`privacy.integers`), and any meaning of the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.errors import UpdateError

__all__ = [
    "FRACTION_BITS",
    "LARGEST_VALUE",
    "Arrays",
    "FixedSum",
    "Shaped",
    "Summed",
    "accumulate",
    "check_alike",
    "check_real",
    "fixed_sum",
    "mean",
    "merge",
]

Arrays = dict[str, NDArray[Any]]
"""Parameters, or what is sent in their place, by name."""

FixedSum = dict[str, NDArray[np.int64]]
"""Running totals by parameter name, in units of 2**-FRACTION_BITS."""


@dataclass(slots=True, eq=False)
class Summed:
    """What of several nodes is in a sum already, and whose."""

    total: FixedSum = field(default_factory=dict)
    node_ids: set[int] = field(default_factory=set)


FRACTION_BITS = 40
LARGEST_VALUE = 2.0**22
"""What a parameter must stay below in magnitude: 2**22 * 2**40 fits an int64 with a bit to spare."""

_BLOCK = 65_536  # elements: with the total's, 1.3 MB, which a core's second-level cache holds or nearly so
_WEIGHT_SLACK = 1e-9
_WHOLE = 1.5 * 2.0**52
"""Added to a number below 2^51, it leaves no bit for a fraction: the sum is rounded to a whole number, halves to even
as `rint` does, whose two's complement stands in its last 51 bits."""
_WHOLE_BITS = int(np.float64(_WHOLE).view(np.int64))
_BELOW_WHOLE = 2.0**50


class Shaped(Protocol):
    """Anything that has the shape of an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""


def accumulate(total: FixedSum, arrays: Mapping[str, NDArray[Any]], weight: float | None) -> None:
    """Add the arrays times the weight to the total, in place and exactly; a refused update leaves the total as it was.

    Residues modulo 2**32 have no weight, and are added as they are.

    >>> total: FixedSum = {}
    >>> accumulate(total, {"bias": np.array([1.0, -2.0])}, 0.5)
    >>> accumulate(total, {"bias": np.array([3.0, 0.0])}, 0.5)
    >>> mean(total, 1.0, {"bias": np.zeros(2, np.float32)})["bias"]
    array([ 2., -1.], dtype=float32)
    >>> residues: FixedSum = {}
    >>> accumulate(residues, {"bias": np.array([2**32 - 1], np.uint32)}, None)
    >>> accumulate(residues, {"bias": np.array([3], np.uint32)}, None)
    >>> residues["bias"] % 2**32
    array([2])

    Args:
        total: the running total; an empty one takes on the names and shapes of the arrays.
        arrays: real arrays of any shape and any dtype that float64 holds, |x| < 2**22; uint32 where they are residues.
        weight: in (0, 1]; the weights of everything that goes into one total must sum to at most 1. None of residues,
            of which at most 2**31 updates go into one total.

    Raises:
        UpdateError: a weight out of range, a name or a shape that differs from the total's, a dtype that is not a
            number, or a value that is not finite or too large; the message names the parameter.
    """
    if weight is None:
        for name, array in arrays.items():
            if array.dtype != np.uint32:
                raise UpdateError(
                    f"parameter {name} has dtype {array.dtype}, which must be uint32 in a sum of residues"
                )
        _begin(total, arrays)
        for name, array in arrays.items():
            np.add(total[name], array, out=total[name])
        return
    if not 0.0 < weight <= 1.0:
        raise UpdateError(f"the weight {weight} of an update must be in (0, 1]: weights are shares of the cohort")
    check_real(arrays)
    is_first = not total
    _begin(total, arrays)
    rows = [(name, np.ascontiguousarray(array).reshape(-1)) for name, array in arrays.items()]
    scale, largest = weight * 2.0**FRACTION_BITS, max((row.size for _, row in rows), default=0)
    buffer = np.empty(min(largest, _BLOCK), np.float64)
    added: list[tuple[NDArray[np.int64], NDArray[Any]]] = []
    try:
        for name, row in rows:
            for start in range(0, row.size, _BLOCK):
                into, part = total[name].reshape(-1)[start : start + _BLOCK], row[start : start + _BLOCK]
                _add_scaled(into, part, scale, buffer, _magnitude(name, part))
                added.append((into, part))
    except UpdateError:
        for into, part in added:
            # Whole numbers: what is taken away again leaves no trace.
            _add_scaled(into, part, -scale, buffer, LARGEST_VALUE)
        if is_first:
            total.clear()
        raise


def fixed_sum(sums: Mapping[str, NDArray[np.float64]]) -> FixedSum:
    """Return weighted sums that were made elsewhere, weights up to 1, as `accumulate` makes them, rounded once.

    Raises:
        UpdateError: a value is not finite or too large; the message names the parameter.
    """
    _check_values(sums)
    return {name: np.rint(array * 2.0**FRACTION_BITS).astype(np.int64) for name, array in sums.items()}


def merge(total: FixedSum, other: FixedSum) -> None:
    """Add another total to this one, in place and exactly; merging an empty one changes nothing.

    Raises:
        UpdateError: the two do not hold the same names and shapes.
    """
    if other:
        _begin(total, other)
    for name, array in other.items():
        np.add(total[name], array, out=total[name])


def mean(total: FixedSum, total_weight: float, like: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the total over the weight that went into it, each array in the dtype that `like` has under its name.

    Args:
        total: what `accumulate` and `merge` made.
        total_weight: sum of the weights of all contributions, in (0, 1].
        like: arrays with the names and shapes of the total; whole-number dtypes get the nearest whole number.

    Raises:
        UpdateError: the names or shapes differ, or the weight is out of range.
    """
    if not 0.0 < total_weight <= 1.0 + _WEIGHT_SLACK:
        raise UpdateError(
            f"the weights of a sum add up to {total_weight}, which must be in (0, 1]: no hospital replied"
        )
    check_alike(total, like)
    means: dict[str, NDArray[Any]] = {}
    for name, array in like.items():
        values = np.array(total[name], np.float64)  # a number of no dimension is an array too
        values *= 2.0**-FRACTION_BITS / total_weight
        if not np.issubdtype(array.dtype, np.floating):
            np.rint(values, out=values)
        means[name] = values.astype(array.dtype, copy=False)
    return means


def check_alike(arrays: Mapping[str, Shaped], like: Mapping[str, Shaped]) -> None:
    """Refuse arrays whose names or shapes are not those of `like`.

    Raises:
        UpdateError: naming the first parameter that is missing, unknown, or of another shape.
    """
    for name in like:
        if name not in arrays:
            raise UpdateError(f"parameter {name} is missing: send every parameter of the model back")
    for name, array in arrays.items():
        if name not in like:
            raise UpdateError(f"parameter {name} is not in the model: send back the parameters that were received")
        if array.shape != like[name].shape:
            raise UpdateError(f"parameter {name} has shape {array.shape}, which must be {like[name].shape}")


def check_real(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse arrays of anything but real numbers.

    Raises:
        UpdateError: naming the first parameter of another dtype.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise UpdateError(f"parameter {name} has dtype {array.dtype}, which must be a real number type")


def _begin(total: FixedSum, arrays: Mapping[str, NDArray[Any]]) -> None:
    if total:
        check_alike(arrays, total)
    else:
        total.update((name, np.zeros(array.shape, np.int64)) for name, array in arrays.items())


def _check_values(arrays: Mapping[str, NDArray[Any]]) -> None:
    check_real(arrays)
    for name, array in arrays.items():
        _magnitude(name, array)


def _magnitude(name: str, array: NDArray[Any]) -> float:
    """Return the largest magnitude, finite and not too large."""
    # min and max carry a nan along and need no temporary array, so one pass each checks everything.
    smallest, largest = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (smallest > -LARGEST_VALUE and largest < LARGEST_VALUE):
        worst = largest if not largest < LARGEST_VALUE else smallest
        raise UpdateError(
            f"parameter {name} holds {worst}, which must be finite and below {LARGEST_VALUE:.0f} in magnitude: "
            "lower the learning rate or normalise the inputs"
        )
    return max(-smallest, largest)


def _add_scaled(
    total: NDArray[np.int64], values: NDArray[Any], scale: float, buffer: NDArray[np.float64], magnitude: float
) -> None:
    """Add rint(values * scale) of a block to the flat total, without allocating; no value is above the magnitude.

    Small numbers become whole without a conversion, which takes as long as all the rest.
    """
    scaled = buffer[: values.size]
    np.copyto(scaled, values)
    np.multiply(scaled, scale, out=scaled)
    if magnitude * abs(scale) < _BELOW_WHOLE:
        np.add(scaled, _WHOLE, out=scaled)
        whole = scaled.view(np.int64)
        np.subtract(whole, _WHOLE_BITS, out=whole)
        np.add(total, whole, out=total)
    else:
        np.rint(scaled, out=scaled)
        np.add(total, scaled, out=total, dtype=np.int64, casting="unsafe")
