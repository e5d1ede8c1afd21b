"""The app as a target of attacks by its server, and the same training behind Flower's own secure sum.

    $ cd examples/flower-app
    $ python -m pytest --pyargs wardround.attacks.conformance --secagg-attacks attacked:ours

`ours` must stand. `flowers` falls, so that there is something to see.
"""

import numpy as np
from flwr.client import Client, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import Context
from least_squares.client_app import app, train
from least_squares.data import MOST_EXAMPLES, NUM_FEATURES, load_data, train_step
from least_squares.sites import AGREED, roster_of, simulated_names

from wardround.attacks.flower_secagg import FlowerSecAgg
from wardround.attacks.targets import Target
from wardround.attacks.wardround_secagg import WardroundSecAgg

NUM_NODES = 5
plain = ClientApp()
plain.train()(train)
ours = Target(
    app=app,
    plain=plain,
    protocol=WardroundSecAgg(roster=roster_of("", NUM_NODES), **AGREED),
    model={"weights": np.zeros(NUM_FEATURES, np.float32)},
    node_configs=[{"partition-id": number, "num-partitions": NUM_NODES} for number in range(NUM_NODES)],
    run_config={"learning-rate": 0.1},
)


class LeastSquares(NumPyClient):
    """The same step, in the form that Flower's mod takes."""

    def __init__(self, hospital: str) -> None:
        self.hospital = hospital

    def fit(self, parameters, config):
        """Return the weights after a step, and the number of examples."""
        trained = train_step(parameters[0], self.hospital, learning_rate=0.1)
        return [trained], len(load_data(self.hospital)[1]), {}


def client_fn(context: Context) -> Client:
    """Return the hospital of a node."""
    return LeastSquares(simulated_names(NUM_NODES)[int(context.node_config["partition-id"])]).to_client()


flowers = Target(
    app=ClientApp(client_fn, mods=[secaggplus_mod]),
    plain=ClientApp(client_fn),
    protocol=FlowerSecAgg(max_weight=float(MOST_EXAMPLES)),
    model=ours.model,
    node_configs=ours.node_configs,
)
