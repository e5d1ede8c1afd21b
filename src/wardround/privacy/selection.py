"""What the best of a random number of private runs costs whoever sees that one alone.

A run is repeated K times, K drawn from a law that hangs on no data, each time with a candidate drawn at random, and
only the repetition with the best score is released, with its score. Papernot and Steinke bound its Renyi divergence by
that of one run and the law. Their theorems 2 and 6 are of laws without an end; here every law ends, so that the noise
can be sized for the most repetitions that there can be, and their lemma 7, which is of any law, is maximised by itself.
What is left out on purpose: whoever sees more than the best, who is billed for all that was run.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError
from wardround.privacy.renyi import ORDERS

__all__ = ["LAWS", "repetition_law", "selected_rdp"]

_Floats = NDArray[np.float64]

LAWS = ("truncated-negative-binomial", "poisson")
"""From which a number of repetitions is drawn."""

_CELLS = 20_000
"""Parts that the probabilities in [0, 1] are looked at in: what the bound is too large by falls with their number."""
_ROUNDING = 1e-9


@lru_cache(maxsize=64)
def repetition_law(law: str, mean: float, shape: float, most: int) -> tuple[float, ...]:
    """Return the probabilities of 1, 2, ... most repetitions; they sum to 1.

    The law is that of the paper, given that the number is from 1 to `most`.

    >>> [round(p, 3) for p in repetition_law("truncated-negative-binomial", 2.0, 1.0, 3)]
    [0.571, 0.286, 0.143]

    Args:
        law: one of LAWS.
        mean: of the law before it ends at `most` (>= 1, and > 1 of the negative binomial).
        shape: of the negative binomial (>= 0): 1 is geometric, 0 logarithmic.
        most: repetitions (>= 1).

    Raises:
        ConfigError: an argument is out of range.

    Source: Papernot, Steinke 2022 (arXiv 2110.03620), definition 1 and section 3.3.
    """
    if law not in LAWS or not (mean > 1 or (law == "poisson" and mean == 1)) or shape < 0 or most < 1:
        raise ConfigError(
            f'law = "{law}", mean = {mean}, shape = {shape} and most = {most} must be one of {", ".join(LAWS)}, > 1, '
            ">= 0 and >= 1: choose others"
        )
    counts = np.arange(1, most + 1)
    if law == "poisson":
        logs = counts * math.log(mean) - _log_factorials(counts)
    else:
        stay = math.log1p(-_halting(mean, shape))
        growth = np.log((np.arange(1, most) + shape) / np.arange(2, most + 1)) + stay
        logs = np.concatenate([[0.0], np.cumsum(growth)])
    weights = np.exp(logs - logs.max())
    return tuple((weights / weights.sum()).tolist())


def selected_rdp(divergences: _Floats, law: tuple[float, ...]) -> _Floats:
    """Return an upper bound on the Renyi divergence of the best of a random number of repetitions.

    With f the generating function of the number, lemma 7 has, at each order a, what one repetition costs and
    log(f'(q)^a f'(q')^(1 - a)) / (a - 1) more, q and q' being the probabilities of any one event under neighbours. The
    divergences of one repetition leave q' >= q^(b / (b - 1)) exp(-e_b) and 1 - q' <= ((1 - q) exp(e_b))^((b - 1) / b)
    at every order b. As f' grows, its largest value in a part of [0, 1] is at the part's right end, and the smallest
    denominator at the least q' of its left end. Whoever sees all repetitions and their number is another bound, and so
    is any larger order.

    Args:
        divergences: of one repetition, whichever the candidate, in both directions: shape (len(ORDERS),), nats (>= 0).
        law: probabilities of 1, 2, ... repetitions.

    Returns:
        Divergences, shape (len(ORDERS),), float64, nats.

    Source: Papernot, Steinke 2022 (arXiv 2110.03620), lemma 7; van Erven, Harremoes 2014, theorems 3 and 9.
    """
    divergences = np.asarray(divergences, dtype=float)
    if not np.isfinite(divergences).any():
        return np.full(len(ORDERS), np.inf)
    edges = np.linspace(0.0, 1.0, _CELLS + 1)
    top = _log_slope(edges[1:], law)
    with np.errstate(invalid="ignore"):
        bottom = _log_slope(_least_neighbour(edges[:-1], divergences), law)
        gains = (ORDERS[:, None] * top - (ORDERS[:, None] - 1) * bottom).max(axis=1)
    found = np.minimum(divergences + gains / (ORDERS - 1), _all_seen(divergences, law))
    found = np.maximum(found * (1 + _ROUNDING), 0.0)
    return np.asarray(np.minimum.accumulate(found[::-1])[::-1])


def _all_seen(divergences: _Floats, law: tuple[float, ...]) -> _Floats:
    """Return the divergence of a number of repetitions and all that came of them."""
    counts, less = np.arange(1, len(law) + 1), ORDERS - 1
    with np.errstate(divide="ignore"):
        logs = np.log(law) + counts * (less * divergences)[:, None]
    return np.asarray(np.logaddexp.reduce(logs, axis=1) / less)


def _least_neighbour(chances: _Floats, divergences: _Floats) -> _Floats:
    """Return the least probability that an event can have under a neighbour, by its probability; it never falls."""
    least = np.zeros(len(chances))
    for order, divergence in zip(ORDERS, divergences, strict=True):
        if math.isinf(divergence):
            continue
        hit = chances ** (order / (order - 1)) * math.exp(-divergence)
        with np.errstate(over="ignore"):
            missed = 1 - ((1 - chances) * np.exp(divergence)) ** ((order - 1) / order)
        least = np.maximum(least, np.maximum(hit, missed))
    return np.asarray(least * (1 - _ROUNDING))


def _log_slope(points: _Floats, law: tuple[float, ...]) -> _Floats:
    """Return the log of the derivative of the law's generating function, sum of k P(k) x^(k - 1)."""
    slope = np.zeros(len(points))
    for count in range(len(law), 0, -1):
        slope = slope * points + count * law[count - 1]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(slope))


def _halting(mean: float, shape: float) -> float:
    """Return the parameter of the negative binomial, in (0, 1), whose mean it is."""
    from scipy.optimize import brentq

    def excess(log_halting: float) -> float:
        halting = math.exp(log_halting)
        # The mean is shape (1 / halting - 1) / (1 - halting^shape), and its limit at shape 0.
        parts = -math.expm1(shape * log_halting) / shape if shape else -log_halting
        return -math.expm1(log_halting) / (halting * parts) - mean

    least = math.log(min(1.0, 1 / mean)) - 50.0
    return math.exp(float(brentq(excess, least, -1e-12, xtol=1e-14)))


def _log_factorials(counts: NDArray[np.int64]) -> _Floats:
    return np.asarray(np.cumsum(np.log(counts)))
