"""One step of a Flower strategy: what it may ask of whom, the one reply that it sees of a sum, and what it makes of it.

A strategy may be anybody's, and is trusted with nothing that was not charged. What is left out on purpose: sending.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from wardround import exact_sums, wire
from wardround.errors import ProtocolError, UpdateError, WardroundError
from wardround.privacy.cells import ReleasedSum
from wardround.rounds import Assignment

__all__ = ["blaming", "in_dtype_of", "once_each", "one_reply"]

Arrays = dict[str, NDArray[Any]]


@contextmanager
def blaming(strategy: Strategy) -> Iterator[None]:
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


def once_each(messages: Iterable[Message], by_node: Mapping[int, Assignment]) -> list[Message]:
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


def in_dtype_of(like: Arrays, arrays: Arrays) -> Arrays:
    """Server optimizers compute in float64; the model keeps its own dtypes."""
    exact_sums.check_alike(arrays, like)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UpdateError(
                f"parameter {name} is not finite after the strategy's step: lower the learning rates, or look at the "
                "strategy"
            )
    return {name: arrays[name].astype(array.dtype, copy=False) for name, array in like.items()}


def one_reply(released: ReleasedSum, num_replies: int, message: Message) -> Message:
    """Return the mean as the one reply that a strategy which needs only the sum is given."""
    metrics = MetricRecord({wire.NUM_EXAMPLES: float(num_replies)})
    content = RecordDict({wire.ARRAYS: wire.array_record(released.arrays), wire.METRICS: metrics})
    return Message(content, reply_to=message)
