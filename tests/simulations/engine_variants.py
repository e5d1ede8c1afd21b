"""Every engine of the table, as the suites of the engines open it."""

from collections.abc import Callable

from flwr.clientapp import ClientApp
from toy_hospital import make_app

from wardround.config import SimulationConfig
from wardround.simulations.engines.grid import SimulatedGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.engines.opening import ENGINES

WORKERS = {"ray": (1, 2, 3)}
"""How many each engine is tried with that has any."""
VARIANTS = tuple(
    name if number is None else f"{name}-{number}" for name in ENGINES for number in WORKERS.get(name, (None,))
)


def opened(engine: str, nodes: list[Node], app: Callable[[], ClientApp] = make_app) -> SimulatedGrid:
    """Open a grid of the table's engine, "ray-2" with two workers."""
    name, _, num_workers = engine.partition("-")
    settings = SimulationConfig(engine=name, num_workers=int(num_workers) if num_workers else None)
    return ENGINES[name].open(app, nodes, settings)
