"""The members of a round, as everybody sees them who has the same advertisements: keys, shape, ring and secrets' names.

Neighbours are the k nearest on a ring, which stays connected when any k - 1 members are taken out (Harary 1962). Bell
et al. 2020 shuffle it so that drops hit it evenly; here its order follows from a hash, and nothing about privacy hangs
on it (see `terms.shape_of`).

Both sides build it with `members_of`. Its digest covers every name and key, and every key and signature that is made
later covers the digest: hospitals that were told different things share no masks and confirm no common list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from wardround.errors import ProtocolError
from wardround.secagg.keys import KEY_BYTES, agree, derive, transcript
from wardround.secagg.records import ShareRequest, paired
from wardround.secagg.terms import Shape, Terms, shape_of

__all__ = ["Members", "advertised_text", "members_of", "neighbours_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Those who take part in a round.

    Attributes:
        terms: of the round.
        shape: follows from the terms and their number.
        order: names in the order of the ring.
        digest: of session, names and keys, 32 bytes.
        sealing_keys: by name.
        masking_keys: by name.
    """

    terms: Terms
    shape: Shape
    order: tuple[str, ...]
    digest: bytes
    sealing_keys: Mapping[str, bytes]
    masking_keys: Mapping[str, bytes]

    def neighbours(self, name: str) -> frozenset[str]:
        """Return the names of a member's neighbours."""
        return neighbours_of(name, self.order, self.shape.num_neighbours)

    def point(self, name: str) -> int:
        """Return where a member's shares are on the polynomials, from 1."""
        return self.order.index(name) + 1

    def sealing_secret(self, own_key: bytes, other: str, *, sender: str, receiver: str) -> bytes:
        """Return the key that seals what the sender has for the receiver; `own_key` is either one's private key."""
        shared = agree(own_key, self.sealing_keys[other])
        return derive(shared, b"sealed shares", self.digest, sender.encode(), receiver.encode())

    def sealing_context(self, *, sender: str, receiver: str) -> bytes:
        """Return what is authenticated together with the sealed shares."""
        return transcript(b"sealed shares", self.digest, sender.encode(), receiver.encode())

    def pairwise_mask(self, own_key: bytes, name: str, other: str) -> tuple[bytes, bool]:
        """Return the mask of two neighbours as `masks.add_masks` has it: the first in name order adds it.

        It is for the vector of `name`, whose private masking key is `own_key`.
        """
        pair = sorted((name.encode(), other.encode()))
        key = derive(agree(own_key, self.masking_keys[other]), b"pairwise mask", self.digest, *pair)
        return key, name.encode() == pair[0]

    def own_mask(self, seed: bytes, name: str) -> tuple[bytes, bool]:
        """Return the mask that only one hospital knows, which it adds."""
        return derive(seed, b"own mask", self.digest, name.encode()), True

    def commitment(self, seed: bytes, name: str) -> bytes:
        """Return the hash that a hospital's seed is later held to; it says nothing about 32 random bytes."""
        return transcript(b"commitment", self.digest, name.encode(), seed)

    def confirmed_text(self, sharing: Sequence[str], active: Sequence[str], dropped: Sequence[str]) -> bytes:
        """Return what a hospital signs to confirm the lists."""
        lists = (transcript(*(name.encode() for name in sorted(names))) for names in (sharing, active, dropped))
        return transcript(b"confirmed", self.digest, *lists)


def neighbours_of(name: str, order: Sequence[str], num_neighbours: int) -> frozenset[str]:
    """Return the neighbours of a member: the nearest on the ring, as many on either side (Harary's graph), or all.

    >>> sorted(neighbours_of("a", "abcdef", 2)), sorted(neighbours_of("a", "abcd", 3))
    (['b', 'f'], ['b', 'c', 'd'])
    """
    if num_neighbours >= len(order) - 1:
        return frozenset(order) - {name}
    place, half = list(order).index(name), num_neighbours // 2
    return frozenset(order[(place + step) % len(order)] for step in range(-half, half + 1) if step)


def advertised_text(session: bytes, name: str, sealing_key: bytes, masking_key: bytes) -> bytes:
    """Return what a hospital signs to advertise its keys."""
    return transcript(b"advertised", session, name.encode(), sealing_key, masking_key)


@lru_cache(maxsize=16)
def members_of(terms: Terms, told: ShareRequest) -> Members:
    """Return the members of a round, given what all are told of each other, in any order.

    Signatures do not matter here: they are the hospitals' to check, who have the roster.

    Raises:
        CohortError: there are too few.
        ProtocolError: a name or a key is there twice, or a key is not 32 bytes long.
    """
    sealing_keys = paired(told.names, told.sealing_keys, "sealing keys")
    masking_keys = paired(told.names, told.masking_keys, "masking keys")
    keys = (*told.sealing_keys, *told.masking_keys)
    if len(set(keys)) < len(keys):
        raise ProtocolError("a name or a key was advertised twice: every hospital has a name and new keys of its own")
    if any(len(key) != KEY_BYTES for key in keys):
        raise ProtocolError(f"every advertised key must have {KEY_BYTES} bytes")
    names = sorted(told.names)
    parts = [part for name in names for part in (name.encode(), sealing_keys[name], masking_keys[name])]
    digest = transcript(b"members", terms.session, *parts)
    return Members(
        terms=terms,
        shape=shape_of(len(names), terms.min_survivors, terms.max_colluding),
        order=tuple(sorted(names, key=lambda name: transcript(b"ring", digest, name.encode()))),
        digest=digest,
        sealing_keys=sealing_keys,
        masking_keys=masking_keys,
    )
