"""What runs in a Ray worker process. It imports little: start-up is paid by every worker of every simulation."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from flwr.app import ArrayRecord, RecordDict

from wardround.simulations.engines.envelopes import Envelope, unpack
from wardround.simulations.engines.gpu_shares import keep_to_share
from wardround.simulations.engines.nodes import Node, NodeRunner, Outcome

__all__ = ["Worker"]


class Worker:
    """A Ray actor that runs the ClientApp for its nodes."""

    def __init__(self, search_path: Sequence[str], gpu_share: float = 0.0) -> None:
        """Look for modules where the driver does, keep math libraries to one thread, and a GPU's memory to a share."""
        sys.path[:] = [*search_path, *(entry for entry in sys.path if entry not in search_path)]
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        keep_to_share(gpu_share)
        self._runner: NodeRunner | None = None

    def prepare(self, make_app: Sequence[Any], nodes: Sequence[Node], states: Mapping[int, Any]) -> None:
        """Take on the nodes.

        Args:
            make_app: one Ray reference, inside a list so that it is unpickled here, with the search path in place.
            nodes: the hospitals of this worker.
            states: by node id, the Ray reference to states that an earlier worker returned from `run`.
        """
        import ray

        known: dict[int, RecordDict] = {node_id: ray.get(reference)[node_id] for node_id, reference in states.items()}
        self._runner = NodeRunner(ray.get(make_app[0]), nodes, known)

    def run(
        self, ready: None, envelopes: Sequence[Envelope], indices: Sequence[int], *records: ArrayRecord
    ) -> tuple[tuple[Outcome, list[int]], dict[int, RecordDict]]:
        """Return the outcome of a wave, beside the nodes that keep something in their state, and these states.

        Args:
            ready: what `prepare` returned: passing it on hands its error, if any, to whoever waits for this call.
            envelopes: the messages.
            indices: the number by which envelopes name each of the records.
            records: that this worker needs, shared and read-only.
        """
        if self._runner is None:
            raise RuntimeError("a worker must be prepared before it runs")
        by_index = dict(zip(indices, records, strict=True))
        outcome = Outcome()
        self._runner.run([unpack(envelope, by_index) for envelope in envelopes], outcome)
        states = self._runner.states([envelope.message.metadata.dst_node_id for envelope in envelopes])
        return (outcome, list(states)), states
