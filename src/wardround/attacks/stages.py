"""A round in a malicious server's hands, stage by stage, whatever the protocol: set-up, share keys, collect, unmask.

Every stage takes a round and returns the next one, with what the hospitals answered and who refused; an attack is what
happens between them. A protocol says how each stage is asked for, and what secrets make of a masked vector.
"""

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flwr.app import Message, RecordDict
from numpy.typing import NDArray

from wardround.attacks.findings import Learnt, Refused
from wardround.attacks.targets import Arrays, Nodes

__all__ = ["Lists", "Protocol", "Round", "asked", "honest_round"]

Lists = Callable[[int], tuple[frozenset[int], frozenset[int]]]
"""What each node is told of who is in the sum and who dropped out."""


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


def asked(
    round_: Round, stage: str, contents: Mapping[int, RecordDict], read: Callable[[Message], Any]
) -> tuple[Round, dict[int, Any]]:
    """Return the round with the refusals of a stage, and by node what was read of the other replies."""
    answers, refused = {}, list(round_.refused)
    for node_id, content in contents.items():
        reply = round_.nodes.ask(node_id, content)
        if isinstance(reply, str):
            refused.append(Refused(node_id=node_id, stage=stage, reason=reply))
        else:
            answers[node_id] = read(reply)
    return replace(round_, refused=tuple(refused)), answers


def honest_round(nodes: Nodes, cohort: Sequence[int], terms: Any) -> Round:
    """Return a round as an honest server has it, with all that it may know in the end."""
    protocol = nodes.target.protocol
    round_ = Round(nodes=nodes, cohort=tuple(cohort), terms=terms)
    round_ = protocol.collect(protocol.share_keys(protocol.set_up(round_)))
    active = frozenset(round_.vectors)
    return protocol.unmask(round_, lambda node_id: (active, frozenset(cohort) - active))
