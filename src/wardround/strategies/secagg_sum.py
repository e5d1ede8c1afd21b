"""The sum of masked vectors, reply by reply, and what it weighs once the masks are off.

Used by the `SecAggPlus` strategy and by the round loop alike, between the two halves of `secagg_exchange`. A reply that
is not a masked vector like the others is a drop, with a reason, and not in the sum. What is left out on purpose: masks
(see `secagg_exchange.close_round`).
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from wardround import wire
from wardround.errors import ProtocolError, UpdateError
from wardround.exact_sums import Arrays, FixedSum, Shaped, check_alike
from wardround.privacy.executions import check_execution
from wardround.rounds import Assignment, Execution
from wardround.secagg.quantisation import flattened, quantiser_for, split_like
from wardround.strategies.replies import answered, answers_by_node
from wardround.strategies.secagg_exchange import OpenRound

__all__ = ["VectorSum", "add_masked", "summed_by_workers", "weighed_mean"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorSum:
    """A sum of masked vectors, and whose they are.

    Attributes:
        vector: uint32, shape (dimension,), the sum modulo 2^32; the masks are taken off in place.
        like: names and shapes of what is in the vector, in its order, the weight last where vectors have one.
        replies: of those who are in it, by node id.
    """

    vector: NDArray[np.uint32]
    like: Mapping[str, Shaped]
    replies: Mapping[int, Message]


def add_masked(
    opened: OpenRound,
    asked: Sequence[Message],
    replies: Sequence[Message],
    like: Mapping[str, Shaped],
    assignments: Mapping[int, Assignment] | None = None,
) -> VectorSum:
    """Return the sum of the replies to the training messages that are as they should be; the others are drops.

    Each has arrays `like` these, in any order, and says that it did what was assigned, unless apps say nothing of it.
    """
    answers, strange = answers_by_node(asked, replies)
    for sentence in strange:
        _log.warning("in training: %s", sentence)
    like = {name: like[name] for name in wire.masked_order(like)}
    summed: dict[int, Message] = {}
    vector = np.zeros(sum(math.prod(array.shape) for array in like.values()), np.uint32)
    parts = split_like(vector, like)
    for node_id in sorted(message.metadata.dst_node_id for message in asked):
        try:
            arrays = _masked(answers.get(node_id), like, None if assignments is None else assignments[node_id])
        except (ProtocolError, UpdateError) as error:
            opened.exchange.drops[node_id] = f"training: {error}"
        else:
            for name, part in parts.items():
                np.add(part, arrays[name], out=part)
            summed[node_id] = answers[node_id]
    return VectorSum(vector=vector, like=like, replies=summed)


def summed_by_workers(opened: OpenRound, replies: Sequence[Message], total: FixedSum) -> VectorSum:
    """Return the same where an engine's workers added up the residues of replies, all of them our own software."""
    summed: dict[int, Message] = {}
    for reply in replies:
        try:
            summed[reply.metadata.src_node_id] = answered(reply)
        except ProtocolError as error:
            opened.exchange.drops[reply.metadata.src_node_id] = f"training: {error}"
    like = {name: total[name] for name in wire.masked_order(total)}
    return VectorSum(vector=flattened(like).astype(np.uint32), like=like, replies=summed)


def weighed_mean(
    opened: OpenRound, summed: VectorSum, known_weight: float | None = None
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Return the mean of the numbers by name, weighed as the hospitals did, and the sum of the weights.

    The masks are off, and every vector has a weight; `Quantiser.mean` says what is refused.
    """
    quantiser = quantiser_for(opened.members.terms, opened.members.shape.num_members)
    mean, weight = quantiser.mean(summed.vector, len(summed.replies), known_weight)
    like = {name: array for name, array in summed.like.items() if name != wire.SUM_OF_WEIGHTS}
    return split_like(mean, like), weight


def _masked(reply: Message | None, like: Mapping[str, Shaped], assignment: Assignment | None) -> Arrays:
    """Return a masked vector's arrays, or refuse what is none, or is of other training than was assigned."""
    reply = answered(reply)
    arrays = wire.arrays_in(reply)
    check_alike(arrays, like)
    if any(array.dtype != np.uint32 for array in arrays.values()):
        raise ProtocolError("its reply is not masked: attach SecAggMod to its ClientApp, as the others do")
    if assignment is not None:
        check_execution(assignment, wire.read_metrics(Execution, reply, assignment.hospital_id))
    return arrays
