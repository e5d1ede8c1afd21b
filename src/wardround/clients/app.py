"""The Flower ClientApp: profile, train and evaluate, for simulated hospitals and for Flower's own engine alike.

Everything a reply carries is named in `leaves.LEAVES_HOSPITAL`. A node that is told anything but its partition, or
nothing, is a real site, and answers from its own file alone (`site_app`). What is left out on purpose: any decision.
The server plans and charges; the hospital does as assigned, and refuses what its settings don't say.
"""

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from wardround import wire
from wardround.agreed.statistics import STATISTICS_ROUND, statistics_config
from wardround.clients.assignments import Part, check_assignment
from wardround.clients.hospital_app import Hospitals
from wardround.clients.joint_answers import TogetherApp
from wardround.clients.profiles import hospital_profile, profile_measures
from wardround.clients.site_app import answer_as_site
from wardround.config import Config, load_config, releases_shares, split_overrides
from wardround.datasets import FederatedData, HospitalData, load_federation
from wardround.datasets.moments import layout_of, moment_federation
from wardround.errors import CohortError, ProtocolError, Refusal
from wardround.identity import as_this_process_has_it
from wardround.leaves import LEAVES_HOSPITAL
from wardround.rounds import Assignment
from wardround.secagg import Site, Terms, simulated_site

if TYPE_CHECKING:
    from wardround.clients.hospital_sides import SideInRound
    from wardround.clients.training import LocalTrainer, Trained
    from wardround.strategies import HospitalSide

__all__ = ["SimulatedHospitals", "app", "make_client_app"]


class SimulatedHospitals(Hospitals):
    """All hospitals of a federation, told apart by node_config["partition-id"].

    Their settings are the server's, what is measured of them is sent along, and a strategy sets the pull.
    """

    def __init__(
        self,
        config: Config,
        federation: FederatedData,
        side: "HospitalSide | None" = None,
        trainer: "LocalTrainer | None" = None,
        first_round: int = 1,
    ) -> None:
        """Answer for all hospitals, from `first_round` on; `side` is what the strategy does at them."""
        super().__init__(config, [hospital.hospital_id for hospital in federation.hospitals], lambda: federation)
        self.first_round = first_round
        if trainer is not None:
            self.trainer = trainer
        self._side, self.has_side = side, side is not None
        # What may leave is picked by the reply itself.
        is_masked = config.aggregation.protocol == "secagg+"
        self.mods = [self.masking(self._site_of, LEAVES_HOSPITAL)] if is_masked else []

    def asked(self, context: Context) -> HospitalData:
        """Return the hospital whose partition the node is."""
        hospitals, index = self.federation.hospitals, context.node_config.get("partition-id")
        if not isinstance(index, int) or not 0 <= index < len(hospitals):
            raise CohortError(
                f"partition-id = {index} must be in 0..{len(hospitals) - 1}: start as many nodes as the federation has "
                f"hospitals ({len(hospitals)})"
            )
        return self.hospital_at(index)

    def introduce(self, message: Message, context: Context) -> Message:
        """Return the profile, and what is measured of the records."""
        hospital = self.asked(context)
        measures = profile_measures(hospital, self.federation.task, is_tested=self.config.evaluation.is_exact)
        return wire.simulated_profile_reply(hospital_profile(hospital, self.federation), measures, message)

    @cached_property
    def statistics(self) -> "SimulatedHospitals":
        """The same hospitals as they answer in the release of statistics, which is a job of its own.

        Raises:
            Refusal: the settings have none.
        """
        from wardround.clients.moment_model import moment_model
        from wardround.clients.trainers import build_trainer

        layout = layout_of(self.federation, has_shares=releases_shares(self.config))
        if layout is None:
            raise Refusal("the settings of [features] and [imbalance] release nothing before round 1")
        # Which noise it is, is told with what is asked.
        config = statistics_config(self.config, layout.most_norm, 1.0)
        federation = moment_federation(self.federation, layout)
        trainer = build_trainer(config, federation, model=moment_model(layout.num_values))
        made = SimulatedHospitals(config, federation, trainer=trainer, first_round=STATISTICS_ROUND)
        made.agreed = self.agreed
        return made

    def for_round(self, round_number: int) -> "SimulatedHospitals":
        """Return who answers in a round."""
        if round_number == STATISTICS_ROUND and self.first_round != STATISTICS_ROUND:
            return self.statistics
        self.__dict__.pop("statistics", None)  # it is over, and holds moments of every record
        return self

    def check_terms(self, terms: Terms, message: Message | None) -> None:
        """Refuse a secure sum that is not as the settings of its round say."""
        answering = self.for_round(terms.round_number)
        super(SimulatedHospitals, answering).check_terms(terms, message)

    def admit(self, assignment: Assignment, part: Part, context: Context) -> None:
        """Refuse what the settings don't say, as a rehearsal of what a real site does."""
        check_assignment(assignment, part)

    def proximal_mu(self, message: Message) -> float:
        """Return what the strategy asks for; 0.0 where it asks for none."""
        value = wire.config_in(message).get(wire.PROXIMAL_MU, 0.0)
        return float(value) if isinstance(value, int | float) else 0.0

    def side(self, message: Message) -> "SideInRound | None":
        """Return what the strategy does at hospitals, with what it sent this one for it."""
        from wardround.clients.hospital_sides import side_in_round

        received = wire.arrays_beside(message, wire.HOSPITAL_SIDE)
        if self._side is not None:
            return side_in_round(self._side, self.trainer.model, received)
        if wire.HOSPITAL_SIDE in message.content:
            raise ProtocolError(
                f'the strategy sent "{wire.HOSPITAL_SIDE}", and has no hospital_side that would take it: give it one '
                "(docs/flower.md), or send nothing"
            )
        return None

    def report(self, trained: "Trained", message: Message) -> Message:
        """Return what was trained, and what was measured of it."""
        return wire.simulated_execution_reply(trained.execution, trained.measures, trained.arrays, message)

    def evaluate(self, message: Message, context: Context) -> Message:
        """Return the model's scores on the hospital's test records, and what it predicts of each."""
        from wardround.clients.evaluation import evaluate

        self.take_constants(message)
        hospital = self.asked(context)
        tensors = self.tensors(hospital)
        model = self.trainer.scoring_model(wire.arrays_in(message) | self.own(message), tensors)
        scores = evaluate(
            model,
            tensors,
            hospital_id=hospital.hospital_id,
            task=self.federation.task,
            edges=self.federation.time_edges,
        )
        return wire.evaluation_reply(*scores, message)

    def app(self) -> ClientApp:
        """Return the app that answers for them: one by one, or several together where an engine asks so."""
        return self._answering(TogetherApp(self))

    def _site_of(self, context: Context) -> Site:
        return simulated_site(
            self.config.federation.seed,
            self.asked(context).hospital_id,
            self.names,
            min_survivors=self.config.aggregation.min_survivors,
            max_colluding=self.config.aggregation.max_colluding,
        )


