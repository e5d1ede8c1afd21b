"""Random streams for data: one purpose, one stream, whatever else is drawn.

Nothing here protects anyone: noise and sampling under privacy have streams of their own.
"""

import hashlib

import numpy as np

__all__ = ["CLASS_WEIGHTS", "PARTITION", "SPLIT", "data_stream"]

CLASS_WEIGHTS, PARTITION, SPLIT = 101, 102, 103


def data_stream(seed: int, purpose: int, name: str = "") -> np.random.Generator:
    """Return the generator of a seed, a purpose and a name; other names change nothing about it.

    >>> data_stream(42, SPLIT, "cleveland").random() == data_stream(42, SPLIT, "cleveland").random()
    True

    Args:
        seed: [federation] seed, >= 0.
        purpose: one of this module's constants.
        name: hospital or class the stream belongs to; "" for the federation as a whole.
    """
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *map(int, words))))
