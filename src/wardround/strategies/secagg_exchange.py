"""Secure aggregation over Flower messages, from the server's side: two waves before training, two after.

Used by the `SecAggPlus` strategy and by the round loop alike. A hospital that fails, refuses or sends what
can't be used at a stage is a drop, with a reason. What is left out on purpose: the training wave itself,
which is the caller's, and the sum of what it brings (see `secagg_sum`).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from wardround import wire
from wardround.errors import ProtocolError
from wardround.secagg import Roster, Terms, faults, server
from wardround.secagg.members import Members, members_of
from wardround.secagg.records import STAGES, Advertisement, Confirmation, MaskRequest, Shares, UnmaskShares
from wardround.strategies.replies import answers_by_node, fault_of, with_time_limit

__all__ = ["Exchange", "OpenRound", "ask_masked", "close_round", "open_round"]

_log = logging.getLogger(__name__)
_Reply = TypeVar("_Reply")
_Who = TypeVar("_Who", int, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Where the hospitals of a round are, and how long each is waited for.

    Attributes:
        grid: any Flower grid.
        timeout_seconds: that the replies to one stage are waited for; None waits for ever.
        last_stages: by node id, the stage at which a simulated hospital vanishes.
    """

    grid: Grid
    timeout_seconds: float | None = None
    last_stages: Mapping[int, str] = field(default_factory=dict)

    def present(self, stage: str, messages: Iterable[Message]) -> list[Message]:
        """Return the messages to those who have not vanished by the stage."""
        gone = {node_id for node_id, last in self.last_stages.items() if STAGES.index(last) <= STAGES.index(stage)}
        return [message for message in messages if message.metadata.dst_node_id not in gone]

    def send(self, stage: str, messages: Iterable[Message]) -> list[Message]:
        """Send the messages of a stage to those who are there, and return the replies that came in time."""
        present = with_time_limit(self.present(stage, messages), self.timeout_seconds)
        return list(self.grid.send_and_receive(present, timeout=self.timeout_seconds)) if present else []


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRound:
    """A round in which keys and shares are exchanged and training can begin.

    Attributes:
        members: everyone who advertised.
        roster: of the federation.
        node_of: node id by name, of the members.
        commitments: to the seeds, by name, of those who shared secrets.
        requests: by node id, what goes along with the training message of those who shared secrets.
    """

    members: Members
    roster: Roster
    node_of: Mapping[str, int]
    commitments: Mapping[str, bytes]
    requests: Mapping[int, MaskRequest]


def open_round(
    exchange: Exchange, node_ids: Sequence[int], terms: Terms, roster: Roster, drops: dict[int, str]
) -> OpenRound:
    """Let the nodes advertise keys and share secrets.

    Args:
        exchange: where they are.
        node_ids: of the cohort.
        terms: of the round.
        roster: of the federation; hospitals check against their own copies.
        drops: gets by node id why one is left out.

    Raises:
        CohortError: too few take part.
    """
    told = {node_id: {"stage": "advertise", **wire.record_values(terms)} for node_id in node_ids}
    ads = _ask(exchange, "advertise", told, Advertisement, drops)
    _leave_out(ads, faults.faults_in_advertisements(terms, roster, ads), "advertise", drops)
    name_of = {node_id: ad.name for node_id, ad in ads.items()}
    node_of = {name: node_id for node_id, name in name_of.items()}
    members = members_of(terms, tuple(ads.values()))
    request = wire.record_values(server.share_request(members, list(ads.values())))
    told = {node_id: {"stage": "share", **request} for node_id in ads}
    replies = _ask(exchange, "share", told, Shares, drops)
    shares = {name_of[node_id]: reply for node_id, reply in replies.items()}
    _leave_out(shares, faults.faults_in_shares(members, shares), "share", drops, node_of)
    requests = server.mask_requests(members, shares)
    return OpenRound(
        members=members,
        roster=roster,
        node_of=node_of,
        commitments={name: reply.commitment for name, reply in shares.items()},
        requests={node_of[name]: masked for name, masked in requests.items()},
    )


