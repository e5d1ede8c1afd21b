"""The round loop: plan, charge, train, sum, step, evaluate, commit; from round 0 or from the last committed round.

Order is the promise here. The ledger is charged before anything is sent; a round counts once model, tables, ledger and
everything drawn are committed in one transaction; what a resumed run needs is in that commit or follows from the seed.
A round that was charged and not committed is done again as a charge of its own, with noise of its own.
What is left out on purpose: how messages travel (any Flower grid will do) and the report page.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from wardround.config import Config
from wardround.errors import ConfigError
from wardround.identity import source_of
from wardround.privacy.clipping import next_clip
from wardround.privacy.ledger import Ledger, open_ledger
from wardround.secagg import Roster, simulated_roster
from wardround.server.plan.budget import entries_of, within_budget
from wardround.server.plan.dropouts import draw_dropouts
from wardround.server.plan.margins import rounding_distance
from wardround.server.plan.planning import assign_round
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState
from wardround.server.record.commits import close, commit, record_of, restore
from wardround.server.record.outcomes import TrainedRound
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.sameness import check_untouched
from wardround.server.round.beginning import begin, plan_of_run
from wardround.server.round.hospitals import HospitalLink
from wardround.server.round.introductions import connect
from wardround.server.round.release import release_sum
from wardround.server.round.secure_terms import secure_sum_for
from wardround.server.round.sums import SecureSum
from wardround.streams import Source, SystemSource

__all__ = ["RoundRow", "federate"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """What may be watched of a committed round.

    Attributes:
        round_number: 0 is before training.
        num_rounds: planned.
        loss: mean test loss; None, as the metric is, where nothing is measured: between real sites.
        metric_name: auc where it is defined, accuracy elsewhere; r2 for regression.
        metric: its value, averaged over hospitals by test records.
        epsilon_max: largest epsilon any hospital has spent so far.
    """

    round_number: int
    num_rounds: int
    loss: float | None
    metric_name: str
    metric: float | None
    epsilon_max: float


def federate(
    config: Config,
    grid: Grid,
    folder: RunFolder,
    initial: Arrays,
    *,
    strategy: Strategy,
    facts: Mapping[str, Any],
    planned: FederationPlan | None = None,
    progress: Callable[[RoundRow], None] | None = None,
    roster: Roster | None = None,
    timeout_seconds: float | None = None,
) -> dict[str, Any]:
    """Run all rounds that are not yet committed in the folder; return the summary, which is also written there.

    Args:
        config: all settings.
        grid: any Flower grid whose nodes run the hospitals' ClientApp.
        folder: of the run; an earlier run in it is taken up after its last committed round.
        initial: parameters before round 1.
        strategy: that the settings name (see `strategies.strategy_of`), as it was made: it has seen no round.
        planned: the plan, where it was made before anybody was asked; None makes it of what the hospitals say.
        facts: entries for the summary that only the caller knows.
        progress: called after every committed round.
        roster: of the sites, for secure aggregation; None for simulated hospitals, whose keys follow from the seed.
        timeout_seconds: that a site's reply is waited for; then it is left out. None waits for ever.

    Raises:
        WardroundError: the run stopped; what is committed stays, and it can be resumed.
    """
    names = () if roster is None else tuple(roster.verify_keys)
    link = connect(grid, are_sites=roster is not None, settings=config, names=names, timeout_seconds=timeout_seconds)
    source = source_of(config, is_real=link.are_sites)
    facts = {**facts, "noise": "system" if isinstance(source, SystemSource) else "seeded"}
    with folder.alone(), open_ledger(folder.ledger) as ledger:
        check_untouched(ledger, folder)
        num_parameters = sum(array.size for array in initial.values())
        plan, left = plan_of_run(config, link, ledger, num_parameters, names, planned)
        secure = _secure(plan, link, roster)
        state = restore(plan, ledger, folder, strategy) or begin(plan, ledger, folder, link, strategy, initial)
        state = replace(state, left={**left, **state.left})
        if roster is not None:
            state = _give_up_interrupted(plan, ledger, folder, link, strategy, state)
        records = [json.loads(text) for _, text in ledger.rounds()]
        folder.write_tables(records)
        _tell(progress, plan, records[-1], facts["task"])
        status = "interrupted"
        try:
            while state.round_number < config.training.num_rounds and not state.stopped:
                state, record = _next_round(plan, ledger, folder, link, strategy, state, secure, source)
                if record is not None:
                    records.append(record)
                    folder.append_tables(record)
                    _tell(progress, plan, record, facts["task"])
            status = "stopped-at-budget" if state.stopped else "done"
        finally:
            # Also on Ctrl-C or a hospital's failure: what is committed is complete and usable.
            if status == "interrupted":
                state = restore(plan, ledger, folder, strategy) or state
                records = [json.loads(text) for _, text in ledger.rounds()]
                folder.write_tables(records)
            folder.write_model(state.arrays)
            facts = {**facts, "dates": ledger.dates()} | ({"stopped_because": state.stopped} if state.stopped else {})
            summary = close(plan, ledger, folder, state, status=status, facts=facts)
        return summary


def _secure(plan: FederationPlan, link: HospitalLink, roster: Roster | None) -> Callable[..., SecureSum] | None:
    """Return what says how a round is summed by secure aggregation; None where another protocol is set."""
    aggregation = plan.config.aggregation
    numbers = {"min_survivors": aggregation.min_survivors, "max_colluding": aggregation.max_colluding}
    if aggregation.protocol != "secagg+":
        return None
    for name, value in numbers.items():
        if roster is not None and getattr(roster, name) != value:
            raise ConfigError(
                f"{name.replace('_', '-')} = {value} must be the {getattr(roster, name)} of the roster that the sites "
                "agreed on ([aggregation]): set that, or agree on a new roster"
            )
    known = roster or simulated_roster(plan.config.federation.seed, plan.names, **numbers)
    return partial(secure_sum_for, plan, roster=known, real_sites=roster is not None, node_of=link.node_of)


def _give_up_interrupted(
    plan: FederationPlan, ledger: Ledger, folder: RunFolder, link: HospitalLink, strategy: Strategy, state: RoundState
) -> RoundState:
    """Commit the round that real sites were in when the run stopped as abandoned: they answer in a round once."""
    round_number, attempt = state.round_number + 1, state.attempt - 1
    charged = [
        entry for entry in ledger.entries() if (entry.run_id, entry.round_number) == (state.run_id, round_number)
    ]
    if not charged:
        return state
    started = time.perf_counter()
    noise = dict(state.noise_multipliers) | {entry.hospital_id: entry.event.noise_multiplier for entry in charged}
    cohort = [entry.hospital_id for entry in charged]
    assignments = assign_round(plan, cohort, round_number, noise, state.max_grad_norm, attempt)
    state = replace(state, round_number=round_number, attempt=attempt, noise_multipliers=noise)
    evaluations = link.evaluate(strategy, state.arrays, round_number)
    reason = "the run was interrupted in it, and sites do not redo a round"
    seconds = time.perf_counter() - started
    record = record_of(
        plan, state, assignments, TrainedRound(arrays=None, executions={}, abandoned=reason), evaluations, seconds
    )
    commit(ledger, folder, strategy, state, record, [])
    return replace(state, attempt=1)


def _next_round(
    plan: FederationPlan,
    ledger: Ledger,
    folder: RunFolder,
    link: HospitalLink,
    strategy: Strategy,
    state: RoundState,
    secure: Callable[..., SecureSum] | None,
    source: Source,
) -> tuple[RoundState, dict[str, Any] | None]:
    started = time.perf_counter()
    config, round_number = plan.config, state.round_number + 1
    # 1. Who takes part, and with how much noise, so that nobody overspends.
    state, assignments = within_budget(plan, state, round_number)
    if state.stopped:
        return state, None
    # 2. Charge the ledger before anything leaves a hospital.
    entries = entries_of(plan, state, assignments)
    ledger.charge(entries)
    account = state.account.charged(entries)
    # 3. Local training; 4. exact sum and server step.
    silent = draw_dropouts(config, [a.hospital_id for a in assignments], round_number)
    trained = TrainedRound(arrays=None, executions={})
    if assignments:
        release = partial(
            release_sum,
            state.arrays,
            assignments=assignments,
            learning_rate=config.training.learning_rate,
            source=source,
            rounding=rounding_distance(plan, assignments),
        )
        trained = link.train(
            strategy,
            state.arrays,
            assignments,
            # With secure aggregation the silent vanish at one of its stages.
            silent=silent if secure is None else frozenset(),
            min_survivors=config.aggregation.min_survivors,
            release=release,
            secure=secure and secure(assignments, run_id=state.run_id, silent=silent),
        )
    arrays = state.arrays if trained.arrays is None else trained.arrays
    # 5. Evaluate at every hospital.
    evaluations = link.evaluate(strategy, arrays, round_number)
    # 6. Commit model, round and ledger together.
    max_grad_norm = _next_clip(config, state.max_grad_norm, trained.quantile)
    state = replace(state, round_number=round_number, arrays=arrays, account=account, max_grad_norm=max_grad_norm)
    seconds = time.perf_counter() - started
    record = record_of(plan, state, assignments, trained, evaluations, seconds)
    released = [entry.charge_id for entry in entries if entry.hospital_id in trained.executions]
    commit(ledger, folder, strategy, state, record, released)
    return replace(state, attempt=1), record


def _next_clip(config: Config, max_grad_norm: float, quantile: float | None) -> float:
    privacy = config.privacy
    if quantile is None:
        return max_grad_norm
    return next_clip(max_grad_norm, quantile, float(privacy.target_quantile or 0.0), privacy.clip_learning_rate or 0.0)


def _tell(
    progress: Callable[[RoundRow], None] | None, plan: FederationPlan, record: Mapping[str, Any], task: str
) -> None:
    if progress is not None:
        row = record["round_row"]
        name = "r2" if task == "regression" else "auc" if row["auc"] == row["auc"] is not None else "accuracy"
        progress(
            RoundRow(
                round_number=row["round"],
                num_rounds=plan.config.training.num_rounds,
                loss=row["loss"],
                metric_name=name,
                metric=row["auc" if name == "auc" else "accuracy"],
                epsilon_max=row["epsilon_max"],
            )
        )
