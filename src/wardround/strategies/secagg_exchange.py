"""Secure aggregation over Flower messages, from the server's side: two waves before training, two after.

Used by the `SecAggPlus` strategy and by the round loop alike. A hospital that fails or refuses at a stage is a drop,
and its reason is logged. What is left out on purpose: the training wave itself, which is the caller's.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from wardround import wire
from wardround.errors import ProtocolError
from wardround.secagg import Roster, Terms, server
from wardround.secagg.keys import is_signed
from wardround.secagg.members import Members, advertised_text, members_of
from wardround.secagg.records import Advertisement, Confirmation, MaskRequest, Shares, UnmaskShares

__all__ = ["OpenRound", "Send", "ask_masked", "close_round", "open_round"]

_log = logging.getLogger(__name__)
_Reply = TypeVar("_Reply")
Send = Callable[[str, list[Message]], Iterable[Message]]
"""Sends the messages of a stage, which is named first, and returns the replies that came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRound:
    """A round in which keys and shares are exchanged and training can begin.

    Attributes:
        members: everyone who advertised.
        node_of: node id by name, of the members.
        commitments: to the seeds, by name, of those who shared secrets.
        requests: by node id, what goes along with the training message of those who shared secrets.
    """

    members: Members
    node_of: Mapping[str, int]
    commitments: Mapping[str, bytes]
    requests: Mapping[int, MaskRequest]


def open_round(send: Send, node_ids: Sequence[int], terms: Terms, roster: Roster) -> OpenRound:
    """Let the nodes advertise keys and share secrets.

    Args:
        send: carries messages.
        node_ids: of the cohort.
        terms: of the round.
        roster: of the federation; hospitals check against their own copies.

    Raises:
        CohortError: too few take part.
    """
    told = {node_id: {"stage": "advertise", **wire.record_values(terms)} for node_id in node_ids}
    ads: dict[str, Advertisement] = {}
    node_of: dict[str, int] = {}
    for node_id, ad in _ask(send, "advertise", told, Advertisement).items():
        text = advertised_text(terms.session, ad.name, ad.sealing_key, ad.masking_key)
        if ad.name in ads or not is_signed(roster.verify_keys.get(ad.name, b""), ad.signature, text):
            _log.warning("node %d is left out: it is not who it says, hospital %s of the roster", node_id, ad.name)
            continue
        ads[ad.name], node_of[ad.name] = ad, node_id
    members = members_of(terms, tuple(ads.values()))
    request = wire.record_values(server.share_request(members, list(ads.values())))
    told = {node_id: {"stage": "share", **request} for node_id in node_of.values()}
    name_of = {node_id: name for name, node_id in node_of.items()}
    shares = {name_of[node_id]: reply for node_id, reply in _ask(send, "share", told, Shares).items()}
    requests = server.mask_requests(members, shares)
    return OpenRound(
        members=members,
        node_of=node_of,
        commitments={name: reply.commitment for name, reply in shares.items()},
        requests={node_of[name]: masked for name, masked in requests.items()},
    )


def ask_masked(opened: OpenRound, message: Message) -> Message:
    """Return the training message with a content of its own, which asks for a masked reply."""
    request = opened.requests[message.metadata.dst_node_id]
    content = RecordDict(dict(message.content.items()))
    content[wire.SECAGG] = ConfigRecord({"stage": "mask", **wire.record_values(request)})
    message.content = content
    return message


def close_round(send: Send, opened: OpenRound, active: Iterable[int], total: NDArray[np.uint32]) -> None:
    """Turn the sum of masked vectors into the sum of vectors, in place.

    Args:
        send: carries messages.
        opened: the round.
        active: node ids of those whose masked vectors are in the total.
        total: uint32, shape (dimension,), sum modulo 2^32.

    Raises:
        CohortError: too few are left to take the masks off; the total is as it was.
        ProtocolError: a hospital sent wrong shares; the total is as it was.
    """
    members, node_of = opened.members, opened.node_of
    name_of = {node_id: name for name, node_id in node_of.items()}
    names = [name_of[node_id] for node_id in active]
    lists = server.confirm_request(members, list(opened.commitments), names)
    told = {node_of[name]: {"stage": "confirm", **wire.record_values(lists)} for name in lists.active}
    confirmations = {name_of[node]: reply for node, reply in _ask(send, "confirm", told, Confirmation).items()}
    request = server.unmask_request(members, lists, confirmations)
    told = {node_of[name]: {"stage": "unmask", **wire.record_values(request)} for name in confirmations}
    replies = {name_of[node]: reply for node, reply in _ask(send, "unmask", told, UnmaskShares).items()}
    server.take_off_masks(total, members, request, opened.commitments, replies)


def _ask(send: Send, stage: str, told: Mapping[int, Mapping[str, Any]], kind: type[_Reply]) -> dict[int, _Reply]:
    """Return the replies by node id, without those that failed, in the order of node ids."""
    messages = [
        Message(RecordDict({wire.SECAGG: ConfigRecord(dict(values))}), dst_node_id=node_id, message_type="train")
        for node_id, values in sorted(told.items())
    ]
    replies: dict[int, _Reply] = {}
    sent = list(send(stage, messages))
    asked = {message.metadata.message_id: message.metadata.dst_node_id for message in messages}
    for reply in sent:
        # Flower answers for a node that is gone, under an id of its own.
        node_id = asked.get(reply.metadata.reply_to_message_id, reply.metadata.src_node_id)
        if reply.has_error():
            _log.warning('node %d drops out at stage "%s": %s', node_id, stage, reply.error.reason)
            continue
        try:
            replies[node_id] = wire.read_record(kind, _secagg_part(reply))
        except ProtocolError as error:
            _log.warning('node %d drops out at stage "%s": %s', node_id, stage, error)
    return dict(sorted(replies.items()))


def _secagg_part(reply: Message) -> Mapping[str, Any]:
    record = reply.content.get(wire.SECAGG)
    if not isinstance(record, ConfigRecord):
        raise ProtocolError("its reply has no part of secure aggregation: attach SecAggMod to its ClientApp")
    return record
