"""Digests of bytes and of named arrays, which tell any two different inputs apart, and records as tables for them.

What is left out on purpose: what secure aggregation signs and derives keys from, which has a label of its own
(`secagg.keys.transcript`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["array_digest", "by_field", "digest_of"]


_PLAIN = frozenset({bool, int, float, str, type(None)})


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
        digest.update(_kind_digest(name, array.dtype.str, np.shape(arrays[name])))
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.digest()


@lru_cache(maxsize=256)  # ten thousand hospitals have few kinds of arrays
def _kind_digest(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    return digest_of(name.encode(), dtype.encode(), repr(shape).encode())


def by_field(record: Any) -> dict[str, Any]:
    """Return what `dataclasses.asdict` does of records that hold numbers, texts and such records alone, and faster."""
    kind: Any = type(record)
    values = {name: getattr(record, name) for name in _names(kind)}
    for name, value in values.items():
        if type(value) not in _PLAIN and is_dataclass(value):
            values[name] = by_field(value)
    return values


@lru_cache(maxsize=16)
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))
