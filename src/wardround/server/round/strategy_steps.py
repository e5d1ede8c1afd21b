"""What a Flower strategy does in a round: whom it asks, what it makes of the replies, and how the model is evaluated.

A strategy may be anybody's, and is trusted with nothing that was not charged. What is left out on purpose: training,
and what of it a strategy may see (see `sums`, `released`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp.strategy import Strategy

from wardround import exact_sums, wire
from wardround.datasets.constants import NO_CONSTANTS, Constants
from wardround.errors import ProtocolError, UpdateError, WardroundError
from wardround.exact_sums import Arrays
from wardround.rounds import Assignment, Evaluation
from wardround.scores import Predictions
from wardround.server.round.cohort_grid import CohortGrid
from wardround.server.round.hospitals import HospitalLink
from wardround.strategies import needs_only_sum, only_averages_scores
from wardround.wire_arrays import predictions_of
from wardround.wire_values import config_record, content_of

__all__ = ["NOTHING", "Asked", "ask", "evaluate", "step"]

NOTHING: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
"""No record."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """What a round's hospitals are to be sent.

    Attributes:
        messages: at most one for each, with its assignment.
        by_node: assignments by node id, of those who are there to be asked.
        num_assigned: hospitals that were charged for the round, whoever is there.
        min_survivors: with fewer replies the model stays as it is.
        only_sum: whether the strategy sees the sum of the replies alone.
    """

    messages: Sequence[Message]
    by_node: Mapping[int, Assignment]
    num_assigned: int
    min_survivors: int
    only_sum: bool

    def shortfall(self, num_answered: int) -> str:
        """Return why so many replies are too few; "" where they are enough, or nobody was to be asked."""
        if num_answered >= self.min_survivors or not self.num_assigned:
            return ""
        return (
            f"{num_answered} of {self.num_assigned} hospitals answered, and min-survivors = {self.min_survivors} are "
            "needed"
        )


def ask(
    link: HospitalLink,
    strategy: Strategy,
    arrays: Arrays,
    assignments: Sequence[Assignment],
    absent: Collection[str],
    min_survivors: int,
    constants: Constants = NO_CONSTANTS,
    beside: Mapping[str, Mapping[str, Any]] = NOTHING,
) -> Asked:
    """Return what the strategy sends to the hospitals of a round; nothing where too few of them are there.

    The assignments are of the whole cohort, already charged; `absent` are members of it that are not there. They are
    told what was released before round 1, and records by name beside it.

    Raises:
        ProtocolError: the strategy asks a hospital twice, or one that was not charged.
        WardroundError: the strategy's own code fails.
    """
    by_node = {link.node_of[a.hospital_id]: a for a in assignments if a.hospital_id not in absent}
    messages: list[Message] = []
    if len(by_node) >= min_survivors:
        grid = CohortGrid(link.grid, {node_id: link.name_of[node_id] for node_id in by_node})
        round_number = assignments[0].round_number
        with _blaming(strategy):
            messages = list(strategy.configure_train(round_number, wire.array_record(arrays), ConfigRecord(), grid))
    return Asked(
        messages=_told(_once_each(messages, by_node), constants, beside),
        by_node=by_node,
        num_assigned=len(assignments),
        min_survivors=min_survivors,
        only_sum=needs_only_sum(strategy),
    )


def step(strategy: Strategy, round_number: int, arrays: Arrays, replies: Sequence[Message]) -> Arrays:
    """Return the next model, as the strategy makes it; without replies the model and the strategy stay as they are.

    Raises:
        UpdateError: the next model is not finite or does not fit.
        WardroundError: the strategy's own code fails.
    """
    if not replies:
        return arrays
    with _blaming(strategy):
        aggregated, _ = strategy.aggregate_train(round_number, list(replies))
    return arrays if aggregated is None else _in_dtype_of(arrays, wire.arrays_of(aggregated))


def evaluate(
    link: HospitalLink, strategy: Strategy, round_number: int, arrays: Arrays, constants: Constants = NO_CONSTANTS
) -> tuple[dict[str, Evaluation], dict[str, Predictions]]:
    """Return every simulated hospital's evaluation of the model, and its predictions; real sites are not asked.

    They are told what was released before round 1.

    Raises:
        ProtocolError: the strategy asks hospitals to train, which nobody charged.
        WardroundError: a hospital's app, or the strategy's own code, fails.
    """
    if link.are_sites:
        return {}, {}
    grid = CohortGrid(link.grid, link.name_of)
    with _blaming(strategy):
        messages = strategy.configure_evaluate(round_number, wire.array_record(arrays), ConfigRecord(), grid)
        replies = link.answered(grid.send_and_receive(_told(list(messages), constants)))
        if not only_averages_scores(strategy):
            strategy.aggregate_evaluate(round_number, [_without_predictions(reply) for reply in replies])
    senders = [link.sender_of(reply) for reply in replies]  # in the order of names
    evaluations = (wire.read_metrics(Evaluation, *told) for told in zip(replies, senders, strict=True))
    return dict(zip(senders, evaluations, strict=True)), dict(zip(senders, map(_predictions_in, replies), strict=True))


def _told(
    messages: list[Message], constants: Constants, beside: Mapping[str, Mapping[str, Any]] = NOTHING
) -> list[Message]:
    """Return the messages with what was released before round 1; those that shared a content share one again."""
    told = {wire.FEATURES: constants.scaling, wire.CLASSES: constants.balance}
    values = {name: wire.record_values(part) for name, part in told.items() if part is not None}
    records = {name: config_record(each) for name, each in (*values.items(), *beside.items())}
    if not records:
        return messages
    made = dict[int, RecordDict]()
    shared = [message.content for message in messages]
    for message, content in zip(messages, shared, strict=True):
        if id(content) not in made:
            made[id(content)] = content_of(dict(content.items()) | records)
        message.content = made[id(content)]
    return messages


def _predictions_in(reply: Message) -> Predictions:
    record = reply.content.get(wire.PREDICTIONS)
    if not isinstance(record, ArrayRecord):
        raise ProtocolError("an evaluation's reply has no predictions: both sides need the same version of wardround")
    return predictions_of(record)


def _without_predictions(reply: Message) -> Message:
    """Return an evaluation's reply as a strategy may see it: its metrics alone."""
    told = copy(reply)
    told.content = content_of({name: record for name, record in reply.content.items() if name != wire.PREDICTIONS})
    return told


