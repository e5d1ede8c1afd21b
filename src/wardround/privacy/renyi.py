"""Renyi divergence of one Poisson-subsampled Gaussian step, vectorised over orders, and its conversion to epsilon.

Neighbours differ by one record, zeroed out: used, or replaced by an empty one whose gradient is zero, while rate, noise
and divisor stay. Around the rest of the sum that is the pair N(0, z^2) and (1 - q) N(0, z^2) + q N(1, z^2), which the
paper studies under adding and removing: there it is the right pair only if rate and divisor don't depend on the number
of records, and here they do. Both moments below are sums of positive terms for A - 1 instead of A, so that tiny
divergences keep their digits. Left out on purpose: other mechanisms and other neighbouring relations.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wardround.errors import ConfigError
from wardround.step_events import check_rate_and_noise

__all__ = ["ORDERS", "at_all_orders", "binomial_log_moments", "epsilon_from_rdp", "rdp"]

FloatArray = NDArray[np.float64]

_INTEGER_ORDERS = np.array([*range(2, 64), 128, 256, 512, 1024, 2048, 4096])
_FRACTIONAL_ORDERS = np.array([1 + tenths / 10 for tenths in range(1, 100) if tenths % 10])
_ALL_ORDERS = np.concatenate([_FRACTIONAL_ORDERS, _INTEGER_ORDERS.astype(float)])
_SORTED = np.argsort(_ALL_ORDERS)

ORDERS: FloatArray = _ALL_ORDERS[_SORTED]
"""Renyi orders, ascending, float64: dp-accounting's 1.1 ... 10.9, 11 ... 63, 128 ... 1024, and 2048 and 4096, which
tighten epsilons below about 0.02."""
ORDERS.setflags(write=False)

# The worst rounding error of either moment, relative (the binomial exponents reach 4e4, so 4e4 * 2^-52 * a few terms);
# divergences are enlarged by it, so that rounding can't under-count.
_ROUNDING = 1e-10
# Below this noise multiplier the quadrature would need > 10^4 points; a chord between integer orders bounds instead.
_SMALLEST_QUADRATURE_NOISE = 0.1
_SERIES_RADIUS = 0.05
_SERIES_TERMS = range(2, 18)


@lru_cache(maxsize=16384)
def rdp(noise_multiplier: float, sample_rate: float) -> FloatArray:
    """Return an upper bound, exact to 1e-10 relative, on the Renyi divergence of one step at every order.

    >>> float(rdp(2.0, 1.0)[ORDERS == 8.0][0])
    1.0

    Args:
        noise_multiplier: noise stddev / max_grad_norm (>= 0); 0 has infinite divergence.
        sample_rate: probability that a record is in the batch, in (0, 1].

    Returns:
        Divergences in nats, shape (len(ORDERS),), float64, read-only.

    Raises:
        ConfigError: an argument is out of range.

    Source: Mironov, Talwar, Zhang 2019 (arXiv 1908.10530), sections 3.1 to 3.3; van Erven, Harremoes 2014,
    corollary 2, for the convexity of the log moment in the order.
    """
    check_rate_and_noise(noise_multiplier, sample_rate)
    with np.errstate(over="ignore", divide="ignore"):
        unsampled = ORDERS / (2 * np.float64(noise_multiplier) ** 2)
    if sample_rate == 1 or noise_multiplier == 0:
        divergence = unsampled
    else:
        with np.errstate(all="ignore"):
            sampled = _sampled_divergence(noise_multiplier, sample_rate)
        # At noise so small that numbers overflow, nothing is proved by sampling.
        divergence = np.where(np.isnan(sampled), unsampled, np.minimum(sampled, unsampled))
    divergence.setflags(write=False)
    return divergence


def epsilon_from_rdp(divergences: ArrayLike, target_delta: ArrayLike) -> FloatArray:
    """Return the smallest epsilon that the divergences prove, over all orders.

    >>> float(epsilon_from_rdp(np.zeros(len(ORDERS)), 1e-5))
    0.0

    Args:
        divergences: composed Renyi divergences in nats (>= 0, inf allowed), shape (..., len(ORDERS)).
        target_delta: in (0, 1), a number or shape (...).

    Returns:
        Epsilons >= 0, shape (...), float64; inf where every order is infinite.

    Raises:
        ConfigError: target_delta is out of range.

    Source: Canonne, Kamath, Steinke 2020 (arXiv 2004.00010v4), proposition 12; Bretagnolle-Huber for epsilon 0:
    delta <= sqrt(1 - exp(-KL)), where KL is at most any divergence of order above 1.
    """
    divergences = np.asarray(divergences, dtype=float)
    deltas = np.asarray(target_delta, dtype=float)
    if not ((deltas > 0) & (deltas < 1)).all():
        raise ConfigError(
            f"target-delta = {deltas} must be in (0, 1) ([privacy] target-delta): choose one below 1 / records"
        )
    best = np.min(divergences + _conversion(deltas.tobytes(), deltas.shape), axis=-1)
    proves_zero = divergences.min(axis=-1) < -np.log1p(-(deltas**2))
    return np.where(proves_zero, 0.0, np.maximum(best, 0.0))


@lru_cache(maxsize=64)
def _conversion(deltas: bytes, shape: tuple[int, ...]) -> FloatArray:
    """Return what proposition 12 adds to the divergence at each order: shape (*shape, len(ORDERS))."""
    log_deltas = np.log(np.frombuffer(deltas).reshape(shape))[..., None]
    return np.asarray(np.log1p(-1 / ORDERS) - (log_deltas + np.log(ORDERS)) / (ORDERS - 1))


def _sampled_divergence(noise_multiplier: float, sample_rate: float) -> FloatArray:
    whole = binomial_log_moments(lambda chosen: chosen * (chosen - 1) / (2 * noise_multiplier**2), sample_rate)
    if noise_multiplier < _SMALLEST_QUADRATURE_NOISE:
        return at_all_orders(whole)
    between = _log_moments_fractional(noise_multiplier, sample_rate)
    log_moments = np.concatenate([between, whole])[_SORTED]
    return np.asarray(log_moments / (ORDERS - 1) * (1 + _ROUNDING))


def at_all_orders(log_moments: FloatArray) -> FloatArray:
    """Return divergences at every order from (order - 1) * divergence at the integer orders.

    These are in nats, >= 0, in the order of the integer ones among ORDERS. In between, a chord bounds what is convex in
    the order and zero at order 1. All are enlarged by the worst rounding error.

    Source: van Erven, Harremoes 2014, corollary 2.
    """
    between = np.interp(_FRACTIONAL_ORDERS, [1, *_INTEGER_ORDERS], [0, *log_moments])
    whole = np.concatenate([between, log_moments])[_SORTED]
    return np.asarray(whole / (ORDERS - 1) * (1 + _ROUNDING))


@lru_cache(maxsize=1)
def _binomials() -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.intp]]:
    """Return, for each integer order a and k = 2 ... a: a - k, k, ln C(a, k), and where each order's run starts."""
    log_factorials = np.array([math.lgamma(n + 1) for n in range(_INTEGER_ORDERS[-1] + 1)])
    counts = _INTEGER_ORDERS - 1
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    orders = np.repeat(_INTEGER_ORDERS, counts)
    chosen = np.arange(counts.sum()) - np.repeat(starts, counts) + 2
    left = orders - chosen
    log_binomials = log_factorials[orders] - log_factorials[chosen] - log_factorials[left]
    return left.astype(float), chosen.astype(float), log_binomials, starts


