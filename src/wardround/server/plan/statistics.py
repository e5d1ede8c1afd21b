"""How much noise the statistics get that are released before round 1 and paid for like a round.

Costs are compared in zero-concentrated terms, in which those of releases add up: a Gaussian release whose neighbours
are mu standard deviations apart costs mu^2 / 2. Left out on purpose: the bill, which is that of the events themselves.
"""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from wardround.agreed.statistics import statistics_config
from wardround.config import Config
from wardround.privacy.accounting import overlap_epsilon
from wardround.privacy.profiles import gaussian_epsilon
from wardround.server.plan.plans import FederationPlan

__all__ = ["epsilon_of_share", "gaussian_mu", "is_as_planned", "over_those_who_answered", "settings_of_statistics"]

_SEARCH = 1e-3
"""Ten times what a search for noise leaves open (see `privacy.calibration`)."""
_MOST_MU = 1e6


def settings_of_statistics(plan: FederationPlan, most_norm: float) -> Config:
    """Return the settings of the release, sized to its share of the whole bill (docs/privacy.md).

    Args:
        plan: of the rounds, with noise where no target sizes it.
        most_norm: the longest that the moments of a record can be (> 0).
    """
    return statistics_config(plan.config, most_norm, epsilon_of_share(plan, plan.config.features.statistics_share))


def epsilon_of_share(plan: FederationPlan, share: float) -> float:
    """Return the epsilon (> 0) of a release, at the smallest delta, that is a share of the whole bill.

    With a target epsilon the whole is the Gaussian mu of the target at the smallest delta, and a release of
    sqrt(share) mu is that share of it. With a noise multiplier the rounds cost what they cost: their epsilon at the
    patient who pays most stands for mu, and the release costs share / (1 - share) of that.

    Args:
        plan: of the rounds, with noise where no target sizes it.
        share: in (0, 1).
    """
    privacy, delta = plan.config.privacy, min(plan.target_deltas.values())
    if privacy.target_epsilon is not None:
        mu = math.sqrt(share) * gaussian_mu(privacy.target_epsilon, delta)
    else:
        events = {hospital.name: [hospital.event] for hospital in plan.hospitals}
        rounds = overlap_epsilon(events, delta, privacy.patient_overlap)
        mu = math.sqrt(share / (1 - share)) * gaussian_mu(rounds, delta)
    return gaussian_epsilon(mu, delta) or math.ulp(1.0)


def over_those_who_answered(
    plan: FederationPlan, mean: NDArray[np.float32], answered: Collection[str]
) -> NDArray[np.float32]:
    """Return the mean over the records of the hospitals that answered, of what a round of all hospitals released.

    Args:
        plan: of the release.
        mean: (num_values,).
        answered: names of hospitals (>= 1).
    """
    asked = sum(hospital.num_train for hospital in plan.hospitals)
    there = sum(hospital.num_train for hospital in plan.hospitals if hospital.name in answered)
    return mean / np.float32(plan.cell.share_of_average(asked, there))


def is_as_planned(noise_multiplier: float, planned: float) -> bool:
    """Return whether noise is what was planned, which another version may have found with other last digits."""
    return math.isclose(noise_multiplier, planned, rel_tol=_SEARCH)


def gaussian_mu(epsilon: float, target_delta: float) -> float:
    """Return the mu of the Gaussian release that has this epsilon at target_delta, to 1e-9.

    For infinite epsilon it is inf; beyond a million standard deviations it is a million or so, as nothing is hidden.

    >>> round(gaussian_mu(4.3772, 1e-5), 4)
    1.0

    Epsilon is > 0, target_delta in (0, 1): see `profiles.gaussian_epsilon`.
    """
    if math.isinf(epsilon):
        return math.inf
    from scipy.optimize import brentq

    low, high = 0.0, 1.0
    while gaussian_epsilon(high, target_delta) < epsilon:
        low, high = high, 2 * high
        if low > _MOST_MU:
            return low
    return float(brentq(lambda mu: gaussian_epsilon(mu, target_delta) - epsilon, low or 1e-9, high, xtol=1e-9))
