"""Independent random streams from one seed: one for each purpose, round and hospital.

Who else draws, in which order and on how many workers, changes nothing about a stream. Streams are for simulation:
whoever knows the seed knows every number. What is left out on purpose: any global random state.
"""

import hashlib

import numpy as np

__all__ = [
    "CLASS_WEIGHTS",
    "COHORT",
    "DROPOUT",
    "LAYERS",
    "NOISE",
    "PARTITION",
    "ROUNDING",
    "SAMPLING",
    "SPLIT",
    "stream",
]

SAMPLING, NOISE, COHORT, DROPOUT, LAYERS, ROUNDING = 1, 2, 3, 4, 5, 6
CLASS_WEIGHTS, PARTITION, SPLIT = 101, 102, 103


def stream(seed: int, purpose: int, round_number: int = 0, name: str = "") -> np.random.Generator:
    """Return the generator of a seed, a purpose, a round and a hospital.

    Two different arguments share a state with probability below 2**-100: the whole 256-bit state is seeded, unlike
    torch's CPU generator, which keeps 32 bits of its seed.

    >>> bool(stream(42, NOISE, 1, "cleveland").random() == stream(42, NOISE, 1, "cleveland").random())
    True

    Args:
        seed: [federation] seed (>= 0).
        purpose: one of this module's constants.
        round_number: 0 for what is drawn once in a run.
        name: the hospital (or the class) the stream belongs to; "" for the federation as a whole.

    Source: numpy.random.SeedSequence (O'Neill 2015), spawn keys; SFC64 (Doty-Humphrey 2010).
    """
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    key = (purpose, round_number, *(int(word) for word in words))
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))
