"""Secure aggregation over Flower messages, from the server's side: two waves before training, two after.

Used by the `SecAggPlus` strategy and by the round loop alike. A hospital that fails, refuses or sends what
can't be used at a stage is a drop, with a reason. What is left out on purpose: the training wave itself,
which is the caller's, and the sum of what it brings (see `secagg_sum`).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from wardround import wire
from wardround.errors import ProtocolError
from wardround.secagg import Roster, Terms, faults, server
from wardround.secagg.keys import is_signed
from wardround.secagg.members import Members, members_of
from wardround.secagg.records import STAGES, Advertisement, Confirmation, MaskRequest, Shares, UnmaskShares
from wardround.strategies.replies import answered, answers_by_node, with_time_limit

__all__ = ["Exchange", "OpenRound", "ask_masked", "close_round", "open_round"]

_log = logging.getLogger(__name__)
_Reply = TypeVar("_Reply")
_Who = TypeVar("_Who", int, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Where the hospitals of a round are, how long each is waited for, and who of them is left out.

    Attributes:
        grid: any Flower grid.
        timeout_seconds: that the replies to one stage are waited for; None waits for ever.
        last_stages: by node id, the stage at which a simulated hospital vanishes.
        drops: gets by node id why one is left out, or did not help to the end.
    """

    grid: Grid
    timeout_seconds: float | None = None
    last_stages: Mapping[int, str] = field(default_factory=dict)
    drops: dict[int, str] = field(default_factory=dict)

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
        exchange: where the hospitals are.
        members: everyone who advertised.
        roster: of the federation.
        node_of: node id by name, of the members.
        commitments: to the seeds, by name, of those who shared secrets.
        requests: by node id, what goes along with the training message of those who shared secrets.
    """

    exchange: Exchange
    members: Members
    roster: Roster
    node_of: Mapping[str, int]
    commitments: Mapping[str, bytes]
    requests: Mapping[int, MaskRequest]


def open_round(exchange: Exchange, node_ids: Sequence[int], terms: Terms, roster: Roster) -> OpenRound:
    """Let the nodes of the cohort advertise keys and share secrets; hospitals check against their own rosters.

    Raises:
        CohortError: too few take part.
    """
    nodes = {node_id: node_id for node_id in node_ids}
    check = partial(faults.check_advertisement, terms, roster)
    ads = _ask(exchange, "advertise", terms, nodes, Advertisement, lambda _, ad: check(ad))
    for node_id, fault in faults.doubles(ads).items():
        del ads[node_id]
        exchange.drops[node_id] = f'stage "advertise": {fault}'
    node_of = {ad.name: node_id for node_id, ad in ads.items()}
    request = server.share_request(terms, ads.values())
    members = members_of(terms, request)
    shares = _ask(exchange, "share", request, node_of, Shares, partial(faults.check_shares, members))
    requests = server.mask_requests(members, shares)
    return OpenRound(
        exchange=exchange,
        members=members,
        roster=roster,
        node_of=node_of,
        commitments={name: reply.commitment for name, reply in shares.items()},
        requests={node_of[name]: masked for name, masked in requests.items()},
    )


def ask_masked(opened: OpenRound, messages: Iterable[Message]) -> list[Message]:
    """Return the training messages to those who shared secrets, each with a content that asks for a masked reply."""
    asked = {message.metadata.dst_node_id: message for message in opened.exchange.present("mask", messages)}
    return [
        wire.with_record(message, wire.SECAGG, {"stage": "mask", **wire.record_values(opened.requests[node_id])})
        for node_id, message in asked.items()
        if node_id in opened.requests
    ]


def close_round(opened: OpenRound, active: Iterable[int], total: NDArray[np.uint32]) -> None:
    """Turn the sum modulo 2^32 of the active nodes' masked vectors, shape (dimension,), into that of their vectors.

    Raises:
        CohortError: too few are left to take the masks off; the total is as it was.
        ProtocolError: a secret can't be had, as shares of it are wrong; the total is as it was.
    """
    exchange, members, node_of = opened.exchange, opened.members, opened.node_of
    name_of = {node_id: name for name, node_id in node_of.items()}
    lists = server.confirm_request(members, list(opened.commitments), [name_of[node_id] for node_id in active])
    text = members.confirmed_text(list(opened.commitments), lists.active, lists.dropped)

    def check_confirmation(name: str, reply: Confirmation) -> None:
        if not is_signed(opened.roster.verify_keys[name], reply.signature, text):
            raise ProtocolError("its confirmation is not signed with its key")

    asked = {name: node_of[name] for name in lists.active}
    confirmations = _ask(exchange, "confirm", lists, asked, Confirmation, check_confirmation)
    request = server.unmask_request(members, lists, confirmations)
    asked = {name: node_of[name] for name in confirmations}
    replies = _ask(exchange, "unmask", request, asked, UnmaskShares, lambda _, reply: faults.check_unmasking(reply))
    wrong = server.take_off_masks(total, members, request, opened.commitments, replies)
    exchange.drops.update((node_of[name], f'stage "unmask": {reason}') for name, reason in wrong.items())


def _ask(
    exchange: Exchange,
    stage: str,
    request: Any,
    node_of: Mapping[_Who, int],
    kind: type[_Reply],
    check: Callable[[_Who, _Reply], None],
) -> dict[_Who, _Reply]:
    """Return the replies of those who are asked in which there is no fault, in the order of node ids."""
    values = {"stage": stage, **wire.record_values(request)}
    who_of = {node_id: who for who, node_id in sorted(node_of.items(), key=lambda item: item[1])}
    messages = [
        Message(RecordDict({wire.SECAGG: ConfigRecord(dict(values))}), dst_node_id=node_id, message_type="train")
        for node_id in who_of
    ]
    replies_that_came = exchange.send(stage, messages)  # which gives the messages their ids
    answers, strange = answers_by_node(messages, replies_that_came)
    for sentence in strange:
        _log.warning('stage "%s": %s', stage, sentence)
    replies: dict[_Who, _Reply] = {}
    for node_id, who in who_of.items():
        try:
            reply = wire.read_record(kind, _secagg_part(answers.get(node_id)))
            check(who, reply)
        except ProtocolError as error:
            exchange.drops[node_id] = f'stage "{stage}": {error}'
        else:
            replies[who] = reply
    return replies


def _secagg_part(reply: Message | None) -> Mapping[str, Any]:
    record = answered(reply).content.get(wire.SECAGG)
    if not isinstance(record, ConfigRecord):
        raise ProtocolError("its reply has no part of secure aggregation: attach SecAggMod to its ClientApp")
    return record
