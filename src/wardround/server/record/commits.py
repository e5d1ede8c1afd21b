"""What a run is made of between two rounds, and the one transaction that makes a round count.

Checkpoint first, durable, then model, round and ledger together; what a resumed run needs is in that commit or follows
from the seed. What is left out on purpose: what happens in a round (see `loop`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from flwr.serverapp.strategy import Strategy

from wardround.digests import array_digest
from wardround.errors import ProtocolError
from wardround.parsing import sound
from wardround.privacy.ledger import Ledger
from wardround.privacy.spending import account_from_ledger
from wardround.rounds import Assignment, Evaluation
from wardround.run_facts import RunFacts
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState
from wardround.server.record.beginnings import begun_with, committed_rounds
from wardround.server.record.noise_files import drop_noise, read_noise, write_noise
from wardround.server.record.outcomes import TrainedRound
from wardround.server.record.records import Closing, Opening, RoundRecord, read_record_text, record_text
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.sameness import check_same_run
from wardround.server.record.strategy_state import read_strategy_state, restore_strategy_state
from wardround.server.record.summaries import LedgerHead, Summary
from wardround.server.record.summary import build_summary
from wardround.server.record.tables import hospital_rows, round_row

__all__ = ["close", "commit", "record_of", "restore"]


@sound(ProtocolError, "the last round is not as it was committed", "restore the run's folder from a backup")
def restore(plan: FederationPlan, ledger: Ledger, folder: RunFolder, strategy: Strategy) -> RoundState | None:
    """Return the state after the last committed round, the strategy's memory put back; None before round 0."""
    rounds = ledger.rounds()
    if not rounds:
        return None
    check_same_run(plan, begun_with(read_record_text(RoundRecord, rounds[0][1])), folder)
    round_number, text = rounds[-1]
    record = read_record_text(RoundRecord, text)
    tensors, values = folder.read_checkpoint(record.checkpoint, record.sha256)
    model = {key.removeprefix("model/"): array for key, array in tensors.items() if key.startswith("model/")}
    memory = {key.removeprefix("strategy/"): array for key, array in tensors.items() if key.startswith("strategy/")}
    restore_strategy_state(strategy, memory, values)
    return RoundState(
        run_id=record.run_id,
        round_number=round_number,
        # Nobody knows what was seen of a round that was charged but not committed: the next one is another release.
        attempt=ledger.num_attempts(record.run_id, round_number + 1) + 1,
        arrays=model,
        account=account_from_ledger(ledger, plan.target_deltas),
        noise_multipliers=record.noise_multipliers,
        max_grad_norm=record.max_grad_norm,
        left=record.left,
        stopped="",
        memory=read_noise(folder, round_number, record.noise_memory),
        other_versions=folder.other_versions(),
    )


def record_of(
    plan: FederationPlan,
    state: RoundState,
    assignments: Sequence[Assignment],
    trained: TrainedRound,
    evaluations: Mapping[str, Evaluation],
    seconds: float,
    opening: Opening | None = None,
) -> RoundRecord:
    """Return what is kept of a round beside model and ledger; round 0 says what the run began with."""
    what = (plan, state.account, state.round_number, assignments, trained.executions, evaluations)
    return RoundRecord(
        run_id=state.run_id,
        attempt=state.attempt,
        round_row=round_row(*what, seconds),
        hospital_rows=hospital_rows(*what),
        noise_multipliers=state.noise_multipliers,
        max_grad_norm=state.max_grad_norm,
        left=state.left,
        other_versions=state.other_versions,
        target_deltas=plan.target_deltas,
        abandoned=trained.abandoned,
        dropped=trained.left_out,
        num_scrubbed={name: m.num_scrubbed for name, m in trained.measures.items() if m.num_scrubbed},
        opening=opening,
    )


def commit(
    ledger: Ledger,
    folder: RunFolder,
    strategy: Strategy,
    state: RoundState,
    record: RoundRecord,
    released: Sequence[str],
) -> RoundRecord:
    """Make the round count: checkpoint first, durable, then one ledger transaction that names it.

    `released` are the charge_ids of what left a hospital.

    Returns:
        The record as it was committed.
    """
    memory, values, forgotten = read_strategy_state(strategy)
    tensors = {f"model/{name}": array for name, array in state.arrays.items()}
    tensors |= {f"strategy/{name}": array for name, array in memory.items()}
    checkpoint, sha256 = folder.write_checkpoint(state.round_number, tensors, values)
    record = replace(
        record,
        strategy_forgets=forgotten,
        # Made of the arrays, not of the file: model.safetensors is held to it, too.
        model=array_digest(state.arrays).hex(),
        checkpoint=checkpoint,
        sha256=sha256,
        noise_memory=write_noise(folder, state.round_number, state.memory),
    )
    ledger.commit_round(state.run_id, state.round_number, released, record_text(record))
    folder.drop_checkpoints_before(state.round_number - 1)
    drop_noise(folder, but=state.round_number if state.memory else None)
    return record


def close(
    plan: FederationPlan, ledger: Ledger, folder: RunFolder, state: RoundState, *, status: str, facts: RunFacts
) -> Summary:
    """Book how the run ended, for now or for good, and write summary.json of what the ledger then holds; return it.

    Args:
        plan: of the run.
        ledger: of the run.
        folder: of the run.
        state: after the last committed round.
        status: "done", "stopped-at-budget" or "interrupted".
        facts: what only the starter of the run knows, which the summary takes over.
    """
    if status != "interrupted":
        drop_noise(folder)
    closing = Closing(status=status, facts=facts)
    ledger.close_run(state.run_id, state.round_number, record_text(closing))
    count, digest = ledger.head
    account = account_from_ledger(ledger, plan.target_deltas)
    summary = build_summary(
        plan, account, committed_rounds(ledger), closing=closing, head=LedgerHead(count=count, digest=digest)
    )
    folder.write_summary(summary)
    return summary
