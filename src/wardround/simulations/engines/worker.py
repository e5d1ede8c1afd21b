"""What runs in a Ray worker process. It imports little: start-up is paid by every worker of every simulation."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord, Message, RecordDict

from wardround.exact_sums import FixedSum
from wardround.simulations.engines.envelopes import Envelope, unpack
from wardround.simulations.engines.nodes import Node, NodeRunner, Scalar

__all__ = ["Outcome", "Worker"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What a worker made of its messages of a wave.

    Attributes:
        replies: one for each message.
        total: the sum of the replies that were to be summed; empty if there were none.
        tracebacks: of the apps that raised, by node id.
        stateful: the nodes that keep something in their state.
    """

    replies: list[Message]
    total: FixedSum
    tracebacks: dict[int, str]
    stateful: list[int]


class Worker:
    """A Ray actor that runs the ClientApp for its nodes."""

    def __init__(self, search_path: Sequence[str], num_threads: int) -> None:
        """Look for modules where the driver does, and keep math libraries to the number of threads."""
        sys.path[:] = [*search_path, *(entry for entry in sys.path if entry not in search_path)]
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(num_threads)))
        self._num_threads = num_threads
        self._runner: NodeRunner | None = None

    def prepare(
        self,
        make_app: Sequence[Any],
        nodes: Sequence[Node],
        run_config: Mapping[str, Scalar],
        states: Mapping[int, Any],
    ) -> None:
        """Take on the nodes.

        Args:
            make_app: one Ray reference, inside a list so that it is unpickled here, with the search path in place.
            nodes: the hospitals of this worker.
            run_config: what the ClientApp reads from `context.run_config`.
            states: by node id, the Ray reference to states that an earlier worker returned from `run`.
        """
        import ray

        known: dict[int, RecordDict] = {node_id: ray.get(reference)[node_id] for node_id, reference in states.items()}
        self._runner = NodeRunner(ray.get(make_app[0]), nodes, run_config, num_threads=self._num_threads, states=known)

    def run(
        self, ready: None, envelopes: Sequence[Envelope], indices: Sequence[int], *records: ArrayRecord
    ) -> tuple[Outcome, dict[int, RecordDict]]:
        """Return the outcome of a wave, and the states of its nodes.

        Args:
            ready: what `prepare` returned: passing it on hands its error, if any, to whoever waits for this call.
            envelopes: the messages.
            indices: for each of the records, the number by which envelopes name it.
            records: the ArrayRecords of the wave that this worker needs, shared and read-only.
        """
        if self._runner is None:
            raise RuntimeError("a worker must be prepared before it runs")
        by_index = dict(zip(indices, records, strict=True))
        messages = [unpack(envelope, by_index) for envelope in envelopes]
        replies, total = self._runner.run(messages)
        states = self._runner.states([message.metadata.dst_node_id for message in messages])
        return Outcome(
            replies=replies, total=total or {}, tracebacks=self._runner.tracebacks, stateful=list(states)
        ), states
