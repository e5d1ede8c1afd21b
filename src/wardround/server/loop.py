"""The round loop: plan, charge, train, sum, step, evaluate, commit; from round 0 or from the last committed round.

Order is the promise here. The ledger is charged before anything is sent; a round counts once model, tables, ledger and
everything drawn are committed in one transaction; what a resumed run needs is in that commit or follows from the seed.
What is left out on purpose: how messages travel (any Flower grid will do) and the report page.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from wardround.config import Config
from wardround.privacy.account import Account, account_from_ledger
from wardround.privacy.clipping import next_clip
from wardround.privacy.entries import Entry, entry_for
from wardround.privacy.ledger import Ledger, open_ledger
from wardround.privacy.policy import RemainingPlan, decide
from wardround.rounds import Assignment, Evaluation, Execution
from wardround.secagg import Roster, simulated_roster
from wardround.server.cohorts import draw_cohort, draw_dropouts, rounds_joined
from wardround.server.hospitals import HospitalLink, TrainedRound, connect
from wardround.server.planning import assign_round, common_noise, plan_federation
from wardround.server.plans import FederationPlan, mechanism_in
from wardround.server.release import release_sum
from wardround.server.run_folder import RunFolder
from wardround.server.sameness import check_same_run, check_untouched, identity_of
from wardround.server.secure_rounds import secure_sum_for
from wardround.server.strategy_state import read_strategy_state, restore_strategy_state
from wardround.server.summary import build_summary
from wardround.server.sums import SecureSum
from wardround.server.tables import hospital_rows, round_row
from wardround.strategies import build_strategy
from wardround.streams import NOISE, stream

__all__ = ["RoundRow", "federate", "strategy_of"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """What may be watched of a committed round.

    Attributes:
        round_number: 0 is before training.
        num_rounds: planned.
        loss: mean test loss.
        metric_name: auc where it is defined, accuracy elsewhere; r2 for regression.
        metric: its value, averaged over hospitals by test records.
        epsilon_max: largest epsilon any hospital has spent so far.
    """

    round_number: int
    num_rounds: int
    loss: float
    metric_name: str
    metric: float
    epsilon_max: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _State:
    """Everything the next round follows from, apart from the strategy's own memory."""

    run_id: str
    round_number: int
    arrays: Arrays
    account: Account
    noise_multipliers: Mapping[str, float]
    max_grad_norm: float
    left: Mapping[str, str]
    stopped: str


def federate(
    config: Config,
    grid: Grid,
    folder: RunFolder,
    initial: Arrays,
    *,
    facts: Mapping[str, Any],
    progress: Callable[[RoundRow], None] | None = None,
    roster: Roster | None = None,
) -> dict[str, Any]:
    """Run all rounds that are not yet committed in the folder; return the summary, which is also written there.

    Args:
        config: all settings.
        grid: any Flower grid whose nodes run the hospitals' ClientApp.
        folder: of the run; an earlier run in it is taken up after its last committed round.
        initial: parameters before round 1.
        facts: entries for the summary that only the caller knows.
        progress: called after every committed round.
        roster: of the sites, for secure aggregation; None for simulated hospitals, whose keys follow from the seed.

    Raises:
        WardroundError: the run stopped; what is committed stays, and it can be resumed.
    """
    link = connect(grid)
    plan = plan_federation(config, link.profiles, sum(array.size for array in initial.values()))
    strategy = strategy_of(config)
    secure = _secure(plan, link, roster)
    with folder.alone(), open_ledger(folder.ledger) as ledger:
        check_untouched(ledger, folder)
        state = _restore(plan, ledger, folder, strategy) or _begin(plan, ledger, folder, link, strategy, initial)
        records = [json.loads(text) for _, text in ledger.rounds()]
        folder.write_tables(records)
        _tell(progress, plan, records[-1], facts["task"])
        status = "interrupted"
        try:
            while state.round_number < config.training.num_rounds and not state.stopped:
                state, record = _next_round(plan, ledger, folder, link, strategy, state, secure)
                if record is not None:
                    records.append(record)
                    folder.append_tables(record)
                    _tell(progress, plan, record, facts["task"])
            status = "stopped-at-budget" if state.stopped else "done"
        finally:
            # Also on Ctrl-C or a hospital's failure: what is committed is complete and usable.
            if status == "interrupted":
                state = _restore(plan, ledger, folder, strategy) or state
                records = [json.loads(text) for _, text in ledger.rounds()]
                folder.write_tables(records)
            folder.write_model(state.arrays)
            account = account_from_ledger(ledger, plan.target_deltas)
            facts = {**facts, "stopped_because": state.stopped} if state.stopped else facts
            summary = build_summary(plan, account, records, status=status, facts=facts, folder=folder)
            folder.write_summary(summary)
        return summary


