"""Digests of bytes and of named arrays, which tell any two different inputs apart.

What is left out on purpose: what secure aggregation signs and derives keys from, which has a label of its own
(`secagg.keys.transcript`).
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["array_digest", "digest_of"]


def digest_of(*parts: bytes | memoryview) -> bytes:
    """Return the sha256 of a sequence of bytes, 32 bytes; each is told apart from its neighbours by its length.

    >>> digest_of(b"ab", b"c") == digest_of(b"a", b"bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def array_digest(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the sha256 of named arrays, 32 bytes: names, dtypes, shapes and every bit, whatever order they are in.

    >>> array_digest({"bias": np.zeros(2)}) == array_digest({"bias": -np.zeros(2)})
    False

    Args:
        arrays: any shapes, of any dtype without Python objects.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(digest_of(name.encode(), array.dtype.str.encode(), repr(np.shape(arrays[name])).encode()))
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.digest()
