"""The sum of what real sites send, read one by one: one that is absent, fails or sends nonsense is not in it.

Simulated hospitals fail for a reason that somebody should see, and end the run (see `hospitals`). What is left out on
purpose: the stages of secure aggregation around the training (see `wardround.strategies.secagg_exchange`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from wardround import exact_sums, wire
from wardround.errors import ProtocolError, UpdateError
from wardround.privacy.executions import check_execution
from wardround.privacy.integers import from_residues
from wardround.privacy.skellam import TAIL_DEVIATIONS
from wardround.rounds import Assignment
from wardround.strategies.replies import answers_by_node, fault_of, with_time_limit

__all__ = ["check_residues", "sum_of_sites"]

Arrays = Mapping[str, NDArray[Any]]


def sum_of_sites(
    grid: Grid,
    messages: Sequence[Message],
    by_node: Mapping[int, Assignment],
    timeout_seconds: float | None,
    drops: dict[int, str],
) -> tuple[list[Message], exact_sums.FixedSum]:
    """Return the replies that are as they should be, and the sum of their masked arrays modulo 2^32.

    Args:
        grid: any Flower grid that does not sum itself.
        messages: of the training, with arrays like those of the replies.
        by_node: the assignments.
        timeout_seconds: after which sites that have not answered are left out; None waits for ever.
        drops: gets by node why a site is left out.
    """
    messages = with_time_limit(messages, timeout_seconds)
    like = wire.arrays_in(messages[0]) if messages else {}
    replies = grid.send_and_receive(messages, timeout=timeout_seconds) if messages else []
    answers, _ = answers_by_node(messages, replies)
    total = exact_sums.FixedSum()
    used = []
    for message in messages:
        node_id = message.metadata.dst_node_id
        reply = answers.get(node_id)
        try:
            arrays = _masked(reply, like, by_node[node_id])
        except (ProtocolError, UpdateError) as error:
            drops[node_id] = f"training: {error}"
            continue
        exact_sums.accumulate_residues(total, arrays)
        used.append(answers[node_id])
    return used, total


def check_residues(total: exact_sums.FixedSum, active: Sequence[Assignment], max_update: float) -> None:
    """Refuse a sum of whole numbers that these hospitals can't have: one of them sent something else than its vector.

    Each number is at most max_update, and its share of the noise at most 16 deviations of all the noise, which one draw
    in 10^50 is not.

    Args:
        total: sum of the residues.
        active: of those in the sum, at least one.
        max_update: largest magnitude of a number without its noise (> 0).

    Raises:
        UpdateError: a number is too large.
    """
    first = active[0]
    sensitivity = first.distance
    most = len(active) * (max_update + TAIL_DEVIATIONS * first.event.noise_multiplier * sensitivity)
    # And a step for each number that was rounded.
    limit = most * first.event.scaled_norm / sensitivity + len(active)
    largest = max(int(np.abs(from_residues(part)).max(initial=0)) for part in total.values())
    if largest > limit:
        raise UpdateError(
            f"a number of the sum is {largest} steps, and of {len(active)} hospitals must be <= {limit:.0f}: one of "
            "them sent something else than its vector, and nobody can tell which"
        )


def _masked(reply: Message | None, like: Arrays, assignment: Assignment) -> Arrays:
    if reply is None or reply.has_error():
        raise ProtocolError(fault_of(reply))
    arrays = wire.arrays_in(reply)
    exact_sums.check_alike(arrays, like)
    if any(array.dtype != np.uint32 for array in arrays.values()):
        raise ProtocolError("its reply is not masked: it must run the software that the others run")
    check_execution(assignment, wire.read_execution(reply, assignment.hospital_id))
    return arrays
