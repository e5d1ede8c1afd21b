"""The round loop: plan, charge, train, sum, step, evaluate, commit; from round 0 or from the last committed round.

Order is the promise here. The ledger is charged before anything is sent; a round counts once model, tables, ledger and
everything drawn are committed in one transaction; what a resumed run needs is in that commit or follows from the seed.
A round that was charged and not committed is done again as a charge of its own, with noise of its own.
What is left out on purpose: how messages travel (any Flower grid will do), how each step is done, and the report page.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from flwr.serverapp.strategy import Strategy

from wardround.collector import count_as_old
from wardround.config import Config
from wardround.exact_sums import Arrays
from wardround.identity import source_of
from wardround.privacy.clipping import next_clip
from wardround.privacy.ledger import open_ledger
from wardround.run_facts import RunFacts
from wardround.server.plan.best import stops_early
from wardround.server.plan.budget import entries_of, within_budget
from wardround.server.plan.dropouts import draw_dropouts
from wardround.server.plan.noise_memory import noise_memory
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState
from wardround.server.record.beginnings import committed_rounds
from wardround.server.record.commits import NO_SCORES, close, commit, restore
from wardround.server.record.evaluated import Evaluated, unevaluated
from wardround.server.record.records import RoundRecord
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.sameness import check_untouched
from wardround.server.record.summaries import Summary
from wardround.server.round.beginning import begin, give_up_interrupted, plan_of_run
from wardround.server.round.early import charge_rest
from wardround.server.round.evaluating import Measuring, columns_in, evaluate_model
from wardround.server.round.hospitals import HospitalLink
from wardround.server.round.progress import RoundRow, row_of
from wardround.server.round.released import release
from wardround.server.round.run_under_way import RunUnderWay
from wardround.server.round.score_release import Scoring, release_scores
from wardround.server.round.secure_terms import roster_of, secure_sum_for
from wardround.server.round.strategy_steps import ask, step
from wardround.server.round.sums import add_up
from wardround.server.round.tested_rounds import is_tested
from wardround.streams import SystemSource

__all__ = ["federate"]


def federate(
    config: Config,
    link: HospitalLink,
    folder: RunFolder,
    initial: Arrays,
    *,
    strategy: Strategy,
    facts: RunFacts,
    planned: FederationPlan | None = None,
    progress: Callable[[RoundRow], None] | None = None,
    measuring: Measuring | None = None,
    scoring: Scoring | None = None,
) -> Summary:
    """Run all rounds that are not yet committed in the folder; return the summary, which is also written there.

    Args:
        config: all settings.
        link: to the hospitals, over any Flower grid whose nodes run their ClientApp (see `introductions.connect`).
        folder: of the run; an earlier run in it is taken up after its last committed round.
        initial: parameters before round 1.
        strategy: that the settings name (see `strategies.strategy_of`), as it was made: it has seen no round.
        planned: the plan, where it was made before anybody was asked; None makes it of what the hospitals say.
        facts: for the summary, what only the caller knows.
        progress: called after every committed round.
        measuring: what models are measured by beside loss and scores; a run that is taken up again needs what it began
            with.
        scoring: opens the hospitals for a release of test scores after the last round, where the settings ask for one.

    Raises:
        WardroundError: the run stopped; what is committed stays, and it can be resumed.
    """
    source = source_of(config, is_real=link.are_sites)
    facts = replace(facts, noise="system" if isinstance(source, SystemSource) else "seeded")
    with folder.alone(), open_ledger(folder.ledger, is_synced=folder.is_synced) as ledger:
        check_untouched(ledger, folder)
        num_parameters = sum(array.size for array in initial.values())
        plan, left = plan_of_run(config, link, ledger, num_parameters, planned)
        measuring = measuring or Measuring()
        run = RunUnderWay(
            plan=plan,
            columns=columns_in(ledger, plan, facts.task, measuring),
            measuring=measuring,
            link=link,
            strategy=strategy,
            ledger=ledger,
            folder=folder,
            source=source,
            roster=roster_of(plan, link.roster),
        )
        state = restore(run) or begin(run, initial)
        state = replace(state, left={**left, **state.left})
        if link.are_sites:
            state = give_up_interrupted(run, state)
        count_as_old()  # what is kept of every hospital
        return _all_rounds(run, state, facts, progress, scoring)


def _all_rounds(
    run: RunUnderWay,
    state: RoundState,
    facts: RunFacts,
    progress: Callable[[RoundRow], None] | None,
    scoring: Scoring | None,
) -> Summary:
    """Do the rounds that are left, and close the run however it ends; return the summary."""
    num_rounds = run.plan.config.training.num_rounds
    records = committed_rounds(run.ledger)
    lines = run.folder.write_tables(records)
    if progress is not None:
        progress(row_of(records[-1], num_rounds, facts.task, run.columns))
    status, scores = "interrupted", NO_SCORES
    try:
        while state.round_number < num_rounds and not (state.stopped or stops_early(run.plan.config, state.best)):
            state, record = _next_round(run, state)
            if record is not None:
                lines = run.folder.append_tables(record, lines)
                if progress is not None:
                    progress(row_of(record, num_rounds, facts.task, run.columns))
        ended = "stopped-at-budget" if state.stopped else "done"
        if state.round_number < num_rounds and not state.stopped:
            charge_rest(run, state)
            ended = "stopped-early"
        scores = release_scores(run, state, scoring)
        status = ended
    finally:
        # Also on Ctrl-C or a hospital's failure: what is committed is complete and usable.
        if status == "interrupted":
            state = restore(run) or state
            run.folder.write_tables(committed_rounds(run.ledger))
        facts = replace(facts, dates=run.ledger.dates(), stopped_because=state.stopped or None)
        summary = close(run, state, status=status, facts=facts, scores=scores)
    return summary


def _next_round(run: RunUnderWay, before: RoundState) -> tuple[RoundState, RoundRecord | None]:
    """Return the state after one more round, and what was committed of it; None where the budget ends the run."""
    started = time.perf_counter()
    plan, config, round_number = run.plan, run.plan.config, before.round_number + 1
    # 1. Who takes part, and with how much noise, so that nobody overspends.
    state, assignments = within_budget(plan, before, round_number)
    if state.stopped:
        return state, None
    # 2. Charge the ledger before anything leaves a hospital: what is lost on the way may have been seen.
    entries = entries_of(plan, state, assignments)
    run.ledger.charge(entries)
    # 3. Ask those whom the strategy wants to train, and who are there.
    silent = draw_dropouts(config, [a.hospital_id for a in assignments], round_number)
    secure = secure_sum_for(plan, assignments, run_id=state.run_id, roster=run.roster, silent=silent)
    absent = {} if secure else silent
    least = config.aggregation.min_survivors
    asked = ask(run.link, run.strategy, state.arrays, assignments, absent, least, state.constants)
    # 4. Add up what they send, exactly.
    summed = add_up(run.link, asked, secure)
    # 5. Release the sum, with the noise that the cell adds to it.
    memory = noise_memory(plan, state, round_number)
    replies, released = release(plan, state.arrays, assignments, summed, run.source, memory)
    # 6. Let the strategy step, which sees nothing else of the round.
    arrays = step(run.strategy, round_number, state.arrays, replies)
    state = replace(
        state,
        round_number=round_number,
        arrays=arrays,
        account=state.account.charged(entries),
        max_grad_norm=_next_clip(config, state.max_grad_norm, released.quantile),
        memory=released.memory,
    )
    # 7. Evaluate the model that comes of it at every hospital, where it is to be tested.
    evaluated = _evaluated(run, state) if is_tested(plan, state) else unevaluated(run.columns)
    # 8. Commit model, round and ledger together: the round counts, or nothing of it does.
    came = (summed.answered, summed.outcome, evaluated, time.perf_counter() - started)
    record, best = commit(run, state, assignments, *came, noise_before=before.noise_multipliers)
    return replace(state, attempt=1, best=best), record


def _evaluated(run: RunUnderWay, state: RoundState) -> Evaluated:
    return evaluate_model(run.link, run, run.measuring, state.round_number, state.arrays, state.constants)


def _next_clip(config: Config, max_grad_norm: float, quantile: float | None) -> float:
    privacy = config.privacy
    if quantile is None:
        return max_grad_norm
    return next_clip(max_grad_norm, quantile, float(privacy.target_quantile or 0.0), privacy.clip_learning_rate or 0.0)
