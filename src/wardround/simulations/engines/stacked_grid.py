"""The engine of one program: what the hospitals of a wave are asked is answered together, in this process.

What an app can't answer together, or does not know how to, its hospitals answer one by one, as in every engine. So
every combination of settings runs. What is left out on purpose: how hospitals are trained and tested together, which is
the app's (`clients.app`).
"""

from collections.abc import Callable, Sequence

from flwr.app import Message
from flwr.clientapp import ClientApp

from wardround.simulations.engines.envelopes import apart
from wardround.simulations.engines.grid import SimulatedGrid, check_deadline
from wardround.simulations.engines.nodes import Node, NodeRunner, Outcome

__all__ = ["StackedGrid"]


class StackedGrid(SimulatedGrid):
    """A Flower Grid that lets the ClientApp answer all messages of a wave together, where it can."""

    def __init__(self, make_app: Callable[[], ClientApp], nodes: Sequence[Node]) -> None:
        """Prepare the nodes; the app is made once, at the first message."""
        super().__init__(nodes)
        self._runner = NodeRunner(make_app, nodes)

    def run_wave(self, messages: Sequence[Message], deadline: float | None) -> Outcome:
        """Run the app for all, then for those left one by one, and look at the deadline in between."""
        outcome = Outcome()
        left = apart(messages)
        check_deadline(deadline, (message.metadata.dst_node_id for message in left))
        left = self._runner.run_together(left, outcome)
        for index, message in enumerate(left):
            check_deadline(deadline, (other.metadata.dst_node_id for other in left[index:]))
            self._runner.run([message], outcome)
        return outcome
