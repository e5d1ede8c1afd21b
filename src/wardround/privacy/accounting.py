"""What training costs: the epsilon of what was done to a hospital's data, for neighbours of one unit and relation.

Everything is a pure function of what happened. Renyi divergences are fast and drive every round; privacy loss
distributions are tighter and give the headline, where there are any (none for Skellam noise). Both are upper bounds, so
their minimum is one.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wardround.errors import BudgetError, ConfigError
from wardround.privacy.loss_distribution import LossBound, Segments, composed_bound, envelope_bound
from wardround.privacy.phases import Phase, Release, merged, step_rdp
from wardround.privacy.profiles import Profile, largest_profile, renyi_profile
from wardround.privacy.renyi import ORDERS, epsilon_from_rdp, rdp

__all__ = [
    "ORDERS",
    "Phase",
    "calibrate_noise_multiplier",
    "check_independent",
    "composed_rdp",
    "epsilon_from_rdp",
    "headline_epsilon",
    "headline_profile",
    "largest_rdp",
    "merged",
    "overlap_epsilon",
    "overlap_profile",
    "pld_epsilon",
    "rdp",
    "rdp_epsilon",
]

_CALIBRATION = 1e-4
# Adding the same steps up round by round rounds differently; the last round must not fail for it.
_SAFETY = 1 - 1e-9
_MOST_NOISE, _LEAST_CEILING = 1e7, 1e-3
_TAIL_DELTA = 1e-13


def composed_rdp(phases: Iterable[Phase]) -> NDArray[np.float64]:
    """Return the Renyi divergence of all phases together: shape (len(ORDERS),), float64, nats."""
    total = np.zeros(len(ORDERS))
    for phase in merged(phases):
        total = total + phase.num_steps * step_rdp(phase.kind)
    return total


def rdp_epsilon(phases: Iterable[Phase], target_delta: float) -> float:
    """Return the epsilon that Renyi divergences prove.

    >>> round(rdp_epsilon([Phase(noise_multiplier=2.0, sample_rate=0.032, num_steps=937)], 1e-5), 3)
    2.361

    Args:
        phases: what was done to one hospital's records, in any order.
        target_delta: in (0, 1).
    """
    return float(epsilon_from_rdp(composed_rdp(phases), target_delta))


def pld_epsilon(phases: Iterable[Phase], target_delta: float) -> float:
    """Return the epsilon that privacy loss distributions prove; inf where they can't be used.

    >>> round(pld_epsilon([Phase(noise_multiplier=2.0, sample_rate=0.032, num_steps=937)], 1e-5), 3)
    2.161

    Args:
        phases: what was done to one hospital's records, in any order.
        target_delta: in (0, 1).
    """
    whole = merged(phases)
    if not whole:
        return 0.0
    bound = _loss_bound(whole, target_delta)
    return math.inf if bound is None else bound.epsilon


def headline_epsilon(phases: Iterable[Phase], target_delta: float) -> float:
    """Return the smaller of the two bounds."""
    phases = merged(phases)
    return min(rdp_epsilon(phases, target_delta), pld_epsilon(phases, target_delta))


def headline_profile(phases: Iterable[Phase], target_delta: float) -> Profile:
    """Return a bound on delta at every epsilon: by loss distributions where there are any, else by Renyi divergences.

    Args:
        phases: what was done to one hospital's records, in any order.
        target_delta: in (0, 1); it chooses the grid of the distributions, which hold at every delta.
    """
    whole = merged(phases)
    bound = _loss_bound(whole, target_delta) if whole else None
    return renyi_profile(composed_rdp(whole)) if bound is None else bound.profile


def _loss_bound(whole: Sequence[Phase], target_delta: float) -> LossBound | None:
    """Return what loss distributions prove; None for Skellam noise, for none at all, and where they can't be used."""
    rough = rdp_epsilon(whole, target_delta)
    if math.isinf(rough) or any(phase.dimension for phase in whole):
        return None
    return composed_bound(_segments(whole), target_delta, max(rough, 1e-3))


