"""Our SecAgg+ in benchmarks/secure_aggregation.py: the client, a round of the strategy, and one of our round loop."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from aggregation_protocols import (
    Case,
    Protocol,
    flower_app,
    flower_rounds,
    gone_in_training,
    gone_sometime,
    initial_model,
    num_examples,
    plain_app,
    plain_rounds,
    vanish,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

MAX_UPDATE, MAX_WEIGHT = 1.0, 106.0


def write_sites(folder: Path, case: Case) -> None:
    """Write every client's key and the roster that all of them have."""
    from wardround.secagg import Roster, new_site_key, write_roster

    keys = {f"client-{number}": new_site_key(folder / f"client-{number}") for number in range(case.num_clients)}
    roster = Roster(federation="benchmark", verify_keys=keys, min_survivors=case.min_survivors)
    write_roster(folder / "roster.json", roster)


def wardround_app(case: Case, folder: Path) -> ClientApp:
    """Return the client of our SecAgg+: key and roster are read from files at every message, as on a SuperNode."""
    from wardround.clients.secagg import SecAggMod, agreed_terms
    from wardround.secagg import Site, read_site

    def site_of(context: Context) -> Site:
        name = f"client-{context.node_config['partition-id']}"
        return read_site(name, folder / name, folder / "roster.json")

    check_terms = agreed_terms(max_update=MAX_UPDATE, max_weight=MAX_WEIGHT)
    of_a_strategy = SecAggMod(site_of, check_terms=check_terms)
    of_our_loop = SecAggMod(site_of, check_terms=check_terms, has_assignment=True)

    def masked(message: Message, context: Context, call_next: Any) -> Message:
        mod = of_our_loop if "assignment" in message.content else of_a_strategy
        return mod(message, context, call_next)

    return plain_app(case, folder, [partial(vanish, gone_sometime, case), forget, masked])


def forget(message: Message, context: Context, call_next: Any) -> Message:
    """Empty what simulated clients of one process would share: a real one does all of its work itself."""
    from wardround.secagg.keys import is_signed
    from wardround.secagg.members import members_of

    is_signed.cache_clear()
    members_of.cache_clear()
    return call_next(message, context)


def wardround_rounds(grid: Any, case: Case, folder: Path) -> Callable[[int], np.ndarray]:
    """Return a function that runs a round of our strategy around FedAvg and returns the average."""
    from flwr.serverapp.strategy import FedAvg

    from wardround.secagg import read_roster
    from wardround.strategies import SecAggPlus

    averaging = FedAvg(fraction_evaluate=0.0, min_train_nodes=case.num_clients, min_available_nodes=case.num_clients)
    roster = read_roster(folder / "roster.json")
    strategy = SecAggPlus(averaging, roster, max_update=MAX_UPDATE, max_weight=MAX_WEIGHT)
    model = initial_model(case.num_parameters)

    def run_round(round_number: int) -> np.ndarray:
        arrays = ArrayRecord({"weights": Array(model)})
        messages = strategy.configure_train(round_number, arrays, ConfigRecord(), grid)
        average, _ = strategy.aggregate_train(round_number, grid.send_and_receive(list(messages)))
        return average["weights"].numpy()

    return run_round


def loop_rounds(secure: bool, grid: Any, case: Case, folder: Path) -> Callable[[int], np.ndarray]:
    """Return a function that sums a round as our round loop does: in the workers, where the engine has some."""
    from wardround import exact_sums, wire
    from wardround.rounds import Assignment, Schedule
    from wardround.secagg import read_roster
    from wardround.server.round.hospitals import HospitalLink
    from wardround.server.round.strategy_steps import Asked
    from wardround.server.round.sums import sum_replies
    from wardround.step_events import StepEvent

    model = {"weights": initial_model(case.num_parameters)}
    everybody = sum(map(num_examples, range(case.num_clients)))
    weights = {number + 1: num_examples(number) / everybody for number in range(case.num_clients)}
    names = {number + 1: f"client-{number}" for number in range(case.num_clients)}
    node_of = {name: node_id for node_id, name in names.items()}
    # As with real sites, who fails is left out of a secure round.
    roster = read_roster(folder / "roster.json") if secure else None
    link = HospitalLink(grid=grid, node_of=node_of, name_of=names, profiles=(), roster=roster)
    drops = {name: stage for number, name in enumerate(names.values()) if (stage := gone_sometime(number, case))}

    def run_round(round_number: int) -> np.ndarray:
        by_node = {
            node_id: Assignment(
                hospital_id=names[node_id],
                round_number=round_number,
                weight=weight,
                max_grad_norm=None,
                schedule=Schedule(sample_rate=1.0, expected_batch_size=1.0, num_steps=1),
                event=StepEvent(noise_multiplier=0.0, sample_rate=1.0, cell="none"),
            )
            for node_id, weight in weights.items()
        }
        content = RecordDict({"arrays": wire.array_record(model), "config": ConfigRecord()})
        messages = [
            wire.with_assignment(Message(content, dst_node_id=node_id, message_type="train"), assignment)
            for node_id, assignment in by_node.items()
        ]
        how = secure_sum(case, folder, round_number, drops) if secure else None
        asked = Asked(messages=messages, by_node=by_node, num_assigned=len(by_node), min_survivors=1, only_sum=True)
        replies, total = sum_replies(link, asked, how, {})
        active = [reply.metadata.src_node_id for reply in replies if not reply.has_error()]
        return exact_sums.mean(total, sum(weights[node_id] for node_id in active), model)["weights"]

    return run_round


def secure_sum(case: Case, folder: Path, round_number: int, drops: Mapping[str, str]) -> Any:
    """Return what our round loop sums by."""
    from wardround.secagg import Terms, read_roster, stated_digest
    from wardround.server.round.secure_terms import SecureSum

    roster = read_roster(folder / "roster.json")
    terms = Terms(
        federation=roster.federation,
        run_id="benchmark",
        round_number=round_number,
        min_survivors=roster.min_survivors,
        max_colluding=roster.max_colluding,
        payload="parameters",
        max_update=MAX_UPDATE,
        max_weight=MAX_WEIGHT,
        model_digest=bytes(32),
        settings_digest=stated_digest(b""),
    )
    return SecureSum(
        roster=roster,
        terms=terms,
        max_update=MAX_UPDATE,
        weights={f"client-{number}": float(num_examples(number)) for number in range(case.num_clients)},
        last_stages=drops,
    )


PLAIN, FLOWERS, OURS = "plain", "flower-secagg+", "wardround-secagg+"
PROTOCOLS = {
    PLAIN: Protocol(app=plain_app, rounds=plain_rounds, drop_stage=gone_in_training),
    FLOWERS: Protocol(app=flower_app, rounds=flower_rounds, drop_stage=gone_in_training),
    OURS: Protocol(app=wardround_app, rounds=wardround_rounds, drop_stage=gone_sometime),
}
ON_OUR_ENGINE = {
    PLAIN: Protocol(app=plain_app, rounds=partial(loop_rounds, False), drop_stage=gone_in_training),
    OURS: Protocol(app=wardround_app, rounds=partial(loop_rounds, True), drop_stage=gone_sometime),
}
