"""How much noise a target takes: the least that keeps the very figures that are reported within it.

What is searched is `accounting.headline_epsilon`, or `overlap_epsilon` for patients in several hospitals, at the noise
that is returned and not at one near it. Left out on purpose: who gets the noise (see `server.plan.planning`, `policy`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from wardround.errors import BudgetError, ConfigError
from wardround.privacy.accounting import composed_rdp, headline_epsilon, overlap_epsilon
from wardround.privacy.cells import cell_named
from wardround.privacy.ranges import LARGEST_NOISE
from wardround.privacy.renyi import epsilon_from_rdp
from wardround.step_events import EventShape, StepEvent

__all__ = ["calibrate_noise_multiplier", "calibrate_overlap", "smallest_within"]

_CALIBRATION = 1e-4
# Adding the same steps up round by round rounds differently; the last round must not fail for it.
_SAFETY = 1 - 1e-9
_LEAST_CEILING = 1e-3
_MOST_TRIALS, _STRAIGHT_TRIALS = 200, 12
_LONGEST_STEP = 3.0
_LARGEST_LOG = 700.0
"""Of noise; beyond it there is no float."""
# Epsilon falls about as 1 / noise: what the search assumes before it knows, and the slopes that it believes.
_SLOPE, _STEEPEST, _FLATTEST = -1.0, -5.0, -0.1


@lru_cache(maxsize=1024)
def calibrate_noise_multiplier(
    target_epsilon: float,
    target_delta: float,
    shape: EventShape,
    num_steps: int,
    spent: tuple[StepEvent, ...] = (),
    *,
    guess: float = 1.0,
) -> float:
    """Return the smallest noise multiplier, to 1e-4 and rounded up, that keeps within the target.

    The headline epsilon of `spent` and the steps to come is at most target_epsilon, never above.

    Args:
        target_epsilon: > 0, for everything spent and to come.
        target_delta: in (0, 1).
        shape: of a step to come (see `cells.cell.Cell.shape`).
        num_steps: steps to come (>= 0).
        spent: what was done before.
        guess: a noise multiplier to begin the search at (> 0), which is faster if it is near.

    Raises:
        ConfigError: a number of steps below 0, or hardly any noise fits the integers of a sum.
        BudgetError: no noise is enough, since too much was spent already.
    """
    most_noise, cell = _most_noise(shape), cell_named(shape.cell)
    before = composed_rdp(spent)

    def to_come(noise_multiplier: float) -> StepEvent:
        return cell.step_event(shape, min(noise_multiplier, most_noise), num_steps)

    def by_rdp(noise_multiplier: float) -> float:
        step = cell.divergence(to_come(noise_multiplier), cached=False)
        return float(epsilon_from_rdp(before + num_steps * step, target_delta))

    def headline(noise_multiplier: float) -> float:
        return headline_epsilon([*spent, to_come(noise_multiplier)], target_delta)

    already, allowed = headline_epsilon(spent, target_delta), target_epsilon * _SAFETY
    # Renyi divergences bound from above and cost a tenth: they tell that there is enough noise, and where to begin.
    within_by_rdp = by_rdp(most_noise) <= allowed
    if already >= allowed or not (within_by_rdp or headline(most_noise) <= allowed):
        raise BudgetError(
            f"target-epsilon = {target_epsilon:g} can't be kept over {num_steps} more steps: {already:g} is spent "
            f"already, and the noise multiplier can be {most_noise:.3g} at most; raise the target or train less"
        )
    if any(cell_named(event.cell).accountant == "rdp" for event in [shape.event, *spent]):
        return smallest_within(by_rdp, target_epsilon, guess, _CALIBRATION)
    if within_by_rdp:
        guess = smallest_within(by_rdp, target_epsilon, guess, 100 * _CALIBRATION)
    return smallest_within(headline, target_epsilon, guess, _CALIBRATION, already)


def calibrate_overlap(
    target_epsilon: float,
    target_delta: float,
    to_come: Mapping[str, tuple[EventShape, int, float]],
    patient_overlap: int,
    spent: Mapping[str, Sequence[StepEvent]],
) -> float:
    """Return the smallest factor, to 1e-4 and rounded up, for the noise of all hospitals that keeps their total.

    The total is that of a patient in up to `patient_overlap` hospitals, with what is spent and what is to come.

    What is to come is by hospital_id the shape of a step, how many steps (>= 0), and the noise multiplier to multiply;
    what is spent, of these hospitals and of others. The target delta is common to all.

    Raises:
        BudgetError: no noise is enough.
    """

    def total(factor: float) -> float:
        events = {name: list(parts) for name, parts in spent.items()}
        for name, (shape, num_steps, noise) in to_come.items():
            event = cell_named(shape.cell).step_event(shape, min(noise * factor, LARGEST_NOISE), num_steps)
            events.setdefault(name, []).append(event)
        return overlap_epsilon(events, target_delta, patient_overlap)

    floor = total(LARGEST_NOISE) if spent else 0.0
    if floor > target_epsilon * _SAFETY:
        raise BudgetError(
            f"target-epsilon = {target_epsilon:g} can't be kept for a patient in {patient_overlap} hospitals: "
            "more is spent already; raise the target or train less"
        )
    return smallest_within(total, target_epsilon, 1.0, _CALIBRATION, floor)


def _most_noise(shape: EventShape) -> float:
    """Return a noise multiplier that no calibration passes; integer noise must fit its 32 bits."""
    cell, noise_multiplier = cell_named(shape.cell), LARGEST_NOISE
    while True:
        try:
            cell.step_event(shape, noise_multiplier, 1)
            return noise_multiplier
        except ConfigError:
            if noise_multiplier <= _LEAST_CEILING:
                raise
            noise_multiplier /= 2


def smallest_within(
    spends: Callable[[float], float], target_epsilon: float, guess: float, tolerance: float, floor: float = 0.0
) -> float:
    """Return the least noise, to a relative tolerance and rounded up, whose epsilon is within the target.

    Each trial costs, so they are few: epsilon above the floor is nearly a power of the noise. A secant through the last
    two trials, in logarithms, is aimed just above the crossing, then just below; bisection where that misleads.

    Args:
        spends: epsilon by noise, falling; within the target at some noise.
        target_epsilon: > 0.
        guess: where to begin (> 0).
        tolerance: between noise that is too little and the noise returned.
        floor: epsilon with any amount of noise, below the target.
    """
    low, high = -math.inf, math.inf  # logs of noise that is too little, and of noise that is enough
    x, slope = math.log(guess), _SLOPE
    last: tuple[float, float] | None = None
    for trial in range(_MOST_TRIALS):
        if x > _LARGEST_LOG:
            break
        spent = spends(math.exp(x))
        excess = _log_ratio(spent - floor, target_epsilon * _SAFETY - floor)
        low, high = (max(low, x), high) if spent > target_epsilon * _SAFETY else (low, min(high, x))
        if high - low <= tolerance:
            return math.exp(high)
        if last is not None and x != last[0]:
            tried = (excess - last[1]) / (x - last[0])
            slope = tried if _STEEPEST < tried < _FLATTEST else slope
        last = (x, excess)
        x = _next_trial(x - excess / slope, low, high, tolerance, trial)
    raise BudgetError(f"no noise multiplier was found for target-epsilon = {target_epsilon:g}: choose another target")


def _log_ratio(spent: float, allowed: float) -> float:
    """Return how many times too much is spent, as a logarithm within what the search takes for a step."""
    if spent <= 0 or allowed <= 0:
        return -_LONGEST_STEP if spent <= 0 else _LONGEST_STEP
    return min(max(math.log(spent) - math.log(allowed), -_LONGEST_STEP), _LONGEST_STEP)


def _next_trial(crossing: float, low: float, high: float, tolerance: float, trial: int) -> float:
    aim = high - 0.9 * tolerance if crossing > high - tolerance else crossing + tolerance / 4
    unknown = math.isinf(low) or math.isinf(high)
    if low < aim < high and trial < _STRAIGHT_TRIALS:
        return aim
    if unknown:
        step = 2.0 ** min(max(trial - _STRAIGHT_TRIALS, 0), 4)
        return low + step if math.isinf(high) else high - step
    return (low + high) / 2
