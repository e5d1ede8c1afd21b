"""Models, or parts of one, that are each hospital's own: MR-MTL, a local head, local normalisation ([personal]).

Every hospital's reply is a release of its own (docs/privacy.md), so that the server keeps what is the hospital's own of
it, and sends it back in the next round: nothing is kept at hospitals, and a resumed run needs nothing more. With
MR-MTL the hospital begins from its own model and is pulled to the mean of all (Liu, Hu, Wu and Smith 2022, "On Privacy
and Personalization in Cross-Silo Federated Learning"). What is left out on purpose: the pull itself, which is that of
FedProx (see `clients.steps`), and which parameters are a hospital's own (see `models.own_parts`).
"""

import math
from collections.abc import Iterable, Mapping

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from wardround import wire
from wardround.config import PersonalConfig
from wardround.exact_sums import Arrays, FixedSum, accumulate, mean
from wardround.rounds import TrainingMeasures

__all__ = ["PersonalModels", "kept_models", "know_own_names"]


class PersonalModels(FedAvg):
    """Federated averaging that leaves every hospital parameters of its own.

    Attributes:
        pull: strength of the pull to the mean (>= 0).
        own_names: of the parameters that are each hospital's own.
        models: these parameters by hospital, as it released them last; of those that answered once.
        num_examples: training records, of the same.
        hospitals: names by node, of the round that is under way.
    """

    def __init__(self, personal: PersonalConfig) -> None:
        """Begin with one model for all."""
        super().__init__(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
        self.pull = personal.pull
        self.own_names: tuple[str, ...] = ()
        self.models: dict[str, Arrays] = {}
        self.num_examples: dict[str, float] = {}
        self.hospitals: dict[str, str] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every hospital the mean, and what is its own beside it."""
        if self.pull:
            config[wire.PROXIMAL_MU] = self.pull
        self.hospitals = {str(node): name for node, name in _names_in(grid).items()}
        return self._with_own(super().configure_train(server_round, arrays, config, grid), grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the mean by records: of what hospitals share over those who answered, of the rest over all models."""
        shared: dict[str, Arrays] = {}
        for reply in replies:
            name, arrays = self.hospitals[str(reply.metadata.src_node_id)], wire.arrays_in(reply)
            # A copy: what came may lie in memory that an engine shares.
            self.models[name] = {own: arrays[own].copy() for own in self.own_names}
            measured = wire.read_measures(TrainingMeasures, reply)
            self.num_examples[name] = float(measured.num_examples if measured else 1)
            shared[name] = {other: array for other, array in arrays.items() if other not in self.models[name]}
        self.hospitals = {}
        return wire.array_record(self._mean(shared) | self._mean(self.models)), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every hospital to test the model that it has."""
        return self._with_own(super().configure_evaluate(server_round, arrays, config, grid), grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return nothing: scores are averaged by the round loop."""
        return None

    def _with_own(self, messages: Iterable[Message], grid: Grid) -> list[Message]:
        names, told = _names_in(grid), list(messages)
        for message in told:
            own = self.models.get(names[message.metadata.dst_node_id])
            if own is not None:
                # Flower shares one content between all messages: each gets its own, with the mean of all.
                content = {name: message.content[name] for name in message.content}
                message.content = RecordDict(content | {wire.OWN: wire.array_record(own)})
        return told

    def _mean(self, models: Mapping[str, Arrays]) -> Arrays:
        """Return the exact mean by records: the same bits in whatever order hospitals answer, on every engine."""
        total: FixedSum = {}
        num_examples = math.fsum(self.num_examples[name] for name in models)
        weights = {name: self.num_examples[name] / num_examples for name in models}
        for name, arrays in models.items():
            accumulate(total, arrays, weights[name])
        return mean(total, math.fsum(weights.values()), next(iter(models.values())))


def know_own_names(strategy: Strategy, names: tuple[str, ...]) -> Strategy:
    """Return the strategy, before its first round, told which parameters are hospitals' own, if it asks."""
    if isinstance(strategy, PersonalModels):
        strategy.own_names = names
    return strategy


def kept_models(strategy: Strategy) -> Mapping[str, Arrays] | None:
    """Return what is each hospital's own, of those that answered once; None where nothing is any hospital's own."""
    return strategy.models if isinstance(strategy, PersonalModels) else None


def _names_in(grid: Grid) -> dict[int, str]:
    """Return hospitals by node, as the grid of a round names them."""
    names: dict[int, str] = grid.hospital_ids  # type: ignore[attr-defined]
    return names
