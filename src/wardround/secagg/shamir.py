"""Shamir's secret sharing of 32-byte secrets: any `threshold` shares give the secret, fewer say nothing about it.

Over the prime field of 2^256 + 297 elements, the least above 2^256, so that every secret is an element. Our own, since
PyCryptodome's has secrets of 16 bytes only, and takes 70 times as long to split one (28 shares, threshold 17).

Source: Shamir 1979, "How to share a secret".
"""

import math
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, islice

from wardround.errors import ProtocolError

__all__ = ["SECRET_BYTES", "SHARE_BYTES", "combine", "split"]

PRIME = 2**256 + 297
SECRET_BYTES, SHARE_BYTES = 32, 33
_MOST_TRIES = 6_000
"""Sets of shares that are tried for one secret: all sets of ten shares, and up to four wrong ones of 28."""


def split(secret: bytes, points: Iterable[int], threshold: int) -> dict[int, bytes]:
    """Return a share of 33 bytes for every point.

    >>> sorted(split(bytes(range(32)), [1, 2, 3], 2))
    [1, 2, 3]

    Raises:
        ProtocolError: the secret has not 32 bytes, or there are not at least `threshold` (>= 1) different points >= 1.
    """
    points = list(points)
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= len(set(points)) == len(points) or min(points) < 1:
        raise ProtocolError(
            f"a secret of {len(secret)} bytes for points {points} and threshold {threshold} can't be shared: it must "
            f"have {SECRET_BYTES} bytes, and at least as many different points >= 1 as the threshold"
        )
    coefficients = [secrets.randbelow(PRIME) for _ in range(threshold - 1)] + [int.from_bytes(secret, "big")]
    shares = {}
    for point in points:
        value = 0
        for coefficient in coefficients:
            value = (value * point + coefficient) % PRIME
        shares[point] = value.to_bytes(SHARE_BYTES, "big")
    return shares


def combine(
    shares: Mapping[int, bytes], threshold: int, is_secret: Callable[[bytes], bool]
) -> tuple[bytes, frozenset[int]]:
    """Return the secret, and the points whose shares are not of it.

    Sets of shares are tried until one gives the secret: all where there are ten shares or fewer, at most 6,000.

    >>> shares = split(bytes(range(32)), [1, 2, 3], 2)
    >>> found, wrong = combine({**shares, 2: bytes(33)}, 2, lambda secret: secret == bytes(range(32)))
    >>> found == bytes(range(32)), wrong
    (True, frozenset({2}))

    Args:
        shares: by point, those that are trusted most first.
        threshold: that it was split with.
        is_secret: whether bytes are it, by what an honest owner said beforehand.

    Raises:
        ProtocolError: there are too few shares, or too few right ones.
    """
    values = {point: int.from_bytes(share, "big") for point, share in shares.items()}
    if len(values) < threshold:
        raise ProtocolError(f"{len(values)} shares of it came back, and {threshold} are needed")
    for points in islice(_sets(list(values), threshold), _MOST_TRIES):
        scaled = _scaled({point: values[point] for point in points})
        secret = _value_at(0, scaled)
        if not secret >> (8 * SECRET_BYTES) and is_secret(found := secret.to_bytes(SECRET_BYTES, "big")):
            return found, _odd(values, scaled)
    first = _scaled({point: values[point] for point in list(values)[:threshold]})
    if len(values) > threshold and not _odd(values, first):
        raise ProtocolError(f"all {len(values)} shares are of another one, so that whoever dealt them is at fault")
    raise ProtocolError(
        f"{len(values)} shares of it came back, and not {threshold} of them are right: whoever dealt them is at fault, "
        "or several who sent them back"
    )


def _sets(points: Sequence[int], size: int) -> Iterable[tuple[int, ...]]:
    """Yield all sets of points of a size, each once: of the first so many points, then of the first and one more..."""
    for num_wrong in range(len(points) - size + 1):
        last = size + num_wrong - 1
        for wrong in combinations(range(last), num_wrong):
            yield tuple(point for place, point in enumerate(points[: last + 1]) if place not in wrong)


def _scaled(values: Mapping[int, int]) -> dict[int, int]:
    """Return what `_value_at` makes values of the polynomial of lowest degree through all of them of, by point."""
    scaled = {}
    for point, value in values.items():
        bottom = math.prod(point - other for other in values if other != point)
        scaled[point] = value * pow(bottom, -1, PRIME) % PRIME
    return scaled


def _value_at(place: int, scaled: Mapping[int, int]) -> int:
    """Return the value at a place that is none of the points (Lagrange's form)."""
    # Points are small, so that their products are short, and exact to divide.
    whole = math.prod(place - point for point in scaled)
    return sum(value * (whole // (place - point)) for point, value in scaled.items()) % PRIME


def _odd(values: Mapping[int, int], scaled: Mapping[int, int]) -> frozenset[int]:
    """Return the points whose values are not those of the polynomial."""
    rest = values.keys() - scaled.keys()
    return frozenset(point for point in rest if values[point] != _value_at(point, scaled))
