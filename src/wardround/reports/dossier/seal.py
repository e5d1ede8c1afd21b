"""Digests of a dossier's files, and the signature under them.

SHA256SUMS is what `sha256sum -c` reads. The signature is Ed25519 over that file, in 64 raw bytes, so that OpenSSL can
check it too; the public key lies beside it as PEM. What is left out on purpose: who owns a key, and certificates.
"""

import hashlib
import re
from collections.abc import Collection
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from wardround.disk import file_bytes, open_regular, write_whole
from wardround.errors import ConfigError
from wardround.secagg.keys import KEY_BYTES, is_signed, sign, verify_key

__all__ = ["SEAL", "SUMS", "public_key_of", "seal", "seal_findings"]

SUMS = "SHA256SUMS"
"""Digests of all other files."""
SIGNATURE, PUBLIC_KEY = "SHA256SUMS.sig", "SHA256SUMS.pub"
SEAL = (SUMS, SIGNATURE, PUBLIC_KEY)
"""The files that seal the others."""
_MOST_BYTES = 2**16
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9.-]+)")


def seal(folder: Path, names: Collection[str], signing_key: bytes | None) -> None:
    """Write the digests of a folder's files, and with a key (Ed25519, 32 bytes) the signature and its public half.

    Raises:
        OSError: a file can't be read or written.
    """
    sums = "".join(f"{_sha256(folder / name)}  {name}\n" for name in sorted(names)).encode()
    write_whole(folder / SUMS, sums)
    if signing_key is not None:
        public = Ed25519PublicKey.from_public_bytes(verify_key(signing_key))
        write_whole(folder / PUBLIC_KEY, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        write_whole(folder / SIGNATURE, sign(signing_key, sums))


def public_key_of(text: str) -> bytes:
    """Return an Ed25519 public key, 32 bytes, from its 64 hexadecimal digits or from a PEM file's path.

    Raises:
        ConfigError: it is neither.
    """
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        return _read_public(Path(text))
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"--key {text} is no Ed25519 public key ({error}): name a PEM file, or give {2 * KEY_BYTES} digits"
        ) from None


def seal_findings(folder: Path, wanted: Collection[str], key: bytes | None) -> tuple[list[str], str]:
    """Return what is wrong with digests and signature, and a sentence on who signed.

    Args:
        folder: of the dossier.
        wanted: files that must be there.
        key: the public key that must have signed, 32 bytes; None where whoever signed is told, and not judged.
    """
    try:
        sums = file_bytes(folder / SUMS, _MOST_BYTES)
        lines = [_LINE.fullmatch(line) for line in sums.decode("ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        return [f"{SUMS} can't be read ({_said(error)})"], ""
    digests = {line[2]: line[1] for line in lines if line}
    found = [f"{SUMS} has a line that is none"] * (len(digests) < len(lines))
    found += [f"{name} is not in {SUMS}" for name in wanted if name not in digests]
    for name, digest in digests.items():
        try:
            if _sha256(folder / name) != digest:
                found.append(f"{name} is not the file that {SUMS} has the digest of")
        except OSError as error:
            found.append(f"{name} is missing, or can't be read ({_said(error)})")
    there = {path.name for path in folder.iterdir()}
    found += [f"{name} was added: {SUMS} does not have it" for name in sorted(there - set(digests) - set(SEAL))]
    wrong, sentence = _signature(folder, sums, key, there)
    return found + wrong, sentence


def _signature(folder: Path, sums: bytes, key: bytes | None, there: Collection[str]) -> tuple[list[str], str]:
    if not {SIGNATURE, PUBLIC_KEY} & set(there):
        wanted = ["it is not signed, and --key names who must have signed"] * (key is not None)
        return wanted, "It is not signed: whoever could write into the folder could have written all of it"
    try:
        public, signature = _read_public(folder / PUBLIC_KEY), file_bytes(folder / SIGNATURE, _MOST_BYTES)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        return [f"the signature or its key can't be read ({_said(error)})"], ""
    if key is not None and public != key:
        return [f"it is signed by another key, {public.hex()}, than {key.hex()}"], ""
    if not is_signed(public, signature, sums):
        return [f"the signature is not that of key {public.hex()} on {SUMS}"], ""
    whose = (
        "which is the one asked for" if key is not None else "which may be anybody's: --key holds it to one of yours"
    )
    return [], f"It is signed by key {public.hex()}, {whose}"


def _read_public(path: Path) -> bytes:
    key = load_pem_public_key(file_bytes(path, _MOST_BYTES))
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("another kind of key")
    return key.public_bytes_raw()


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
