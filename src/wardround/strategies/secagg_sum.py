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
from wardround.rounds import Assignment
from wardround.secagg.quantisation import Quantiser, flattened, quantiser_for, split_like
from wardround.strategies.replies import answers_by_node, fault_of
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

    @property
    def arrays(self) -> dict[str, NDArray[np.uint32]]:
        """Views of the vector by name."""
        return split_like(self.vector, self.like)


def add_masked(
    asked: Sequence[Message],
    replies: Sequence[Message],
    like: Mapping[str, Shaped],
    drops: dict[int, str],
    assignments: Mapping[int, Assignment] | None = None,
) -> VectorSum:
    """Return the sum of the replies that are as they should be.

    Args:
        asked: the training messages, one a node, as they were sent.
        replies: that came, in any order.
        like: names and shapes of what is in each, in any order.
        drops: gets by node id why one is not in the sum.
        assignments: by node id, what each must say that it did; None where apps say nothing of it.
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
            drops[node_id] = f"training: {error}"
            continue
        for name, part in parts.items():
            np.add(part, arrays[name], out=part)
        summed[node_id] = answers[node_id]
    return VectorSum(vector=vector, like=like, replies=summed)


def summed_by_workers(replies: Sequence[Message], total: FixedSum, drops: dict[int, str]) -> VectorSum:
    """Return the same where an engine's workers added up what they trained: all of them are our own software.

    Args:
        replies: without arrays, one a node.
        total: of the residues, as they are.
        drops: gets by node id why one that failed is not in the sum.
    """
    drops |= {r.metadata.src_node_id: f"training: {fault_of(r)}" for r in replies if r.has_error()}
    like = {name: total[name] for name in wire.masked_order(total)}
    return VectorSum(
        vector=flattened(like).astype(np.uint32),
        like=like,
        replies={reply.metadata.src_node_id: reply for reply in replies if not reply.has_error()},
    )


def weighed_mean(
    opened: OpenRound, summed: VectorSum, weights: Sequence[float] | None = None
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Return the mean of the numbers by name, weighed as the hospitals did, and the sum of the weights.

    Args:
        opened: the round.
        summed: the masks taken off, and a weight in every vector.
        weights: of those in the sum, where they are known; None believes what the sum says, within its bounds.

    Raises:
        CohortError: the weights sum to 0.
        ProtocolError: the weights in the sum are not the known ones.
        UpdateError: the weights or the mean are not what so many hospitals can have.
    """
    quantiser = quantiser_for(opened.members.terms, opened.members.shape.num_members)
    if weights is None:
        mean, weight = quantiser.mean(summed.vector, len(summed.replies))
    else:
        values, told = quantiser.sums(summed.vector)
        _check_weight(told, weights, quantiser)
        weight = sum(weights)
        mean = quantiser.mean_of(values, weight, len(weights))
    like = {name: array for name, array in summed.like.items() if name != wire.SUM_OF_WEIGHTS}
    return split_like(mean, like), weight


def _masked(reply: Message | None, like: Mapping[str, Shaped], assignment: Assignment | None) -> Arrays:
    """Return a masked vector's arrays, or refuse what is none, or is of other training than was assigned."""
    if reply is None or reply.has_error():
        raise ProtocolError(fault_of(reply))
    arrays = wire.arrays_in(reply)
    check_alike(arrays, like)
    if any(array.dtype != np.uint32 for array in arrays.values()):
        raise ProtocolError("its reply is not masked: attach SecAggMod to its ClientApp, as the others do")
    if assignment is not None:
        check_execution(assignment, wire.read_execution(reply, assignment.hospital_id))
    return arrays


def _check_weight(weight: float, known: Sequence[float], quantiser: Quantiser) -> None:
    slack = len(known) * quantiser.max_weight / quantiser.levels
    if abs(weight - sum(known)) > slack:
        raise ProtocolError(
            f"the weights in the sum add up to {weight:g}, and must to {sum(known):g}: a hospital holds another number "
            "of records than it said at first, and the sum is refused"
        )
