"""Simulated hospitals inside one process: the ClientApp runs for each of them, and what may be summed is summed here.

All engines run this code, so that they cannot differ. What is left out on purpose: where the process is, and which
hospitals it serves.
"""

import logging
import math
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from flwr.app import Array, ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from wardround.errors import ProtocolError, UpdateError
from wardround.exact_sums import FixedSum, Summed, accumulate, check_alike, merge
from wardround.simulations.engines.envelopes import own_copy, read_once
from wardround.simulations.engines.flower_internals import APP_RAISED, RUN_ID, take_identity
from wardround.wire import HOSPITAL_SIDE, arrays_of, one_array_record, sum_weight

__all__ = ["AnswersTogether", "Node", "NodeRunner", "Outcome", "one_torch_thread"]

_log = logging.getLogger(__name__)


@runtime_checkable
class AnswersTogether(Protocol):
    """A ClientApp that can answer messages to several nodes in one program."""

    def answer_together(
        self, messages: Sequence[Message], contexts: Sequence[Context], summed: Summed
    ) -> Sequence[Message | None]:
        """Return a reply to each message, None where it is to be answered by itself, with the node's context.

        Arrays that a message asks to be summed may be added to `summed`, with the message's weight and to the bits of
        `exact_sums.accumulate`; the node is then named there, and its reply has none.

        The messages are of one kind, and no two of them to one node. Where one node fails, what it says of that when it
        is asked by itself is its own; where the app fails for all of them, each is asked by itself.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A simulated hospital as the engine sees it.

    Attributes:
        node_id: unique in the federation.
        node_config: what the ClientApp reads from `context.node_config`.
        load: relative cost of a message (>= 0); the largest are started first.
    """

    node_id: int
    node_config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    load: float = 1.0


@dataclass(slots=True, kw_only=True, eq=False)
class Outcome:
    """What came of messages: a reply to each, the sum of those that were to be summed, what apps raised by node id."""

    replies: list[Message] = field(default_factory=list)
    total: FixedSum = field(default_factory=dict)
    tracebacks: dict[int, str] = field(default_factory=dict)


class NodeRunner:
    """Runs a ClientApp for its nodes in this process, and keeps each node's `Context.state` from message to message."""

    def __init__(
        self,
        make_app: Callable[[], ClientApp],
        nodes: Sequence[Node],
        states: Mapping[int, RecordDict] = MappingProxyType({}),
    ) -> None:
        """Prepare the nodes, with the `Context.state` of those that ran elsewhere before; the app is made later."""
        take_identity()
        self._make_app = make_app
        self._app: ClientApp | None = None
        self._nodes = {node.node_id: node for node in nodes}
        self._states = dict(states)

    def run(self, messages: Sequence[Message], outcome: Outcome) -> None:
        """Add to the outcome a reply to every message, longest node first; what is to be summed goes into its total.

        An app that raises, or whose arrays can't be summed, gives a reply with an Error; the others are not touched.

        Raises:
            Exception: whatever `make_app` raises, as no hospital can work without an app.
        """
        app = self._made_app()
        with one_torch_thread():
            for message in sorted(messages, key=lambda message: -self._nodes[message.metadata.dst_node_id].load):
                context = self._context(message)
                outcome.replies.append(_reply(partial(app, message, context), _Asked.of(message), outcome))
                self._keep(context)

    def run_together(self, messages: Sequence[Message], outcome: Outcome) -> list[Message]:
        """Add to the outcome what the app answers together, and return the messages that it did not.

        Raises:
            Exception: whatever `make_app` raises.
        """
        app = self._made_app()
        node_ids = [message.metadata.dst_node_id for message in messages]
        # A node's messages are answered in their order.
        if not isinstance(app, AnswersTogether) or len(set(node_ids)) < len(node_ids):
            return list(messages)
        kinds: dict[str, list[Message]] = {}
        # In one order: strategies send theirs in a random one, and the last bits of sums may depend on it.
        for message in sorted(messages, key=lambda message: message.metadata.dst_node_id):
            kinds.setdefault(message.metadata.message_type, []).append(message)
        left = []
        with one_torch_thread():
            for of_kind in kinds.values():
                asked, summed = [_Asked.of(message) for message in of_kind], Summed()
                answers = self._answers(app, of_kind, summed)
                _move_sum_into(outcome.total, summed, asked, answers)
                for one, reply in zip(asked, answers, strict=True):
                    if reply is None:
                        left.append(one.message)
                    else:
                        outcome.replies.append(_reply(partial(_as_given, reply), one, outcome, summed.node_ids))
        return left

    def states(self, node_ids: Sequence[int]) -> dict[int, RecordDict]:
        """Return the `Context.state` of those nodes that keep something in it."""
        return {node_id: self._states[node_id] for node_id in node_ids if node_id in self._states}

    def _context(self, message: Message) -> Context:
        """Return the context that a node finds: of one that keeps nothing there is nothing here, either."""
        node = self._nodes[message.metadata.dst_node_id]
        return Context(
            run_id=RUN_ID,
            node_id=node.node_id,
            node_config=dict(node.node_config),
            state=self._states.get(node.node_id) or RecordDict(),
            run_config={},
        )

    def _keep(self, context: Context) -> None:
        self._states.pop(context.node_id, None)
        if context.state:
            self._states[context.node_id] = context.state

    def _answers(self, app: AnswersTogether, messages: Sequence[Message], summed: Summed) -> Sequence[Message | None]:
        contexts = [self._context(message) for message in messages]
        try:
            return app.answer_together(messages, contexts, summed)
        except (Exception, SystemExit) as error:
            if _is_out_of_memory(error):
                # Whether there is enough must decide on no bit: not on what is trained together, either.
                raise
            summed.total.clear()
            summed.node_ids.clear()
            _log.info("%d nodes are asked one by one:\n%s", len(messages), traceback.format_exc())
            return [None] * len(messages)
        finally:
            for context in contexts:
                self._keep(context)

    def _made_app(self) -> ClientApp:
        if self._app is None:
            self._app = self._make_app()
        return self._app


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether there was too little memory, of which torch's processor allocator tells by its words alone."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    words = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """What is known of a message before an app has it, which may write over what it is given."""

    message: Message
    weight: float | None
    sent: dict[str, Array] | None

    @classmethod
    def of(cls, message: Message) -> "_Asked":
        return cls(message=message, weight=sum_weight(message), sent=_only_arrays(message.content))


