"""The cryptography of secure aggregation, all of it from the `cryptography` library (OpenSSL).

X25519 (RFC 7748) agrees on keys, HKDF-SHA256 (RFC 5869) derives one for each purpose and direction, ChaCha20-Poly1305
(RFC 8439) seals shares, Ed25519 (RFC 8032) signs with a site's long-term key. Keys are raw bytes, 32 each. What is left
out on purpose: any choice of algorithm at run time.
"""

import hashlib
import os
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wardround.errors import ProtocolError

__all__ = [
    "KEY_BYTES",
    "SEALED_EXTRA_BYTES",
    "agree",
    "derive",
    "is_signed",
    "new_private_key",
    "public_key",
    "seal",
    "sign",
    "transcript",
    "unseal",
    "verify_key",
]

KEY_BYTES = 32
_LABEL = b"wardround secagg 1"
_NONCE_BYTES, _TAG_BYTES = 12, 16
SEALED_EXTRA_BYTES = _NONCE_BYTES + _TAG_BYTES
"""How much longer a sealed text is than the text."""


def transcript(*parts: bytes | memoryview) -> bytes:
    """Return a hash of the parts that tells any two different lists of parts apart, shape (32,)."""
    hashed = hashlib.sha256(_LABEL)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.digest()


def new_private_key() -> bytes:
    """Return a new X25519 private key from the operating system's randomness."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_key(private_key: bytes) -> bytes:
    """Return the X25519 public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def agree(private_key: bytes, other_public_key: bytes) -> bytes:
    """Return the secret that the owners of two X25519 keys share; not yet a key (see `derive`).

    Raises:
        ProtocolError: the public key is none, or one of those whose secrets everyone knows.
    """
    try:
        other = X25519PublicKey.from_public_bytes(other_public_key)
        return X25519PrivateKey.from_private_bytes(private_key).exchange(other)
    except ValueError as error:
        raise ProtocolError(
            f"a public key of {len(other_public_key)} bytes is not a sound X25519 key: {error}"
        ) from None


def derive(secret: bytes, purpose: bytes, *context: bytes) -> bytes:
    """Return a key of 32 bytes from a secret that nobody else knows, for one purpose in one context.

    The context is the round's digest, and sender and receiver where a direction matters.

    Raises:
        ProtocolError: the secret has less than 32 bytes.
    """
    if len(secret) < KEY_BYTES:
        raise ProtocolError(f"a secret has {len(secret)} bytes, which must be >= {KEY_BYTES}: 256 bits from end to end")
    info = transcript(purpose, *context)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=_LABEL, info=info).derive(secret)


def seal(key: bytes, text: bytes, context: bytes) -> bytes:
    """Return the text encrypted and authenticated together with its context."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, text, context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Return the text that was sealed.

    Raises:
        ProtocolError: it was sealed with another key or context, or changed on the way.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise ProtocolError("a sealed share was changed, or is not from who it says: it can't be opened") from None


def verify_key(signing_key: bytes) -> bytes:
    """Return the public half of an Ed25519 signing key."""
    return Ed25519PrivateKey.from_private_bytes(signing_key).public_key().public_bytes_raw()


def sign(signing_key: bytes, text: bytes) -> bytes:
    """Return the Ed25519 signature of the text, 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(signing_key).sign(text)


@lru_cache(maxsize=16384)
def is_signed(public: bytes, signature: bytes, text: bytes) -> bool:
    """Return whether the signature is that of the owner of the public key on the text.

    Simulated hospitals that share a process all check the same signatures, so answers are kept.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
