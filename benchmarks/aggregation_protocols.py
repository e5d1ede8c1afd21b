"""The protocols of benchmarks/secure_aggregation.py: for each one, the client, and a round as the server runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One federation.

    Attributes:
        num_shares: between how many clients a key is shared, and with how many a mask; num_clients is everybody.
        num_rounds: timed rounds after the first.
    """

    num_clients: int
    num_parameters: int
    num_dropouts: int
    num_shares: int
    num_rounds: int

    @property
    def threshold(self) -> int:
        """Shares that give a key back: more than half."""
        return self.num_shares // 2 + 1


def initial_model(num_parameters: int) -> np.ndarray:
    """Return weights of the size that a network's have, (num_parameters,), float32."""
    return (0.05 * np.random.default_rng(7).standard_normal(num_parameters)).astype(np.float32)


def trained(model: np.ndarray, client: int, num_dropouts: int) -> tuple[np.ndarray, int]:
    """Return what a client sends: weights and number of examples.

    Raises:
        ConnectionError: it is one of those that drop out.
    """
    if client < num_dropouts:
        raise ConnectionError(f"client {client} drops out")
    return model * np.float32(1 + client / 1000), 100 + client % 7


def exact_average(case: Case) -> np.ndarray:
    """Return the weighted mean of what the clients send, summed in float64."""
    model = initial_model(case.num_parameters)
    total, num_examples = np.zeros(case.num_parameters), 0
    for client in range(case.num_dropouts, case.num_clients):
        weights, examples = trained(model, client, 0)
        total += weights.astype(np.float64) * examples
        num_examples += examples
    return total / num_examples


def plain_app(num_dropouts: int) -> ClientApp:
    """Return the client of plain averaging."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = message.content["arrays"]["weights"].numpy()
        weights, examples = trained(model, int(context.node_config["partition-id"]), num_dropouts)
        metrics = MetricRecord({"num-examples": examples})
        content = RecordDict({"arrays": ArrayRecord({"weights": Array(weights)}), "metrics": metrics})
        return Message(content, reply_to=message)

    return app


def flower_app(num_dropouts: int) -> ClientApp:
    """Return the client of Flower's SecAgg+, which works with a NumPyClient alone."""
    from flwr.client import NumPyClient
    from flwr.client.mod import secaggplus_mod

    class Client(NumPyClient):
        def __init__(self, number: int) -> None:
            self.number = number

        def fit(self, parameters: list[np.ndarray], config: object) -> tuple[list[np.ndarray], int, dict]:
            weights, examples = trained(parameters[0], self.number, num_dropouts)
            return [weights], examples, {}

    return ClientApp(
        client_fn=lambda context: Client(int(context.node_config["partition-id"])).to_client(), mods=[secaggplus_mod]
    )


def plain_rounds(grid: Any, case: Case) -> Callable[[int], np.ndarray]:
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


def flower_rounds(grid: Any, case: Case) -> Callable[[int], np.ndarray]:
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


PROTOCOLS = {"plain": (plain_app, plain_rounds), "flower-secagg+": (flower_app, flower_rounds)}
