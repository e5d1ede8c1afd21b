"""A Flower app of a user's own behind the secure sum, on real key files, and a server that plays as it likes.

The app trains two layers on data of its own. What it does with a message is left to each attack: which arrays and which
learning rate it takes from it is how ordinary apps differ.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flower_grid import stage_of
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy

from wardround import wire
from wardround.clients.secagg import SecAggMod, agreed_terms
from wardround.secagg import Roster, new_site_key, write_roster
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.strategies import SecAggPlus

NAMES = tuple(f"site-{number}" for number in range(5))
VICTIM, BAD = 2, 4
WIDTH, NUM_RECORDS = 4, 40
BOUNDS = {"max_update": 8.0, "max_weight": 64.0}
ALL_NODES = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1, "fraction_evaluate": 0.0}
Reading = Callable[[Message], tuple[list[Any], float]]
"""What an app takes from a message: its arrays in their order, and a learning rate."""
Tampering = Callable[[Message, int], None]
"""Changes a message in place, given the place of the site that it goes to."""


Spoiling = Callable[[str, Message], None]
"""Changes a bad site's reply to a stage in place."""


class TamperingGrid(InlineGrid):
    """A grid on which training messages change on their way, and the replies of one bad site."""

    tamper: Tampering
    spoil: Spoiling
    refusals: dict[int, list[str]]

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        wave = list(messages)
        for message in wave:
            if wire.ARRAYS in message.content:
                message.content = RecordDict(dict(message.content.items()))
                self.tamper(message, message.metadata.dst_node_id - 1)
        replies = super().send_and_receive(wave, timeout=timeout)
        stages = {message.metadata.message_id: stage_of(message) for message in wave}
        for reply in replies:
            if reply.metadata.src_node_id - 1 == BAD and not reply.has_error():
                self.spoil(stages[reply.metadata.reply_to_message_id], reply)
            if reply.has_error():
                self.refusals.setdefault(reply.metadata.src_node_id - 1, []).append(reply.error.reason)
        return replies


def as_it_is(*given: Any) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Learned:
    """What the server has in the end: the change of the model where it got one, and refusals by site."""

    change: Mapping[str, Any] | None
    refusals: Mapping[int, list[str]]


@dataclass(frozen=True)
class UsersSites:
    """Five sites with keys in files; `moved` keeps what each one's update really was."""

    folder: Path
    reading: Reading
    moved: dict[int, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = {name: new_site_key(self.folder / f"{name}.key") for name in NAMES}
        write_roster(self.folder / "roster.json", self.roster_of(keys))

    @staticmethod
    def roster_of(keys: Mapping[str, bytes]) -> Roster:
        return Roster(federation="five", verify_keys=dict(keys), min_survivors=3)

    def grid(self, tamper: Tampering, spoil: Spoiling, *, masked: bool) -> TamperingGrid:
        """Return a grid over the sites, as after a restart of all of them."""
        app = ClientApp(mods=[SecAggMod(check_terms=agreed_terms(**BOUNDS))] if masked else [])
        app.train()(self.train)
        nodes = [Node(node_id=index + 1, node_config=self.node_config(index)) for index in range(len(NAMES))]
        grid = TamperingGrid(lambda: app, nodes)
        grid.tamper, grid.spoil, grid.refusals = tamper, spoil, {}
        return grid

    def node_config(self, index: int) -> dict[str, Any]:
        files = {"site-key": str(self.folder / f"{NAMES[index]}.key"), "roster": str(self.folder / "roster.json")}
        return {"partition-id": index, "hospital": NAMES[index], **files}

    def train(self, message: Message, context: Context) -> Message:
        index = int(context.node_config["partition-id"])
        arrays, learning_rate = self.reading(message)
        gradients = two_layer_gradients(arrays, *records_of(index))
        self.moved[index] = [-learning_rate * gradient for gradient in gradients]
        new = [array + step for array, step in zip(arrays, self.moved[index], strict=True)]
        trained = wire.array_record(dict(zip(message.content[wire.ARRAYS], new, strict=True)))  # type: ignore[arg-type]
        metrics = MetricRecord({"num-examples": NUM_RECORDS})
        return Message(RecordDict({"arrays": trained, "metrics": metrics}), reply_to=message)


def records_of(index: int) -> tuple[Any, Any]:
    """Return the records of a site, and their classes."""
    draws = np.random.default_rng(index)
    return draws.normal(size=(NUM_RECORDS, WIDTH)), draws.integers(WIDTH, size=NUM_RECORDS)


def two_layer_gradients(arrays: Sequence[Any], features: Any, labels: Any) -> list[Any]:
    """Return the mean gradients of cross-entropy for two layers with a rectifier between them, in plain NumPy."""
    first, first_bias, second, second_bias = arrays
    hidden = np.maximum(features @ first + first_bias, 0)
    logits = hidden @ second + second_bias
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(labels)), labels] -= 1
    chances /= len(labels)
    below = (chances @ second.T) * (hidden > 0)
    return [features.T @ below, below.sum(axis=0), hidden.T @ chances, chances.sum(axis=0)]


def play(
    sites: UsersSites,
    roster: Roster,
    model: Mapping[str, Any],
    tamper: Tampering = as_it_is,
    *,
    settings: Mapping[str, Any] | None = None,
    spoil: Spoiling = as_it_is,
    masked: bool = True,
    bounds: Mapping[str, float] = BOUNDS,
) -> Learned:
    """Play one round with the product's own server, whose messages somebody changes; without masks in the control."""
    strategy: Strategy = FedAvg(**ALL_NODES)
    if masked:
        strategy = SecAggPlus(strategy, roster, **bounds)
    grid = sites.grid(tamper, spoil, masked=masked)
    messages = list(strategy.configure_train(1, wire.array_record(model), ConfigRecord(dict(settings or {})), grid))
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages) if messages else [])
    if arrays is None:
        return Learned(None, grid.refusals)
    after = wire.arrays_of(arrays)
    return Learned({name: after[name] - before for name, before in model.items()}, grid.refusals)


def cosine(one: Any, other: Any) -> float:
    """Return how alike two updates are in direction: 1 where one is a multiple of the other."""
    one, other = np.ravel(one).astype(np.float64), np.ravel(other).astype(np.float64)
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0
