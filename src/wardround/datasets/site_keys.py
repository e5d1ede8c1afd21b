"""What a site's own key decides about its data: who is a test record, and a fingerprint that nobody else can compute.

Each purpose has a key of its own, an HMAC-SHA256 under the site's key. HMAC is a pseudorandom function: whoever lacks
the key can't tell its values from random ones (Bellare 2006, "New Proofs for NMAC and HMAC"). What is left out on
purpose: where the key is kept, and simulated hospitals, which have none.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.digests import digest_of
from wardround.errors import ConfigError

__all__ = ["are_test_records", "fingerprint_of"]

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


def fingerprint_of(arrays: Iterable[NDArray[Any]], *, key: bytes | None = None) -> str:
    """Return a digest of arrays, hexadecimal: the same only for the same key, dtypes, shapes and bits.

    With a key it is their HMAC-SHA256: without it nobody can test a guess at a record, as they could with the SHA-256
    that simulated hospitals have. Ledgers and sites keep these, so neither form ever changes.

    Args:
        arrays: of any dtype without Python objects, in order.
        key: the site's, at least 32 bytes; None in simulation.

    Raises:
        ConfigError: the key is too short.
    """
    code: Any = hashlib.sha256()
    if key is not None:
        code = hmac.new(_purpose_key(key, b"fingerprint of training data"), digestmod="sha256")
    for item in arrays:
        form, shape = item.dtype.str, repr(item.shape)
        code.update(f"{form}{shape}".encode() if key is None else digest_of(form.encode(), shape.encode()))
        code.update(np.ascontiguousarray(item).reshape(-1).view(np.uint8).data)
    return str(code.hexdigest())


def _purpose_key(key: bytes, purpose: bytes) -> bytes:
    if len(key) < _SHORTEST_KEY:
        raise ConfigError(
            f"a site's key has {len(key)} bytes and must have >= {_SHORTEST_KEY} ([site] key): make one with the "
            "command of docs/flower.md"
        )
    return hmac.digest(key, b"wardround site data 1: " + purpose, "sha256")
