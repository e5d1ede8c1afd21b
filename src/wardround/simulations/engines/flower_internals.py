"""The only file that touches Flower's insides: the identity of a process, and the ids of messages.

A `Grid` outside Flower needs both, and Flower has no public way to set them: a process must have a task identity before
it can build a `Message`, and a message must have an id before a reply to it can be built. Everything here was read from
flwr 1.41 and is held by tests/simulations/engines/test_flower_internals.py; another minor version is refused.
"""

from importlib.metadata import version

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from wardround.errors import WardroundError

__all__ = [
    "APP_RAISED",
    "FLOWER_VERSION",
    "RUN_ID",
    "SERVER_NODE_ID",
    "Run",
    "check_flower_version",
    "copy_of",
    "empty_run",
    "give_id",
    "take_identity",
]

FLOWER_VERSION = "1.41"
RUN_ID = 1
SERVER_NODE_ID = 1
APP_RAISED: int = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
"""The error code of a reply from a ClientApp that raised."""


def check_flower_version(installed: str | None = None) -> None:
    """Refuse a Flower whose insides were not read.

    Raises:
        WardroundError: the installed flwr is not of the minor version this file is pinned to.
    """
    installed = installed or version("flwr")
    if installed.split(".")[:2] != FLOWER_VERSION.split("."):
        raise WardroundError(
            f"flwr {installed} is installed, and Wardround's engines work with flwr {FLOWER_VERSION}: "
            f'pip install "flwr[simulation]~={FLOWER_VERSION}.0"'
        )


def take_identity() -> None:
    """Let this process build messages, as the server of the one run; an identity it already has is left alone."""
    for name, value in (("task_id", RUN_ID), ("run_id", RUN_ID), ("node_id", SERVER_NODE_ID)):
        try:
            getattr(TaskIdentity, name)
        except RuntimeError:
            setattr(TaskIdentity, name, value)


def give_id(message: Message, message_id: str) -> Message:
    """Return the message, which now carries the id."""
    message.metadata.__dict__["_message_id"] = message_id
    return message


def copy_of(message: Message, content: RecordDict) -> Message:
    """Return a message with the metadata of this one, id included, and the given content.

    As `Message(content, metadata=...)` makes it, which looks at all its arguments, a few thousand times a round.
    """
    metadata = object.__new__(type(message.metadata))
    metadata.__dict__.update(message.metadata.__dict__)
    copied = object.__new__(Message)
    copied.__dict__.update(_metadata=metadata, _content=content, _error=None)
    return copied


def empty_run() -> Run:
    """Return the run that messages belong to."""
    return Run.create_empty(run_id=RUN_ID)
