"""The app that is attacked, its hospitals in this process, and what each would have told a server that it trusts.

What is left out on purpose: the network. Hospitals answer in this process as a SuperNode has them, one message after
the other; an app that raises is a reply with an error.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from wardround.errors import ConfigError, ProtocolError
from wardround.simulations.engines.flower_internals import RUN_ID, check_flower_version, give_id, take_identity

if TYPE_CHECKING:
    from wardround.attacks.stages import Protocol

__all__ = ["Arrays", "Nodes", "Target", "flat", "training_message"]

Arrays = Mapping[str, NDArray[Any]]
"""Parameters by name, in the order in which the app has them."""
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

    def ask(self, node_id: int, content: RecordDict) -> Message | str:
        """Return the hospital's reply to a training message, or the text of its refusal."""
        message = training_message(copy.deepcopy(content), node_id, f"{id(self)}-{id(content)}")
        try:
            reply = self.target.app(message, self.contexts[node_id])
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return f"error {reply.error.code}: {reply.error.reason}" if reply.has_error() else reply


def training_message(content: RecordDict, node_id: int, name: str) -> Message:
    """Return a training message with an id made of the name."""
    take_identity()
    return give_id(Message(content, dst_node_id=node_id, message_type="train", group_id="1"), name)


def flat(arrays: Any) -> NDArray[np.float64]:
    """Return arrays one after the other in float64, shape (dimension,)."""
    return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in arrays])
