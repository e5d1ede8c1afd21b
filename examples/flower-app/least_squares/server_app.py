"""The server: federated averaging over all hospitals, of which it sees the sum alone."""

import json
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from least_squares.data import NUM_FEATURES
from least_squares.sites import AGREED, roster_of
from wardround.strategies import SecAggPlus

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train from zero, and write the weights to the file that the run config names `out`."""
    num_nodes = int(context.run_config["num-nodes"])
    roster = roster_of(str(context.run_config["roster"]), num_nodes)
    averaging = FedAvg(fraction_evaluate=0.0, min_train_nodes=num_nodes, min_available_nodes=num_nodes)
    strategy = SecAggPlus(averaging, roster, **AGREED)
    initial = ArrayRecord({"weights": Array(np.zeros(NUM_FEATURES, np.float32))})
    result = strategy.start(grid=grid, initial_arrays=initial, num_rounds=int(context.run_config["num-rounds"]))
    weights = result.arrays["weights"].numpy().tolist()
    print(f"weights {weights}")
    if context.run_config["out"]:
        Path(str(context.run_config["out"])).write_text(json.dumps({"weights": weights}))
