"""What benchmarks/secure_aggregation.py compares ours with: the clients, and a round as the server runs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

STAGES = ("advertise", "share", "mask", "confirm", "unmask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One federation.

    Attributes:
        num_shares: with Flower's SecAgg+, between how many clients a key is shared, and with how many a mask;
            num_clients is everybody.
        min_survivors: with ours, from which the same follows (`secagg.shape_of`); everybody where it is about half.
        num_rounds: timed rounds after the first.
    """

    num_clients: int
    num_parameters: int
    num_dropouts: int
    num_shares: int
    min_survivors: int
    num_rounds: int

    @property
    def threshold(self) -> int:
        """Shares that give a key back: more than half."""
        return self.num_shares // 2 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How clients are averaged.

    Attributes:
        app: returns the client, given the case and a folder with the sites' keys.
        rounds: returns a function that runs a round and returns the average, given a grid, the case and the folder.
        drop_stage: returns the stage from which a client is gone, "" for none; training is "mask".
    """

    app: Callable[[Case, Path], Any]
    rounds: Callable[[Any, Case, Path], Callable[[int], np.ndarray]]
    drop_stage: Callable[[int, Case], str]


def initial_model(num_parameters: int) -> np.ndarray:
    """Return weights of the size that a network's have, (num_parameters,), float32."""
    return (0.05 * np.random.default_rng(7).standard_normal(num_parameters)).astype(np.float32)


def trained(model: np.ndarray, client: int) -> tuple[np.ndarray, int]:
    """Return what a client sends: weights and number of examples."""
    return model * np.float32(1 + client / 1000), num_examples(client)


def num_examples(client: int) -> int:
    return 100 + client % 7


def gone_in_training(client: int, case: Case) -> str:
    return "mask" if client < case.num_dropouts else ""


def gone_sometime(client: int, case: Case) -> str:
    return STAGES[client % len(STAGES)] if client < case.num_dropouts else ""


def exact_average(case: Case, drop_stage: Callable[[int, Case], str]) -> np.ndarray:
    """Return the weighted mean of what those clients send who last until they have sent it, summed in float64."""
    model = initial_model(case.num_parameters)
    total, examples = np.zeros(case.num_parameters), 0
    for client in range(case.num_clients):
        if drop_stage(client, case) in ("", "confirm", "unmask"):
            total += trained(model, client)[0].astype(np.float64) * num_examples(client)
            examples += num_examples(client)
    return total / examples


def plain_app(case: Case, folder: Path, mods: Sequence[Any] | None = None) -> ClientApp:
    """Return the client of plain averaging, or what stands behind a mod."""
    app = ClientApp(mods=[partial(vanish, gone_in_training, case)] if mods is None else list(mods))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = message.content["arrays"]["weights"].numpy()
        weights, examples = trained(model, int(context.node_config["partition-id"]))
        content = RecordDict({"metrics": MetricRecord({"num-examples": examples})})
        others = {name: array for name, array in message.content["arrays"].items() if name != "weights"}
        content["arrays"] = ArrayRecord({"weights": Array(weights), **others})
        return Message(content, reply_to=message)

    return app


def vanish(
    drop_stage: Callable[[int, Case], str], case: Case, message: Message, context: Context, call_next: Any
) -> Message:
    """Raise if the client is gone at this stage of the protocol, whose messages name it but in plain averaging."""
    stage = message.content["secagg"]["stage"] if "secagg" in message.content else "mask"
    client = int(context.node_config["partition-id"])
    if drop_stage(client, case) == stage:
        raise ConnectionError(f"client {client} drops out")
    return call_next(message, context)


def flower_app(case: Case, folder: Path) -> ClientApp:
    """Return the client of Flower's SecAgg+, which works with a NumPyClient alone."""
    from flwr.client import NumPyClient
    from flwr.client.mod import secaggplus_mod

    class Client(NumPyClient):
        def __init__(self, number: int) -> None:
            self.number = number

        def fit(self, parameters: list[np.ndarray], config: object) -> tuple[list[np.ndarray], int, dict]:
            if gone_in_training(self.number, case):
                raise ConnectionError(f"client {self.number} drops out")
            weights, examples = trained(parameters[0], self.number)
            return [weights], examples, {}

    return ClientApp(
        client_fn=lambda context: Client(int(context.node_config["partition-id"])).to_client(), mods=[secaggplus_mod]
    )


def plain_rounds(grid: Any, case: Case, folder: Path) -> Callable[[int], np.ndarray]:
    """Return a function that runs a round of FedAvg and returns the average."""
    from flwr.serverapp.strategy import FedAvg

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=case.num_clients, min_available_nodes=case.num_clients)
    model = initial_model(case.num_parameters)

    def run_round(round_number: int) -> np.ndarray:
        arrays = ArrayRecord({"weights": Array(model)})
        messages = strategy.configure_train(round_number, arrays, ConfigRecord(), grid)
        average, _ = strategy.aggregate_train(round_number, grid.send_and_receive(list(messages)))
        return average["weights"].numpy()

    return run_round


def flower_rounds(grid: Any, case: Case, folder: Path) -> Callable[[int], np.ndarray]:
    """Return a function that runs a round of Flower's SecAggPlusWorkflow and returns the average."""
    from flwr.common import ndarrays_to_parameters
    from flwr.compat.common.recorddict_compat import parameters_to_arrayrecord
    from flwr.server import LegacyContext, SimpleClientManager
    from flwr.server.compat.grid_client_proxy import GridClientProxy
    from flwr.server.strategy import FedAvg
    from flwr.server.workflow import SecAggPlusWorkflow
    from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key

    manager = SimpleClientManager()
    for node_id in grid.get_node_ids():
        manager.register(GridClientProxy(node_id, grid, grid.run.run_id))
    bare = Context(run_id=grid.run.run_id, node_id=0, node_config={}, state=RecordDict(), run_config={})
    strategy = FedAvg(fraction_evaluate=0.0, min_fit_clients=case.num_clients, min_available_clients=case.num_clients)
    context = LegacyContext(bare, strategy=strategy, client_manager=manager)
    workflow = SecAggPlusWorkflow(case.num_shares, case.threshold)
    model = initial_model(case.num_parameters)

    def run_round(round_number: int) -> np.ndarray:
        parameters = ndarrays_to_parameters([model])
        context.state.array_records[MAIN_PARAMS_RECORD] = parameters_to_arrayrecord(parameters, keep_input=True)
        context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: round_number})
        workflow(grid, context)
        (average,) = context.state.array_records[MAIN_PARAMS_RECORD].to_numpy_ndarrays()
        # A halted protocol leaves the model as it was, and says nothing.
        if np.array_equal(average, model):
            raise RuntimeError("Flower's SecAgg+ halted: see its log")
        return average

    return run_round