def ask_masked(exchange: Exchange, opened: OpenRound, messages: Iterable[Message]) -> list[Message]:
    """Return the training messages to those who shared secrets, each with a content that asks for a masked reply."""
    asked = []
    for message in exchange.present("mask", messages):
        request = opened.requests.get(message.metadata.dst_node_id)
        if request is not None:
            content = RecordDict(dict(message.content.items()))
            content[wire.SECAGG] = ConfigRecord({"stage": "mask", **wire.record_values(request)})
            message.content = content
            asked.append(message)
    return asked


def close_round(
    exchange: Exchange,
    opened: OpenRound,
    active: Iterable[int],
    total: NDArray[np.uint32],
    drops: dict[int, str],
) -> None:
    """Turn the sum of masked vectors into the sum of vectors, in place.

    Args:
        exchange: where the hospitals are.
        opened: the round.
        active: node ids of those whose masked vectors are in the total.
        total: uint32, shape (dimension,), sum modulo 2^32.
        drops: gets by node id why one does not help to unmask, or did not help rightly.

    Raises:
        CohortError: too few are left to take the masks off; the total is as it was.
        ProtocolError: a secret can't be had, as shares of it are wrong; the total is as it was.
    """
    members, node_of = opened.members, opened.node_of
    name_of = {node_id: name for name, node_id in node_of.items()}
    names = [name_of[node_id] for node_id in active]
    lists = server.confirm_request(members, list(opened.commitments), names)
    told = {node_of[name]: {"stage": "confirm", **wire.record_values(lists)} for name in lists.active}
    confirmations = {name_of[node]: it for node, it in _ask(exchange, "confirm", told, Confirmation, drops).items()}
    unsigned = faults.faults_in_confirmations(members, opened.roster, lists, confirmations)
    _leave_out(confirmations, unsigned, "confirm", drops, node_of)
    request = server.unmask_request(members, lists, confirmations)
    told = {node_of[name]: {"stage": "unmask", **wire.record_values(request)} for name in confirmations}
    replies = {name_of[node]: it for node, it in _ask(exchange, "unmask", told, UnmaskShares, drops).items()}
    _leave_out(replies, faults.faults_in_unmasking(replies), "unmask", drops, node_of)
    wrong = server.take_off_masks(total, members, request, opened.commitments, replies)
    drops |= {node_of[name]: f'stage "unmask": {reason}' for name, reason in wrong.items()}


def _ask(
    exchange: Exchange, stage: str, told: Mapping[int, Mapping[str, Any]], kind: type[_Reply], drops: dict[int, str]
) -> dict[int, _Reply]:
    """Return the replies by node id, without those that failed, in the order of node ids."""
    messages = [
        Message(RecordDict({wire.SECAGG: ConfigRecord(dict(values))}), dst_node_id=node_id, message_type="train")
        for node_id, values in sorted(told.items())
    ]
    replies_that_came = exchange.send(stage, messages)  # which gives the messages their ids
    answers, strange = answers_by_node(messages, replies_that_came)
    for sentence in strange:
        _log.warning('stage "%s": %s', stage, sentence)
    replies: dict[int, _Reply] = {}
    failed: dict[int, str] = {}
    for node_id in sorted(told):
        reply = answers.get(node_id)
        fault = fault_of(reply)
        if reply is not None and not fault:
            try:
                replies[node_id] = wire.read_record(kind, _secagg_part(reply))
            except ProtocolError as error:
                fault = str(error)
        if fault:
            failed[node_id] = fault
    _leave_out(replies, failed, stage, drops)
    return replies


def _leave_out(
    replies: dict[_Who, Any],
    found: Mapping[_Who, str],
    stage: str,
    drops: dict[int, str],
    node_of: Mapping[_Who, int] | None = None,
) -> None:
    """Drop the replies in which there is a fault."""
    for who, fault in found.items():
        replies.pop(who, None)
        node_id = node_of[who] if node_of is not None else who
        drops[int(node_id)] = f'stage "{stage}": {fault}'


def _secagg_part(reply: Message) -> Mapping[str, Any]:
    record = reply.content.get(wire.SECAGG)
    if not isinstance(record, ConfigRecord):
        raise ProtocolError("its reply has no part of secure aggregation: attach SecAggMod to its ClientApp")
    return record
