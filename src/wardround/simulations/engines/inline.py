"""The engine without processes: every hospital runs here, one after the other. For tests, debugging and small jobs."""

from collections.abc import Callable, Mapping, Sequence

from flwr.app import Message
from flwr.clientapp import ClientApp

from wardround.exact_sums import FixedSum
from wardround.simulations.engines.envelopes import pack, unpack
from wardround.simulations.engines.grid import SimulatedGrid, check_deadline
from wardround.simulations.engines.nodes import Node, NodeRunner, Scalar

__all__ = ["InlineGrid"]


class InlineGrid(SimulatedGrid):
    """A Flower Grid that runs the ClientApp in this process."""

    def __init__(
        self,
        make_app: Callable[[], ClientApp],
        nodes: Sequence[Node],
        run_config: Mapping[str, Scalar],
        *,
        num_threads: int = 1,
    ) -> None:
        """Prepare the nodes.

        Args:
            make_app: returns the ClientApp; called once, at the first message.
            nodes: the hospitals.
            run_config: what the ClientApp reads from `context.run_config`.
            num_threads: torch threads while the ClientApp runs.
        """
        super().__init__(nodes)
        self._runner = NodeRunner(make_app, nodes, run_config, num_threads=num_threads)

    def run_wave(
        self, messages: Sequence[Message], deadline: float | None
    ) -> tuple[list[Message], FixedSum, dict[int, str]]:
        """Run the apps one by one, and look at the deadline in between."""
        envelopes, records = pack(messages)
        replies: list[Message] = []
        total: FixedSum = {}
        tracebacks: dict[int, str] = {}
        for index, envelope in enumerate(envelopes):
            check_deadline(deadline, (message.metadata.dst_node_id for message in messages[index:]))
            replies += self._runner.run([unpack(envelope, records)], total)[0]
            tracebacks |= self._runner.tracebacks
        return replies, total, tracebacks
