"""The release after the last round: noisy sums over the hospitals' test records, of the run's model.

Charged first, asked for once, and kept with the run's end. A run that was interrupted between charge and end has a
release that may have been seen: another one is another charge, with noise of its own, and where that is more than may
be spent there are no scores; real sites release once, whatever was interrupted. A release in every round would be a
bill in every round; there is none. What is left out on purpose: how much noise it gets (see `plan.score_release`), and
the scores that follow (see `record.released_scores`).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from wardround import wire
from wardround.agreed.statistics import scores_round
from wardround.datasets.constants import Constants
from wardround.exact_sums import Arrays
from wardround.privacy.entries import Entry, charge_id, entry_for
from wardround.rounds import Assignment
from wardround.score_sums import ReleasedSums
from wardround.server.plan.budget import overspends
from wardround.server.plan.planning import assign_round
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState
from wardround.server.record.beginnings import committed_rounds
from wardround.server.record.commits import NO_SCORES, ScoreRelease, kept_model, released_before
from wardround.server.record.keeping import kept_record
from wardround.server.round.hospitals import HospitalLink
from wardround.server.round.noisy_means import NoisyMean, noisy_mean
from wardround.server.round.run_under_way import RunUnderWay
from wardround.server.round.secure_terms import roster_of
from wardround.wire_arrays import model_record

__all__ = ["Scoring", "release_scores"]

Scoring = Callable[[FederationPlan, Arrays, Constants], AbstractContextManager[HospitalLink]]
"""(plan of the release, model, what was released before round 1) -> hospitals with their test records' vectors."""


def release_scores(run: RunUnderWay, state: RoundState, scoring: Scoring | None) -> ScoreRelease:
    """Charge and release the sums over test records, where the settings ask for them; once for the run's model.

    Args:
        run: that is over.
        state: after its last round.
        scoring: opens simulated hospitals; None where they can't be had. Real sites are asked as in every round.

    Raises:
        WardroundError: a hospital failed; see `sums.add_up`.
    """
    plan = run.plan.scores
    if plan is None or not (scoring or run.link.are_sites):
        return NO_SCORES
    records = committed_rounds(run.ledger)
    kept = kept_record(run.plan.config, records).round_row.round
    if before := released_before(run, kept):
        return ScoreRelease(sums=before)
    round_number = scores_round(run.plan.config)
    attempt = run.ledger.num_attempts(state.run_id, round_number) + 1
    there = plan.names if scoring else tuple(name for name in plan.names if name not in state.left)
    if why := _sites_that_lack(run, there, attempt):
        return ScoreRelease(sums=ReleasedSums(round=kept, attempt=attempt - 1, reason=why))
    assignments = assign_round(plan, there, round_number, plan.noise_multipliers, attempt=attempt)
    entries = [entry_for(each, state.run_id, run.plan.fingerprints[each.hospital_id]) for each in assignments]
    if over := overspends(run.plan, run.account.charged(entries)):
        again = " once more, as the run was interrupted in their release," if attempt > 1 else ""
        why = f"releasing them{again} would spend more than {over}"
        return ScoreRelease(sums=ReleasedSums(round=kept, attempt=attempt - 1, reason=why))
    made = _released(run, plan, kept_model(run, state, records), state, scoring, assignments, entries)
    return ScoreRelease(sums=_sums(plan, made, kept, attempt), released=_charges(made, state.run_id))


def _sites_that_lack(run: RunUnderWay, there: Sequence[str], attempt: int) -> str:
    """Return why real sites can't release their scores; "" where they can, and of simulated hospitals."""
    least = run.plan.config.aggregation.min_survivors
    if not run.link.are_sites:
        return ""
    if attempt > 1:
        return "the run was interrupted in their release, and sites do not release twice"
    return f"{len(there)} sites are there, and min-survivors = {least} are needed" if len(there) < least else ""


def _released(
    run: RunUnderWay,
    plan: FederationPlan,
    model: Arrays,
    state: RoundState,
    scoring: Scoring | None,
    assignments: Sequence[Assignment],
    entries: Sequence[Entry],
) -> NoisyMean:
    """Charge the release and return what came of it."""
    if scoring is None:
        run.ledger.charge(entries)
        return noisy_mean(
            plan,
            run.link,
            assignments,
            run.source,
            run_id=state.run_id,
            roster=run.roster,
            settings=run.plan.config,
            beside={wire.SCORED: model_record(model)},
        )
    with scoring(plan, model, state.constants) as link:
        run.ledger.charge(entries)
        roster, settings = roster_of(plan, None), plan.config
        return noisy_mean(plan, link, assignments, run.source, run_id=state.run_id, roster=roster, settings=settings)


def _sums(plan: FederationPlan, made: NoisyMean, kept: int, attempt: int) -> ReleasedSums:
    """Return the sums of a mean over so many records."""
    answered = made.summed.answered
    if made.mean is None:
        why = made.summed.outcome.abandoned or "no hospital answered"
        return ReleasedSums(round=kept, attempt=attempt, reason=why)
    number = sum(plan.by_name[each.hospital_id].num_train for each in answered)
    return ReleasedSums(
        round=kept,
        num_records=number,
        num_hospitals=len(answered),
        sums=tuple((made.mean.astype(float) * number).tolist()),
        stddev=made.stddev * number,
        attempt=attempt,
    )


def _charges(made: NoisyMean, run_id: str) -> tuple[str, ...]:
    return tuple(charge_id(run_id, a.round_number, a.attempt, a.hospital_id) for a in made.summed.answered)
