"""How the hospitals' replies to one round become one exact sum: added up by the engine, or by secure aggregation.

What is left out on purpose: who is asked and with what (see `hospitals`), and what the sum is for (see `release`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from flwr.app import ArrayRecord, Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from wardround import exact_sums, wire
from wardround.errors import CohortError, ProtocolError, UpdateError, WardroundError
from wardround.privacy.cells import cell_named
from wardround.privacy.clipping import COUNT_NAME
from wardround.rounds import Assignment
from wardround.secagg import Roster, Terms, sent_digest
from wardround.secagg.quantisation import Quantiser, flattened, quantiser_for, split_like
from wardround.secagg.records import STAGES
from wardround.server.round.site_sums import check_residues, sum_of_sites
from wardround.strategies.replies import fault_of, with_time_limit
from wardround.strategies.secagg_exchange import ask_masked, close_round, open_round

__all__ = ["SecureSum", "SummingGrid", "add_up"]

_MOST_REASONS = 3


@runtime_checkable
class SummingGrid(Protocol):
    """A grid whose workers add up the weighted arrays themselves."""

    def send_and_sum(self, messages: Sequence[Message]) -> tuple[list[Message], exact_sums.FixedSum]:
        """Return the replies without arrays, and the exact sum of their weighted arrays."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureSum:
    """How a round is summed by secure aggregation.

    Attributes:
        roster: of the federation.
        run_id: of the run.
        round_number: from 1.
        payload: what is summed, as in the terms.
        max_update: largest magnitude of a number before weighting (> 0).
        max_weight: largest weight of any hospital (> 0).
        settings_digest: of the settings that all agreed on, 32 bytes.
        weights: by node id, what each hospital's vector must weigh, of the whole cohort.
        drops: by node id, the stage at which a simulated hospital vanishes.
        errors_are_drops: whether a hospital that fails or refuses is left out of the round. Simulated hospitals fail
            for a reason that somebody should see, and end the run.
    """

    roster: Roster
    run_id: str
    round_number: int
    payload: str
    max_update: float
    max_weight: float
    settings_digest: bytes
    weights: Mapping[int, float]
    drops: Mapping[int, str]
    errors_are_drops: bool

    def terms(self, model_digest: bytes) -> Terms:
        """Return the terms of the round, given the digest of what everyone is sent."""
        weighted = self.payload != "residues"
        return Terms(
            federation=self.roster.federation,
            run_id=self.run_id,
            round_number=self.round_number,
            min_survivors=self.roster.min_survivors,
            max_colluding=self.roster.max_colluding,
            payload=self.payload,
            max_update=self.max_update if weighted else 0.0,
            max_weight=self.max_weight if weighted else 0.0,
            model_digest=model_digest,
            settings_digest=self.settings_digest,
        )

    def present(self, stage: str, messages: Iterable[Message]) -> list[Message]:
        """Return the messages to those who have not vanished by the stage."""
        gone = {node_id for node_id, last in self.drops.items() if STAGES.index(last) <= STAGES.index(stage)}
        return [message for message in messages if message.metadata.dst_node_id not in gone]


def add_up(
    grid: Grid,
    messages: Sequence[Message],
    by_node: Mapping[int, Assignment],
    secure: SecureSum | None,
    drops: dict[int, str] | None = None,
    timeout_seconds: float | None = None,
) -> tuple[list[Message], exact_sums.FixedSum]:
    """Send the training messages; return the replies without arrays, and the exact sum that `release_sum` takes.

    Args:
        grid: any Flower grid.
        messages: one for each hospital, with its assignment; changed in place.
        by_node: the assignments.
        secure: None lets the grid, or this function, see the replies that it adds up.
        drops: gets by node why a real site is left out, or did not help to the end.
        timeout_seconds: after which real sites that have not answered are left out; None waits for ever.

    Raises:
        CohortError: too few hospitals are left for secure aggregation, or, of real sites, what they sent can't be
            summed.
        ProtocolError: a hospital's secrets can't be had, or the weights in the sum are not the known ones.
        UpdateError: a number in the sum is too large.
        WardroundError: a simulated hospital failed at a stage of secure aggregation.
    """
    if secure is None:
        _ask_for_sum(messages, by_node)
        return _sum_over(grid, messages, by_node)
    drops = {} if drops is None else drops
    try:
        return _add_up_securely(grid, messages, by_node, secure, drops, timeout_seconds)
    except CohortError as error:
        reasons = dict.fromkeys(reason for node_id, reason in sorted(drops.items()) if node_id not in secure.drops)
        raise CohortError("; ".join([str(error), *list(reasons)[:_MOST_REASONS]])) from None
    except (ProtocolError, UpdateError) as error:
        if not secure.errors_are_drops:
            raise
        raise CohortError(str(error)) from None


