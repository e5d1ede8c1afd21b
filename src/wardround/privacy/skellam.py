"""What integer noise that sums costs: Renyi divergence of the Skellam mechanism, with and without Poisson sampling.

A Skellam variable is the difference of two Poisson variables of one mean; the sum of several is one again, so that
hospitals can each add a share. All figures are for integer vectors whose norm was checked after rounding. Left out on
purpose: privacy loss distributions, for which nothing is proved in several dimensions; and drawing the noise (see
`integers`).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError
from wardround.privacy.renyi import ORDERS, at_all_orders, binomial_log_moments
from wardround.step_events import check_rate_and_noise

__all__ = ["TAIL_DEVIATIONS", "choose_scaled_norm", "norm_bound_squared", "skellam_rdp"]

_INTEGER = ORDERS[np.mod(ORDERS, 1) == 0]
# sqrt(2 ln(1 / beta)) with beta = exp(-1/2): the larger, the more roundings are accepted, and the more each costs.
_ACCEPTANCE = 1.0
_HALF_MODULUS = 2.0**31
_NOISE_STEPS, _MOST_NOISE_STEPS = 2.0**16, 2.0**18
_LEAST_NOISE = 0.25
TAIL_DEVIATIONS = 16.0
"""Noise, whole numbers or real ones, stays within so many of its standard deviations except for one draw in 10^50."""


def norm_bound_squared(scaled_norm: float, dimension: int) -> int:
    """Return the squared L2 norm that a rounded vector may have, which every vector that is sent is held to.

    >>> norm_bound_squared(100.0, 4)
    10102

    The scaled norm is the one before rounding, in integer steps (> 0).

    Source: Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), proposition 22, with beta = exp(-1/2).
    """
    root = math.sqrt(dimension)
    likely = scaled_norm**2 + dimension / 4 + _ACCEPTANCE * (scaled_norm + root / 2)
    return math.floor(min(likely, (scaled_norm + root) ** 2))


def choose_scaled_norm(
    noise_multiplier: float, dimension: int, *, most_contributions: int, most_shares: float
) -> float:
    """Return how many integer steps the sensitivity should have: fine enough for the noise, coarse enough for 32 bits.

    Finer steps make rounding and the difference between Skellam and Gaussian noise cost less. The noise gets 2^16
    steps, and up to 2^18 where rounding errors would exceed an eighth of the norm otherwise (NumPy's Poisson variates
    lose accuracy beyond), unless the sum could then leave 32 bits: all contributions at once and 16 standard deviations
    of noise must stay within them, so that no sum wraps around. The noise multiplier is the stddev of the guaranteed
    noise / sensitivity (>= 0), `most_shares` the largest variance of a sum's noise / the one that is guaranteed (>= 1).

    Raises:
        ConfigError: there is no room for even one step.
    """
    least = max(noise_multiplier, _LEAST_NOISE)
    wanted = min(max(_NOISE_STEPS / least, 4 * math.sqrt(dimension)), _MOST_NOISE_STEPS / least)
    # A rounded coordinate is at most one step above the norm before rounding.
    room = _HALF_MODULUS - 1 - most_contributions
    possible = room / (most_contributions + TAIL_DEVIATIONS * noise_multiplier * math.sqrt(most_shares))
    if possible < 1:
        raise ConfigError(
            f"a sum of up to {most_contributions} contributions with noise-multiplier = {noise_multiplier:g} does not "
            'fit 32 bits: use fewer records a hospital, less noise, or placement = "central" ([privacy] placement)'
        )
    return min(wanted, possible)


@lru_cache(maxsize=16384)
def skellam_rdp(noise_multiplier: float, scaled_norm: float, dimension: int, sample_rate: float) -> NDArray[np.float64]:
    """Return an upper bound on the Renyi divergence of one release at every order of `renyi.ORDERS`.

    The neighbours' sums differ by one integer vector within `norm_bound_squared`; the noise has in every coordinate
    the variance (noise_multiplier * scaled_norm)^2.

    Args:
        noise_multiplier: noise stddev / norm before rounding (>= 0); 0 has infinite divergence.
        scaled_norm: that norm in integer steps (> 0).
        dimension: coordinates (>= 1).
        sample_rate: probability that the vector is in the sum, in (0, 1].

    Returns:
        Divergences in nats, shape (len(ORDERS),), float64, read-only.

    Raises:
        ConfigError: an argument is out of range.

    Source: Agarwal, Kairouz, Liu 2021 (arXiv 2110.04995), theorem 3.5, at integer orders; for Poisson sampling Mironov,
    Talwar, Zhang 2019 (arXiv 1908.10530), theorem 5 and equation 3.1: the proof is in docs/privacy.md.
    """
    check_rate_and_noise(noise_multiplier, sample_rate)
    if not scaled_norm > 0 or dimension < 1:
        raise ConfigError(f"scaled-norm = {scaled_norm} must be > 0 and dimension = {dimension} >= 1: choose others")
    if noise_multiplier == 0:
        divergence = np.full(len(ORDERS), math.inf)
    else:
        variance = (noise_multiplier * scaled_norm) ** 2
        squared = norm_bound_squared(scaled_norm, dimension)
        divergence = at_all_orders((_INTEGER - 1) * _divergence(_INTEGER, variance, squared, dimension))
        if sample_rate < 1:
            sampled = at_all_orders(_sampled_log_moments(variance, squared, dimension, sample_rate))
            # Sampling can't do harm (the divergence is jointly quasi-convex), whatever the bound for it says.
            divergence = np.minimum(divergence, sampled)
    divergence.setflags(write=False)
    return divergence


def _divergence(orders: NDArray[np.float64], variance: float, norm_squared: int, dimension: int) -> NDArray[np.float64]:
    # For integers |k| <= k^2, so the L1 norm is at most the squared L2 norm.
    norm_one = min(math.sqrt(dimension * norm_squared), norm_squared)
    excess = np.minimum(
        ((2 * orders - 1) * norm_squared + 6 * norm_one) / (4 * variance**2), 3 * norm_one / (2 * variance)
    )
    return np.asarray(orders * norm_squared / (2 * variance) + excess)


def _sampled_log_moments(variance: float, norm_squared: int, dimension: int, sample_rate: float) -> NDArray[np.float64]:
    """Return ln A at the integer orders, where A - 1 is a sum of positive terms since the binomial weights sum to 1.

    Reflection swaps the noise with its shift by an integer vector, so that removing a record is the worse direction,
    and the moment of that one is a binomial sum of the unsampled moments.
    """
    return binomial_log_moments(
        lambda chosen: (chosen - 1) * _divergence(chosen, variance, norm_squared, dimension), sample_rate
    )