@contextmanager
def _blaming(strategy: Strategy) -> Iterator[None]:
    """Name the strategy where its own code fails."""
    try:
        yield
    except WardroundError:
        raise
    except Exception as error:
        raise WardroundError(
            f"strategy {type(strategy).__name__} failed: {type(error).__name__}: {error}: correct it, and begin a new "
            "run; what is committed of this one is kept"
        ) from error


def _once_each(messages: Iterable[Message], by_node: Mapping[int, Assignment]) -> list[Message]:
    """Return the strategy's messages with their assignments.

    A hospital that trained on two models with one round's noise would release their difference without any.
    """
    asked: dict[int, Message] = {}
    for message in messages:
        node_id, message_type = message.metadata.dst_node_id, message.metadata.message_type
        if node_id not in by_node or node_id in asked or message_type != "train":
            raise ProtocolError(
                f'the strategy sent node {node_id} a "{message_type}" message: configure_train must return at most '
                f'one "train" message for each of the nodes that its grid shows ({", ".join(map(str, by_node))})'
            )
        asked[node_id] = wire.with_assignment(message, by_node[node_id])
    return list(asked.values())


def _in_dtype_of(like: Arrays, arrays: Arrays) -> Arrays:
    """Server optimizers compute in float64; the model keeps its own dtypes."""
    exact_sums.check_alike(arrays, like)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UpdateError(
                f"parameter {name} is not finite after the strategy's step: lower the learning rates, or look at the "
                "strategy"
            )
    return {name: arrays[name].astype(array.dtype, copy=False) for name, array in like.items()}