def binomial_log_moments(gain: Callable[[FloatArray], FloatArray], sample_rate: float) -> FloatArray:
    """Return ln A at the integer orders: A - 1 is the binomial sum less the binomial weights, which sum to 1.

    The terms k = 0 and 1 of that difference are zero, the others positive. `gain` is the log of the unsampled moment by
    its number k, nats (>= 0); the sample rate is in (0, 1).
    """
    left, chosen, log_binomials, starts = _binomials()
    gains = gain(chosen)
    log_terms = (
        log_binomials
        + chosen * math.log(sample_rate)
        + left * math.log1p(-sample_rate)
        + gains
        + np.log(-np.expm1(-gains))
    )
    largest = np.maximum.reduceat(log_terms, starts)
    scaled = np.exp(log_terms - np.repeat(largest, _INTEGER_ORDERS - 1))
    return np.asarray(np.logaddexp(0.0, largest + np.log(np.add.reduceat(scaled, starts))))


def _log_moments_fractional(noise_multiplier: float, sample_rate: float) -> FloatArray:
    """Return ln A at the fractional orders by the trapezoid rule on the whole line.

    With r the likelihood ratio less one, E[r] = 0, so A - 1 = E[(1 + r)^a - 1 - a r], whose integrand is >= 0. It is
    analytic in a strip of half width pi * noise_multiplier (in standard deviations), and its peak lies between 0 and
    a / noise_multiplier: a step of a fifth of the noise leaves an error below exp(-70), ten deviations more on either
    side below exp(-50).

    Source: Trefethen, Weideman 2014, theorem 5.1.
    """
    step = min(0.4, 0.2 * noise_multiplier)
    points = np.arange(-10.0, _FRACTIONAL_ORDERS[-1] / noise_multiplier + 10.0 + step, step)
    exponents = points / noise_multiplier - 0.5 / noise_multiplier**2
    ratios = sample_rate * np.expm1(np.minimum(exponents, 500.0))
    near = np.abs(ratios) < _SERIES_RADIUS
    log_ratios = np.logaddexp(math.log1p(-sample_rate), math.log(sample_rate) + exponents[~near])
    near_part = _near_integral(ratios[near], points[near])
    far_part = _far_log_integral(log_ratios, points[~near])
    log_excess = np.logaddexp(near_part, far_part) + math.log(step / math.sqrt(2 * math.pi))
    return np.asarray(np.logaddexp(0.0, log_excess))


def _near_integral(ratios: FloatArray, points: FloatArray) -> FloatArray:
    """Return the log of the sum over points with small r, by the binomial series from its second term on."""
    orders = _FRACTIONAL_ORDERS[:, None]
    series = np.zeros((len(orders), len(ratios)))
    for k in reversed(_SERIES_TERMS):
        series = (orders - k + 1) / k * (1 + ratios * series)
    # Horner from term k = 17 down to 2 leaves (a - 1) / 2 * (1 + r (a - 2) / 3 * (...)).
    sums = np.sum(orders * series * ratios**2 * np.exp(-(points**2) / 2), axis=1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(sums))


def _far_log_integral(log_ratios: FloatArray, points: FloatArray) -> FloatArray:
    """Return the log of the sum over the other points, in logs: (1 + r)^a overflows for little noise."""
    if not len(points):
        return np.full(len(_FRACTIONAL_ORDERS), -np.inf)
    orders = _FRACTIONAL_ORDERS[:, None]
    shares = (orders - 1) * np.expm1(-orders * log_ratios) - orders * np.expm1(-(orders - 1) * log_ratios)
    log_terms = orders * log_ratios + np.log(shares) - points**2 / 2
    largest = log_terms.max(axis=1)
    return np.asarray(largest + np.log(np.exp(log_terms - largest[:, None]).sum(axis=1)))
