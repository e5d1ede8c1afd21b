"""What a run is made of between two rounds, and the one transaction that makes a round count.

Checkpoint first, durable, then model, round and ledger together; what a resumed run needs is in that commit or follows
from the seed. What is left out on purpose: what happens in a round (see `loop`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flwr.serverapp.strategy import Strategy

from wardround.digests import array_digest
from wardround.errors import ProtocolError
from wardround.exact_sums import Arrays
from wardround.parsing import sound
from wardround.privacy.entries import charge_id
from wardround.privacy.ledger import Ledger
from wardround.privacy.spending import Account, account_from_ledger
from wardround.rounds import Assignment
from wardround.run_facts import RunFacts
from wardround.score_sums import ReleasedSums
from wardround.server.plan.best import Best
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState
from wardround.server.record.beginnings import begun_with, committed_rounds, opening_in
from wardround.server.record.evaluated import Evaluated
from wardround.server.record.keeping import best_of, best_with, kept_record
from wardround.server.record.noise_files import drop_noise, read_noise, write_noise
from wardround.server.record.records import (
    Closing,
    Opening,
    Outcome,
    RoundRecord,
    Saved,
    noise_after,
    read_record_text,
    record_text,
)
from wardround.server.record.run_folder import PERSONAL, RunFolder
from wardround.server.record.sameness import check_same_run
from wardround.server.record.strategy_state import read_strategy_state, restore_strategy_state
from wardround.server.record.summaries import LedgerHead, Summary
from wardround.server.record.summary import build_summary
from wardround.server.record.tables import table_rows
from wardround.server.record.tensors import part_of
from wardround.strategies import kept_models

__all__ = [
    "NO_SCORES",
    "KeptRun",
    "ScoreRelease",
    "close",
    "commit",
    "kept_model",
    "released_before",
    "restore",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """A run, and where it is kept.

    Attributes:
        plan: who takes part, with which noise.
        strategy: any Flower strategy; the one thing here that remembers.
        ledger: charges and committed rounds.
        folder: all else.
        columns: further scores of every round, by which it is evaluated; None where an earlier version began the run.
    """

    plan: FederationPlan
    strategy: Strategy
    ledger: Ledger
    folder: RunFolder
    columns: tuple[str, ...] | None = None

    @property
    def account(self) -> Account:
        """Everything that the ledger charged."""
        return account_from_ledger(self.ledger, self.plan.target_deltas)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRelease:
    """What was released of the test records, None of nothing, and the charges that are booked as released with it."""

    sums: ReleasedSums | None = None
    released: tuple[str, ...] = ()


NO_SCORES = ScoreRelease()


@sound(ProtocolError, "the last round is not as it was committed", "restore the run's folder from a backup")
def restore(run: KeptRun) -> RoundState | None:
    """Return the state after the last committed round, the strategy's memory put back; None before round 0."""
    opening = opening_in(run.ledger)
    if opening is None:
        return None
    check_same_run(run.plan, opening, run.folder)
    records = committed_rounds(run.ledger)
    record, round_number = records[-1], records[-1].round_row.round
    tensors, values = run.folder.read_checkpoint(record.saved.checkpoint, record.saved.sha256)
    restore_strategy_state(run.strategy, part_of(tensors, "strategy"), values)
    return RoundState(
        run_id=record.run_id,
        round_number=round_number,
        # Nobody knows what was seen of a round that was charged but not committed: the next one is another release.
        attempt=run.ledger.num_attempts(record.run_id, round_number + 1) + 1,
        arrays=part_of(tensors, "model"),
        account=run.account,
        noise_multipliers=noise_after(records),
        max_grad_norm=record.max_grad_norm,
        left=record.left,
        stopped="",
        memory=read_noise(run.folder, round_number, record.saved.noise_memory),
        other_versions=run.folder.other_versions(),
        constants=opening.constants,
        best=best_of(run.plan.config, records),
    )


@sound(ProtocolError, "how the run ended is not as it was booked", "restore the run's folder from a backup")
def released_before(run: KeptRun, round_number: int) -> ReleasedSums | None:
    """Return what was released of the test records when the run ended with that round's model; None where nothing."""
    closings = (read_record_text(Closing, text).test_sums for text in reversed(run.ledger.closings()))
    return next((sums for sums in closings if sums is not None and sums.round == round_number), None)


