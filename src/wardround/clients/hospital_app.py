"""One Flower app for simulated hospitals and real sites alike: who is asked, what is trained, what is sent.

What tells the two apart is in their own classes: who is master of the settings, and what a reply has a place for (see
`app`, `site_app`). On Flower's own engine every message starts a process, and most of them train nothing: torch and
Opacus are loaded by the first that needs them. What is left out on purpose: any decision. The server plans and
charges; a hospital does as assigned, and refuses what its own settings don't say.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, TypeVar

from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from wardround import wire
from wardround.clients.assignments import Part, check_sum
from wardround.clients.secagg import SecAggMod
from wardround.config import Config, releases_shares
from wardround.datasets import FederatedData, HospitalData
from wardround.datasets.constants import NO_CONSTANTS, Balance, Constants
from wardround.datasets.scaling import Scaling
from wardround.errors import ProtocolError
from wardround.exact_sums import Arrays
from wardround.identity import agreed_digest
from wardround.privacy.cells import cell_of
from wardround.rounds import Assignment
from wardround.secagg import Site, Terms

if TYPE_CHECKING:
    from wardround.clients.hospital_sides import SideInRound
    from wardround.clients.training import HospitalTensors, LocalTrainer, Trained

__all__ = ["Hospitals"]

_MOST_KEPT_BYTES = {"cpu": 2**28, "cuda": 2**31}
"""Of records that are on the device although nobody asks for them just now: 256 MiB, and 2 GiB where each is sent."""
_MOST_IN_ONE_PROCESS_BYTES = 2**31
"""The same of an engine that has no workers, each of which would keep as many."""
_MOST_VIEWS = 1024
"""Of hospitals' rows, a kilobyte each."""

_Told = TypeVar("_Told", Scaling, Balance)


