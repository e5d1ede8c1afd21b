"""What a site's own key decides about its data: who is a test record, and a fingerprint that nobody else can compute.

Each purpose has a key of its own, an HMAC-SHA256 under the site's key. HMAC is a pseudorandom function: whoever lacks
the key can't tell its values from random ones (Bellare 2006, "New Proofs for NMAC and HMAC"). What is left out on
purpose: where the key is kept, and simulated hospitals, which have none.
"""

import hmac
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.digests import digest_of
from wardround.errors import ConfigError

__all__ = ["are_test_records", "keyed_fingerprint"]

_SHORTEST_KEY = 32


def are_test_records(key: bytes, identities: Iterable[bytes], test_fraction: float) -> NDArray[np.bool_]:
    """Return for each identity whether it is a test record: it depends on the key and that identity alone.

    An identity is one where the first 64 bits of its HMAC, as a number, are below test_fraction x 2^64. So nobody who
    comes, goes or changes moves another between training and test, and the share of test records is binomial.

    Args:
        key: the site's, at least 32 bytes.
        identities: any bytes.
        test_fraction: in (0, 1).

    Raises:
        ConfigError: the key is too short.
    """
    own = _purpose_key(key, b"split of training and test records")
    bound = test_fraction * 2.0**64  # exact, and integers compare with it exactly
    drawn = (int.from_bytes(hmac.digest(own, identity, "sha256")[:8], "big") < bound for identity in identities)
    return np.fromiter(drawn, dtype=np.bool_)


def keyed_fingerprint(key: bytes, arrays: Iterable[NDArray[Any]]) -> str:
    """Return the HMAC-SHA256 of arrays, hexadecimal: the same only for the same key, dtypes, shapes and bits.

    Without the key nobody can test a guess at a record, as they could with a plain digest.

    Args:
        key: the site's, at least 32 bytes.
        arrays: of any dtype without Python objects, in order.

    Raises:
        ConfigError: the key is too short.
    """
    code = hmac.new(_purpose_key(key, b"fingerprint of training data"), digestmod="sha256")
    for item in arrays:
        told = digest_of(item.dtype.str.encode(), repr(item.shape).encode())
        code.update(told)
        code.update(np.ascontiguousarray(item).reshape(-1).view(np.uint8).data)
    return code.hexdigest()


def _purpose_key(key: bytes, purpose: bytes) -> bytes:
    if len(key) < _SHORTEST_KEY:
        raise ConfigError(
            f"a site's key has {len(key)} bytes and must have >= {_SHORTEST_KEY} ([site] key): make one with the "
            "command of docs/flower.md"
        )
    return hmac.digest(key, b"wardround site data 1: " + purpose, "sha256")
