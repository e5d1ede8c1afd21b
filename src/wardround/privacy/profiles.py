"""Privacy profiles: how much probability a promise fails with, delta, at every epsilon, and not at one of them alone.

A profile is all that can be said of how well two neighbours are told apart, so that attackers' rates follow from it
(see `attackers`). Left out on purpose: where composed loss distributions come from (see `loss_distribution`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wardround.privacy.renyi import ORDERS

__all__ = ["EPSILONS", "Profile", "gaussian_deltas", "gaussian_epsilon", "largest_profile", "renyi_profile"]

FloatArray = NDArray[np.float64]

_LONGEST = 600.0
# Values of the normal distribution's logarithm are that exact, relative, over all arguments used here.
_ROUNDING = 4e-12


def _grid() -> FloatArray:
    """Return 0, then steps of 5e-4, from 0.1 on steps of half a per cent."""
    fine = np.arange(0.0, 0.1, 5e-4)
    coarse = np.geomspace(0.1, _LONGEST, math.ceil(math.log(_LONGEST / 0.1) / 0.005))
    grid = np.concatenate([fine, coarse])
    grid.setflags(write=False)
    return grid


EPSILONS: FloatArray = _grid()
"""The epsilons that every profile has a delta for: ascending from 0, float64."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """An upper bound on delta at every epsilon of EPSILONS, for neighbours in either order.

    Attributes:
        deltas: falling, in [0, 1], shape (len(EPSILONS),), float64, read-only.
        by: what proves it, "pld" (loss distributions, or the closed form of Gaussian noise) or "renyi".
    """

    deltas: FloatArray
    by: str

    def __post_init__(self) -> None:
        # Delta falls with epsilon, so that the smallest bound so far holds from there on.
        deltas = np.minimum.accumulate(np.clip(self.deltas, 0.0, 1.0))
        deltas.setflags(write=False)
        object.__setattr__(self, "deltas", deltas)


def gaussian_deltas(mu: float, epsilons: ArrayLike) -> FloatArray:
    """Return the delta of telling N(0, 1) from N(mu, 1) at each epsilon, rounded up.

    >>> round(float(gaussian_deltas(1.0, 0.0)), 6)
    0.382925

    Mu is the distance in standard deviations (>= 0), inf without privacy; epsilons are >= 0, of any shape.

    Source: Balle, Wang 2018 (arXiv 1805.06530), theorem 8.
    """
    from scipy.special import log_ndtr

    epsilons = np.asarray(epsilons, dtype=float)
    if mu == 0 or math.isinf(mu):
        return np.full(epsilons.shape, 0.0 if mu == 0 else 1.0)
    above = np.exp(log_ndtr(mu / 2 - epsilons / mu))
    below = np.exp(epsilons + log_ndtr(-mu / 2 - epsilons / mu))
    return np.asarray(np.clip(above - below + _ROUNDING * above, 0.0, 1.0))


def gaussian_epsilon(mu: float, target_delta: float) -> float:
    """Return the smallest epsilon at which delta is at most target_delta, to 1e-10, rounded up.

    >>> round(gaussian_epsilon(1.0, 1e-5), 4)
    4.3772

    As in `gaussian_deltas`; target_delta is in (0, 1).
    """
    if math.isinf(mu):
        return math.inf

    def excess(epsilon: float) -> float:
        return float(gaussian_deltas(mu, epsilon)) - target_delta

    if excess(0.0) <= 0:
        return 0.0
    from scipy.optimize import brentq

    high = mu * (mu / 2 + 1)
    while excess(high) > 0:
        high *= 2
    root = float(brentq(excess, 0.0, high, xtol=1e-11 * max(1.0, high), rtol=1e-14))
    while excess(root) > 0:
        root += 1e-11 * max(1.0, high)
    return root


def renyi_profile(divergences: FloatArray) -> Profile:
    """Return what composed Renyi divergences (nats, inf allowed, shape (len(ORDERS),)) prove at every epsilon.

    Source: Canonne, Kamath, Steinke 2020 (arXiv 2004.00010v4), proposition 12, solved for delta. No delta is above the
    total variation, which Bretagnolle-Huber and Pinsker bound by the divergence of order 1, at most any other order's.
    """
    constants = np.log1p(-1 / ORDERS) * (ORDERS - 1) - np.log(ORDERS)
    # At an infinite divergence nothing is proved, and inf - inf never arises, since every epsilon is finite.
    exponents = constants + (ORDERS - 1) * (divergences - EPSILONS[:, None])
    deltas = np.exp(np.minimum(exponents.min(axis=1), 0.0)) * (1 + _ROUNDING)
    least = float(divergences.min())
    variation = min(math.sqrt(-math.expm1(-least)), math.sqrt(least / 2))
    return Profile(deltas=np.minimum(deltas, variation * (1 + _ROUNDING)), by="renyi")


def largest_profile(profiles: Iterable[Profile]) -> Profile:
    """Return a profile above all of them: of whoever may be any one of those that they are for; 0 of none.

    Those of equal hospitals are one object, and what comes back for equal ones is one as well, so that what follows
    from it (see `attackers.attacker_of`) is computed once in a process.
    """
    return _largest(tuple(dict.fromkeys(profiles)))


@lru_cache(maxsize=64)  # profiles are frozen and their arrays read-only; each is equal to itself alone
def _largest(profiles: tuple[Profile, ...]) -> Profile:
    if len(profiles) == 1:
        return profiles[0]
    deltas, by = np.zeros(len(EPSILONS)), "pld"
    for profile in profiles:
        deltas = np.maximum(deltas, profile.deltas)
        by = by if profile.by == "pld" else profile.by
    return Profile(deltas=deltas, by=by)