def _as_given(reply: Message) -> Message:
    return reply


def _reply(answer: Callable[[], Message], asked: _Asked, outcome: Outcome, summed: Collection[int] = ()) -> Message:
    message, node_id = asked.message, asked.message.metadata.dst_node_id
    try:
        reply = answer()
        _check_reply(reply, message)
        if asked.weight is None and not reply.has_error():
            _own_arrays(reply.content)
    # A client that calls sys.exit must not end the simulation, and in one engine only at that.
    except (Exception, SystemExit) as error:
        if node_id in summed:
            raise  # what it sent can't be taken out of the sum again
        outcome.tracebacks[node_id] = traceback.format_exc()
        return _error_reply(message, f"{type(error).__name__}: {error}")
    if asked.weight is None or reply.has_error() or node_id in summed:
        return reply
    try:
        _move_into(outcome.total, reply.content, asked.weight, asked.sent)
    except (ProtocolError, UpdateError) as error:
        return _error_reply(message, f"{type(error).__name__}: node {node_id}: {error}")
    return reply


def _move_sum_into(total: FixedSum, summed: Summed, asked: Sequence[_Asked], replies: Sequence[Message | None]) -> None:
    """Add what an app summed, of nodes that were to be and that it has a reply of, held against what each was sent.

    Raises:
        ProtocolError: a node is in it that was not to be, or whose reply is none or an error, or nobody is.
        UpdateError: it is not of the shape of what they were sent.
    """
    by_node = {one.message.metadata.dst_node_id: (one, reply) for one, reply in zip(asked, replies, strict=True)}
    for node_id in summed.node_ids:
        one, reply = by_node[node_id]
        is_sum = one.weight is not None and not math.isnan(one.weight)
        if not is_sum or not isinstance(reply, Message) or reply.has_error() or _only_arrays(reply.content):
            raise ProtocolError(
                f"the ClientApp summed what node {node_id} was not to sum, did not answer, or also sent"
            )
        if one.sent is not None:
            check_alike(summed.total, one.sent)
    if summed.total and not summed.node_ids:
        raise ProtocolError("the ClientApp summed what it says is of no node")
    merge(total, summed.total)


def _only_arrays(content: RecordDict) -> dict[str, Array] | None:
    records = [record for name, record in content.items() if isinstance(record, ArrayRecord) and name != HOSPITAL_SIDE]
    return dict(records[0].items()) if len(records) == 1 else None


def _check_reply(reply: object, message: Message) -> None:
    if not isinstance(reply, Message):
        raise TypeError(f"the ClientApp returned {type(reply).__name__}, which must be a flwr.app.Message")
    if reply.metadata.reply_to_message_id != message.metadata.message_id:
        raise ValueError("the ClientApp's reply must be built with Message(content, reply_to=message)")


def _error_reply(message: Message, reason: str) -> Message:
    return Message(Error(code=APP_RAISED, reason=" ".join(reason.split())), reply_to=message)


def _own_arrays(content: RecordDict) -> None:
    """Give a reply arrays of its own: the next hospital may train the model whose memory they are."""
    for name, record in list(content.items()):
        if isinstance(record, ArrayRecord):
            content[name] = own_copy(record)


def _move_into(total: FixedSum, content: RecordDict, weight: float, sent: dict[str, Array] | None) -> None:
    name, record = one_array_record(content)
    arrays = arrays_of(read_once(record))
    if sent is not None:
        # Against what was sent, not against the sum so far: else the first update would decide which ones are good.
        check_alike(arrays, sent)
    accumulate(total, arrays, None if math.isnan(weight) else weight)
    del content[name]


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run with one torch thread, the same everywhere, as results may depend on the number."""
    torch = sys.modules.get("torch")
    if torch is None:  # the app does without
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