def make_client_app(
    config: Config,
    federation: FederatedData,
    side: "HospitalSide | None" = None,
    trainer: "LocalTrainer | None" = None,
    first_round: int = 1,
) -> ClientApp:
    """Return a ClientApp that answers for any hospital of the federation, told apart by node_config["partition-id"].

    The model is built once for all hospitals of a process; a hospital's records become tensors at its first message.
    `side` is what the strategy does at hospitals (`strategies.hospital_side_of`); the trainer is one that was built of
    these settings and data and has trained nobody, None where it is to be built. Rounds go on from
    `first_round`.
    """
    return SimulatedHospitals(config, federation, side, trainer, first_round).app()


@lru_cache(maxsize=1)
def _app_of(path: str, overrides: str) -> ClientApp:
    config = as_this_process_has_it(load_config(path or None, split_overrides(overrides)))
    side = None
    if ":" in config.aggregation.strategy:  # Flower's own have no hospital side
        from wardround.strategies import hospital_side_of, strategy_of

        side = hospital_side_of(strategy_of(config))
    return make_client_app(config, load_federation(config.federation, config.features), side)


app = ClientApp()
"""The app `flwr run` loads. Simulated hospitals take their settings from the run config's `config` (a path) and `set`
(overrides); a real site takes all from the file that its node config's `site` names."""


def _forwarded(message: Message, context: Context) -> Message:
    if set(context.node_config) != {"partition-id", "num-partitions"}:
        # Told anything but what simulations tell their hospitals, or nothing: no server may name this node's files.
        return answer_as_site(message, context)
    import torch

    # As in every other engine: the last bits of sums depend on it, and seeded noise on everything that does.
    torch.set_num_threads(1)
    return _app_of(str(context.run_config.get("config", "")), str(context.run_config.get("set", "")))(message, context)


app.query("profile")(_forwarded)
app.train()(_forwarded)
app.evaluate()(_forwarded)
