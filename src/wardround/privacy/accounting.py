"""What training costs: the epsilon of what was done to a hospital's data, for neighbours of one unit and relation.

Everything is a pure function of what happened. Renyi divergences are fast and drive every round; privacy loss
distributions are tighter and give the headline, where there are any (none for Skellam noise). Both are upper bounds, so
their minimum is one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError
from wardround.privacy.cells import cell_named
from wardround.privacy.events import merged
from wardround.privacy.loss_distribution import LossBound, Segments, composed_bound, envelope_bound
from wardround.privacy.profiles import Profile, largest_profile, renyi_profile
from wardround.privacy.renyi import ORDERS, epsilon_from_rdp
from wardround.step_events import StepEvent

__all__ = [
    "check_independent",
    "composed_rdp",
    "headline_epsilon",
    "headline_profile",
    "largest_rdp",
    "overlap_epsilon",
    "overlap_profile",
    "pld_epsilon",
    "rdp_epsilon",
]

_TAIL_DELTA = 1e-13


def composed_rdp(events: Iterable[StepEvent]) -> NDArray[np.float64]:
    """Return the Renyi divergence of all events together: shape (len(ORDERS),), float64, nats."""
    total = np.zeros(len(ORDERS))
    for event in merged(events):
        total = total + event.num_steps * cell_named(event.cell).divergence(event)
    return total


def rdp_epsilon(events: Iterable[StepEvent], target_delta: float) -> float:
    """Return the epsilon that Renyi divergences prove.

    >>> round(rdp_epsilon([StepEvent(noise_multiplier=2.0, sample_rate=0.032, num_steps=937)], 1e-5), 3)
    2.361

    Args:
        events: what was done to one hospital's records, in any order.
        target_delta: in (0, 1).
    """
    return float(epsilon_from_rdp(composed_rdp(events), target_delta))


def pld_epsilon(events: Iterable[StepEvent], target_delta: float) -> float:
    """Return the epsilon that privacy loss distributions prove; inf where they can't be used.

    >>> round(pld_epsilon([StepEvent(noise_multiplier=2.0, sample_rate=0.032, num_steps=937)], 1e-5), 3)
    2.161
    """
    bound = _loss_bound(merged(events), target_delta)
    return math.inf if bound is None else bound.epsilon


def headline_epsilon(events: Iterable[StepEvent], target_delta: float) -> float:
    """Return the smaller of the two bounds."""
    return _headline(merged(events), target_delta)


@lru_cache(maxsize=4096)  # a number, of frozen events and a number: hospitals, readers and runs that did the same
def _headline(whole: tuple[StepEvent, ...], target_delta: float) -> float:
    return min(rdp_epsilon(whole, target_delta), pld_epsilon(whole, target_delta))


def headline_profile(events: Iterable[StepEvent], target_delta: float) -> Profile:
    """Return a bound on delta at every epsilon: by loss distributions where there are any, else by Renyi divergences.

    The target delta chooses the grid of the distributions, which hold at every delta.
    """
    return _profile(merged(events), target_delta)


@lru_cache(maxsize=4096)
def _profile(whole: tuple[StepEvent, ...], target_delta: float) -> Profile:
    bound = _loss_bound(whole, target_delta) if whole else None
    return renyi_profile(composed_rdp(whole)) if bound is None else bound.profile


def _loss_bound(whole: Sequence[StepEvent], target_delta: float) -> LossBound | None:
    """Return what loss distributions prove; None for integer noise, without noise, and where they can't be used."""
    rough = rdp_epsilon(whole, target_delta)
    segments = None if math.isinf(rough) else _segments(whole)
    return None if segments is None else composed_bound(segments, target_delta, max(rough, 1e-3))


def largest_rdp(divergences: NDArray[np.float64], patient_overlap: int) -> NDArray[np.float64]:
    """Return an upper bound on the divergence of any `patient_overlap` hospitals together.

    At every order apart, the sum over any k hospitals is at most the sum of the k largest. The k hospitals of the
    largest epsilons would not do: another choice can be worse at the order that decides.

    Args:
        divergences: shape (num_hospitals, len(ORDERS)); what comes back is of shape (len(ORDERS),).
        patient_overlap: hospitals that may hold the same patient (>= 1).
    """
    if patient_overlap < 1:
        raise ConfigError(f"patient-overlap = {patient_overlap} must be >= 1 ([privacy] patient-overlap)")
    return np.asarray(np.sort(divergences, axis=0)[-patient_overlap:].sum(axis=0))


