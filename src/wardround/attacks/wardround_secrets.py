"""What a server makes of secrets of Wardround's protocol: those that it was given, and those of hospitals it invented.

Used by `wardround_secagg`. What is left out on purpose: messages.
"""

import os
from collections.abc import Iterable, Mapping, Sequence

from wardround.attacks.targets import Round
from wardround.errors import CohortError, ProtocolError
from wardround.secagg.keys import public_key, seal, unseal
from wardround.secagg.members import Members, members_of
from wardround.secagg.records import Shares
from wardround.secagg.server import share_request
from wardround.secagg.shamir import SHARE_BYTES, combine

__all__ = ["masks_among", "members_in", "names_of", "opened_by", "sealed_by", "secrets_of"]


def masks_among(round_: Round, everyone: Members, members: Sequence[int]) -> list[tuple[bytes, bool]] | None:
    """Return the masks in the sum of some vectors, as `add_masks` has them; None where a secret is missing."""
    names, inside = names_of(round_, round_.shares), frozenset(members)
    masks: list[tuple[bytes, bool]] = []
    for node_id in members:
        if ("seed", node_id) not in round_.secrets or node_id not in names:
            return None
        masks.append(everyone.own_mask(round_.secrets["seed", node_id], names[node_id]))
        for other in (
            n for n, name in names.items() if n not in inside and name in everyone.neighbours(names[node_id])
        ):
            if ("key", node_id) in round_.secrets:
                key = round_.secrets["key", node_id]
                masks.append(everyone.pairwise_mask(key, names[node_id], names[other]))
            elif ("key", other) in round_.secrets:
                key, adds = everyone.pairwise_mask(round_.secrets["key", other], names[other], names[node_id])
                masks.append((key, not adds))
            else:
                return None
    return masks


def secrets_of(
    round_: Round, members: Members, held: Mapping[tuple[str, str], Mapping[int, bytes]]
) -> dict[tuple[str, int], bytes]:
    """Return, of shares by kind and owner's name, the secrets that they give."""
    found, node_of = {}, {ad.name: node_id for node_id, ad in round_.keys.items()}
    for (kind, owner), shares in held.items():
        shared = round_.shares[node_of[owner]]

        def is_secret(secret: bytes, kind: str = kind, owner: str = owner, shared: Shares = shared) -> bool:
            if kind == "seed":
                return members.commitment(secret, owner) == shared.commitment
            return public_key(secret) == members.masking_keys[owner]

        try:
            found[kind, node_of[owner]], _ = combine(shares, members.shape.threshold, is_secret)
        except ProtocolError:
            continue
    return found


def sealed_by(members: Members, invented: tuple[str, bytes, bytes], names: Mapping[int, str]) -> Shares:
    """Return what an invented hospital seals for the real ones: nothing of use."""
    name, sealing, _ = invented
    receivers = tuple(sorted(names.values()))
    sealed = []
    for receiver in receivers:
        key = members.sealing_secret(sealing, receiver, sender=name, receiver=receiver)
        text = os.urandom(2 * SHARE_BYTES)
        sealed.append(seal(key, text, members.sealing_context(sender=name, receiver=receiver)))
    return Shares(receivers=receivers, sealed=tuple(sealed), commitment=bytes(32))


def opened_by(
    members: Members, invented: Iterable[tuple[str, bytes, bytes]], shares: Mapping[str, Shares]
) -> dict[tuple[str, str], dict[int, bytes]]:
    """Return the shares that real hospitals sealed for invented ones, by kind and owner's name, and by point."""
    held: dict[tuple[str, str], dict[int, bytes]] = {}
    for name, sealing, _ in invented:
        for owner, reply in shares.items():
            for_it = dict(zip(reply.receivers, reply.sealed, strict=True)).get(name)
            if for_it is None:
                continue
            key = members.sealing_secret(sealing, owner, sender=owner, receiver=name)
            text = unseal(key, for_it, members.sealing_context(sender=owner, receiver=name))
            held.setdefault(("key", owner), {})[members.point(name)] = text[:SHARE_BYTES]
            held.setdefault(("seed", owner), {})[members.point(name)] = text[SHARE_BYTES:]
    return held


def members_in(round_: Round) -> Members | None:
    """Return the members whose keys all were shown; None where they are too few for the protocol."""
    try:
        return members_of(round_.terms, share_request(round_.terms, round_.keys.values()))
    except CohortError:
        return None


def names_of(round_: Round, node_ids: Iterable[int]) -> dict[int, str]:
    """Return nodes' names, as they advertised them."""
    return {node_id: round_.keys[node_id].name for node_id in node_ids}
