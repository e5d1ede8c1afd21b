"""How the hospitals' replies to one round become one exact sum: by the engine, in this process, or securely.

What is left out on purpose: who is asked (see `strategy_steps`), the protocol of secure aggregation (see
`secure_sums`), and what the sum is for (see `released`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, Message

from wardround import exact_sums, wire
from wardround.errors import CohortError
from wardround.privacy.cells import cell_named
from wardround.privacy.clipping import COUNT_NAME
from wardround.privacy.executions import check_execution
from wardround.rounds import Assignment, Execution, TrainingMeasures
from wardround.secagg import is_weighted
from wardround.server.record.records import Outcome
from wardround.server.round.hospitals import HospitalLink, SummingGrid
from wardround.server.round.secure_sums import sum_securely
from wardround.server.round.secure_terms import SecureSum
from wardround.server.round.strategy_steps import Asked

__all__ = ["Sum", "add_up", "sum_replies"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sum:
    """What came of the hospitals that were asked.

    Attributes:
        total: exact sum of what they sent; None where the strategy wants single replies, and in an abandoned round.
        replies: in the order of names, without arrays where these are in the total; none in an abandoned round.
        answered: the assignments of those who replied, in the order of names.
        outcome: what is kept of it.
    """

    total: exact_sums.FixedSum | None = None
    replies: Sequence[Message] = ()
    answered: Sequence[Assignment] = ()
    outcome: Outcome


def add_up(link: HospitalLink, asked: Asked, secure: SecureSum | None) -> Sum:
    """Let the hospitals train, check what they executed, and add up what they send.

    Without secure aggregation the grid, or this process, sees what it adds up. Messages are changed in place.

    Raises:
        CohortError: the grid lost a node.
        WardroundError: a simulated hospital failed; the message names it and gives its reason.
        ProtocolError: a simulated hospital executed something else than it was assigned, or its secrets can't be had.
        UpdateError: an update is not finite or does not fit.
    """
    if not asked.messages:
        return _untrained(asked.shortfall(len(asked.by_node)) or asked.shortfall(0), {})
    drops: dict[int, str] = {}
    try:
        replies, total = sum_replies(link, asked, secure, drops)
    except CohortError as error:
        if secure is None:  # where it is no outcome of a protocol, but a grid that lost its nodes
            raise
        return _untrained(str(error), link.named(drops))
    # In name order, so that the order in which they came can't change a bit.
    replies = link.answered(replies)
    answered = [asked.by_node[reply.metadata.src_node_id] for reply in replies]
    for reply, assignment in zip(replies, answered, strict=True):
        check_execution(assignment, wire.read_metrics(Execution, reply, assignment.hospital_id))
    abandoned = asked.shortfall(len(replies))
    return Sum(
        total=None if abandoned else total,
        replies=() if abandoned else replies,
        answered=answered,
        outcome=Outcome(
            abandoned=abandoned,
            num_scrubbed={} if link.are_sites else _num_scrubbed(link, replies),
            dropped=link.named(drops),
        ),
    )


def sum_replies(
    link: HospitalLink, asked: Asked, secure: SecureSum | None, drops: dict[int, str]
) -> tuple[Iterable[Message], exact_sums.FixedSum | None]:
    """Return the replies, unchecked as they came, and their exact sum where the strategy sees no more than that.

    What is given is told in `add_up`; `drops` gets by node why a site is left out, or did not help to the end.

    Raises:
        CohortError: too few hospitals are left for secure aggregation.
        WardroundError: see `secure_sums.sum_securely`.
    """
    if not asked.only_sum:
        return link.grid.send_and_receive(asked.messages), None
    _ask_for_sum(asked, secure)
    if secure is not None:
        return sum_securely(link, asked, secure, drops)
    if isinstance(link.grid, SummingGrid):
        return link.grid.send_and_sum(asked.messages)
    replies, total = list(link.grid.send_and_receive(asked.messages)), exact_sums.FixedSum()
    for reply in replies:
        if not reply.has_error():
            assignment = asked.by_node[reply.metadata.src_node_id]
            cell_named(assignment.event.cell).add(total, wire.arrays_in(reply), assignment)
    return replies, total


def _ask_for_sum(asked: Asked, secure: SecureSum | None) -> None:
    """Say in each message how its reply enters the sum, and make room for numbers that travel along."""
    with_more: dict[int, ArrayRecord] = {}
    for message in asked.messages:
        assignment = asked.by_node[message.metadata.dst_node_id]
        # The strategy shares one config between all messages; the weight is each hospital's own.
        config = wire.config_in(message)
        weight = cell_named(assignment.event.cell).sum_weight(assignment)
        if secure is not None or weight is None:
            config[wire.SUM_RESIDUES] = True
        else:
            config[wire.SUM_WEIGHT] = weight
        message.content[wire.CONFIG] = config
        more = [COUNT_NAME] if assignment.adaptive_clipping else []
        more += [wire.SUM_OF_WEIGHTS] if secure is not None and is_weighted(secure.terms.payload) else []
        if more:
            record = message.content[wire.ARRAYS]
            if id(record) not in with_more:
                arrays = wire.arrays_in(message) | {name: np.zeros(()) for name in more}
                with_more[id(record)] = wire.array_record(arrays)
            message.content[wire.ARRAYS] = with_more[id(record)]


def _untrained(abandoned: str, dropped: Mapping[str, str]) -> Sum:
    return Sum(outcome=Outcome(abandoned=abandoned, dropped=dropped, num_scrubbed={}))


def _num_scrubbed(link: HospitalLink, replies: Sequence[Message]) -> dict[str, int]:
    measures = ((link.sender_of(reply), wire.read_measures(TrainingMeasures, reply)) for reply in replies)
    return {name: measured.num_scrubbed for name, measured in measures if measured and measured.num_scrubbed}
