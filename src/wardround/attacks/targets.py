"""The app that is attacked, its hospitals in this process, and what a malicious server knows of a round of them.

A protocol says how each stage of a round is asked for (set-up, share keys, collect, unmask), and what secrets make of a
masked vector. What an update truly was, the app without its mod says.

What is left out on purpose: the network. Hospitals answer in this process as a SuperNode has them, one message after
the other; an app that raises is a reply with an error.
"""

import copy
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from wardround.attacks.findings import Learnt, Refused
from wardround.errors import ConfigError, ProtocolError
from wardround.simulations.engines.flower_internals import RUN_ID, check_flower_version, give_id, take_identity

__all__ = ["Arrays", "Lists", "Nodes", "Protocol", "Round", "Target", "flat", "training_message"]

Arrays = Mapping[str, NDArray[Any]]
"""Parameters by name, in the order in which the app has them."""
Lists = Callable[[int], tuple[frozenset[int], frozenset[int]]]
"""What each node is told of who is in the sum and who dropped out."""
_FEWEST = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """An app under attack.

    Attributes:
        app: the ClientApp as hospitals run it, with the mod of the secure sum.
        plain: the same without the mod; it says what an update really was, and is shown to no server.
        protocol: how the mod is spoken to.
        model: parameters that the server sends; an app of the legacy kind gets them in this order.
        node_configs: of each hospital, what its SuperNode is started with; node ids are from 1. At least four.
        run_config: what Flower tells the app of the run.
        config: what the server sends along with the parameters.
        weak_config: what a server would say in `config` to have an app add less noise; empty where nothing would.
        victim: node id of whose update the server is after.
    """

    app: ClientApp
    plain: ClientApp
    protocol: "Protocol"
    model: Arrays
    node_configs: Sequence[Mapping[str, Any]]
    run_config: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    weak_config: Mapping[str, Any] = field(default_factory=dict)
    victim: int = 2

    def __post_init__(self) -> None:
        check_flower_version()
        if len(self.node_configs) < _FEWEST:
            raise ConfigError(
                f"node_configs has {len(self.node_configs)} hospitals, and must have at least {_FEWEST}: lists that "
                "differ need two hospitals for each"
            )
        if not 1 <= self.victim <= len(self.node_configs):
            raise ConfigError(f"victim = {self.victim} must be >= 1 and <= {len(self.node_configs)}")

    @property
    def node_ids(self) -> tuple[int, ...]:
        """The hospitals' node ids, from 1."""
        return tuple(range(1, len(self.node_configs) + 1))

    def start(self) -> "Nodes":
        """Return the hospitals, all of them with an empty state."""
        return Nodes(target=self, contexts={node_id: self._context(node_id) for node_id in self.node_ids})

    def trained(self, node_id: int, model: Arrays | None = None) -> tuple[NDArray[np.float64], float]:
        """Return what a hospital truly trains: parameters, shape (dimension,), and number of examples.

        Raises:
            ProtocolError: the app does not answer without the mod either.
        """
        content = self.protocol.content(self.model if model is None else model, self.config)
        message = training_message(content, node_id, "plain")
        try:
            reply = self.plain(message, self._context(node_id))
            arrays, weight = self.protocol.trained(reply)
        except Exception as error:
            raise ProtocolError(f"the plain app of node {node_id} does not train: {error}") from error
        return flat(arrays), weight

    def true_update(self, members: Sequence[int]) -> NDArray[np.float64]:
        """Return the weighted mean of hospitals' updates, shape (dimension,)."""
        trained = [self.trained(node_id) for node_id in members]
        weights = [weight for _, weight in trained]
        return np.average([array for array, _ in trained], axis=0, weights=weights) - flat(self.model.values())

    def _context(self, node_id: int) -> Context:
        return Context(
            run_id=RUN_ID,
            node_id=node_id,
            node_config=dict(self.node_configs[node_id - 1]),
            state=RecordDict(),
            run_config=dict(self.run_config),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """Hospitals that run the app, each with its state: that of Flower, which goes on from message to message."""

    target: Target
    contexts: Mapping[int, Context]

    def ask(self, node_id: int, content: RecordDict, message_type: str = "train") -> Message | str:
        """Return the hospital's reply to a training message, or the text of its refusal."""
        message = training_message(copy.deepcopy(content), node_id, f"{id(self)}-{id(content)}", message_type)
        try:
            reply = self.target.app(message, self.contexts[node_id])
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return f"error {reply.error.code}: {reply.error.reason}" if reply.has_error() else reply


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """All that the server knows of a round.

    Attributes:
        nodes: the hospitals.
        cohort: node ids of those who are asked.
        terms: what the server proposed, in the protocol's own form.
        keys: by node, what it answered at set-up.
        shares: by node, what it answered when keys were shared.
        vectors: by node, its masked vector, in the protocol's own form.
        weights: by node, its number of examples, where the reply says so in clear.
        secrets: by ("seed" or "key", node), what the server put together or made itself.
        refused: every refusal.
    """

    nodes: Nodes
    cohort: tuple[int, ...]
    terms: Any
    keys: Mapping[int, Any] = field(default_factory=dict)
    shares: Mapping[int, Any] = field(default_factory=dict)
    vectors: Mapping[int, Any] = field(default_factory=dict)
    weights: Mapping[int, float] = field(default_factory=dict)
    secrets: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    refused: tuple[Refused, ...] = ()


class Protocol(typing.Protocol):
    """How a mod of the secure sum is spoken to."""

    @property
    def title(self) -> str:
        """Its name, with the version of the library that it is of."""

    def content(self, arrays: Arrays, config: Mapping[str, Any]) -> RecordDict:
        """Return what a training message carries beside the protocol's own part."""

    def trained(self, reply: Message) -> tuple[Sequence[NDArray[Any]], float]:
        """Return the parameters and the number of examples of an app's reply in clear."""

    def terms(self, nodes: Nodes, cohort: Sequence[int], *, lowered: bool = False) -> Any:
        """Return what is proposed at set-up: as agreed, or with the lowest thresholds that there are."""

    def set_up(self, round_: Round) -> Round:
        """Ask the cohort for keys."""

    def share_keys(self, round_: Round, *, num_invented: int = 0) -> Round:
        """Show the cohort's keys to each of it, and those of hospitals that there are not; ask for shares."""

    def collect(self, round_: Round, models: Mapping[int, Arrays] | None = None) -> Round:
        """Ask for masked vectors, of the target's model or, where it is named, of another."""

    def unmask(self, round_: Round, lists: Lists) -> Round:
        """Ask for shares of secrets, and put together what can be."""

    def summed(self, round_: Round, members: Sequence[int]) -> tuple[NDArray[np.float64], float] | None:
        """Return the weighted sum of the updates of some, shape (dimension,), and of their weights.

        None where a secret is missing that it takes.
        """

    def silencing(self, model: Arrays) -> Arrays:
        """Return another model, such that the vector of who trains on it is known."""

    def among_silent(self, round_: Round, victim: int) -> NDArray[np.float64] | None:
        """Return the update of one, shape (dimension,), where all others trained on what silences them."""

    def weakened(self, nodes: Nodes, victim: int) -> tuple[str, Round, Learnt | None]:
        """Set bounds and ranges so that masks hide nothing; return what was tried, the round, and what it brought."""


def training_message(content: RecordDict, node_id: int, name: str, message_type: str = "train") -> Message:
    """Return a training message with an id made of the name."""
    take_identity()
    return give_id(Message(content, dst_node_id=node_id, message_type=message_type, group_id="1"), name)


def flat(arrays: Any) -> NDArray[np.float64]:
    """Return arrays one after the other in float64, shape (dimension,)."""
    return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in arrays])
