"""Which of several workers serves which nodes."""

from collections.abc import Sequence

from wardround.simulations.engines.nodes import Node

__all__ = ["share_out"]


def share_out(nodes: Sequence[Node], num_workers: int) -> list[list[Node]]:
    """Return the nodes of each worker, none empty, by longest processing time first.

    Source: Graham 1969, "Bounds on multiprocessing timing anomalies": at most 4/3 of the shortest possible round.
    """
    shares: list[list[Node]] = [[] for _ in range(min(num_workers, len(nodes)))]
    loads = [0.0] * len(shares)
    for node in sorted(nodes, key=lambda node: (-node.load, node.node_id)):
        # Where loads are equal (all zero, say) the emptiest worker is next.
        index = min(range(len(shares)), key=lambda i: (loads[i], len(shares[i])))
        shares[index].append(node)
        loads[index] += node.load
    return shares