def commit(
    run: KeptRun,
    state: RoundState,
    assignments: Sequence[Assignment],
    answered: Sequence[Assignment],
    outcome: Outcome,
    evaluated: Evaluated,
    seconds: float,
    *,
    noise_before: Mapping[str, float],
    opening: Opening | None = None,
) -> tuple[RoundRecord, Best | None]:
    """Make the round count: checkpoint first, durable, then one ledger transaction that names it.

    The state is that after the round. Assignments are of the whole cohort, and those of them are `answered` whose
    updates left their hospitals. The noise before is by hospital, as the rounds before were committed with; round 0
    has none, and an opening.

    Returns:
        What is kept of the round beside model and charges, and the best of the models so far.
    """
    completed = {assignment.hospital_id for assignment in answered}
    of_round = run.plan, state.account, state.round_number, assignments, completed, evaluated, seconds
    row, hospital_rows = table_rows(*of_round, attempt=state.attempt)
    record = RoundRecord(
        run_id=state.run_id,
        attempt=state.attempt,
        round_row=row,
        hospital_rows=hospital_rows,
        noise_multipliers=_changes(noise_before, state.noise_multipliers),
        max_grad_norm=state.max_grad_norm,
        left=state.left,
        other_versions=state.other_versions,
        target_deltas=run.plan.target_deltas if opening is not None else {},
        outcome=outcome,
        saved=_save(run, state),
        class_counts=evaluated.class_counts,
        standard_errors=evaluated.standard_errors or None,
        hospital_errors=evaluated.hospital_errors,
        opening=opening,
    )
    released = [charge_id(state.run_id, a.round_number, a.attempt, a.hospital_id) for a in answered]
    run.ledger.commit_round(state.run_id, state.round_number, released, record_text(record))
    best = best_with(run.plan.config, state.best, record, run.columns)
    kept = {best.round_number} if best and run.plan.config.evaluation.keep == "best" else set()
    run.folder.drop_checkpoints_before(state.round_number - 1, but=kept)
    drop_noise(run.folder, but=state.round_number if state.memory else None)
    return record, best


def _changes(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {} if now is before else {name: noise for name, noise in now.items() if before.get(name) != noise}


def _save(run: KeptRun, state: RoundState) -> Saved:
    memory, values, forgotten = read_strategy_state(run.strategy)
    tensors = {f"model/{name}": array for name, array in state.arrays.items()}
    tensors |= {f"strategy/{name}": array for name, array in memory.items()}
    checkpoint, sha256 = run.folder.write_checkpoint(state.round_number, tensors, values)
    return Saved(
        strategy_forgets=forgotten,
        # Made of the arrays, not of the file: model.safetensors is held to it, too.
        model=array_digest(state.arrays).hex(),
        checkpoint=checkpoint,
        sha256=sha256,
        noise_memory=write_noise(run.folder, state.round_number, state.memory),
        personal=None if (own := _personal(run)) is None else array_digest(own).hex(),
    )


def _personal(run: KeptRun) -> Arrays | None:
    """Return what is each hospital's own, by "hospital/parameter"; None where nothing is."""
    models = kept_models(run.strategy)
    if models is None:
        return None
    return {f"{hospital}/{name}": array for hospital, own in models.items() for name, array in own.items()}


def close(
    run: KeptRun,
    state: RoundState,
    *,
    status: str,
    facts: RunFacts,
    scores: ScoreRelease,
) -> Summary:
    """Book how the run ended, for now or for good, and write its model, and summary.json of what the ledger then holds.

    The state is that after the last committed round; status and facts are those of `Closing`.
    """
    records = committed_rounds(run.ledger)
    metadata = begun_with(records[0]).model_metadata
    run.folder.write_model(kept_model(run, state, records), metadata)
    if (own := _personal(run)) is not None:
        run.folder.write_model(own, metadata, PERSONAL)
    if status != "interrupted":
        drop_noise(run.folder)
    closing = Closing(status=status, facts=facts, test_sums=scores.sums)
    run.ledger.close_run(state.run_id, state.round_number, record_text(closing), scores.released)
    count, digest = run.ledger.head
    head = LedgerHead(count=count, digest=digest)
    summary = build_summary(run.plan, run.account, records, closing=closing, head=head)
    run.folder.write_summary(summary)
    return summary


def kept_model(run: KeptRun, state: RoundState, records: Sequence[RoundRecord]) -> Arrays:
    """Return the parameters that are the run's after these records: the last ones, or the best."""
    kept = kept_record(run.plan.config, records)
    if kept.round_row.round == state.round_number:
        return state.arrays
    tensors = run.folder.read_checkpoint(kept.saved.checkpoint, kept.saved.sha256)[0]
    return part_of(tensors, "model")
