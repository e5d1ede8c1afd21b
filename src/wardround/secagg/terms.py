"""What all hospitals of a round agree on, and the size of the protocol that follows from it.

A hospital holds federation, min_survivors and max_colluding to its own roster; the rest is the server's proposal, which
is the same for all who share masks, as every key covers it. The size each computes for itself.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from wardround.errors import CohortError, ProtocolError
from wardround.rounds import hold
from wardround.secagg.keys import KEY_BYTES, transcript

__all__ = [
    "LARGEST",
    "PAYLOADS",
    "SMALLEST",
    "Shape",
    "Terms",
    "is_weighted",
    "sent_digest",
    "shape_of",
    "stated_digest",
]

PAYLOADS = ("parameters", "values", "residues")
"""What hospitals sum: the difference of their parameters to those they were sent, weighted; weighted values as they
are; or residues modulo 2^32, which have no weight."""

_MOST_MEMBERS = 2**16
SMALLEST, LARGEST = 1e-30, 1e30  # products of two of them, and of 2^31, are ordinary doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of one round, the same for everyone in it.

    Attributes:
        federation: name of the federation.
        run_id: of the run, so that rounds of two runs can't be mixed up.
        round_number: from 1; 0 of what is released before it.
        min_survivors: hospitals that a sum must have at the least (>= 2).
        max_colluding: hospitals that may side with the server without anybody else's secrets being lost (>= 0).
        payload: one of `PAYLOADS`.
        max_update: largest magnitude of a coordinate before weighting (1e-30 to 1e30); 0.0 for residues.
        max_weight: largest weight (1e-30 to 1e30); 0.0 for residues.
        model_digest: `sent_digest` of the parameters and settings that everyone works from, 32 bytes. A server that
            sent others to one hospital could tell its vector from the rest of the sum (Pasquini et al. 2022, eprint
            2021/1617).
        settings_digest: hash of the settings that all agreed on, 32 bytes; a hospital whose own have another refuses.
    """

    federation: str
    run_id: str
    round_number: int
    min_survivors: int
    max_colluding: int
    payload: str
    max_update: float
    max_weight: float
    model_digest: bytes
    settings_digest: bytes

    def __post_init__(self) -> None:
        weighted = is_weighted(self.payload)
        rules = {
            "round_number must be >= 0": self.round_number >= 0,
            "min_survivors must be >= 2": self.min_survivors >= 2,
            "max_colluding must be >= 0": self.max_colluding >= 0,
            f"payload must be one of {', '.join(PAYLOADS)}": self.payload in PAYLOADS,
            "max_update must be >= 1e-30 and <= 1e30": not weighted or SMALLEST <= self.max_update <= LARGEST,
            "max_weight must be >= 1e-30 and <= 1e30": not weighted or SMALLEST <= self.max_weight <= LARGEST,
            f"model_digest must have {KEY_BYTES} bytes": len(self.model_digest) == KEY_BYTES,
            f"settings_digest must have {KEY_BYTES} bytes": len(self.settings_digest) == KEY_BYTES,
        }
        hold(self, rules)

    @property
    def session(self) -> bytes:
        """Hash of the terms, shape (32,): what every message of the round refers to."""
        return transcript(
            b"terms",
            self.federation.encode(),
            self.run_id.encode(),
            *(str(n).encode() for n in (self.round_number, self.min_survivors, self.max_colluding)),
            self.payload.encode(),
            self.max_update.hex().encode(),
            self.max_weight.hex().encode(),
            self.model_digest,
            self.settings_digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many of each there are in a round with its members.

    Attributes:
        num_members: hospitals that advertised keys.
        quorum: of them, those that must stay to the end, and that a sum has at the least.
        num_neighbours: hospitals with which each shares a mask and its secrets.
        threshold: neighbours whose shares give a secret.
    """

    num_members: int
    quorum: int
    num_neighbours: int
    threshold: int


def sent_digest(told: Any) -> bytes:
    """Return a hash of what everyone in a round is sent, 32 bytes; no two different things have the same.

    Injective by construction, up to collisions of SHA-256: everything begins with the letter of its type, numbers and
    text have one form each (fractional ones their bits, so that -0.0 is not 0.0), and what is made of parts is the
    hash of all parts in their order, each with its length in front. Arrays are hashed where they are.

    >>> sent_digest(("rate", 1)) == sent_digest(("rate", True))
    False

    Args:
        told: text, bytes, booleans, whole and fractional numbers, arrays of real numbers, or lists and tuples of all
            these.

    Raises:
        ProtocolError: it has anything else in it.
    """
    return transcript(b"told", _encoded(told))


def _encoded(value: Any) -> bytes:
    match value:
        case bool():
            return b"b1" if value else b"b0"
        case int():
            return b"i" + hex(value).encode()
        case float():
            return b"f" + struct.pack(">d", value)
        case str():
            return b"s" + value.encode(errors="surrogatepass")
        case bytes():
            return b"y" + value
        case list():
            return b"l" + transcript(*map(_encoded, value))
        case tuple():
            return b"t" + transcript(*map(_encoded, value))
        case np.ndarray() if value.dtype.kind in "biufc":
            words = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
            return b"a" + transcript(value.dtype.str.encode(), repr(value.shape).encode(), words)
    raise ProtocolError(f"a {type(value).__name__} can't be told to all hospitals: send numbers, text, bytes and lists")


def stated_digest(settings: bytes) -> bytes:
    """Return the `Terms.settings_digest` of what both sides must have alike, such as an app's version, 32 bytes."""
    return transcript(b"settings", settings)


def is_weighted(payload: str) -> bool:
    """Return whether every vector of such a sum carries its weight; residues are summed as they are."""
    return payload != "residues"


def shape_of(num_members: int, min_survivors: int, max_colluding: int) -> Shape:
    """Return the shape of a round, which everybody computes alike.

    With n members, c colluding, quorum q, at most d = n - q drops, k neighbours and threshold t:

    - 2q > n + c + 1: two lists of survivors can't both be confirmed by q members, as no honest one confirms two.
    - t > c, and even 2t > k + c: colluders lack shares, and (were lists not confirmed) no two sets of t neighbours
      could give away both secrets of one hospital unless an honest one gave both.
    - k - d >= t: whoever drops, the survivors can finish.
    - So k > c + 2d. The graph is k-connected (Harary 1962), so that the honest who confirm, of whom all but c + d are
      left, stay connected: a sum has all of them or stays masked. Nor do m others (1 <= m <= d) who were told another
      list of those who shared, which lacks up to d, come loose together: one has at least k - (m - 1) neighbours among
      those who are not of the m; c of them collude, d - m can be listed as dropped, and d be kept from it.

    The smallest even k of at least 2 log2(n) that does all this is taken; or everyone is everyone's neighbour. All of
    this holds for any graph of this kind, so that nothing hangs on who chose its order.

    >>> shape_of(100, 90, 5)
    Shape(num_members=100, quorum=90, num_neighbours=28, threshold=17)
    >>> shape_of(4, 2, 0)
    Shape(num_members=4, quorum=3, num_neighbours=3, threshold=2)

    Raises:
        CohortError: too few of the members who advertised keys for the terms, or more than 65,536.

    Source: Bonawitz et al. 2017, section 6 (quorum); Bell et al. 2020 (eprint 2020/704), definitions 3.4 and 3.5.
    """
    quorum = max(min_survivors, (num_members + 1 + max_colluding) // 2 + 1)
    if quorum > num_members or num_members > _MOST_MEMBERS:
        raise CohortError(
            f"{num_members} hospitals take part in the secure sum, and min-survivors = {min_survivors} with "
            f"max-colluding = {max_colluding} needs {quorum} to {_MOST_MEMBERS}: wait for more hospitals, or lower "
            "them ([aggregation])"
        )
    drops = num_members - quorum
    wanted = max(2 * math.ceil(math.log2(num_members)), max_colluding + 2 * drops + 2)
    wanted += wanted % 2
    num_neighbours = min(wanted, num_members - 1)
    return Shape(
        num_members=num_members,
        quorum=quorum,
        num_neighbours=num_neighbours,
        threshold=(num_neighbours + max_colluding) // 2 + 1,
    )