class Hospitals(ABC):
    """The hospitals that one app answers for: one of its own at a real site, all of them in simulation.

    Records are read, and the model is built and checked, when the first message needs them.

    Attributes:
        mods: what stands between the app and the server.
        has_side: whether the strategy does something at hospitals.
        first_round: that they take part in.
    """

    mods: list[SecAggMod]
    has_side = False
    first_round = 1

    def __init__(self, config: Config, names: Sequence[str], load: Callable[[], FederatedData]) -> None:
        """Answer by these settings and the records that `load` reads; cohorts are drawn from the names."""
        self.config, self.names, self._load = config, tuple(names), load
        self._kept: dict[str, HospitalTensors] = {}  # the one that was asked for last is the last
        self._kept_bytes = 0
        self._parts: dict[int, Part] = {}  # of one hospital of each size
        self._constants: Constants = NO_CONSTANTS

    @cached_property
    def federation(self) -> FederatedData:
        """Their records."""
        return self._load()

    @cached_property
    def hospital_at(self) -> Callable[[int], HospitalData]:
        """Return one of them by its place; the views of those that are asked again and again are made once."""
        return lru_cache(maxsize=_MOST_VIEWS)(self.federation.hospitals.__getitem__)

    @cached_property
    def _num_records(self) -> int:
        return sum(hospital.num_train for hospital in self.federation.hospitals)

    @cached_property
    def agreed(self) -> bytes:
        """Digest of the settings, 32 bytes."""
        return agreed_digest(self.config)

    @cached_property
    def trainer(self) -> "LocalTrainer":
        """What trains all of them, its model checked."""
        from wardround.clients.trainers import build_trainer

        return build_trainer(self.config, self.federation)

    @abstractmethod
    def asked(self, context: Context) -> HospitalData:
        """Return the hospital that a message is for."""

    @abstractmethod
    def introduce(self, message: Message, context: Context) -> Message:
        """Return the reply to `query.profile`."""

    def check_terms(self, terms: Terms, message: Message | None) -> None:
        """Refuse a secure sum that is not as the settings say (see `secagg.CheckTerms`)."""
        check_sum(self.config, terms, None if message is None else wire.assignment_of(message), agreed=self.agreed)

    @abstractmethod
    def admit(self, assignment: Assignment, part: Part, context: Context) -> None:
        """Refuse an assignment, right before training, or note what it will cost."""

    @abstractmethod
    def proximal_mu(self, message: Message) -> float:
        """Return the strength of FedProx' pull (>= 0)."""

    @abstractmethod
    def side(self, message: Message) -> "SideInRound | None":
        """Return what the strategy's hospital side does in the round; None where there is none."""

    @abstractmethod
    def report(self, trained: "Trained", message: Message) -> Message:
        """Return the reply to `train`, of what was trained."""

    @abstractmethod
    def evaluate(self, message: Message, context: Context) -> Message:
        """Return the reply to `evaluate`."""

    def app(self) -> ClientApp:
        """Return the app that answers for them."""
        return self._answering(ClientApp(mods=list(self.mods)))

    def _answering(self, client_app: ClientApp) -> ClientApp:
        client_app.query("profile")(self.introduce)
        client_app.train()(self.train)
        client_app.evaluate()(self.evaluate)
        return client_app

    def train(self, message: Message, context: Context) -> Message:
        """Return the reply to `train`: what came of training as assigned."""
        hospital, assignment = self.asked(context), wire.assignment_of(message)
        if (other := self.for_round(assignment.round_number)) is not self:
            return other.train(message, context)
        self.take_constants(message)
        self.admit(assignment, self.part(hospital), context)
        trained = self.trainer.train(
            wire.arrays_in(message),
            self.tensors(hospital),
            assignment,
            proximal_mu=self.proximal_mu(message),
            side=self.side(message),
            own=self.own(message),
        )
        return self.report(trained, message)

    def own(self, message: Message) -> Arrays:
        """Return the parameters that are the hospital's own, in place of what all are sent; nothing where none are.

        Raises:
            ProtocolError: some are sent, and the settings have none.
        """
        own = wire.arrays_beside(message, wire.OWN)
        if own and not self.config.personal.is_used:
            raise ProtocolError(
                'the server sends parameters that are this hospital\'s own, and method = "none" here: both sides need '
                "the same settings ([personal] method)"
            )
        return own

    def for_round(self, round_number: int) -> "Hospitals":
        """Return who answers in a round: these hospitals, except for what they release before round 1."""
        return self

    def take_constants(self, message: Message) -> None:
        """Scale features and weigh classes as the message says, from now on.

        Raises:
            ProtocolError: it says nothing and the settings want constants, or the other way round; or a record would
                count more often than its sensitivity is for.
        """
        told = Constants(scaling=_told(message, wire.FEATURES, Scaling), balance=_told(message, wire.CLASSES, Balance))
        wanted = {
            "features": (told.scaling, self.federation.standardise == "private", "[features] standardise"),
            "classes": (told.balance, releases_shares(self.config), "[imbalance] remedy"),
        }
        for what, (sent, is_wanted, where) in wanted.items():
            if (sent is not None) != is_wanted:
                raise ProtocolError(
                    f"the server sends {'no constants' if sent is None else 'constants'} of {what}, and the settings "
                    f"here want {'some' if is_wanted else 'none'}: both sides need the same settings ({where})"
                )
        if told.balance is not None and told.balance != self._constants.balance:
            told.balance.check(self.federation.num_classes, self.config.imbalance.most_copies)
            self.trainer.weigh(told.balance)
        if told.scaling != self._constants.scaling:
            self._kept.clear()
            self._kept_bytes = 0
        self._constants = told

    def masking(self, site_of: Callable[[Context], Site], keep_metrics: Collection[str]) -> SecAggMod:
        """Return the mod by which only masked sums leave, and the metrics that are named in clear."""
        return SecAggMod(
            site_of,
            check_terms=self.check_terms,
            weight_of=self._weight_of,
            keep_metrics=keep_metrics,
            has_assignment=True,
        )

    def part(self, hospital: HospitalData) -> Part:
        """Return the hospital's part in the rounds, as it computes it for itself: the same in every round."""
        alike = self._parts.get(hospital.num_train)
        if alike is None:
            alike = self._parts[hospital.num_train] = Part(
                config=self.config,
                hospital_id=hospital.hospital_id,
                num_train=hospital.num_train,
                names=self.names,
                num_parameters=self.trainer.num_parameters,
                num_records=self._num_records,
                first_round=self.first_round,
            )
        return alike if alike.hospital_id == hospital.hospital_id else alike.of(hospital.hospital_id)

    def tensors(self, hospital: HospitalData) -> "HospitalTensors":
        """Return the hospital's records on the device that trains, made as they are asked for.

        Those asked for last are kept, as far as they take little: a cohort of many hospitals is another in every round.
        """
        from wardround.clients.trainers import training_tensors

        made = self._kept.pop(hospital.hospital_id, None)
        if made is None:
            made = training_tensors(self.config, hospital, self._constants, self.trainer.device)
            self._kept_bytes += made.num_bytes
        most = _MOST_KEPT_BYTES[self.trainer.device.type]
        if self.config.simulation.engine == "stacked":
            most = max(most, _MOST_IN_ONE_PROCESS_BYTES)
        while self._kept_bytes > most and self._kept:
            self._kept_bytes -= self._kept.pop(next(iter(self._kept))).num_bytes
        self._kept[hospital.hospital_id] = made
        return made

    def _weight_of(self, message: Message, reply: Message) -> float:
        # By the hospital's own settings and records, not by what a server says: whose it is was checked by then.
        name = wire.assignment_of(message).hospital_id
        (hospital,) = (hospital for hospital in self.federation.hospitals if hospital.hospital_id == name)
        return cell_of(self.config.privacy).vector_weight(hospital.num_train)


def _told(message: Message, name: str, kind: type[_Told]) -> _Told | None:
    """Return what a message tells beside the model; None where it does not."""
    told = message.content.get(name)
    return wire.read_record(kind, dict(told.items())) if isinstance(told, ConfigRecord) else None
