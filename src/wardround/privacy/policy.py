"""What to do when the budget comes near: pure functions of the account and the plan.

The budget holds for what is reported: every hospital's epsilon at its own delta, and the total of a patient in as many
hospitals as [privacy] patient-overlap says, at the common one. Nothing here ever admits an overspend.
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wardround.errors import BudgetError
from wardround.privacy.calibration import calibrate_noise_multiplier, calibrate_overlap
from wardround.privacy.cells import cell_named
from wardround.privacy.deltas import names_text
from wardround.privacy.entries import Entry
from wardround.privacy.spending import Account
from wardround.step_events import EventShape, StepEvent

__all__ = ["Decision", "RemainingPlan", "decide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainingPlan:
    """What is planned for one hospital from this round on, this round included.

    Attributes:
        noise_multiplier: planned so far (>= 0).
        shape: of a billed step.
        num_steps: billed in each round it takes part in (>= 1).
        num_participations: rounds it will take part in, at most (>= 0; >= 1 of a hospital in this round).
    """

    noise_multiplier: float
    shape: EventShape
    num_steps: int
    num_participations: int

    @property
    def total_steps(self) -> int:
        """Steps over all rounds left."""
        return self.num_steps * self.num_participations

    @property
    def event(self) -> StepEvent:
        """All steps left, as planned so far."""
        return cell_named(self.shape.cell).step_event(self.shape, self.noise_multiplier, self.total_steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with a planned round.

    Attributes:
        stop: end the run here; nothing of this round may be released.
        dropped: hospitals that may take part no more.
        noise_multipliers: by hospital_id, in place of the planned ones from this round on.
        reason: one sentence for people; empty when the round goes on as planned.
    """

    stop: bool = False
    dropped: tuple[str, ...] = ()
    noise_multipliers: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def decide(
    account: Account,
    entries: Sequence[Entry],
    remaining: Mapping[str, RemainingPlan],
    budget_epsilon: float,
    on_budget: str,
    patient_overlap: int = 1,
) -> Decision:
    """Return whether the planned round may go on, and with what changes.

    "stop" ends the run when a hospital of this round, or a patient in several, would overspend; "drop" leaves such
    hospitals out, those that have spent most first, and ends the run when nobody is left; "replan" finds, as soon as
    the rounds left would overspend, the noise that ends within the budget, and drops a hospital that no noise can help.

    Args:
        account: spent before this round.
        entries: the round as planned, not yet charged.
        remaining: by hospital_id, of all in this round and of others that are still in the run.
        budget_epsilon: most that may be spent (> 0).
        on_budget: "stop", "drop" or "replan", as settings are held to.
        patient_overlap: hospitals that may hold the same patient (>= 1).
    """
    if not entries:
        return Decision()
    cohort = tuple(dict.fromkeys(entry.hospital_id for entry in entries))
    plans = {name: remaining[name] for name in cohort}
    plans |= {name: plan for name, plan in remaining.items() if plan.num_participations}
    whole = account.projected((name, plan.event) for name, plan in plans.items())
    within = not whole.exceeding(budget_epsilon, plans) and not whole.total_exceeds(budget_epsilon, patient_overlap)
    if within:
        return Decision()  # and so is every round until the end, at a cost that is known from the round before
    if on_budget == "replan":
        return _replanned(account, plans, cohort, budget_epsilon, patient_overlap)
    after = account.charged(entries)
    over = after.exceeding(budget_epsilon, cohort)
    over += _over_in_total(account, [e for e in entries if e.hospital_id not in over], budget_epsilon, patient_overlap)
    if not over:
        return Decision()
    over = tuple(name for name in cohort if name in over)
    return _without(over, stop=on_budget == "stop" or len(over) == len(cohort), budget_epsilon=budget_epsilon)


def _over_in_total(
    account: Account, entries: Sequence[Entry], budget_epsilon: float, patient_overlap: int
) -> tuple[str, ...]:
    """Return the fewest of the hospitals that must stay out for the total, those that would have spent most first."""
    if patient_overlap == 1 or not entries:
        return ()
    after = account.charged(entries)
    epsilons = after.epsilons()
    names = sorted({entry.hospital_id for entry in entries}, key=lambda name: (-epsilons[name], name))

    def fits(num_left_out: int) -> bool:
        stay = set(names[num_left_out:])
        charged = account.charged(entry for entry in entries if entry.hospital_id in stay)
        return not stay or not charged.total_exceeds(budget_epsilon, patient_overlap)

    return tuple(names[: bisect.bisect_left(range(len(names) + 1), True, key=fits)])


def _replanned(
    account: Account,
    plans: Mapping[str, RemainingPlan],
    cohort: Sequence[str],
    budget_epsilon: float,
    patient_overlap: int,
) -> Decision:
    events, common = account.events, account.common_delta
    projected = account.projected((name, plan.event) for name, plan in plans.items())
    changed: dict[str, float] = {}
    hopeless: list[str] = []
    for name in projected.exceeding(budget_epsilon, plans):
        plan = plans[name]
        try:
            changed[name] = calibrate_noise_multiplier(
                *(budget_epsilon, common, plan.shape, plan.total_steps, events[name]),
                guess=plan.noise_multiplier or 1.0,
            )
        except BudgetError:
            hopeless.append(name)
    left = {
        name: replace(plan, noise_multiplier=changed.get(name, plan.noise_multiplier))
        for name, plan in plans.items()
        if name not in hopeless
    }
    after = account.projected((name, plan.event) for name, plan in left.items())
    if patient_overlap > 1 and after.total_exceeds(budget_epsilon, patient_overlap):
        to_come = {name: (plan.shape, plan.total_steps, plan.noise_multiplier) for name, plan in left.items()}
        try:
            factor = calibrate_overlap(budget_epsilon, common, to_come, patient_overlap, events)
        except BudgetError:
            return _without(tuple(plans), stop=True, budget_epsilon=budget_epsilon)
        changed |= {name: plan.noise_multiplier * factor for name, plan in left.items()}
    if hopeless and set(cohort) <= set(hopeless):
        return _without(tuple(hopeless), stop=True, budget_epsilon=budget_epsilon)
    reason = f"more noise for {len(changed)} hospitals, to end within epsilon {budget_epsilon:g}" if changed else ""
    if hopeless:
        reason = "; ".join([_dropping(hopeless, budget_epsilon), *([reason] if reason else [])])
    return Decision(dropped=tuple(hopeless), noise_multipliers=changed, reason=reason)


def _without(over: tuple[str, ...], *, stop: bool, budget_epsilon: float) -> Decision:
    if stop:
        reason = f"the next round would take {names_text(over)} beyond epsilon {budget_epsilon:g}"
        return Decision(stop=True, dropped=over, reason=reason)
    return Decision(dropped=over, reason=_dropping(over, budget_epsilon))


def _dropping(over: Sequence[str], budget_epsilon: float) -> str:
    return f"left out from now on, at the budget of epsilon {budget_epsilon:g}: {names_text(over)}"
