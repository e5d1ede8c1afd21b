"""What all engines are to a Flower strategy: a `Grid` whose replies come in the order of the node ids.

An engine adds one method, `run_wave`, and what there is to `close`. What is left out on purpose: replies that trickle
in. A wave runs to its end, as results must not depend on how fast a machine is: a timeout is an error here, never a
smaller cohort.
"""

import itertools
import logging
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from wardround.errors import CohortError, ProtocolError, WardroundError
from wardround.exact_sums import FixedSum
from wardround.simulations.engines.flower_internals import Run, check_flower_version, empty_run, give_id, take_identity
from wardround.simulations.engines.nodes import Node, Outcome

__all__ = ["SimulatedGrid", "check_deadline", "some"]

_log = logging.getLogger(__name__)


class SimulatedGrid(Grid):
    """A Flower Grid over simulated hospitals; the engines are its children."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        """Register the hospitals.

        Raises:
            CohortError: there are none, or two with the same id.
        """
        check_flower_version()
        take_identity()
        self.nodes: Mapping[int, Node] = {node.node_id: node for node in sorted(nodes, key=lambda node: node.node_id)}
        if not nodes or len(self.nodes) < len(nodes):
            raise CohortError(
                f"{len(nodes)} nodes with {len(self.nodes)} different ids: a grid needs at least one, and an id each"
            )
        self._run = empty_run()
        self._message_numbers = itertools.count(1)
        self._unpulled: dict[str, Message] = {}
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of whatever processes there are; what is sent afterwards is refused, and closing twice is fine."""
        self._is_closed = True

    @abstractmethod
    def run_wave(self, messages: Sequence[Message], deadline: float | None) -> Outcome:
        """Run the apps, and give up with `check_deadline` at the deadline, a time of `time.monotonic()`."""

    def send_and_sum(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> tuple[list[Message], FixedSum]:
        """Return the replies in the order of node ids, and the exact sum of those that were sent with a "sum-weight".

        Args:
            messages: a message whose "config" record has `sum-weight` (in (0, 1]) gets a reply without arrays; its
                arrays, times that weight, are in the sum. The weights of a wave must sum to at most 1.
            timeout: seconds after which to give up.

        Raises:
            CohortError: a message is addressed to a node that does not exist.
            WardroundError: the timeout passed, the grid is closed, or the engine could not finish.
        """
        if self._is_closed:
            raise WardroundError("the grid is closed: open a new one, or send before close()")
        wave = list(messages)
        deadline = None if timeout is None else time.monotonic() + timeout
        for message in wave:
            if message.metadata.dst_node_id not in self.nodes:
                raise CohortError(
                    f"node {message.metadata.dst_node_id} does not exist: this federation has nodes {some(self.nodes)}"
                )
            give_id(message, f"message-{next(self._message_numbers)}")
        outcome = self.run_wave(wave, deadline) if wave else Outcome()
        for node_id, text in sorted(outcome.tracebacks.items()):
            _log.info("node %d failed:\n%s", node_id, text)
        place = {message.metadata.message_id: index for index, message in enumerate(wave)}
        outcome.replies.sort(key=lambda reply: (reply.metadata.src_node_id, place[reply.metadata.reply_to_message_id]))
        for reply in outcome.replies:
            give_id(reply, f"{reply.metadata.reply_to_message_id}-reply")
        return outcome.replies, outcome.total

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Return the replies to the messages in the order of node ids, failed apps as replies with an error.

        Raises:
            ProtocolError: a message asks for its reply to be summed.
            WardroundError: as `send_and_sum`.
        """
        replies, total = self.send_and_sum(messages, timeout=timeout)
        if total:
            raise ProtocolError('messages with "sum-weight" leave their arrays in a sum: send them with send_and_sum')
        return replies

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Run the messages to the end, keep the replies, and return the ids to pull them with."""
        wave = list(messages)
        for reply in self.send_and_receive(wave):
            self._unpulled[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in wave]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to pushed messages, each once.

        Raises:
            ProtocolError: an id was never pushed, or its reply was pulled before.
        """
        wanted = list(message_ids)
        for message_id in wanted:
            if message_id not in self._unpulled:
                raise ProtocolError(f"there is no reply to {message_id}: it was not pushed here, or is already pulled")
        return [self._unpulled.pop(message_id) for message_id in wanted]

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a new message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return the ids of all nodes, ascending."""
        return list(self.nodes)

    def set_run(self, run: Run) -> None:
        """Set the run that `run` returns."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._run


def check_deadline(deadline: float | None, node_ids: Iterable[int]) -> None:
    """Give up when the deadline has passed.

    Raises:
        WardroundError: naming the nodes that have not answered.
    """
    if deadline is not None and time.monotonic() > deadline:
        raise WardroundError(
            f"nodes {some(node_ids)} did not answer within the timeout: raise the timeout, or pass None to wait"
        )


def some(node_ids: Iterable[int]) -> str:
    """Return the ids for a message to a person: the first eight, and how many more.

    >>> some(range(11))
    '0, 1, 2, 3, 4, 5, 6, 7 and 3 more'
    """
    ids = sorted(node_ids)
    return ", ".join(map(str, ids[:8])) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
