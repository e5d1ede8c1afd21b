"""What an attacker can reach who knows everything but whether one record was used: rates in place of epsilon and delta.

Such an attacker tests one of two neighbouring data sets against the other. Whatever the test, its true-positive rate t
and false-positive rate a obey t <= exp(epsilon) a + delta(epsilon) at every epsilon, in either order of the neighbours,
and for its misses and true negatives alike. So the whole privacy profile bounds the rates, far more tightly than one
pair of epsilon and delta. All figures over-state the attacker. Left out on purpose: what a real attack reaches.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.json_records import json_field
from wardround.privacy.profiles import EPSILONS, Profile, gaussian_deltas

__all__ = [
    "LARGEST_FIT_ERROR",
    "Attacker",
    "AttackerFigures",
    "attacker_of",
    "false_positive_rate",
    "largest_area",
    "true_positive_rates",
]

FloatArray = NDArray[np.float64]

LARGEST_FIT_ERROR = 0.01
"""Up to this error one Gaussian stands for the whole profile (Gomez et al. 2025, arXiv 2503.10945, who advise it)."""

_FALSE_POSITIVE_RATES = np.concatenate([np.geomspace(1e-6, 0.02, 64)[:-1], np.linspace(0.02, 1.0, 193)])
_AREA_RATES = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 200)])
_GROWTH = np.exp(EPSILONS)
_LEAST_MU, _MOST_MU, _MU_TOLERANCE = 1e-9, 1e3, 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackerFigures:
    """What is reported of an `Attacker`, under the names that summary.json has; nan where a number is not known.

    Attributes:
        coin_toss_accuracy: share of right guesses where a coin decides whether the record was used, in [0.5, 1].
        tpr_at_fpr_1_percent: share of used records that are found while 1 % of the others are falsely accused.
        tpr_at_fpr_01_percent: the same while 0.1 % are.
        gdp_mu: `Attacker.nearest_mu` where one Gaussian stands for the profile, within LARGEST_FIT_ERROR; else None.
        gdp_mu_error: by how much the rates of those Gaussians may over-state the attacker, beyond the profile.
        by: what proves the profile, "pld" or "renyi".
    """

    coin_toss_accuracy: float = json_field(lacking=math.nan)
    tpr_at_fpr_1_percent: float = json_field(key="tpr_at_fpr_0.01", lacking=math.nan)
    tpr_at_fpr_01_percent: float = json_field(key="tpr_at_fpr_0.001", lacking=math.nan)
    gdp_mu: float | None = json_field(lacking=None)
    gdp_mu_error: float = json_field(lacking=math.nan)
    by: str = json_field(lacking="")

    @property
    def rates(self) -> tuple[float, float, float]:
        """The three shares."""
        return self.coin_toss_accuracy, self.tpr_at_fpr_1_percent, self.tpr_at_fpr_01_percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacker:
    """The most that any attacker can reach against what was released.

    Attributes:
        figures: what is reported of it.
        nearest_mu: distance in standard deviations of two Gaussians that are at least as easily told apart at every
            delta from the target's up, whether or not they stand for the profile; inf without privacy.
    """

    figures: AttackerFigures
    nearest_mu: float

    @property
    def reason(self) -> str:
        """Why there is no mu to report; empty where there is one."""
        if self.figures.gdp_mu is not None:
            return ""
        return (
            f"no one Gaussian stands for what was released: the nearest that hides no risk, mu {self.nearest_mu:.3g}, "
            f"over-states rates by up to {self.figures.gdp_mu_error:.2g}, more than {LARGEST_FIT_ERROR:g}"
        )


@lru_cache(maxsize=4096)
def attacker_of(profile: Profile, target_delta: float) -> Attacker:
    """Return the most that an attacker can reach against a profile.

    The accuracy is (1 + total variation) / 2, and the total variation is delta(0). The true-positive rates are
    `true_positive_rates`. The mu is the smallest whose Gaussian profile is above the given one wherever that exceeds
    target_delta: the release is mu-Gaussian private except for an event of probability target_delta at most. Its error
    is the regret of Gomez et al.: the smallest kappa with f(a + kappa) - kappa <= f_mu(a) for all a, f and f_mu being
    the false-negative rates that the profile and the Gaussian leave at the false-positive rate a.

    Source: Kairouz, Oh, Viswanath 2015 (arXiv 1311.0776), theorem 2.1; Dong, Roth, Su 2019 (arXiv 1905.02383),
    proposition 2.13; Gomez et al. 2025 (arXiv 2503.10945), after Kaissis et al. 2024 (arXiv 2406.08918).
    """
    one_percent, tenth = true_positive_rates(profile, np.array([0.01, 0.001]))
    mu = _smallest_mu(profile.deltas, target_delta)
    error = _regret(profile, mu)
    figures = AttackerFigures(
        coin_toss_accuracy=(1 + float(profile.deltas[0])) / 2,
        tpr_at_fpr_1_percent=float(one_percent),
        tpr_at_fpr_01_percent=float(tenth),
        gdp_mu=mu if error <= LARGEST_FIT_ERROR else None,
        gdp_mu_error=error,
        by=profile.by,
    )
    return Attacker(figures=figures, nearest_mu=mu)


def true_positive_rates(profile: Profile, rates: FloatArray) -> FloatArray:
    """Return the largest true-positive rate at each false-positive rate a.

    With d the delta at epsilon, t <= exp(epsilon) a + d. The same for misses 1 - t and true negatives 1 - a, whose
    roles are exchanged with the neighbours': 1 - a <= exp(epsilon) (1 - t) + d, so t <= 1 - exp(-epsilon) (1 - d - a).
    The profile bounds both orders, so both hold for either, and each epsilon of the grid is a bound by itself.
    """
    growth, deltas = _GROWTH[:, None], profile.deltas[:, None]
    found = (growth * rates + deltas).min(axis=0)
    missed = (1 - (1 - deltas - rates) / growth).min(axis=0)
    return np.asarray(np.minimum(1.0, np.minimum(found, missed)))


def false_positive_rate(profile: Profile, found: float) -> float:
    """Return the smallest false-positive rate at which a true-positive rate in [0, 1] is allowed."""
    by_found = float(((found - profile.deltas) / _GROWTH).max())
    by_missed = float((1 - profile.deltas - _GROWTH * (1 - found)).max())
    return max(0.0, by_found, by_missed)


@lru_cache(maxsize=4096)
def largest_area(profile: Profile) -> float:
    """Return the largest area under an attacker's ROC curve: how often it tells who of two was used, where one was.

    >>> round(largest_area(Profile(deltas=gaussian_deltas(1.0, EPSILONS), by="pld")), 4)
    0.7603

    That is Phi(mu / sqrt(2)) of two Gaussians mu apart. The curve is concave, so that the midpoint of an interval
    stands for no less than the mean over it.
    """
    middles = (_AREA_RATES[1:] + _AREA_RATES[:-1]) / 2
    return min(1.0, float(true_positive_rates(profile, middles) @ np.diff(_AREA_RATES)))


def _smallest_mu(deltas: FloatArray, target_delta: float) -> float:
    """Return the smallest mu, to 1e-5 of it and rounded up, whose Gaussian covers the profile above target_delta."""
    # The first epsilon whose delta is not above.
    last = int(np.searchsorted(-deltas, -target_delta, side="left"))
    if last == 0:
        return 0.0
    if last == len(deltas):
        return math.inf
    # Where the chord in exp(epsilon) to it falls to the target, the profile has too.
    share = (deltas[last - 1] - target_delta) / (deltas[last - 1] - deltas[last])
    width = float(EPSILONS[last] - EPSILONS[last - 1])
    end = EPSILONS[last - 1] + math.log1p(share * math.expm1(width))
    epsilons, above = np.append(EPSILONS[:last], end), np.append(deltas[:last], target_delta)
    from scipy.special import ndtri

    # No smaller one has the total variation.
    low = max(float(2 * ndtri((1 + min(deltas[0], 1 - 1e-15)) / 2)), _LEAST_MU)
    high = low
    while not _covers(high, epsilons, above):
        low, high = high, high * 1.05
        if high > _MOST_MU:
            return math.inf
    while high - low > _MU_TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _covers(middle, epsilons, above) else (middle, high)
    return high


def _covers(mu: float, epsilons: FloatArray, deltas: FloatArray) -> bool:
    """Return whether a Gaussian's profile is above the given one at the epsilons and everywhere in between.

    Both are convex in x = exp(epsilon). Between two epsilons the one is below its chord, the other above its tangents
    at both, so that it suffices to compare chord and tangents where these meet.
    """
    from scipy.special import ndtr

    gaussian = gaussian_deltas(mu, epsilons)
    if (gaussian < deltas).any():
        return False
    x, slopes = np.exp(epsilons), -ndtr(-mu / 2 - epsilons / mu)
    width = np.diff(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Distance from the left end at which the tangents meet.
        meet = (gaussian[1:] - gaussian[:-1] - slopes[1:] * width) / (slopes[:-1] - slopes[1:])
    meet = np.clip(np.where(np.isfinite(meet), meet, 0.0), 0.0, width)
    tangent = np.maximum(gaussian[:-1] + slopes[:-1] * meet, gaussian[1:] - slopes[1:] * (width - meet))
    chord = deltas[:-1] + np.diff(deltas) * meet / width
    return bool((chord <= tangent).all())


def _regret(profile: Profile, mu: float) -> float:
    """Return by how much the Gaussian's rates exceed the profile's, along the diagonal of the plane of both errors."""
    from scipy.special import ndtr

    misses = 1 - true_positive_rates(profile, _FALSE_POSITIVE_RATES)
    if math.isinf(mu):
        return float(max(0.0, (_FALSE_POSITIVE_RATES + misses).min() / 2)) if profile.deltas[0] < 1 else 0.0
    points = np.linspace(-9.0, 9.0 + mu, 4001)
    rates, gaussian_misses = ndtr(-points), ndtr(points - mu)
    order = np.argsort(rates - gaussian_misses, kind="stable")
    along = (rates - gaussian_misses)[order]
    reached = np.interp(_FALSE_POSITIVE_RATES - misses, along, (rates + gaussian_misses)[order])
    return max(0.0, float(((_FALSE_POSITIVE_RATES + misses) - reached).max()) / 2)