def largest_rdp(divergences: NDArray[np.float64], patient_overlap: int) -> NDArray[np.float64]:
    """Return an upper bound on the divergence of any `patient_overlap` hospitals together.

    At every order apart, the sum over any k hospitals is at most the sum of the k largest. The k hospitals of the
    largest epsilons would not do: another choice can be worse at the order that decides.

    Args:
        divergences: shape (num_hospitals, len(ORDERS)).
        patient_overlap: hospitals that may hold the same patient (>= 1).

    Returns:
        Shape (len(ORDERS),).
    """
    if patient_overlap < 1:
        raise ConfigError(f"patient-overlap = {patient_overlap} must be >= 1 ([privacy] patient-overlap)")
    if patient_overlap == 1:
        return np.asarray(divergences.max(axis=0, initial=0.0))
    return np.asarray(np.sort(divergences, axis=0)[-patient_overlap:].sum(axis=0))


def overlap_epsilon(
    phases_by_hospital: Mapping[str, Sequence[Phase]], target_delta: float, patient_overlap: int
) -> float:
    """Return the epsilon of a patient whose records may sit in any `patient_overlap` hospitals, one in each.

    Both bounds hold for every choice of hospitals: see `largest_rdp` and `loss_distribution.envelope_bound`. With
    patient_overlap 1 (disjoint patients) it is the largest epsilon of one hospital.

    Args:
        phases_by_hospital: what was done at each hospital.
        target_delta: in (0, 1), common to all.
        patient_overlap: >= 1; more than there are hospitals means all of them.

    Source: composition of independent noise at k hospitals; McSherry 2009 for disjoint patients.
    """
    hospitals = [whole for phases in phases_by_hospital.values() if (whole := merged(phases))]
    if patient_overlap == 1:
        return max((headline_epsilon(phases, target_delta) for phases in hospitals), default=0.0)
    by_rdp = float(epsilon_from_rdp(_divergences(hospitals, patient_overlap), target_delta))
    check_independent(phase for phases in hospitals for phase in phases)
    if len(hospitals) <= patient_overlap:
        return headline_epsilon([phase for phases in hospitals for phase in phases], target_delta)
    bound = _envelope(hospitals, target_delta, patient_overlap, by_rdp)
    return by_rdp if bound is None else min(by_rdp, bound.epsilon)


def overlap_profile(
    phases_by_hospital: Mapping[str, Sequence[Phase]], target_delta: float, patient_overlap: int
) -> Profile:
    """Return a bound on delta at every epsilon for a patient as in `overlap_epsilon`, for whom it is the epsilon.

    Args:
        phases_by_hospital: what was done at each hospital.
        target_delta: in (0, 1), common to all; it chooses the grid.
        patient_overlap: >= 1.
    """
    hospitals = [whole for phases in phases_by_hospital.values() if (whole := merged(phases))]
    if patient_overlap == 1:
        return largest_profile(headline_profile(phases, target_delta) for phases in hospitals)
    divergences = _divergences(hospitals, patient_overlap)
    check_independent(phase for phases in hospitals for phase in phases)
    if len(hospitals) <= patient_overlap:
        return headline_profile([phase for phases in hospitals for phase in phases], target_delta)
    by_rdp = float(epsilon_from_rdp(divergences, target_delta))
    bound = _envelope(hospitals, target_delta, patient_overlap, by_rdp)
    return renyi_profile(divergences) if bound is None else bound.profile


def _divergences(hospitals: Sequence[Sequence[Phase]], patient_overlap: int) -> NDArray[np.float64]:
    divergences = np.array([composed_rdp(phases) for phases in hospitals]).reshape(-1, len(ORDERS))
    return largest_rdp(divergences, patient_overlap)


def _envelope(
    hospitals: Sequence[Sequence[Phase]], target_delta: float, patient_overlap: int, by_rdp: float
) -> LossBound | None:
    if math.isinf(by_rdp):
        return None
    reach = max(rdp_epsilon(phases, _TAIL_DELTA) for phases in hospitals)
    segments = tuple(_segments(phases) for phases in hospitals)
    return envelope_bound(segments, patient_overlap, target_delta, max(by_rdp, 1e-3), reach)


