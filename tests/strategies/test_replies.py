"""What a reply that failed is quoted as: the text that was raised, and nothing that a terminal would obey."""

import pytest
from flwr.app import Error, Message, RecordDict

from wardround.errors import Refusal
from wardround.simulations.engines.flower_internals import take_identity
from wardround.strategies.replies import NO_REASON, NO_REPLY, fault_of


def failed(reason: str | None) -> Message:
    take_identity()
    request = Message(RecordDict(), dst_node_id=1, message_type="train")
    return Message(Error(code=0, reason=reason), reply_to=request)


def as_flower_writes(error: Exception) -> str:
    return str(type(error)) + ":<'" + str(error) + "'>"


@pytest.mark.parametrize(
    "text", ["runs = 1 is the most ([site] runs)", "the server's settings", "'>:<'", "<class 'x'>"]
)
def test_a_refusal_is_quoted_without_the_class_that_flower_writes_around_it(text: str) -> None:
    assert fault_of(failed(as_flower_writes(Refusal(text)))) == text


@pytest.mark.parametrize("reason", ["ValueError: no", "<class of people>", ""])
def test_any_other_reason_is_quoted_as_it_is(reason: str) -> None:
    assert fault_of(failed(reason)) == (reason or NO_REASON)
    assert fault_of(failed(None)) == NO_REASON
    assert fault_of(None) == NO_REPLY


def test_an_error_that_a_site_makes_up_moves_no_cursor_and_fills_no_page() -> None:
    assert fault_of(failed("\x1b[2Jall is well\n")) == r"\x1b[2Jall is well\n"
    assert len(fault_of(failed("a" * 10**6))) <= 1000
    assert len(fault_of(failed(as_flower_writes(Refusal("\x1b" * 10**6))))) <= 10_000
