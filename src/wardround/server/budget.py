"""Who may still take part in a round, and with how much noise, so that nobody overspends.

The decision itself is `privacy.policy`'s. What is left out on purpose: charging (see `loop`).
"""

from collections.abc import Sequence
from dataclasses import replace

from wardround.privacy.entries import Entry, entry_for
from wardround.privacy.policy import RemainingPlan, decide
from wardround.rounds import Assignment
from wardround.server.cohorts import draw_cohort, rounds_joined
from wardround.server.commits import RoundState
from wardround.server.planning import assign_round, common_noise
from wardround.server.plans import FederationPlan

__all__ = ["entries_of", "within_budget"]


def within_budget(
    plan: FederationPlan, state: RoundState, round_number: int
) -> tuple[RoundState, tuple[Assignment, ...]]:
    """Return the round's assignments, after dropping, re-planning or stopping as [privacy] on-budget says."""
    config = plan.config
    cohort = [name for name in draw_cohort(config, plan.names, round_number) if name not in state.left]
    assignments = assign_round(plan, cohort, round_number, state.noise_multipliers, state.max_grad_norm)
    if config.privacy.budget_epsilon is None:
        return state, assignments
    decision = decide(
        state.account,
        entries_of(plan, state, assignments),
        _rounds_left(plan, state, round_number),
        config.privacy.budget_epsilon,
        config.privacy.on_budget,
        config.privacy.patient_overlap,
    )
    left = dict(state.left) | dict.fromkeys(decision.dropped, f"left out from round {round_number}: {decision.reason}")
    noise_multipliers = common_noise(plan, dict(state.noise_multipliers) | dict(decision.noise_multipliers))
    # A cohort that is all at the budget doesn't end the run while hospitals outside it have some left.
    stopped = (decision.stop and config.privacy.on_budget == "stop") or len(left) == len(plan.names)
    reason = decision.reason or "every hospital is at its budget"
    state = replace(state, left=left, noise_multipliers=noise_multipliers, stopped=reason if stopped else "")
    cohort = [name for name in cohort if name not in left]
    return state, assign_round(plan, cohort, round_number, noise_multipliers, state.max_grad_norm)


def _rounds_left(plan: FederationPlan, state: RoundState, round_number: int) -> dict[str, RemainingPlan]:
    joined = rounds_joined(plan.config, plan.names, first_round=round_number)
    return {
        hospital.profile.hospital_id: RemainingPlan(
            noise_multiplier=state.noise_multipliers[hospital.profile.hospital_id],
            sample_rate=hospital.release.sample_rate,
            num_steps=hospital.billed_steps,
            num_participations=joined[hospital.profile.hospital_id],
            release=hospital.release,
        )
        for hospital in plan.hospitals
        if hospital.profile.hospital_id not in state.left
    }


def entries_of(plan: FederationPlan, state: RoundState, assignments: Sequence[Assignment]) -> list[Entry]:
    """Return what the assignments are charged as."""
    return [entry_for(a, state.run_id, plan.fingerprints[a.hospital_id]) for a in assignments]
