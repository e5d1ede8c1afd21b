"""The engine of one program: what an app answers together, what it leaves, and what goes wrong in either."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from toy_hospital import NODE_IDS, federation, initial_arrays, make_app, messages

from wardround.errors import ProtocolError, UpdateError
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.stacked_grid import StackedGrid
from wardround.wire import array_record

WEIGHTS = {node_id: node_id / sum(NODE_IDS) for node_id in NODE_IDS}


@dataclass
class Heard:
    """The kinds and nodes that an app was asked together, and those that it was asked by themselves."""

    together: list[tuple[str, list[int]]] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)


class ToyApp(ClientApp):
    """Answers together as the toy hospital does alone, except for some nodes."""

    def __init__(self, heard: Heard, left: Sequence[int] = (), broken: bool = False) -> None:
        super().__init__()
        self._toy, self._heard, self._left, self._broken = make_app(), heard, left, broken

    def __call__(self, message: Message, context: Context) -> Message:
        self._heard.alone.append(context.node_id)
        return self._toy(message, context)

    def answer_together(self, messages: Sequence[Message], contexts: Sequence[Context], summed: Any) -> list[Any]:
        (kind,) = {message.metadata.message_type for message in messages}
        self._heard.together.append((kind, [context.node_id for context in contexts]))
        if self._broken:
            raise ValueError("one of them has no such patient")
        return [
            None if context.node_id in self._left else self._toy(message, context)
            for message, context in zip(messages, contexts, strict=True)
        ]


def opened(heard: Heard, nodes: Any = None, **options: Any) -> StackedGrid:
    return StackedGrid(lambda: ToyApp(heard, **options), nodes or federation())


def wave(weights: dict[int, float] | None = WEIGHTS) -> list[Message]:
    return messages(array_record(initial_arrays()), weights)


@pytest.mark.parametrize("options", [{}, {"left": (3, 20)}, {"left": NODE_IDS}, {"broken": True}], ids=str)
def test_whoever_is_left_is_asked_alone_and_the_sum_is_the_same_bits(options: dict[str, Any]) -> None:
    heard = Heard()
    replies, total = opened(heard, **options).send_and_sum(wave())
    expected, of_all = InlineGrid(make_app, federation()).send_and_sum(wave())
    assert all(np.array_equal(total[name], of_all[name]) for name in of_all)
    assert [reply.metadata.src_node_id for reply in replies] == sorted(NODE_IDS)
    assert [dict(reply.content["metrics"]) for reply in replies] == [dict(r.content["metrics"]) for r in expected]
    assert [(kind, sorted(nodes)) for kind, nodes in heard.together] == [("train", sorted(NODE_IDS))]
    left = NODE_IDS if options.get("broken") else options.get("left", ())
    assert sorted(heard.alone) == sorted(left)


def test_messages_of_one_kind_are_together() -> None:
    heard = Heard()
    training, testing = wave(None), messages(array_record(initial_arrays()), kind="evaluate")
    opened(heard).send_and_receive([training[0], testing[1], training[2]])
    nodes = [message.metadata.dst_node_id for message in (training[0], testing[1], training[2])]
    assert dict(heard.together) == {"train": sorted([nodes[0], nodes[2]]), "evaluate": [nodes[1]]}


def test_an_app_is_asked_in_one_order_whatever_the_order_of_messages() -> None:
    heard = Heard()
    for sent in (wave(), wave()[::-1], wave()[2:] + wave()[:2]):
        opened(heard).send_and_sum(sent)
    assert heard.together == [("train", sorted(NODE_IDS))] * 3


def test_messages_to_one_node_are_answered_one_after_the_other() -> None:
    heard = Heard()
    replies = opened(heard).send_and_receive(wave(None) + wave(None))
    assert [reply.content["metrics"]["seen"] for reply in replies] == [1, 2] * len(NODE_IDS)
    assert heard.together == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda message: 7, "TypeError: the ClientApp returned int"),
        (lambda message: message, "ValueError: the ClientApp's reply must be built with Message"),
        (lambda message: Message(RecordDict(), reply_to=message), "0 ArrayRecords in a message"),
        (
            lambda message: Message(RecordDict({"a": array_record({"w": np.zeros(2)})}), reply_to=message),
            "parameter b is missing",
        ),
    ],
)
def test_a_wrong_reply_is_one_nodes_error_and_enters_no_sum(answer: Callable[[Message], Any], reason: str) -> None:
    class Wrong(ToyApp):
        def answer_together(self, messages: Sequence[Message], contexts: Sequence[Context], summed: Any) -> list[Any]:
            right = super().answer_together(messages, contexts, summed)
            return [
                answer(message) if message.metadata.dst_node_id == 7 else reply
                for message, reply in zip(messages, right, strict=True)
            ]

    replies, total = StackedGrid(lambda: Wrong(Heard()), federation()).send_and_sum(wave())
    errors = {reply.metadata.src_node_id: reply.error.reason for reply in replies if reply.has_error()}
    assert list(errors) == [7] and reason in errors[7]
    others = [message for message in wave() if message.metadata.dst_node_id != 7]
    _, expected = InlineGrid(make_app, federation()).send_and_sum(others)
    assert all(np.array_equal(total[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("summed_by_it", "weights", "error", "reason"),
    [
        ({"w": np.zeros(4, np.int64)}, WEIGHTS, UpdateError, "parameter b is missing"),
        ({"w": np.zeros(3, np.int64), "b": np.zeros((), np.int64)}, WEIGHTS, UpdateError, "parameter w has shape"),
        ({"w": np.zeros(4, np.int64), "b": np.zeros((), np.int64)}, None, ProtocolError, "was not to sum"),
    ],
)
def test_a_sum_that_nobody_asked_for_or_of_other_shapes_is_refused(
    summed_by_it: Any, weights: Any, error: type[Exception], reason: str
) -> None:
    class Summing(ToyApp):
        def answer_together(self, messages: Sequence[Message], contexts: Sequence[Context], summed: Any) -> list[Any]:
            summed.total.update(summed_by_it)
            summed.node_ids.add(messages[0].metadata.dst_node_id)
            return [
                Message(RecordDict(), reply_to=messages[0]),
                *super().answer_together(messages, contexts, summed)[1:],
            ]

    with pytest.raises(error, match=reason):
        StackedGrid(lambda: Summing(Heard()), federation()).send_and_sum(wave(weights))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda message: None, "did not answer"),
        (lambda message: Message(Error(1, "it failed"), reply_to=message), "did not answer"),
        (None, "of no node"),
        (lambda message: Message(RecordDict({"a": array_record(initial_arrays())}), reply_to=message), "also sent"),
    ],
)
def test_a_sum_of_a_node_without_an_answer_or_of_nobody_is_refused(spoil: Any, reason: str) -> None:
    class Summing(ToyApp):
        def answer_together(self, messages: Sequence[Message], contexts: Sequence[Context], summed: Any) -> list[Any]:
            replies = super().answer_together(messages, contexts, summed)
            summed.total.update({"w": np.ones(4, np.int64), "b": np.ones((), np.int64)})
            if spoil is not None:
                summed.node_ids.add(messages[0].metadata.dst_node_id)
                replies[0] = spoil(messages[0])
            return replies

    with pytest.raises(ProtocolError, match=reason):
        StackedGrid(lambda: Summing(Heard()), federation()).send_and_sum(wave())


def test_what_an_app_sums_before_it_fails_is_in_no_sum() -> None:
    class Failing(ToyApp):
        def answer_together(self, messages: Sequence[Message], contexts: Sequence[Context], summed: Any) -> list[Any]:
            summed.total["w"] = np.ones(4, np.int64)
            summed.node_ids.add(messages[0].metadata.dst_node_id)
            raise ValueError("one of them has no such patient")

    _, total = StackedGrid(lambda: Failing(Heard()), federation()).send_and_sum(wave())
    _, expected = InlineGrid(make_app, federation()).send_and_sum(wave())
    assert all(np.array_equal(total[name], expected[name]) for name in expected)


def _ask_for_an_exabyte_of_memory() -> None:
    torch.empty(10**18, dtype=torch.uint8)


def _ask_for_an_exabyte_of_arrays() -> None:
    np.empty(10**18, np.uint8)


@pytest.mark.parametrize("ask", [_ask_for_an_exabyte_of_memory, _ask_for_an_exabyte_of_arrays])
def test_too_little_memory_ends_the_wave_and_decides_on_no_bit(ask: Callable[[], None]) -> None:
    class Short(ToyApp):
        def answer_together(self, messages: Sequence[Message], contexts: Sequence[Context], summed: Any) -> list[Any]:
            ask()
            raise AssertionError("there is so much memory")

    heard = Heard()
    with pytest.raises((MemoryError, RuntimeError), match="allocate"):
        StackedGrid(lambda: Short(heard), federation()).send_and_sum(wave())
    assert heard.alone == []


def test_what_is_written_over_arrays_reaches_nobody() -> None:
    class Scribbling(ToyApp):
        def answer_together(self, messages: Sequence[Message], contexts: Sequence[Context], summed: Any) -> list[Any]:
            for array in messages[0].content["arrays"].values():
                array.numpy()[...] = 1e6
            return super().answer_together(messages, contexts, summed)

    sent = wave()
    _, total = StackedGrid(lambda: Scribbling(Heard()), federation()).send_and_sum(sent)
    _, expected = InlineGrid(make_app, federation()).send_and_sum(wave())
    assert all(np.array_equal(total[name], expected[name]) for name in expected)
    assert all(np.array_equal(sent[0].content["arrays"][name].numpy(), a) for name, a in initial_arrays().items())
