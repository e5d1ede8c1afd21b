"""A program: a Ray cluster of two nodes, one of which is killed while its hospitals train; what comes of three waves.

One node says that it has two GPUs, the other that it has one, and each of two workers asks for one: what asks for
nothing, Ray places at random. Printed is whether replies, sums and what hospitals keep are those of a calm
process, and that a node was killed.
"""

import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from toy_hospital import NODE_IDS, federation, initial_arrays, make_app, messages

from wardround.errors import WardroundError
from wardround.simulations.engines.grid import SimulatedGrid
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.ray_grid import RayGrid
from wardround.wire import array_record

WEIGHTS = dict.fromkeys(NODE_IDS, 0.125)


def app_on(doomed: str, marker: Path, kept_numbers: int) -> ClientApp:
    """Return the toy's app; in the second wave it hangs on one of the nodes, until that is gone."""
    import ray

    toy, app = make_app(), ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if kept_numbers:
            context.state["kept"] = array_record({"kept": np.full(kept_numbers, context.node_id, dtype=np.float64)})
        is_there = doomed and ray.get_runtime_context().get_node_id() == doomed
        if is_there and message.content["config"]["server-round"] == 2:
            marker.touch()
            threading.Event().wait(60)
        return toy(message, context)

    return app


def waves(grid: SimulatedGrid) -> list[Any]:
    """Return everything that a server sees of three summed waves."""
    seen = []
    for number in (1, 2, 3):
        replies, total = grid.send_and_sum(messages(array_record(initial_arrays()), WEIGHTS, server_round=number))
        facts = [(reply.metadata.src_node_id, reply.content["metrics"]["seen"]) for reply in replies]
        seen.append(({name: array.tolist() for name, array in total.items()}, facts))
    return seen


def main(folder: Path, kept_numbers: int) -> None:
    """Run the waves on both."""
    calm = waves(InlineGrid(lambda: app_on("", folder, 0), federation()))
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 2})
    second = cluster.add_node(num_cpus=1, num_gpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    marker, doomed = folder / "marker", second.node_id

    def kill() -> None:
        while not marker.exists():
            threading.Event().wait(0.05)
        cluster.remove_node(second, allow_graceful=False)

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    make = partial(app_on, doomed, marker, kept_numbers)
    with RayGrid(make, federation(), num_workers=2, gpus_per_worker=1.0) as grid:
        try:
            print(waves(grid) == calm, flush=True)
        except WardroundError as error:
            print(error, flush=True)
        print("killed" if marker.exists() else "not killed", flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
