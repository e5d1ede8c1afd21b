"""Which replies answer which messages: one from every node that was asked, and nothing that nobody asked for.

What is left out on purpose: what a reply says.
"""

import re
from collections.abc import Iterable, Sequence

from flwr.app import Message

from wardround.errors import ProtocolError

__all__ = ["NO_REASON", "NO_REPLY", "answered", "answers_by_node", "with_time_limit"]

NO_REPLY = "no reply came in time"
NO_REASON = "an error without a reason"
_LONGEST_REASON = 1000
# A SuperNode's: the class of what was raised, and its text.
_AS_FLOWER_WRITES_IT = re.compile(r"<class '[\w.]+'>:<'(?P<text>.*)'>", re.DOTALL)


def answers_by_node(messages: Sequence[Message], replies: Iterable[Message]) -> tuple[dict[int, Message], list[str]]:
    """Return the reply to each message by node, and a sentence on every reply that is none.

    A node's second reply does not count, nor one to a message of another node or round. Flower answers for a node that
    is gone under an id of its own, so that an error goes by the message that it is about.

    Messages are one a node, and have their ids since Flower sent them.
    """
    asked = {message.metadata.message_id: message.metadata.dst_node_id for message in messages}
    answers: dict[int, Message] = {}
    strange = []
    for reply in replies:
        sender, node_id = reply.metadata.src_node_id, asked.get(reply.metadata.reply_to_message_id)
        if node_id is None or (sender != node_id and not reply.has_error()):
            strange.append(f"node {sender} sent a reply to a message that it was not sent: it is not looked at")
        elif node_id in answers:
            strange.append(f"node {node_id} replied twice: the second reply is not looked at")
        else:
            answers[node_id] = reply
    return dict(sorted(answers.items())), strange


def answered(reply: Message | None) -> Message:
    """Return a reply that has something to read.

    Raises:
        ProtocolError: no reply came, or an error. What a node says of its error is anybody's text: what can't be seen
            is escaped, and a long one is cut.
    """
    if reply is None:
        raise ProtocolError(NO_REPLY)
    if not reply.has_error():
        return reply
    reason = (reply.error.reason or "")[:_LONGEST_REASON]
    raised = _AS_FLOWER_WRITES_IT.fullmatch(reason)
    said = raised["text"] if raised else reason
    seen = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in said)
    raise ProtocolError(seen or NO_REASON)


def with_time_limit(messages: Iterable[Message], timeout_seconds: float | None) -> list[Message]:
    """Return the messages, changed in place, which nobody may answer once they were given up waiting for."""
    messages = list(messages)
    for message in messages:
        message.metadata.ttl = timeout_seconds or message.metadata.ttl
    return messages
