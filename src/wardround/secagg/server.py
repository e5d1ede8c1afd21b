"""The server's side of a secure sum: it passes on what hospitals say, and takes the masks off the sum.

Pure functions of records. The server learns nothing that it could keep to itself: a hospital checks all that matters.
What is left out on purpose: transport, and when to give up waiting.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

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
from wardround.secagg.terms import Terms

__all__ = ["confirm_request", "mask_requests", "share_request", "take_off_masks", "unmask_request"]


def share_request(terms: Terms, advertisements: Iterable[Advertisement]) -> ShareRequest:
    """Return the request that goes to everyone who advertised: everybody's keys and signatures."""
    ads = sorted(advertisements, key=lambda ad: ad.name)
    return ShareRequest(
        session=terms.session,
        names=tuple(ad.name for ad in ads),
        sealing_keys=tuple(ad.sealing_key for ad in ads),
        masking_keys=tuple(ad.masking_key for ad in ads),
        signatures=tuple(ad.signature for ad in ads),
    )


def mask_requests(members: Members, shares: Mapping[str, Shares]) -> dict[str, MaskRequest]:
    """Return the request for each hospital that shared its secrets, with what its neighbours sealed for it.

    `shares` by name have no faults (see `faults`).

    Raises:
        CohortError: too few replied.
    """
    _check_enough(members, shares, "shared their secrets")
    sealed = {name: paired(reply.receivers, reply.sealed, "sealed shares") for name, reply in shares.items()}
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
    """Return the request that goes to every active hospital, whose masked vector is in the sum, of those sharing.

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
        **asdict(request),
        signers=tuple(sorted(confirmations)),
        signatures=tuple(confirmations[name].signature for name in sorted(confirmations)),
    )


def take_off_masks(
    total: NDArray[np.uint32],
    members: Members,
    request: UnmaskRequest,
    commitments: Mapping[str, bytes],
    replies: Mapping[str, UnmaskShares],
) -> dict[str, str]:
    """Turn the sum of the masked vectors into the sum of the vectors, in place.

    Shares that are wrong are found by what they must give: a seed its commitment, a masking key its public half. As
    long as enough are right, the sum is finished without the others.

    Args:
        total: uint32, shape (dimension,), sum modulo 2^32 over the active.
        members: of the round.
        request: that was sent.
        commitments: to the seeds, by name, of all who shared secrets.
        replies: by name, without faults.

    Returns:
        By hospital, a sentence on the wrong shares that it sent; whoever dealt it one may have dealt a wrong one.

    Raises:
        CohortError: too few replied.
        ProtocolError: too few shares of a hospital's secret are right; the total is as it was.
    """
    _check_enough(members, replies, "helped to unmask")
    seeds = {name: paired(it.seeds_of, it.seed_shares, "shares") for name, it in replies.items()}
    keys = {name: paired(it.keys_of, it.key_shares, "shares") for name, it in replies.items()}
    seed_shares, key_shares = _by_owner(members, seeds), _by_owner(members, keys)

    def is_seed(owner: str, secret: bytes) -> bool:
        return members.commitment(secret, owner) == commitments[owner]

    def is_masking_key(owner: str, secret: bytes) -> bool:
        return public_key(secret) == members.masking_keys[owner]

    wrong: dict[str, list[str]] = {}
    masks: list[tuple[bytes, bool]] = []
    for name in request.active:
        key, added = members.own_mask(_secret(members, "seed", name, seed_shares, is_seed, wrong), name)
        masks.append((key, not added))
    for name in request.dropped:
        masking_key = _secret(members, "masking key", name, key_shares, is_masking_key, wrong)
        # What it would have put into its own vector cancels what its neighbours put into theirs.
        partners = sorted(members.neighbours(name) & frozenset(request.active))
        masks += [members.pairwise_mask(masking_key, name, other) for other in partners]
    add_masks(total, masks)
    return {
        holder: f"{holder} sent a wrong share of what {' and '.join(dealers)} dealt it: {holder} is at fault, or "
        f"{' and '.join(dealers)}; the sum was finished without"
        for holder, dealers in wrong.items()
    }


def _by_owner(members: Members, told: Mapping[str, Mapping[str, bytes]]) -> dict[str, dict[str, bytes]]:
    """Return, by the hospital whose secret it is, the shares by who holds them; those of strangers are left out."""
    shares: dict[str, dict[str, bytes]] = {}
    for holder, held in sorted(told.items()):
        for owner in members.neighbours(holder) & held.keys():
            shares.setdefault(owner, {})[holder] = held[owner]
    return shares


def _secret(
    members: Members,
    what: str,
    owner: str,
    shares: Mapping[str, Mapping[str, bytes]],
    is_secret: Callable[[str, bytes], bool],
    wrong: dict[str, list[str]],
) -> bytes:
    """Return a secret from its shares by owner and holder.

    `wrong` has, by who sent wrong shares, whose secrets they are of, and gets more; the others of such a holder are
    taken last.
    """
    held = shares.get(owner, {})
    holders = sorted(held, key=lambda holder: (holder in wrong, members.point(holder)))
    points = {members.point(holder): held[holder] for holder in holders}
    try:
        secret, odd = combine(points, members.shape.threshold, partial(is_secret, owner))
    except ProtocolError as error:
        raise ProtocolError(f"the sum stays masked, as the {what} of {owner} can't be had: {error}") from None
    for holder in holders:
        if members.point(holder) in odd:
            wrong.setdefault(holder, []).append(owner)
    return secret


def _check_enough(members: Members, names: Mapping[str, object] | Sequence[str], what: str) -> None:
    if len(names) < members.shape.quorum:
        raise CohortError(
            f"{len(names)} of {members.shape.num_members} hospitals {what}, and {members.shape.quorum} are needed"
        )