def _add_up_securely(
    grid: Grid,
    messages: Sequence[Message],
    by_node: Mapping[int, Assignment],
    secure: SecureSum,
    drops: dict[int, str],
    timeout_seconds: float | None,
) -> tuple[list[Message], exact_sums.FixedSum]:
    def send(stage: str, messages: list[Message]) -> list[Message]:
        present = with_time_limit(secure.present(stage, messages), timeout_seconds)
        return list(grid.send_and_receive(present, timeout=timeout_seconds)) if present else []

    _ask_for_sum(messages, by_node, masked=secure.payload)
    before = wire.arrays_in(messages[0]) if secure.payload == "parameters" else None
    # Of one message: a hospital that is sent something else refuses.
    terms = secure.terms(sent_digest(wire.told_to_all(messages[0], has_assignment=True)))
    with _loud(secure, drops):
        opened = open_round(send, [m.metadata.dst_node_id for m in messages], terms, secure.roster, drops)
    asked = [
        ask_masked(opened, message)
        for message in secure.present("mask", messages)
        if message.metadata.dst_node_id in opened.requests
    ]
    if secure.errors_are_drops and not isinstance(grid, SummingGrid):
        answered, total = sum_of_sites(grid, asked, by_node, timeout_seconds, drops)
    else:
        replies, total = _sum_over(grid, asked, by_node, masked=True)
        answered = [reply for reply in replies if not reply.has_error()]
        if len(answered) < len(replies) and not secure.errors_are_drops:
            return replies, {}
        drops |= {r.metadata.src_node_id: f"training: {fault_of(r)}" for r in replies if r.has_error()}
    active = [reply.metadata.src_node_id for reply in answered]
    like = {name: total[name] for name in wire.masked_order(total)}
    vector = flattened(like).astype(np.uint32)
    with _loud(secure, drops):
        close_round(send, opened, active, vector, drops)
    if terms.payload == "residues":
        residues = {name: part.astype(np.int64) for name, part in split_like(vector, like).items()}
        if secure.errors_are_drops:
            check_residues(residues, [by_node[node_id] for node_id in active], secure.max_update)
        return answered, residues
    shares = {node_id: by_node[node_id].weight for node_id in active}
    del like[wire.SUM_OF_WEIGHTS]
    quantiser = quantiser_for(terms, opened.members.shape.num_members)
    return answered, _weighted_sum(vector, like, quantiser, secure.weights, shares, before)


@contextmanager
def _loud(secure: SecureSum, drops: Mapping[int, str]) -> Iterator[None]:
    """End the run where a simulated hospital failed that was not to vanish."""
    try:
        yield
    finally:
        failed = [reason for node_id, reason in sorted(drops.items()) if node_id not in secure.drops]
        if failed and not secure.errors_are_drops:
            raise WardroundError(
                f"a hospital failed at {failed[0]} (committed rounds are kept: mend it and resume, which charges "
                "this round again; other settings need a new run)"
            ) from None


def _weighted_sum(
    vector: NDArray[np.uint32],
    like: Mapping[str, NDArray[Any]],
    quantiser: Quantiser,
    weights: Mapping[int, float],
    shares: Mapping[int, float],
    before: Mapping[str, NDArray[Any]] | None,
) -> exact_sums.FixedSum:
    """Return the sum of shares times numbers, as `exact_sums.accumulate` would have made it.

    Args:
        vector: unmasked residues, the weight last.
        like: names and shapes of the rest.
        quantiser: of the round.
        weights: that are known, by node id.
        shares: of the cohort, by node id, of those in the sum.
        before: parameters that differences were taken to; None where numbers were summed as they are.
    """
    values, weight = quantiser.sums(vector)
    known = [weights[node_id] for node_id in shares]
    _check_weight(weight, known, quantiser)
    # Hospitals weigh their vectors themselves; a round's weights are shares of the cohort.
    assigned = sum(shares.values())
    mean = quantiser.mean_of(values, sum(known), len(known))
    mean *= assigned
    summed = split_like(mean, like)
    if before is not None:
        summed = {name: part + assigned * before[name].astype(np.float64) for name, part in summed.items()}
    return exact_sums.fixed_sum(summed)


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
        if masked or cell_named(assignment.event.cell).payload == "residues":
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
) -> tuple[list[Message], exact_sums.FixedSum]:
    if isinstance(grid, SummingGrid):
        return grid.send_and_sum(messages)
    replies, total = list(grid.send_and_receive(messages)), exact_sums.FixedSum()
    for reply in replies:
        if not reply.has_error():
            assignment = by_node[reply.metadata.src_node_id]
            if masked or cell_named(assignment.event.cell).payload == "residues":
                exact_sums.accumulate_residues(total, wire.arrays_in(reply))
            else:
                exact_sums.accumulate(total, wire.arrays_in(reply), assignment.weight)
    return replies, total