def overlap_epsilon(
    events_by_hospital: Mapping[str, Sequence[StepEvent]], target_delta: float, patient_overlap: int
) -> float:
    """Return the epsilon of a patient whose records may sit in any `patient_overlap` hospitals, one in each.

    Both bounds hold for every choice of hospitals: see `largest_rdp` and `loss_distribution.envelope_bound`. With
    patient_overlap 1 (disjoint patients) it is the largest epsilon of one hospital; more than there are hospitals means
    all of them. The target delta, in (0, 1), is common to all.

    Source: composition of independent noise at k hospitals; McSherry 2009 for disjoint patients.
    """
    hospitals = _apart(events_by_hospital, patient_overlap)
    if patient_overlap == 1 or len(hospitals) == 1:
        return max((headline_epsilon(events, target_delta) for events in hospitals), default=0.0)
    _, by_rdp, bound = _envelope(hospitals, target_delta, patient_overlap)
    return by_rdp if bound is None else min(by_rdp, bound.epsilon)


def overlap_profile(
    events_by_hospital: Mapping[str, Sequence[StepEvent]], target_delta: float, patient_overlap: int
) -> Profile:
    """Return a bound on delta at every epsilon for a patient as in `overlap_epsilon`; target_delta chooses the grid."""
    hospitals = _apart(events_by_hospital, patient_overlap)
    if patient_overlap == 1 or len(hospitals) == 1:
        return largest_profile(headline_profile(events, target_delta) for events in hospitals)
    divergences, _, bound = _envelope(hospitals, target_delta, patient_overlap)
    return renyi_profile(divergences) if bound is None else bound.profile


def _apart(events_by_hospital: Mapping[str, Sequence[StepEvent]], patient_overlap: int) -> list[tuple[StepEvent, ...]]:
    """Return what each hospital did that did anything; what all did as one where a patient may be in all of them."""
    hospitals = [whole for events in events_by_hospital.values() if (whole := merged(events))]
    if patient_overlap == 1:
        return hospitals
    together = [event for events in hospitals for event in events]
    check_independent(together)
    return [merged(together)] if len(hospitals) <= patient_overlap else hospitals


def _envelope(
    hospitals: Sequence[Sequence[StepEvent]], target_delta: float, patient_overlap: int
) -> tuple[NDArray[np.float64], float, LossBound | None]:
    """Return what is proved of any so many hospitals: divergences, their epsilon, and by loss distributions."""
    divergences = largest_rdp(np.array([composed_rdp(events) for events in hospitals]), patient_overlap)
    by_rdp = float(epsilon_from_rdp(divergences, target_delta))
    segments = [part for events in hospitals if (part := _segments(events)) is not None]
    if math.isinf(by_rdp) or len(segments) < len(hospitals):
        return divergences, by_rdp, None
    reach = max(rdp_epsilon(events, _TAIL_DELTA) for events in hospitals)
    bound = envelope_bound(tuple(segments), patient_overlap, target_delta, max(by_rdp, 1e-3), reach)
    return divergences, by_rdp, bound


def check_independent(events: Iterable[StepEvent]) -> None:
    """Raise ConfigError for hospitals that share one noise: a patient in two of them would be under-counted."""
    for cell in (cell_named(event.cell) for event in events):
        if cell.shares_noise:
            raise ConfigError(
                f'patient-overlap must be 1 with placement = "{cell.placement}", where hospitals share one noise '
                "([privacy] patient-overlap): set 1"
            )


def _segments(events: Sequence[StepEvent]) -> Segments | None:
    """Return the events as steps that loss distributions are known of; None where one is not."""
    if any(cell_named(event.cell).accountant != "pld" for event in events):
        return None
    return tuple((event.noise_multiplier, event.sample_rate, event.num_steps) for event in events)
