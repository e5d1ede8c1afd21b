"""Integers that sum under a modulus: rounding that keeps a norm, shares of Skellam noise, and residues.

Order: clip, scale, `round_within` or `round_factors_within`, `skellam_share`, `to_residues`; the sum of residues, read
by `from_residues`, is the exact sum of the integers, whatever masks were added on the way, as long as those cancel
modulo 2^32. Left out on purpose: masks (secure aggregation), and what the noise costs (see `skellam`).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError

__all__ = ["MODULUS", "from_residues", "round_factors_within", "round_within", "skellam_share", "to_residues"]

MODULUS = 2**32
_TRIES = 32
# Beyond, the rounding errors in NumPy's rejection sampler for Poisson variates exceed 1e-3 of a probability.
_LARGEST_MEAN = 2.0**38
_SHORTER = 1 - 1e-9
_MOST_NORM_SQUARED = 2**52

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]


def round_within(vectors: NDArray[np.float64], norm_bound_squared: int, generator: np.random.Generator) -> Integers:
    """Return the vectors rounded at random to neighbouring integers, each with a squared norm within the bound.

    A rounding that is too long is drawn again; after 32 tries the vector is rounded towards zero, which can't be. So
    the bound always holds (see `skellam.norm_bound_squared`); the mean of a rounding is within a small fraction of a
    step of the vector. Vectors are finite, in steps, shape (num_vectors, dimension), and the bound is at most 2^52;
    draws are nobody else's.

    Source: Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), algorithm 1.
    """
    ones = np.ones((len(vectors), 1))  # a vector is its own product with one
    return round_factors_within([(ones, vectors)], norm_bound_squared, generator)[0][1].astype(np.int64)


def round_factors_within(
    factors: Sequence[tuple[Reals, Reals]], norm_bound_squared: int, generator: np.random.Generator
) -> list[tuple[Reals, Reals]]:
    """Return vectors that consist of outer products, rounded by rounding the factors of these products.

    A vector has as many parts as there are pairs, the products u v^T of its rows in these. Every row is rounded at
    random to neighbouring integers, so that the products are integers too, and their mean is what they stand for.
    Otherwise it is as in `round_within`: the sum of |u|^2 |v|^2 over the parts, which is the squared norm of the whole
    vector of integers, is within the bound, else all of its rows are drawn again, 32 times at most. A vector whose
    norm is not finite becomes zeros.

    Args:
        factors: of each part u (num_vectors, m) and v (num_vectors, n).
        norm_bound_squared: of each vector, in steps; at most 2^52, below which float64 has all whole numbers.
        generator: of draws that are nobody else's.

    Returns:
        The factors, whole numbers in float64.
    """
    if norm_bound_squared > _MOST_NORM_SQUARED:
        raise ConfigError(
            f"a squared norm of {norm_bound_squared} steps must be <= {_MOST_NORM_SQUARED}: use fewer steps"
        )
    rounded = [(np.zeros_like(left), np.zeros_like(right)) for left, right in factors]
    waiting = np.flatnonzero(np.isfinite(_squared_norms(factors)))  # of no number the norm is never within a bound
    for _ in range(_TRIES):
        if not len(waiting):
            return rounded
        drawn = [(_drawn(left[waiting], generator), _drawn(right[waiting], generator)) for left, right in factors]
        accepted = _squared_norms(drawn) <= norm_bound_squared
        _put(rounded, waiting[accepted], [(left[accepted], right[accepted]) for left, right in drawn])
        waiting = waiting[~accepted]
    rest = [(left[waiting], right[waiting]) for left, right in factors]
    norms = np.sqrt(_squared_norms(rest))
    shrink = np.minimum(1.0, math.sqrt(norm_bound_squared) * _SHORTER / np.maximum(norms, 1.0))[:, np.newaxis]
    _put(rounded, waiting, [(np.trunc(left), np.trunc(right * shrink)) for left, right in rest])
    return rounded


def _drawn(values: Reals, generator: np.random.Generator) -> Reals:
    """Return numbers rounded up with the probability of what they are above the next integer below, else down."""
    drawn = generator.random(values.shape)
    drawn += values
    return np.floor(drawn, out=drawn)


def _squared_norms(factors: Sequence[tuple[Reals, Reals]]) -> Reals:
    """Return those of every vector: of whole numbers exactly, as long as they are at most 2^52."""
    with np.errstate(over="ignore", invalid="ignore"):
        squared = [np.einsum("ij,ij->i", left, left) * np.einsum("ij,ij->i", right, right) for left, right in factors]
    total: Reals = np.sum(squared, axis=0)
    return total


def _put(rounded: list[tuple[Reals, Reals]], rows: Integers, values: Sequence[tuple[Reals, Reals]]) -> None:
    for into, those in zip(rounded, values, strict=True):
        into[0][rows], into[1][rows] = those


def skellam_share(size: int, variance: float, generator: np.random.Generator) -> Integers:
    """Return one share of noise: in each coordinate the difference of two Poisson variates of mean variance / 2.

    Shares of several hospitals, each of its own generator, add up to noise of the summed variance.

    Raises:
        ConfigError: the variance (>= 0) is out of range.
    """
    if not 0 <= variance <= 2 * _LARGEST_MEAN:
        raise ConfigError(
            f"a noise share of variance {variance:g} (in steps) must be >= 0 and <= {2 * _LARGEST_MEAN:g}: set a lower "
            "noise-multiplier, or a higher min-survivors"
        )
    return generator.poisson(variance / 2, size) - generator.poisson(variance / 2, size)


def to_residues(integers: Integers) -> NDArray[np.uint32]:
    """Return the integers modulo 2^32, four bytes each.

    >>> to_residues(np.array([1, -1]))
    array([         1, 4294967295], dtype=uint32)
    """
    return np.mod(integers, MODULUS).astype(np.uint32)


def from_residues(total: Integers) -> Integers:
    """Return the integers in [-2^31, 2^31) that a sum of residues stands for.

    >>> from_residues(np.array([1, 4294967295]))
    array([ 1, -1])
    """
    return np.mod(total + MODULUS // 2, MODULUS) - MODULUS // 2
