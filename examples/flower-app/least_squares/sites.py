"""What all agreed on, and who they are: on SuperNodes from files, in Flower's simulation from a seed that all know."""

from pathlib import Path
from typing import Any

from flwr.app import Context

from least_squares.data import MOST_EXAMPLES
from wardround.clients.secagg import site_from_context
from wardround.secagg import Roster, Site, read_roster, simulated_roster, simulated_site

SEED = 1
AGREED: dict[str, Any] = {"max_update": 2.0, "max_weight": MOST_EXAMPLES, "settings": b"least squares 1.0.0"}
"""What server and hospitals state alike; a hospital refuses a server that proposes anything else."""


def site_of(context: Context) -> Site:
    """Return the site of this node; simulated keys are for nodes that have what simulated ones have, and no more."""
    if set(context.node_config) != {"partition-id", "num-partitions"}:
        return site_from_context(context)
    names = simulated_names(int(context.node_config["num-partitions"]))
    name = names[int(context.node_config["partition-id"])]
    return simulated_site(SEED, name, names, min_survivors=min_survivors(len(names)), max_colluding=0)


def roster_of(path: str, num_nodes: int) -> Roster:
    """Return the server's roster: the file's, or of simulated hospitals where there is none."""
    if path:
        return read_roster(Path(path))
    return simulated_roster(SEED, simulated_names(num_nodes), min_survivors=min_survivors(num_nodes), max_colluding=0)


def simulated_names(num_nodes: int) -> tuple[str, ...]:
    """Return the names of simulated hospitals."""
    return tuple(f"hospital-{number}" for number in range(num_nodes))


def min_survivors(num_nodes: int) -> int:
    """Return how many hospitals a sum must have: one may drop out."""
    return max(2, num_nodes - 1)
