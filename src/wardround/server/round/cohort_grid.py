"""A view of a Flower grid that shows only the round's nodes.

Flower's strategies sample from the node ids that the grid shows, at random and differently in every run. Shown only
the cohort that was planned, they take all of it; one that keeps something of each hospital knows it by its name. A
strategy can't train hospitals through it: only what the round loop sends is charged.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from wardround.errors import ProtocolError

__all__ = ["CohortGrid"]


class CohortGrid(Grid):
    """Passes everything on to another grid, except for the node ids and for training that nobody charged.

    Attributes:
        hospital_ids: names of hospitals by node id, which are the same in every run and when one is resumed.
    """

    def __init__(self, grid: Grid, hospital_ids: Mapping[int, str]) -> None:
        """Show these nodes of `grid`, in order."""
        self._grid = grid
        self.hospital_ids = dict(sorted(hospital_ids.items()))

    def get_node_ids(self) -> list[int]:
        """Return the cohort's node ids."""
        return list(self.hospital_ids)

    def set_run(self, run: Any) -> None:
        """Pass on."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """Pass on."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Pass on."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Pass on; a message that asks a hospital to train is a ProtocolError."""
        return self._grid.push_messages(_without_training(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pass on."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Pass on; a message that asks a hospital to train is a ProtocolError."""
        return self._grid.send_and_receive(_without_training(messages), timeout=timeout)


def _without_training(messages: Iterable[Message]) -> list[Message]:
    messages = list(messages)
    for message in messages:
        if message.metadata.message_type.partition(".")[0] == "train":
            raise ProtocolError(
                "the strategy asked hospitals to train by itself, which nobody charged: return the messages from "
                "configure_train instead"
            )
    return messages
