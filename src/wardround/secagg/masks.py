"""Masks: streams of uint32 that only the holders of a 256-bit key can make, added modulo 2^32.

The stream is AES-256 in counter mode from counter 0 (NIST SP 800-38A), little-endian; a key makes one mask and is never
used again. The same mask added by one and subtracted by another cancels exactly.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from wardround.errors import ProtocolError
from wardround.secagg.keys import KEY_BYTES

__all__ = ["add_masks"]

_BLOCK = 65_536  # words: vector block and stream block stay in a core's second-level cache together
_CIPHER_BLOCK_BYTES = 16


def add_masks(vector: NDArray[np.uint32], masks: Iterable[tuple[bytes, bool]]) -> None:
    """Add masks to the vector or subtract them, in place, modulo 2^32.

    >>> import os
    >>> key, vector = os.urandom(32), np.arange(5, dtype=np.uint32)
    >>> add_masks(vector, [(key, True)])
    >>> add_masks(vector, [(key, False)])
    >>> vector
    array([0, 1, 2, 3, 4], dtype=uint32)

    Args:
        vector: uint32, shape (dimension,), contiguous.
        masks: (key of 32 bytes, whether to add it rather than subtract it).

    Raises:
        ProtocolError: a key is not 256 bits long, or the vector's numbers are not taken modulo 2^32.
    """
    if vector.dtype != np.uint32:
        raise ProtocolError(f"a vector of {vector.dtype} can't be masked, which must be uint32: quantise it first")
    streams = [(_stream(key), add) for key, add in masks]
    zeros = bytes(4 * min(_BLOCK, len(vector)))
    buffer = bytearray(len(zeros) + _CIPHER_BLOCK_BYTES)
    words = np.frombuffer(buffer, "<u4", len(zeros) // 4)
    for start in range(0, len(vector), _BLOCK):
        block = vector[start : start + _BLOCK]
        for stream, add in streams:
            stream.update_into(zeros[: 4 * len(block)], buffer)
            (np.add if add else np.subtract)(block, words[: len(block)], out=block)


def _stream(key: bytes) -> Any:
    if len(key) != KEY_BYTES:
        raise ProtocolError(f"a mask key has {len(key)} bytes, which must be {KEY_BYTES}: 256 bits from end to end")
    return Cipher(algorithms.AES(key), modes.CTR(bytes(_CIPHER_BLOCK_BYTES))).encryptor()
