"""The server's side of a secure sum: it passes on what hospitals say, and takes the masks off the sum.

Pure functions of records. The server learns nothing that it could keep to itself: a hospital checks all that matters.
What is left out on purpose: transport, and when to give up waiting.
"""

from collections.abc import Callable, Mapping, Sequence
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
from wardround.secagg.shamir import combine_checked

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
        ProtocolError: a hospital's shares are not for its neighbours (see `faults`).
    """
    _check_enough(members, shares, "shared their secrets")
    sealed = {name: paired(reply.receivers, reply.sealed, "sealed shares") for name, reply in shares.items()}
    for name in shares:
        if frozenset(sealed[name]) != members.neighbours(name):
            raise ProtocolError(f"{name} sealed shares for others than its neighbours: leave it out")
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
    seeds = {name: partial(_is_committed, members, name, commitments[name]) for name in request.active}
    keys = {name: partial(_is_key_of, members.masking_keys[name]) for name in request.dropped}
    seed_shares = _by_owner(members, replies, lambda reply: (reply.seeds_of, reply.seed_shares))
    key_shares = _by_owner(members, replies, lambda reply: (reply.keys_of, reply.key_shares))
    found_seeds, wrong = _secrets(members, "seed", seeds, seed_shares, frozenset())
    found_keys, more = _secrets(members, "masking key", keys, key_shares, frozenset(holder for holder, _ in wrong))
    masks: list[tuple[bytes, bool]] = []
    for name, seed in found_seeds.items():
        key, added = members.own_mask(seed, name)
        masks.append((key, not added))
    for name, masking_key in found_keys.items():
        # What it would have put into its own vector cancels what its neighbours put into theirs.
        partners = sorted(members.neighbours(name) & frozenset(request.active))
        masks += [members.pairwise_mask(masking_key, name, other) for other in partners]
    add_masks(total, masks)
    return _blamed([*wrong, *more])


def _by_owner(
    members: Members,
    replies: Mapping[str, UnmaskShares],
    listed: Callable[[UnmaskShares], tuple[tuple[str, ...], tuple[bytes, ...]]],
) -> dict[str, dict[str, bytes]]:
    """Return, by the hospital whose secret it is, the shares by who holds them; those of strangers are left out."""
    shares: dict[str, dict[str, bytes]] = {}
    for holder, reply in sorted(replies.items()):
        neighbours = members.neighbours(holder)
        for owner, value in paired(*listed(reply), "shares").items():
            if owner in neighbours:
                shares.setdefault(owner, {})[holder] = value
    return shares


def _secrets(
    members: Members,
    what: str,
    is_secret: Mapping[str, Callable[[bytes], bool]],
    shares: Mapping[str, Mapping[str, bytes]],
    suspects: frozenset[str],
) -> tuple[dict[str, bytes], list[tuple[str, str]]]:
    """Return the secrets by owner, and the pairs of who sent a wrong share and whose secret it is of.

    Args:
        members: of the round.
        what: the secrets are.
        is_secret: by owner, whether bytes are its secret.
        shares: by owner and holder.
        suspects: holders who sent wrong shares already, whose others are taken last.
    """
    secrets, wrong = {}, []
    for owner, check in is_secret.items():
        held = shares.get(owner, {})
        holders = sorted(held, key=lambda holder: (holder in suspects, members.point(holder)))
        points = {members.point(holder): held[holder] for holder in holders}
        try:
            secrets[owner], odd = combine_checked(points, members.shape.threshold, check)
        except ProtocolError as error:
            raise ProtocolError(f"the sum stays masked, as the {what} of {owner} can't be had: {error}") from None
        found = [(holder, owner) for holder in holders if members.point(holder) in odd]
        suspects |= {holder for holder, _ in found}
        wrong += found
    return secrets, wrong


def _is_committed(members: Members, name: str, commitment: bytes, seed: bytes) -> bool:
    return members.commitment(seed, name) == commitment


def _is_key_of(masking_key: bytes, private_key: bytes) -> bool:
    return public_key(private_key) == masking_key


def _blamed(wrong: Sequence[tuple[str, str]]) -> dict[str, str]:
    owners: dict[str, list[str]] = {}
    for holder, owner in wrong:
        owners.setdefault(holder, []).append(owner)
    return {
        holder: f"{holder} sent a wrong share of what {' and '.join(dealers)} dealt it: {holder} is at fault, or "
        f"{' and '.join(dealers)}; the sum was finished without"
        for holder, dealers in owners.items()
    }


def _check_enough(members: Members, names: Mapping[str, object] | Sequence[str], what: str) -> None:
    if len(names) < members.shape.quorum:
        raise CohortError(
            f"{len(names)} of {members.shape.num_members} hospitals {what}, and {members.shape.quorum} are needed"
        )