def check_independent(phases: Iterable[Phase]) -> None:
    """Refuse to add up hospitals that share one noise: a patient in two of them would be under-counted.

    Raises:
        ConfigError: naming the placement.
    """
    for phase in phases:
        if phase.placement in ("distributed", "central"):
            raise ConfigError(
                f'patient-overlap must be 1 with placement = "{phase.placement}", where hospitals share one noise '
                "([privacy] patient-overlap): set 1"
            )


def calibrate_noise_multiplier(
    target_epsilon: float,
    target_delta: float,
    sample_rate: float,
    num_steps: int,
    spent: Iterable[Phase] = (),
    release: Release | None = None,
    *,
    guess: float | None = None,
) -> float:
    """Return the smallest noise multiplier, to 1e-4 and rounded up, that keeps within the target.

    The Renyi epsilon of `spent` and the steps to come is at most target_epsilon, never above.

    Args:
        target_epsilon: > 0, for everything spent and to come.
        target_delta: in (0, 1).
        sample_rate: of the steps to come, in (0, 1].
        num_steps: steps to come (>= 1).
        spent: what was done before.
        release: what a step of those to come releases; None is a DP-SGD step. Its sample rate is the one given.
        guess: a noise multiplier to begin the search at (> 0), which is then faster.

    Raises:
        ConfigError: an argument is out of range.
        BudgetError: no noise is enough, since too much was spent already.
    """
    if not target_epsilon > 0 or num_steps < 1:
        raise ConfigError(
            f"target-epsilon = {target_epsilon} must be > 0 and num-steps = {num_steps} >= 1 to find a noise "
            "multiplier: correct [privacy] target-epsilon or the steps left"
        )
    before = composed_rdp(spent)
    already = float(epsilon_from_rdp(before, target_delta))
    release = release or Release(sample_rate=sample_rate)

    most_noise = _most_noise(release)

    def overspend(log_noise: float) -> float:
        step = step_rdp(release.phase(min(math.exp(log_noise), most_noise), 1).kind, cached=False)
        return float(epsilon_from_rdp(before + num_steps * step, target_delta)) - target_epsilon * _SAFETY

    if already >= target_epsilon or overspend(math.log(most_noise)) > 0:
        raise BudgetError(
            f"target-epsilon = {target_epsilon:g} can't be kept over {num_steps} more steps: {already:g} is spent "
            f"already, and the noise multiplier can be {most_noise:.3g} at most; raise the target or train less"
        )
    return _smallest_noise(overspend, *((-math.log(2), math.log(2)) if guess is None else _around(guess)))


def _most_noise(release: Release) -> float:
    """Return a noise multiplier that no calibration passes; integer noise must fit its 32 bits.

    Raises:
        ConfigError: hardly any noise fits.
    """
    noise_multiplier = _MOST_NOISE
    while noise_multiplier > _LEAST_CEILING:
        try:
            release.phase(noise_multiplier, 1)
        except ConfigError:
            noise_multiplier /= 2
        else:
            return noise_multiplier
    release.phase(noise_multiplier, 1)
    return noise_multiplier


def _segments(phases: Sequence[Phase]) -> Segments:
    return tuple((phase.noise_multiplier, phase.sample_rate, phase.num_steps) for phase in phases)


def _around(guess: float) -> tuple[float, float]:
    return math.log(guess) - 0.05, math.log(guess) + 0.05


def _smallest_noise(overspend: Callable[[float], float], low: float, high: float) -> float:
    """Return the noise multiplier where a falling function of its log crosses zero, on the side below zero.

    The search widens from [low, high], where it begins.
    """
    from scipy.optimize import brentq

    while overspend(high) > 0:
        low, high = high, high + math.log(4)
    while overspend(low) <= 0:
        low, high = low - math.log(4), low
    root = float(brentq(overspend, low, high, xtol=_CALIBRATION / 4))
    while overspend(root) > 0:
        root += _CALIBRATION / 4
    return math.exp(root)
