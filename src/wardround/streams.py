"""Random streams of two kinds that no caller can mistake for each other.

*Set-up* streams (`SetUp`: who is where, who is drawn) follow from the seed, a purpose, a round and a name, so that the
runs of a study stay paired. *Release* streams (`Draw`: noise, batches, rounding, a model's own dropout) are made from a
key alone, and a key from a source: seeded for simulation, or the operating system. A seeded key holds a digest of
everything that the release is a function of. It is the idea of deterministic nonces: the stream is a pseudo-random
function of (seed, inputs), so that two releases which differ in anything have independent streams, and the same job
twice gives the same bits. No two runs can be subtracted to be rid of the noise.

Whoever knows the seed knows every seeded number. What is left out on purpose: any global random state, and what the
inputs are (see `identity`, and whoever draws).

Source: deterministic nonces, Pornin 2013 (RFC 6979, section 3.2); numpy.random.SeedSequence (O'Neill 2015), spawn keys;
SFC64 (Doty-Humphrey 2010).
"""

import hashlib
import secrets
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from wardround.digests import digest_of

__all__ = [
    "Draw",
    "Key",
    "SeededKey",
    "SeededSource",
    "SetUp",
    "Source",
    "SystemSource",
    "stream",
]


class SetUp(IntEnum):
    """What is drawn before and around releases, from the seed alone."""

    COHORT, DROPOUT = 3, 4
    CLASS_WEIGHTS, PARTITION, SPLIT, OVERSAMPLING, REPETITIONS, CANARIES, SHADOWS = 101, 102, 103, 104, 105, 106, 107
    STAND_INS = 108


class Draw(IntEnum):
    """What a release is made with: Poisson batches, noise, a model's own dropout, rounding to integers."""

    SAMPLING, NOISE, LAYERS, ROUNDING = 1, 2, 5, 6


def stream(seed: int, purpose: SetUp, round_number: int = 0, name: str = "") -> np.random.Generator:
    """Return the set-up generator of a seed, a purpose, a round and a hospital.

    Two different arguments share a state with probability 2**-128, as NumPy's seed sequences hold 128 bits, unlike
    torch's CPU generator, which keeps 32 bits of its seed.

    >>> bool(stream(42, SetUp.COHORT, 1).random() == stream(42, SetUp.COHORT, 1).random())
    True

    Args:
        seed: [federation] seed (>= 0).
        purpose: what is drawn.
        round_number: 0 for what is drawn once in a run.
        name: the hospital (or the class) the stream belongs to; "" for the federation as a whole.

    Raises:
        TypeError: the purpose is a release's, which needs a key.
    """
    if not isinstance(purpose, SetUp):
        raise TypeError(f"{purpose!r} must be a SetUp: what is released draws from a key (SeededSource, SystemSource)")
    return _generator(seed, purpose, round_number, name.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededKey:
    """What the streams of one release follow from.

    Attributes:
        seed: [federation] seed (>= 0).
        round_number: from 0.
        attempt: at the round, from 1.
        hospital_id: whose release; "" for the server's.
        inputs: digest of everything else that the release is a function of, 32 bytes.
    """

    seed: int
    round_number: int
    attempt: int
    hospital_id: str
    inputs: bytes

    def about(self, digest: bytes) -> "SeededKey":
        """Return the key of noise that hides something, of which this is the digest: other contents, other noise.

        Whatever a release was computed from, also what no key can know of (a file that a user's code read as it ran):
        where the contents differ, the noise is independent, and where they don't, the release is the same one.
        """
        return replace(self, inputs=digest_of(self.inputs, digest))

    def generator(self, draw: Draw) -> np.random.Generator:
        """Return the stream of one kind of draw: the same for an equal key, independent of every other one's.

        Raises:
            TypeError: the draw is no release's.
        """
        where = f"{int(_release(draw))}/{self.attempt}/{self.hospital_id}".encode()
        return _generator(self.seed, draw, self.round_number, digest_of(self.inputs, where))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededSource:
    """Keys that follow from the seed, for simulation.

    Attributes:
        seed: [federation] seed (>= 0).
        job: digest of the settings and the code (`identity.job_digest`).
    """

    seed: int
    job: bytes

    def key(self, *inputs: bytes, round_number: int, attempt: int, hospital_id: str) -> SeededKey:
        """Return the key of a release, given all that it is a function of, apart from the job.

        The inputs are the model, the data, the assignment and the like, as bytes or digests, in a fixed order.
        """
        return SeededKey(
            seed=self.seed,
            round_number=round_number,
            attempt=attempt,
            hospital_id=hospital_id,
            inputs=digest_of(self.job, *inputs),
        )


@dataclass(frozen=True, slots=True)
class SystemSource:
    """The operating system's randomness: of real sites, and of simulations that ask for it.

    Nothing follows from a key to it, and nothing repeats its streams, so that it is its own key to every release.
    """

    def key(self, *inputs: bytes, round_number: int, attempt: int, hospital_id: str) -> "SystemSource":
        """Return this."""
        return self

    def about(self, digest: bytes) -> "SystemSource":
        """Return this."""
        return self

    def generator(self, draw: Draw) -> np.random.Generator:
        """Return a stream whose state, all 192 bits that SFC64 takes, is made of 256 fresh ones; another at every call.

        Raises:
            TypeError: the draw is no release's.
        """
        _release(draw)
        # A seed sequence keeps 128 bits of what it is given unless it is told otherwise.
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(secrets.randbits(256), pool_size=8)))


Key = SeededKey | SystemSource
Source = SeededSource | SystemSource


def _release(draw: Draw) -> Draw:
    if not isinstance(draw, Draw):
        raise TypeError(f"{draw!r} must be a Draw: what is set up draws from stream()")
    return draw


def _generator(seed: int, purpose: int, round_number: int, rest: bytes) -> np.random.Generator:
    """Return the stream of `SeedSequence(seed, spawn_key=(purpose, round_number, *words of the digest of rest))`.

    The sequence is given the words that NumPy would make of that, number by number: the seed's, filled up with zeros to
    four, then those of the spawn key, of one word each.
    """
    seed_bytes = max(16, 4 * -(-seed.bit_length() // 32))
    key = purpose.to_bytes(4, "little") + round_number.to_bytes(4, "little") + hashlib.sha256(rest).digest()
    words = np.frombuffer(seed.to_bytes(seed_bytes, "little") + key, dtype="<u4").astype(np.uint32)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(words)))
