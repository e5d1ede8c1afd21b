"""A grid as Flower's SuperNodes make one, in one process, for tests that change what travels on it."""

from collections.abc import Mapping
from typing import Any

from flwr.app import ConfigRecord, Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from wardround import wire
from wardround.simulations.engines.flower_internals import APP_RAISED, Run, empty_run, give_id, take_identity


def stage_of(message: Message) -> str:
    """Return what a message asks for: a stage of the secure sum ("mask" is training), or an action."""
    record = message.content.get(wire.SECAGG)
    return str(record["stage"]) if isinstance(record, ConfigRecord) else message.metadata.message_type


class FlowerGrid(Grid):
    """Sums nothing, and an app that raises is a reply with an error; what is sent and received says who inherits it."""

    def __init__(self, client_app: ClientApp, contexts: Mapping[int, Context]) -> None:
        take_identity()
        self._app, self._contexts = client_app, contexts
        self._run, self._count = empty_run(), 0

    def get_node_ids(self) -> list[int]:
        return list(self._contexts)

    def number(self, message: Message) -> None:
        """Give the message its id, as Flower does when it is sent."""
        self._count += 1
        give_id(message, f"message-{self._count}")

    def reply_to(self, message: Message) -> Message:
        """Return what the app of the node answers."""
        try:
            return self._app(message, self._contexts[message.metadata.dst_node_id])
        except Exception as error:
            return Message(Error(code=APP_RAISED, reason=f"{type(error).__name__}: {error}"), reply_to=message)

    def create_message(self, *given: Any, **named: Any) -> Message:
        return Message(*given, **named)

    def push_messages(self, messages: Any) -> list[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Any) -> list[Message]:
        raise NotImplementedError

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run
