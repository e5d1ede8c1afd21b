"""What a reply that failed is quoted as: the text that was raised, and nothing that a terminal would obey."""

import pytest
from flwr.app import Error, Message, RecordDict

from wardround.errors import ProtocolError, Refusal
from wardround.simulations.engines.flower_internals import take_identity
from wardround.strategies.replies import NO_REASON, NO_REPLY, answered


def failed(reason: str | None) -> Message:
    take_identity()
    request = Message(RecordDict(), dst_node_id=1, message_type="train")
    return Message(Error(code=0, reason=reason), reply_to=request)


def quoted(reply: Message | None) -> str:
    with pytest.raises(ProtocolError) as refused:
        answered(reply)
    return str(refused.value)


def as_flower_writes(error: Exception) -> str:
    return str(type(error)) + ":<'" + str(error) + "'>"


@pytest.mark.parametrize(
    "text", ["runs = 1 is the most ([site] runs)", "the server's settings", "'>:<'", "<class 'x'>"]
)
def test_a_refusal_is_quoted_without_the_class_that_flower_writes_around_it(text: str) -> None:
    assert quoted(failed(as_flower_writes(Refusal(text)))) == text


@pytest.mark.parametrize("reason", ["ValueError: no", "<class of people>", ""])
def test_any_other_reason_is_quoted_as_it_is(reason: str) -> None:
    assert quoted(failed(reason)) == (reason or NO_REASON)
    assert quoted(failed(None)) == NO_REASON
    assert quoted(None) == NO_REPLY


def test_an_error_that_a_site_makes_up_moves_no_cursor_and_fills_no_page() -> None:
    assert quoted(failed("\x1b[2Jall is well\n")) == r"\x1b[2Jall is well\n"
    assert len(quoted(failed("a" * 10**6))) <= 1000
    assert len(quoted(failed(as_flower_writes(Refusal("\x1b" * 10**6))))) <= 10_000
