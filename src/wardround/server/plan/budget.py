"""Who may still take part in a round, and with how much noise, so that nobody overspends.

The decision itself is `privacy.policy`'s. What is left out on purpose: charging (see `loop`).
"""

from collections.abc import Sequence
from dataclasses import replace

from wardround.agreed.cohorts import draw_cohort, rounds_joined
from wardround.errors import BudgetError
from wardround.privacy.entries import Entry, entry_for
from wardround.privacy.policy import decide
from wardround.privacy.spending import Account, open_account
from wardround.rounds import Assignment
from wardround.server.plan.planning import assign_round
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState

__all__ = ["check_beginning", "entries_of", "overspends", "within_budget"]

_MOST_GROWTH = 2.0
"""Beyond this an interrupted run ends where it is: noise for a sliver of epsilon would undo what was learned."""


def within_budget(
    plan: FederationPlan, state: RoundState, round_number: int
) -> tuple[RoundState, tuple[Assignment, ...]]:
    """Return the round's assignments, after dropping, re-planning or stopping as [privacy] on-budget says.

    Noise that was sized for a target epsilon is sized anew where an interrupted attempt has spent a part of it.
    """
    privacy = plan.config.privacy
    if privacy.target_epsilon is not None and (state.attempt > 1 or _is_begun_twice(plan, state, round_number)):
        state = _sized_anew(plan, state, round_number, privacy.target_epsilon)
    if privacy.budget_epsilon is not None and not state.stopped:
        state = _decided(plan, state, round_number, privacy.budget_epsilon, privacy.on_budget)
    return state, _assigned(plan, state, round_number)


def _is_begun_twice(plan: FederationPlan, state: RoundState, round_number: int) -> bool:
    """Return whether more was charged before round 1 than is planned, by a beginning that was interrupted."""
    if round_number > 1:
        return False
    planned = open_account(plan.target_deltas).projected((h.name, event) for h in plan.hospitals for event in h.before)
    return state.account.steps != planned.steps


def check_beginning(plan: FederationPlan, account: Account, entries: Sequence[Entry]) -> None:
    """Refuse a release before round 1 that would spend more than may be spent.

    The first one was planned to be within it, and each beginning that was interrupted has spent as much again.

    Raises:
        BudgetError: there is too little left of [privacy] target-epsilon or budget-epsilon.
    """
    if entries and (over := overspends(plan, _with_reserved(plan, account).charged(entries))):
        raise BudgetError(
            f"the statistics before round 1 would spend more than {over}: the run was interrupted as it began, and "
            "what was charged by then may have been seen; begin a new run, whose epsilon adds up with this one's"
        )


def overspends(plan: FederationPlan, account: Account) -> str:
    """Return by which setting an account is more than may be spent; "" where it is not."""
    privacy = plan.config.privacy
    for name, most in (("target-epsilon", privacy.target_epsilon), ("budget-epsilon", privacy.budget_epsilon)):
        if most is None:
            continue
        if account.exceeding(most, plan.names) or account.total_exceeds(most, privacy.patient_overlap):
            return f"{name} = {most:g} ([privacy] {name})"
    return ""


def _sized_anew(plan: FederationPlan, state: RoundState, round_number: int, target_epsilon: float) -> RoundState:
    """Return the state with noise for the rounds left to end within the target, or stopped where that is too much."""
    sized = _decided(plan, state, round_number, target_epsilon, "replan")
    left = [name for name in plan.names if name not in sized.left]
    growth = max((sized.noise_multipliers[name] / state.noise_multipliers[name] for name in left), default=1.0)
    if growth <= _MOST_GROWTH and len(sized.left) == len(state.left):
        return sized
    reason = (
        f"round {round_number} was charged and interrupted, and what is left of epsilon {target_epsilon:g} allows the "
        f"rounds left only with more than {_MOST_GROWTH:g} times the noise"
    )
    return replace(state, stopped=reason)


def _decided(
    plan: FederationPlan, state: RoundState, round_number: int, budget_epsilon: float, on_budget: str
) -> RoundState:
    joined = rounds_joined(plan.config, plan.drawn_from, first_round=round_number)
    assigned = _assigned(plan, state, round_number)
    # Who joins no round that is left spends nothing more. Of many hospitals these are most.
    to_come = [name for name, number in joined.items() if number and name in plan.by_name and name not in state.left]
    remaining = {
        name: replace(
            plan.by_name[name], noise_multiplier=state.noise_multipliers[name], num_participations=joined[name]
        )
        for name in to_come
    }
    decision = decide(
        _with_reserved(plan, state.account),
        entries_of(plan, state, assigned),
        remaining,
        budget_epsilon,
        on_budget,
        plan.config.privacy.patient_overlap,
    )
    left = dict(state.left) | dict.fromkeys(decision.dropped, f"left out from round {round_number}: {decision.reason}")
    noise_multipliers = {**state.noise_multipliers, **decision.noise_multipliers}
    if plan.cell.shares_noise:  # one noise covers the sum of all hospitals
        noise_multipliers = dict.fromkeys(noise_multipliers, max(noise_multipliers.values(), default=0.0))
    # A cohort that is all at the budget doesn't end the run while hospitals outside it have some left.
    stopped = (decision.stop and on_budget == "stop") or len(left) == len(plan.names)
    reason = decision.reason or "every hospital is at its budget"
    return replace(state, left=left, noise_multipliers=noise_multipliers, stopped=reason if stopped else "")


def _with_reserved(plan: FederationPlan, account: Account) -> Account:
    """Return the account as if the test scores, which are charged after the last round, had been charged already."""
    if plan.scores is None:
        return account
    return account.projected((hospital.name, event) for hospital in plan.hospitals for event in hospital.after)


def _assigned(plan: FederationPlan, state: RoundState, round_number: int) -> tuple[Assignment, ...]:
    drawn = draw_cohort(plan.config, plan.drawn_from, round_number)
    cohort = [name for name in drawn if name in plan.by_name and name not in state.left]
    return assign_round(plan, cohort, round_number, state.noise_multipliers, state.max_grad_norm, state.attempt)


def entries_of(plan: FederationPlan, state: RoundState, assignments: Sequence[Assignment]) -> list[Entry]:
    """Return what the assignments are charged as."""
    return [entry_for(a, state.run_id, plan.fingerprints[a.hospital_id]) for a in assignments]
