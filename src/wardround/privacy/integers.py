"""Integers that sum under a modulus: rounding that keeps a norm, shares of Skellam noise, and residues.

Order: clip, scale, `round_within`, `skellam_share`, `to_residues`; the sum of residues, read by `from_residues`, is the
exact sum of the integers, whatever masks were added on the way, as long as those cancel modulo 2^32. Left out on
purpose: masks (secure aggregation), and what the noise costs (see `skellam`).
"""

import math

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError

__all__ = ["MODULUS", "from_residues", "round_within", "skellam_share", "to_residues"]

MODULUS = 2**32
_TRIES = 32
# Beyond, the rounding errors in NumPy's rejection sampler for Poisson variates exceed 1e-3 of a probability.
_LARGEST_MEAN = 2.0**38
_SHORTER = 1 - 1e-9

Integers = NDArray[np.int64]


def round_within(vectors: NDArray[np.float64], norm_bound_squared: int, generator: np.random.Generator) -> Integers:
    """Return the vectors rounded at random to neighbouring integers, each with a squared norm within the bound.

    A rounding that is too long is drawn again; after 32 tries the vector is rounded towards zero, which can't be. So
    the bound always holds (see `skellam.norm_bound_squared`); the mean of a rounding is within a small fraction of a
    step of the vector. Vectors are finite, in steps, shape (num_vectors, dimension); draws are nobody else's.

    Source: Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), algorithm 1.
    """
    rounded = np.zeros(vectors.shape, np.int64)
    waiting = np.arange(len(vectors))
    for _ in range(_TRIES):
        if not len(waiting):
            return rounded
        whole = np.floor(vectors[waiting])
        drawn = (whole + (generator.random(whole.shape) < vectors[waiting] - whole)).astype(np.int64)
        accepted = (drawn**2).sum(axis=1) <= norm_bound_squared
        rounded[waiting[accepted]] = drawn[accepted]
        waiting = waiting[~accepted]
    norms = np.linalg.norm(vectors[waiting], axis=1, keepdims=True)
    shrink = np.minimum(1.0, math.sqrt(norm_bound_squared) * _SHORTER / np.maximum(norms, 1.0))
    rounded[waiting] = np.trunc(vectors[waiting] * shrink).astype(np.int64)
    return rounded


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
