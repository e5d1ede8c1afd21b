"""Rounds of a server that does as it likes with real sites: by the product's own protocol, with content of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from flower_grid import FlowerGrid
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict

from wardround import wire
from wardround.clients.app import app
from wardround.config import Config
from wardround.identity import agreed_digest, agreed_text
from wardround.models import build_model, parameters_of
from wardround.rounds import Assignment, HospitalProfile
from wardround.secagg import read_roster, sent_digest
from wardround.server.plan.planning import assign_round, plan_federation
from wardround.server.round.secure_terms import secure_sum_for
from wardround.simulations.engines.flower_internals import APP_RAISED, give_id, take_identity
from wardround.strategies.secagg_exchange import Exchange, ask_masked, open_round

__all__ = ["HostileServer"]


class Asking(FlowerGrid):
    """A grid on which every message goes through one function."""

    def __init__(self, ask: Callable[[Message], Message]) -> None:
        super().__init__(app, {})
        self._ask = ask

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        return [self._ask(message) for message in messages]


@dataclass
class HostileServer:
    """Sites in this process, and a server that keeps to the protocol and sends them whatever it likes.

    Attributes:
        folder: with the roster.
        config: the settings that all agreed on.
        paths: of the sites' files.
        errors: what the sites said in the latest round where they did not answer, by name.
    """

    folder: Path
    config: Config
    paths: Mapping[str, Path]
    errors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        take_identity()
        self._names = sorted(self.paths)
        self._node_of = {name: number for number, name in enumerate(self._names, 1)}
        self._count = 0
        self.restart()
        text, digest = agreed_text(self.config), agreed_digest(self.config)
        replies = [self._ask(wire.profile_query(number, text, digest)) for number in self._node_of.values()]
        self.profiles: list[HospitalProfile] = [wire.read_profile(reply) for reply in replies]

    def restart(self) -> None:
        """Let every site forget what is not on its disk."""
        self._contexts = {
            number: Context(
                run_id=1,
                node_id=number,
                node_config={"site": str(self.paths[name])},
                state=RecordDict(),
                run_config={},
            )
            for name, number in self._node_of.items()
        }

    def model(self) -> dict[str, Any]:
        """Return parameters of the agreed model, as the server begins with them."""
        profile = self.profiles[0]
        built, _ = build_model(
            self.config.model,
            input_shape=profile.input_shape,
            num_outputs=profile.num_outputs,
            seed=self.config.federation.seed,
            private=self.config.privacy.placement != "none",
        )
        return parameters_of(built)

    def round(
        self,
        arrays: Mapping[str, Any],
        number: int = 1,
        *,
        run_id: str = "run",
        noise_multiplier: float = 1.0,
        change: Callable[[Assignment], Assignment] = lambda assignment: assignment,
    ) -> dict[str, Message]:
        """Return the masked replies of the sites that answered, by name; `errors` has what the others said.

        Args:
            arrays: what is sent as the model.
            number: of the round.
            run_id: of the run.
            noise_multiplier: that all are asked for.
            change: makes another assignment of an honest server's.
        """
        plan = plan_federation(self.config, self.profiles, sum(array.size for array in self.model().values()))
        noise = dict.fromkeys(plan.names, noise_multiplier if self.config.privacy.placement != "none" else 0.0)
        assigned = [change(each) for each in assign_round(plan, plan.names, number, noise)]
        secure = secure_sum_for(
            plan,
            assigned,
            run_id=run_id,
            roster=read_roster(self.folder / "roster.json"),
            silent={},
        )
        messages = [self._training(arrays, assignment) for assignment in assigned]
        told = sent_digest(wire.told_to_all(messages[0], has_assignment=True))
        self.errors = {}
        exchange = Exchange(grid=Asking(self._ask))
        terms = replace(secure.terms, model_digest=told)
        opened = open_round(exchange, list(self._node_of.values()), terms, secure.roster)
        replies = {
            self._names[message.metadata.dst_node_id - 1]: self._ask(message)
            for message in ask_masked(opened, messages)
        }
        return {name: reply for name, reply in replies.items() if not reply.has_error()}

    def _training(self, arrays: Mapping[str, Any], assignment: Assignment) -> Message:
        record = wire.array_record({name: np.asarray(array) for name, array in arrays.items()})
        content = RecordDict({wire.ARRAYS: record, wire.CONFIG: ConfigRecord()})
        message = Message(content, dst_node_id=self._node_of[assignment.hospital_id], message_type="train")
        return wire.with_assignment(message, assignment)

    def _ask(self, message: Message) -> Message:
        self._count += 1
        give_id(message, str(self._count))
        number = message.metadata.dst_node_id
        try:
            return app(message, self._contexts[number])
        except Exception as error:
            self.errors[self._names[number - 1]] = str(error)
            return Message(Error(code=APP_RAISED, reason=str(error)), reply_to=message)
