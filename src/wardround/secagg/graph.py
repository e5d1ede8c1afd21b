"""Which hospitals are neighbours: a ring on which everyone is joined to the k nearest (Harary's graph), or to all.

It stays connected when any k - 1 members are taken out (Harary 1962). Bell et al. 2020 shuffle the ring so that drops
hit it evenly; here the order follows from a hash, and nothing about privacy hangs on it (see `terms.shape_of`).
"""

from collections.abc import Sequence

from wardround.secagg.keys import transcript

__all__ = ["neighbours_of", "ring"]


def ring(members: Sequence[str], digest: bytes) -> tuple[str, ...]:
    """Return the members in the order of the ring.

    Args:
        members: names, all different.
        digest: what everyone knows of the round, any bytes.
    """
    return tuple(sorted(members, key=lambda name: transcript(b"ring", digest, name.encode())))


def neighbours_of(name: str, order: Sequence[str], num_neighbours: int) -> frozenset[str]:
    """Return the neighbours of a member.

    >>> sorted(neighbours_of("a", "abcdef", 2)), sorted(neighbours_of("a", "abcd", 3))
    (['b', 'f'], ['b', 'c', 'd'])

    Args:
        name: one of `order`.
        order: the ring.
        num_neighbours: even, or one less than there are members.
    """
    if num_neighbours >= len(order) - 1:
        return frozenset(order) - {name}
    place, half = list(order).index(name), num_neighbours // 2
    return frozenset(order[(place + step) % len(order)] for step in range(-half, half + 1) if step)
