"""What a strategy may see of a round: the one reply that the cell releases of the sum, or single replies.

What is left out on purpose: the mathematics of the release, which is the cell's.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from flwr.app import Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from wardround import wire
from wardround.agreed.learning_rates import learning_rate_in
from wardround.exact_sums import Arrays
from wardround.privacy.cells import ReleasedSum, RoundSum
from wardround.rounds import Assignment
from wardround.server.plan.margins import rounding_distance
from wardround.server.plan.plans import FederationPlan
from wardround.server.round.sums import Sum
from wardround.streams import Source

__all__ = ["release"]


def release(
    plan: FederationPlan,
    arrays: Arrays,
    assignments: Sequence[Assignment],
    summed: Sum,
    source: Source,
    memory: Mapping[str, NDArray[Any]],
) -> tuple[Sequence[Message], ReleasedSum]:
    """Return what the strategy may see: single replies carry their own noise, a sum gets what the cell adds to it.

    The assignments are of the whole cohort; `memory` is what the noise goes on from (see `noise_memory`). There are no
    replies in an abandoned round. Beside them is all that is left of the sum; without one, the parameters as they were.
    """
    if summed.total is None:
        return summed.replies, ReleasedSum(arrays=arrays)
    training = plan.config.training
    released = plan.cell.release(
        RoundSum(
            arrays=arrays,
            total=summed.total,
            answered=summed.answered,
            assignments=assignments,
            learning_rate=learning_rate_in(training, assignments[0].round_number),
            weight_decay=training.weight_decay,
            source=source,
            rounding=rounding_distance(plan, assignments),
            memory=memory,
        )
    )
    return [_one_reply(released.arrays, summed.replies)], released


def _one_reply(arrays: Arrays, replies: Sequence[Message]) -> Message:
    """Return the one reply that stands for all of them."""
    metrics = MetricRecord({wire.NUM_EXAMPLES: float(len(replies))})
    content = RecordDict({wire.ARRAYS: wire.array_record(arrays), wire.METRICS: metrics})
    one = copy(replies[0])
    one.content = content
    return one
