"""The least noise at each hospital for a target epsilon, over all the rounds that each joins.

What is left out on purpose: noise for a budget that is left over after some rounds (see `budget`).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from wardround.privacy.accounting import overlap_epsilon
from wardround.privacy.calibration import calibrate_noise_multiplier, smallest_within
from wardround.privacy.cells import cell_named
from wardround.server.plan.plans import HospitalPlan
from wardround.step_events import EventShape, StepEvent

__all__ = ["calibrated"]

_EACH_OF_SEVERAL = 3e-4
"""How closely the epsilon of each hospital is found where a patient may be in several, relative."""


def calibrated(
    hospitals: Sequence[HospitalPlan], target_epsilon: float, *, patient_overlap: int = 1
) -> list[HospitalPlan]:
    """Return the hospitals with the least noise that keeps each, and the total, within the target over all rounds.

    What is charged before and after them is within it, too.

    The total is stated at the smallest delta, so each hospital's noise is sized for that. With patients in several
    hospitals all spend the same smaller epsilon, at which the total of the hospitals meets the target. Where the cell
    shares noise, which a patient in several hospitals has no bound with, all get what the most exposed one needs.
    """
    common_delta = min(hospital.target_delta for hospital in hospitals)
    guess = 1.0

    @cache
    def least_noise(epsilon: float, shape: EventShape, total_steps: int, spent: tuple[StepEvent, ...]) -> float:
        nonlocal guess
        if not total_steps:
            return 1.0  # never drawn: this hospital joins no round
        guess = calibrate_noise_multiplier(epsilon, common_delta, shape, total_steps, spent, guess=guess)
        return guess

    def for_target(hospital: HospitalPlan, epsilon: float) -> float:
        return least_noise(epsilon, hospital.shape, hospital.total_steps, (*hospital.before, *hospital.after))

    if cell_named(hospitals[0].shape.cell).shares_noise:
        most = max(for_target(hospital, target_epsilon) for hospital in _most_exposed(hospitals))
        return [replace(hospital, noise_multiplier=most) for hospital in hospitals]

    def with_each(epsilon: float) -> list[HospitalPlan]:
        return [replace(hospital, noise_multiplier=for_target(hospital, epsilon)) for hospital in hospitals]

    num_charged = sum(
        bool(hospital.before or hospital.after) or hospital.num_participations > 0 for hospital in hospitals
    )
    copies = min(patient_overlap, num_charged)
    if copies <= 1:
        return with_each(target_epsilon)

    def total(inverse: float) -> float:
        events = {hospital.name: hospital.events for hospital in with_each(1 / inverse)}
        return overlap_epsilon(events, common_delta, patient_overlap)

    # Epsilon grows with about the root of what is composed.
    return with_each(1 / smallest_within(total, target_epsilon, copies**0.55 / target_epsilon, _EACH_OF_SEVERAL))


def _most_exposed(hospitals: Sequence[HospitalPlan]) -> list[HospitalPlan]:
    """Return those that no other one exceeds in sample rate, steps and what is charged beside the rounds at once.

    What is charged beside them is the same for all whom it concerns, as the noise is shared.
    """
    exposure = {(h.shape.event.sample_rate, h.total_steps, len(h.before), len(h.after)): h for h in hospitals}
    return [
        hospital
        for key, hospital in exposure.items()
        if not any(
            other != key and all(theirs >= mine for theirs, mine in zip(other, key, strict=True)) for other in exposure
        )
    ]