def strategy_of(config: Config) -> Strategy:
    """Return the strategy that the settings name.

    Raises:
        ConfigError: there is none, or it wants single updates where only their sum may be seen.
    """
    cell = mechanism_in(config)
    return build_strategy(config.aggregation, only_sum=cell is not None and cell.shares_noise)


def _secure(plan: FederationPlan, link: HospitalLink, roster: Roster | None) -> Callable[..., SecureSum] | None:
    """Return what makes the terms of a round's secure aggregation; None where another protocol is set."""
    aggregation = plan.config.aggregation
    if aggregation.protocol != "secagg+":
        return None
    roster = roster or simulated_roster(
        plan.config.federation.seed,
        plan.names,
        min_survivors=aggregation.min_survivors,
        max_colluding=aggregation.max_colluding,
    )
    return partial(secure_sum_for, plan, roster=roster, node_of=link.node_of)


def _next_round(
    plan: FederationPlan,
    ledger: Ledger,
    folder: RunFolder,
    link: HospitalLink,
    strategy: Strategy,
    state: _State,
    secure: Callable[..., SecureSum] | None,
) -> tuple[_State, dict[str, Any] | None]:
    started = time.perf_counter()
    config, round_number = plan.config, state.round_number + 1
    # 1. Who takes part, and with how much noise, so that nobody overspends.
    state, assignments = _within_budget(plan, state, round_number)
    if state.stopped:
        return state, None
    # 2. Charge the ledger before anything leaves a hospital.
    entries = _entries(plan, state, assignments)
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
            noise=stream(config.federation.seed, NOISE, round_number, ""),
        )
        trained = link.train(
            strategy,
            state.arrays,
            assignments,
            # With secure aggregation the silent vanish at one of its stages.
            silent=silent if secure is None else frozenset(),
            min_survivors=config.aggregation.min_survivors,
            release=lambda total, answered: release(total, answered=answered),
            secure=secure and secure(assignments, run_id=state.run_id, silent=silent),
        )
    executions = trained.executions
    arrays = state.arrays if trained.arrays is None else trained.arrays
    # 5. Evaluate at every hospital.
    evaluations = link.evaluate(strategy, arrays, round_number)
    # 6. Commit model, round and ledger together.
    max_grad_norm = _next_clip(config, state.max_grad_norm, trained.quantile)
    state = replace(state, round_number=round_number, arrays=arrays, account=account, max_grad_norm=max_grad_norm)
    record = _record(plan, state, assignments, executions, evaluations, time.perf_counter() - started)
    record["abandoned"] = trained.abandoned
    released = [entry.charge_id for entry in entries if entry.hospital_id in executions]
    _commit(ledger, folder, strategy, state, record, released)
    return state, record


def _next_clip(config: Config, max_grad_norm: float, quantile: float | None) -> float:
    privacy = config.privacy
    if quantile is None:
        return max_grad_norm
    return next_clip(max_grad_norm, quantile, float(privacy.target_quantile or 0.0), privacy.clip_learning_rate or 0.0)


def _within_budget(plan: FederationPlan, state: _State, round_number: int) -> tuple[_State, tuple[Assignment, ...]]:
    """Return the round's assignments, after dropping, re-planning or stopping as [privacy] on-budget says."""
    config = plan.config
    cohort = [name for name in draw_cohort(config, plan.names, round_number) if name not in state.left]
    assignments = assign_round(plan, cohort, round_number, state.noise_multipliers, state.max_grad_norm)
    if config.privacy.budget_epsilon is None:
        return state, assignments
    decision = decide(
        state.account,
        _entries(plan, state, assignments),
        _rounds_left(plan, state, round_number) if config.privacy.on_budget == "replan" else {},
        config.privacy.budget_epsilon,
        config.privacy.on_budget,
    )
    left = dict(state.left) | dict.fromkeys(decision.dropped, f"left out from round {round_number}: {decision.reason}")
    noise_multipliers = common_noise(plan, dict(state.noise_multipliers) | dict(decision.noise_multipliers))
    # A cohort that is all at the budget doesn't end the run while hospitals outside it have some left.
    stopped = (decision.stop and config.privacy.on_budget == "stop") or len(left) == len(plan.names)
    reason = decision.reason or "every hospital is at its budget"
    state = replace(state, left=left, noise_multipliers=noise_multipliers, stopped=reason if stopped else "")
    cohort = [name for name in cohort if name not in left]
    return state, assign_round(plan, cohort, round_number, noise_multipliers, state.max_grad_norm)


