"""How the hospitals' replies to one round become one exact sum: added up by the engine, or by secure aggregation.

What is left out on purpose: who is asked and with what (see `hospitals`), and what the sum is for (see `release`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from flwr.app import ArrayRecord, Message
from flwr.serverapp import Grid

from wardround import arrays as exact
from wardround import wire
from wardround.errors import ProtocolError
from wardround.privacy.clipping import COUNT_NAME
from wardround.rounds import Assignment
from wardround.secagg import Roster, Terms, digest_of
from wardround.secagg.quantisation import Quantiser, flattened, split_like
from wardround.secagg.records import STAGES
from wardround.strategies.secagg_exchange import ask_masked, close_round, open_round

__all__ = ["SecureSum", "SummingGrid", "add_up"]


@runtime_checkable
class SummingGrid(Protocol):
    """A grid whose workers add up the weighted arrays themselves."""

    def send_and_sum(self, messages: Sequence[Message]) -> tuple[list[Message], exact.FixedSum]:
        """Return the replies without arrays, and the exact sum of their weighted arrays."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureSum:
    """How a round is summed by secure aggregation.

    Attributes:
        terms: of the round, given the digest of what everyone is sent.
        payload: what is summed, as in the terms.
        weights: by node id, what each hospital's update must weigh.
        roster: of the federation.
        drops: by node id, the stage at which a simulated hospital vanishes.
    """

    terms: Callable[..., Terms]
    payload: str
    weights: Mapping[int, float]
    roster: Roster
    drops: Mapping[int, str]


def add_up(
    grid: Grid, messages: Sequence[Message], by_node: Mapping[int, Assignment], secure: SecureSum | None
) -> tuple[list[Message], exact.FixedSum]:
    """Send the training messages; return the replies without arrays, and the exact sum that `release_sum` takes.

    Args:
        grid: any Flower grid.
        messages: one for each hospital, with its assignment; changed in place.
        by_node: the assignments.
        secure: None lets the grid, or this function, see the replies that it adds up.

    Raises:
        CohortError: too few hospitals are left for secure aggregation.
        ProtocolError: a hospital's secrets can't be had, or the weights in the sum are not those assigned.
    """
    if secure is not None:
        return _add_up_securely(grid, messages, by_node, secure)
    _ask_for_sum(messages, by_node)
    return _sum_over(grid, messages, by_node)


def _add_up_securely(
    grid: Grid, messages: Sequence[Message], by_node: Mapping[int, Assignment], secure: SecureSum
) -> tuple[list[Message], exact.FixedSum]:
    def here(stage: str, messages: Iterable[Message]) -> list[Message]:
        place = STAGES.index(stage)
        gone = {node_id for node_id, last in secure.drops.items() if STAGES.index(last) <= place}
        return [message for message in messages if message.metadata.dst_node_id not in gone]

    def send(stage: str, messages: list[Message]) -> Iterable[Message]:
        present = here(stage, messages)
        return grid.send_and_receive(present) if present else []

    _ask_for_sum(messages, by_node, masked=secure.payload)
    # Of one message: a hospital that is sent something else refuses.
    told = dict(wire.config_in(messages[0])) | wire.same_for_all(wire.assignment_of(messages[0]))
    terms = secure.terms(model_digest=digest_of(wire.arrays_in(messages[0]), told))
    opened = open_round(send, [message.metadata.dst_node_id for message in messages], terms, secure.roster)
    asked = [message for message in here("mask", messages) if message.metadata.dst_node_id in opened.requests]
    replies, total = _sum_over(grid, [ask_masked(opened, message) for message in asked], by_node, masked=True)
    if any(reply.has_error() for reply in replies):
        return replies, {}
    like = {name: total[name] for name in sorted(total) if name != wire.SUM_OF_WEIGHTS}
    weights = [total[name] for name in (wire.SUM_OF_WEIGHTS,) if name in total]
    vector = np.concatenate([flattened(like), *(array.reshape(1) for array in weights)]).astype(np.uint32)
    active = [reply.metadata.src_node_id for reply in replies]
    close_round(send, opened, active, vector)
    if terms.payload == "residues":
        return replies, {name: part.astype(np.int64) for name, part in split_like(vector, like).items()}
    quantiser = Quantiser(
        num_members=opened.members.shape.num_members, max_update=terms.max_update, max_weight=terms.max_weight
    )
    values, weight = quantiser.sums(vector)
    _check_weight(weight, [secure.weights[node_id] for node_id in active], quantiser)
    # Hospitals weigh their updates by records; a round's weights are shares of the cohort.
    assigned = sum(by_node[node_id].weight for node_id in active)
    summed = split_like(values * (assigned / weight), like)
    if terms.payload == "parameters":
        sent = wire.arrays_in(asked[0])
        summed = {name: part + assigned * sent[name].astype(np.float64) for name, part in summed.items()}
    return replies, {name: np.rint(part * 2.0**exact.FRACTION_BITS).astype(np.int64) for name, part in summed.items()}


def _check_weight(weight: float, known: Sequence[float], quantiser: Quantiser) -> None:
    slack = len(known) * quantiser.max_weight / quantiser.levels
    if abs(weight - sum(known)) > slack:
        raise ProtocolError(
            f"the weights in the sum add up to {weight:g}, and must to {sum(known):g}: a hospital holds another number "
            "of records than it said at first, and the sum is refused"
        )


def _ask_for_sum(messages: Sequence[Message], by_node: Mapping[int, Assignment], masked: str = "") -> None:
    """Say in each message how its reply enters the sum, and make room for numbers that travel along."""
    with_more: dict[int, ArrayRecord] = {}
    for message in messages:
        assignment = by_node[message.metadata.dst_node_id]
        # The strategy shares one config between all messages; the weight is each hospital's own.
        config = wire.config_in(message)
        if masked or assignment.placement == "distributed":
            config[wire.SUM_RESIDUES] = True
        else:
            config[wire.SUM_WEIGHT] = assignment.weight
        message.content[wire.CONFIG] = config
        more = [COUNT_NAME] if assignment.adaptive_clipping else []
        more += [wire.SUM_OF_WEIGHTS] if masked not in ("", "residues") else []
        if more:
            record = message.content[wire.ARRAYS]
            if id(record) not in with_more:
                with_more[id(record)] = wire.array_record(
                    wire.arrays_in(message) | {name: np.zeros(()) for name in more}
                )
            message.content[wire.ARRAYS] = with_more[id(record)]


def _sum_over(
    grid: Grid, messages: Sequence[Message], by_node: Mapping[int, Assignment], *, masked: bool = False
) -> tuple[list[Message], exact.FixedSum]:
    if isinstance(grid, SummingGrid):
        return grid.send_and_sum(messages)
    replies, total = list(grid.send_and_receive(messages)), exact.FixedSum()
    for reply in replies:
        if not reply.has_error():
            assignment = by_node[reply.metadata.src_node_id]
            if masked or assignment.placement == "distributed":
                exact.accumulate_residues(total, wire.arrays_in(reply))
            else:
                exact.accumulate(total, wire.arrays_in(reply), assignment.weight)
    return replies, total
