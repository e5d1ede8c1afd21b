"""The exact sum of a round by secure aggregation, whoever of the hospitals drops out.

The protocol is that of `SecAggPlus`, step by step; what the loop adds is what it knows of its own hospitals: what they
must have executed, what their vectors must weigh, and that a simulated one fails for a reason that somebody should see.
What is left out on purpose: the terms (see `secure_terms`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from flwr.app import Message

from wardround import exact_sums, wire
from wardround.errors import CohortError, ProtocolError, UpdateError, WardroundError
from wardround.privacy.cells import cell_named
from wardround.rounds import Assignment
from wardround.secagg import is_weighted, sent_digest
from wardround.secagg.quantisation import split_like
from wardround.server.round.hospitals import HospitalLink, SummingGrid
from wardround.server.round.secure_terms import SecureSum
from wardround.server.round.strategy_steps import Asked
from wardround.strategies.secagg_exchange import Exchange, OpenRound, ask_masked, close_round, open_round
from wardround.strategies.secagg_sum import VectorSum, add_masked, summed_by_workers, weighed_mean

__all__ = ["sum_securely"]

_MOST_REASONS = 3


def sum_securely(
    link: HospitalLink, asked: Asked, secure: SecureSum, drops: dict[int, str]
) -> tuple[list[Message], exact_sums.FixedSum]:
    """Return the replies of those in the sum, without arrays, and the exact sum that is released.

    At least one hospital is asked; messages are changed in place. `drops` gets by node why a site is left out, or did
    not help to the end.

    Raises:
        CohortError: too few hospitals are left, or, of real sites, what they sent can't be summed.
        ProtocolError: a hospital's secrets can't be had, or the weights in the sum are not the known ones.
        UpdateError: a number in the sum is too large.
        WardroundError: a simulated hospital failed.
    """
    last_stages = {link.node_of[name]: stage for name, stage in secure.last_stages.items()}
    exchange = Exchange(grid=link.grid, timeout_seconds=link.timeout_seconds, last_stages=last_stages, drops=drops)
    with _outcome(link, exchange):
        before = wire.arrays_in(asked.messages[0])
        # Of one message: a hospital that is sent something else refuses.
        told = sent_digest(wire.told_to_all(asked.messages[0], has_assignment=True))
        terms = replace(secure.terms, model_digest=told)
        opened = open_round(exchange, [m.metadata.dst_node_id for m in asked.messages], terms, secure.roster)
    with _outcome(link, exchange):
        masked = ask_masked(opened, asked.messages)
        if isinstance(link.grid, SummingGrid):
            replies, total = link.grid.send_and_sum(masked)
            summed = summed_by_workers(opened, _answers(link, replies), total)
        else:
            summed = add_masked(opened, masked, _answers(link, exchange.send("mask", masked)), before, asked.by_node)
        close_round(opened, summed.replies, summed.vector)
        active = [asked.by_node[node_id] for node_id in summed.replies]
        if is_weighted(terms.payload):
            weights = [secure.weights[assignment.hospital_id] for assignment in active]
            origin = before if terms.payload == "parameters" else {}
            return list(summed.replies.values()), _weighted_sum(opened, summed, active, weights, origin)
        residues = {name: part.astype(np.int64) for name, part in split_like(summed.vector, summed.like).items()}
        if link.are_sites:
            cell_named(active[0].event.cell).check_sum(residues, active, secure.max_update)
        return list(summed.replies.values()), residues


@contextmanager
def _outcome(link: HospitalLink, exchange: Exchange) -> Iterator[None]:
    """End the run where a simulated hospital failed that was not to vanish; of real sites nothing that they send does.

    Where there is no sum, the hospitals' own words say why, too.
    """
    error: WardroundError | None = None
    try:
        yield
    except (CohortError, ProtocolError, UpdateError) as caught:
        error = caught
    failed = [reason for node_id, reason in sorted(exchange.drops.items()) if node_id not in exchange.last_stages]
    if failed and not link.are_sites:
        raise WardroundError(
            f"a hospital failed at {failed[0]} (committed rounds are kept: mend it and resume, which charges "
            "this round again; other settings need a new run)"
        ) from None
    if isinstance(error, CohortError):
        raise CohortError("; ".join([str(error), *list(dict.fromkeys(failed))[:_MOST_REASONS]])) from None
    if error is not None:
        raise CohortError(str(error)) if link.are_sites else error


def _answers(link: HospitalLink, replies: Sequence[Message]) -> Sequence[Message]:
    """Return the replies, of which a simulated hospital's may not be an error."""
    return replies if link.are_sites else link.answered(replies)


def _weighted_sum(
    opened: OpenRound,
    summed: VectorSum,
    active: Sequence[Assignment],
    weights: Sequence[float],
    origin: Mapping[str, np.ndarray],
) -> exact_sums.FixedSum:
    """Return the sum of shares times numbers, as `exact_sums.accumulate` would have made it.

    The vectors weigh what is known of them. `origin` are the parameters that differences were taken to; none where
    numbers were summed as they are.
    """
    mean, _ = weighed_mean(opened, summed, sum(weights))
    # Hospitals weigh their vectors themselves; a round's weights are shares of the cohort.
    share = sum(assignment.weight for assignment in active)
    for part in mean.values():
        part *= share
    if origin:
        mean = {name: part + share * origin[name].astype(np.float64) for name, part in mean.items()}
    return exact_sums.fixed_sum(mean)