def _rounds_left(plan: FederationPlan, state: _State, round_number: int) -> dict[str, RemainingPlan]:
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


def _entries(plan: FederationPlan, state: _State, assignments: Sequence[Assignment]) -> list[Entry]:
    return [entry_for(a, state.run_id, plan.fingerprints[a.hospital_id]) for a in assignments]


def _begin(
    plan: FederationPlan, ledger: Ledger, folder: RunFolder, link: HospitalLink, strategy: Strategy, initial: Arrays
) -> _State:
    """Commit round 0: the initial model, evaluated everywhere."""
    started = time.perf_counter()
    state = _State(
        run_id=uuid.uuid4().hex[:12],
        round_number=0,
        arrays=initial,
        account=account_from_ledger(ledger, plan.target_deltas),
        noise_multipliers={hospital.profile.hospital_id: hospital.noise_multiplier for hospital in plan.hospitals},
        max_grad_norm=plan.config.privacy.max_grad_norm,
        left={},
        stopped="",
    )
    evaluations = link.evaluate(strategy, initial, 0)
    record = identity_of(plan) | _record(plan, state, (), {}, evaluations, time.perf_counter() - started)
    _commit(ledger, folder, strategy, state, record, [])
    return state


def _restore(plan: FederationPlan, ledger: Ledger, folder: RunFolder, strategy: Strategy) -> _State | None:
    """Return the state after the last committed round, the strategy's memory put back; None before round 0."""
    rounds = ledger.rounds()
    if not rounds:
        return None
    check_same_run(plan, json.loads(rounds[0][1]), folder)
    round_number, text = rounds[-1]
    record = json.loads(text)
    tensors, values = folder.read_checkpoint(record["checkpoint"], record["sha256"])
    model = {key.removeprefix("model/"): array for key, array in tensors.items() if key.startswith("model/")}
    memory = {key.removeprefix("strategy/"): array for key, array in tensors.items() if key.startswith("strategy/")}
    restore_strategy_state(strategy, memory, values)
    return _State(
        run_id=record["run_id"],
        round_number=round_number,
        arrays=model,
        # A round that was charged but not committed is done again to the same bits: the same release, charged once.
        account=account_from_ledger(ledger, plan.target_deltas, except_round=(record["run_id"], round_number + 1)),
        noise_multipliers=record["noise_multipliers"],
        max_grad_norm=record["max_grad_norm"],
        left=record["left"],
        stopped="",
    )


def _record(
    plan: FederationPlan,
    state: _State,
    assignments: Sequence[Assignment],
    executions: Mapping[str, Execution],
    evaluations: Mapping[str, Evaluation],
    seconds: float,
) -> dict[str, Any]:
    what = (plan, state.account, state.round_number, assignments, executions, evaluations)
    return {
        "run_id": state.run_id,
        "round_row": round_row(*what, seconds),
        "hospital_rows": hospital_rows(*what),
        "noise_multipliers": dict(state.noise_multipliers),
        "max_grad_norm": state.max_grad_norm,
        "left": dict(state.left),
        "target_deltas": plan.target_deltas,
        "num_scrubbed": {name: e.num_scrubbed for name, e in executions.items() if e.num_scrubbed},
    }


def _commit(
    ledger: Ledger,
    folder: RunFolder,
    strategy: Strategy,
    state: _State,
    record: dict[str, Any],
    released: Sequence[str],
) -> None:
    """Make the round count: checkpoint first, durable, then one ledger transaction that names it."""
    memory, values, record["strategy_forgets"] = read_strategy_state(strategy)
    tensors = {f"model/{name}": array for name, array in state.arrays.items()}
    tensors |= {f"strategy/{name}": array for name, array in memory.items()}
    record["checkpoint"], record["sha256"] = folder.write_checkpoint(state.round_number, tensors, values)
    ledger.commit_round(state.run_id, state.round_number, released, json.dumps(record, sort_keys=True))
    folder.drop_checkpoints_before(state.round_number - 1)


def _tell(
    progress: Callable[[RoundRow], None] | None, plan: FederationPlan, record: Mapping[str, Any], task: str
) -> None:
    if progress is not None:
        row = record["round_row"]
        name = "r2" if task == "regression" else "auc" if row["auc"] == row["auc"] else "accuracy"
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
