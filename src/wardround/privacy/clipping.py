"""Clipping of a hospital's whole update, with a clip that may follow a quantile of the updates' norms.

The count that adapts the clip is released too. It travels as one more coordinate of the update, so that one noise and
one charge cover both. Left out on purpose: per-record clipping, which Opacus' gradients need (see `clients.gradients`).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.ranges import LARGEST_CLIP, SMALLEST_CLIP

__all__ = ["COUNT_NAME", "JOINT_NORM", "centred_count", "clip_factors", "clip_update", "next_clip", "quantile_of"]

COUNT_NAME = "within-clip"
"""Under which name the count travels among the parameters."""

_COUNT_SCALE = 2 / 3
JOINT_NORM = math.hypot(1.0, _COUNT_SCALE / 2)
"""Norm of a clipped update with its count coordinate, in clips. A tenth of the divergence is the count's."""

_ROOM = 1 - 1e-6
"""For roundings to float32, of the factor and of the products: each adds at most 2^-24 of the norm, and sqrt(d) 2^-150
where coordinates are subnormal: with the smallest clip and 2^40 coordinates 1e-9 of it."""

_SMALLEST_FACTOR = float(np.finfo(np.float32).tiny)

_BLOCK = 65_536  # numbers that are squared at a time: in double precision half a megabyte, which stays in the cache


def clip_update(update: Mapping[str, NDArray[Any]], max_norm: float) -> tuple[dict[str, NDArray[Any]], bool, bool]:
    """Return the update shortened to at most max_norm, whether it was within that, and whether it was finite.

    An update that is not finite becomes the zero update: a function of that hospital alone that is within the clip. The
    norm is L2 (> 0), over all parameters together, of any shapes, 0-d included; it is worked out in double precision,
    of the very numbers that are shortened. What is float32 or float64 may be shortened where it is: models are large.
    """
    arrays = {name: _of_floats(array) for name, array in update.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        norm = math.hypot(*map(_norm, arrays.values()))
    # A finite norm has none but finite parts; squares overflow long before numbers do.
    if not (math.isfinite(norm) or all(np.isfinite(array).all() for array in arrays.values())):
        return {name: np.zeros_like(array) for name, array in arrays.items()}, True, False
    if norm <= max_norm * _ROOM:
        return arrays, True, True
    factor = max_norm * _ROOM / norm
    # A factor that is subnormal in float32 has few bits there: the products alone are then rounded.
    precise = np.float64(factor) if factor < _SMALLEST_FACTOR else factor
    for array in arrays.values():
        np.multiply(array, precise, out=array, casting="same_kind")
    return arrays, norm <= max_norm, True


def clip_factors(
    norms: NDArray[np.float64], max_norms: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return what to multiply updates of these norms with, and which are finite; `clip_update` says how it is meant.

    Args:
        norms: L2, (hospitals,), in double precision; not finite where an update is not, which then becomes zero.
        max_norms: of each (> 0).
    """
    is_finite = np.isfinite(norms)
    within = norms <= max_norms * _ROOM
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(within, 1.0, max_norms * _ROOM / norms)
    return np.where(is_finite, factors, 0.0), is_finite


def _of_floats(array: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(array)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _norm(array: NDArray[Any]) -> float:
    """Return the L2 norm in double precision; not by BLAS, which would start threads of its own."""
    flat = array.reshape(-1)
    wide, squares = np.empty(min(flat.size, _BLOCK)), 0.0
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        square = wide[: part.size]
        np.copyto(square, part)
        np.multiply(square, square, out=square)
        squares += float(square.sum())
    return math.sqrt(squares)


def centred_count(*, within: bool, max_norm: float) -> NDArray[np.float64]:
    """Return the coordinate that says whether the update was within the clip: half a step up or down, 0-d.

    Centred, so that zeroing a hospital out moves it by half a step only.

    Source: Andrew, Thakkar, McMahan, Ramaswamy 2021 (arXiv 1905.03871), section 2.3: b - 1/2.
    """
    return np.asarray((0.5 if within else -0.5) * _COUNT_SCALE * max_norm)


def quantile_of(count: float, max_norm: float) -> float:
    """Return the share of updates within the clip that a noisy mean of count coordinates stands for, in [0, 1]."""
    return min(1.0, max(0.0, 0.5 + count / (_COUNT_SCALE * max_norm)))


def next_clip(max_norm: float, quantile: float, target_quantile: float, learning_rate: float) -> float:
    """Return the clip of the next round.

    >>> next_clip(1.0, quantile=0.5, target_quantile=0.5, learning_rate=0.2)
    1.0

    It stays where the setting may be.

    Source: Andrew et al. 2021, algorithm 1, the geometric update.
    """
    moved = max_norm * math.exp(-learning_rate * (quantile - target_quantile))
    return min(max(moved, SMALLEST_CLIP), LARGEST_CLIP)
