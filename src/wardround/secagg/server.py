"""The server's side of a secure sum: it passes on what hospitals say, and takes the masks off the sum.

Pure functions of records. The server learns nothing that it could keep to itself: a hospital checks all that matters.
What is left out on purpose: transport, and when to give up waiting.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wardround.errors import CohortError, ProtocolError
from wardround.secagg.keys import public_key
from wardround.secagg.masks import add_masks
from wardround.secagg.members import Members
from wardround.secagg.records import (
    Advertisement,
    Confirmation,
    ConfirmRequest,
    MaskRequest,
    ShareRequest,
    Shares,
    UnmaskRequest,
    UnmaskShares,
    paired,
)
from wardround.secagg.shamir import combine

__all__ = ["confirm_request", "mask_requests", "share_request", "take_off_masks", "unmask_request"]


def share_request(members: Members, advertisements: Sequence[Advertisement]) -> ShareRequest:
    """Return the request that goes to every member: everybody's keys and signatures."""
    ads = sorted(advertisements, key=lambda ad: ad.name)
    return ShareRequest(
        session=members.terms.session,
        names=tuple(ad.name for ad in ads),
        sealing_keys=tuple(ad.sealing_key for ad in ads),
        masking_keys=tuple(ad.masking_key for ad in ads),
        signatures=tuple(ad.signature for ad in ads),
    )


def mask_requests(members: Members, shares: Mapping[str, Shares]) -> dict[str, MaskRequest]:
    """Return the request for each hospital that shared its secrets, with what its neighbours sealed for it.

    Args:
        members: of the round.
        shares: by name, of those who replied.

    Raises:
        CohortError: too few replied.
        ProtocolError: a hospital's shares are not for its neighbours.
    """
    _check_enough(members, shares, "shared their secrets")
    sealed = {}
    for name, reply in shares.items():
        sealed[name] = paired(reply.receivers, reply.sealed, "sealed shares")
        if frozenset(sealed[name]) != members.neighbours(name):
            raise ProtocolError(f"{name} sealed shares for others than its neighbours: the round is abandoned")
    requests = {}
    for name in sorted(shares):
        senders = tuple(sorted(members.neighbours(name) & shares.keys()))
        requests[name] = MaskRequest(
            session=members.terms.session,
            sharing=tuple(sorted(shares)),
            senders=senders,
            sealed=tuple(sealed[sender][name] for sender in senders),
        )
    return requests


def confirm_request(members: Members, sharing: Sequence[str], active: Sequence[str]) -> ConfirmRequest:
    """Return the request that goes to every active hospital.

    Args:
        members: of the round.
        sharing: those who shared their secrets.
        active: of them, those whose masked vector is in the sum.

    Raises:
        CohortError: too few are active.
    """
    _check_enough(members, active, "sent their masked vector")
    return ConfirmRequest(
        session=members.terms.session,
        active=tuple(sorted(active)),
        dropped=tuple(sorted(frozenset(sharing) - frozenset(active))),
    )


def unmask_request(
    members: Members, request: ConfirmRequest, confirmations: Mapping[str, Confirmation]
) -> UnmaskRequest:
    """Return the request that goes to everyone who confirmed.

    Raises:
        CohortError: too few confirmed.
    """
    _check_enough(members, confirmations, "confirmed who is in the sum")
    return UnmaskRequest(
        session=request.session,
        active=request.active,
        dropped=request.dropped,
        signers=tuple(sorted(confirmations)),
        signatures=tuple(confirmations[name].signature for name in sorted(confirmations)),
    )


def take_off_masks(
    total: NDArray[np.uint32],
    members: Members,
    request: UnmaskRequest,
    commitments: Mapping[str, bytes],
    replies: Mapping[str, UnmaskShares],
) -> None:
    """Turn the sum of the masked vectors into the sum of the vectors, in place.

    Args:
        total: uint32, shape (dimension,), sum modulo 2^32 over the active.
        members: of the round.
        request: that was sent.
        commitments: to the seeds, by name, of all who shared secrets.
        replies: by name.

    Raises:
        CohortError: too few replied.
        ProtocolError: the shares of a hospital's secret do not give it; the total is as it was.
    """
    _check_enough(members, replies, "helped to unmask")
    seed_shares = _by_owner(members, replies, lambda reply: (reply.seeds_of, reply.seed_shares))
    key_shares = _by_owner(members, replies, lambda reply: (reply.keys_of, reply.key_shares))
    masks: list[tuple[bytes, bool]] = []
    for name in request.active:
        seed = _secret(members, name, seed_shares)
        if members.commitment(seed, name) != commitments[name]:
            raise _wrong(name, "seed")
        key, added = members.own_mask(seed, name)
        masks.append((key, not added))
    for name in request.dropped:
        masking_key = _secret(members, name, key_shares)
        if public_key(masking_key) != members.masking_keys[name]:
            raise _wrong(name, "masking key")
        # What it would have put into its own vector cancels what its neighbours put into theirs.
        partners = sorted(members.neighbours(name) & frozenset(request.active))
        masks += [members.pairwise_mask(masking_key, name, other) for other in partners]
    add_masks(total, masks)


def _by_owner(
    members: Members,
    replies: Mapping[str, UnmaskShares],
    listed: Callable[[UnmaskShares], tuple[tuple[str, ...], tuple[bytes, ...]]],
) -> dict[str, dict[int, bytes]]:
    """Return, by the hospital whose secret it is, the shares at their points; those of strangers are left out."""
    shares: dict[str, dict[int, bytes]] = {}
    for holder, reply in sorted(replies.items()):
        neighbours, point = members.neighbours(holder), members.point(holder)
        for owner, value in paired(*listed(reply), "shares").items():
            if owner in neighbours:
                shares.setdefault(owner, {})[point] = value
    return shares


def _secret(members: Members, name: str, shares: Mapping[str, Mapping[int, bytes]]) -> bytes:
    try:
        return combine(shares.get(name, {}), members.shape.threshold)
    except ProtocolError as error:
        raise ProtocolError(f"the sum stays masked, as a secret of {name} can't be had: {error}") from None


def _wrong(name: str, what: str) -> ProtocolError:
    return ProtocolError(
        f"the sum stays masked: the shares of {name}'s {what} do not give it, so that {name} or one of its neighbours "
        "sent wrong ones"
    )


def _check_enough(members: Members, names: Mapping[str, object] | Sequence[str], what: str) -> None:
    if len(names) < members.shape.quorum:
        raise CohortError(
            f"{len(names)} of {members.shape.num_members} hospitals {what}, and {members.shape.quorum} are needed"
        )
