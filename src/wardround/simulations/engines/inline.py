"""The engine without processes: every hospital runs here, one after the other. For tests, debugging and small jobs."""

from collections.abc import Callable, Sequence

from flwr.app import Message
from flwr.clientapp import ClientApp

from wardround.simulations.engines.envelopes import apart
from wardround.simulations.engines.grid import SimulatedGrid, check_deadline
from wardround.simulations.engines.nodes import Node, NodeRunner, Outcome

__all__ = ["InlineGrid"]


class InlineGrid(SimulatedGrid):
    """A Flower Grid that runs the ClientApp in this process."""

    def __init__(self, make_app: Callable[[], ClientApp], nodes: Sequence[Node]) -> None:
        """Prepare the nodes; the app is made once, at the first message."""
        super().__init__(nodes)
        self._runner = NodeRunner(make_app, nodes)

    def run_wave(self, messages: Sequence[Message], deadline: float | None) -> Outcome:
        """Run the apps one by one, and look at the deadline in between."""
        outcome = Outcome()
        for index, message in enumerate(apart(messages)):
            check_deadline(deadline, (other.metadata.dst_node_id for other in messages[index:]))
            self._runner.run([message], outcome)
        return outcome
