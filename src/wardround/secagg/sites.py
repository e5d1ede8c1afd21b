"""A site's own settings for secure aggregation: its name, its long-term key, and the roster of the federation.

The roster holds every site's public key and what all agreed on; each site keeps a copy that it got from the others and
not from the server, so that the server can't put keys of its own between them.
"""

import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from wardround.disk import file_bytes, file_text, make_private_folder, open_private
from wardround.errors import ConfigError, ProtocolError, Refusal
from wardround.names import check_name
from wardround.parsing import from_json, sound
from wardround.secagg.keys import KEY_BYTES, transcript, verify_key

__all__ = [
    "Roster",
    "Site",
    "new_site_key",
    "read_roster",
    "read_signing_key",
    "read_site",
    "simulated_roster",
    "simulated_site",
    "write_roster",
]


_MOST_KEY_BYTES, _MOST_ROSTER_BYTES = 2**16, 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """What the sites of a federation agreed on.

    Attributes:
        federation: its name.
        verify_keys: Ed25519 public key by site, 32 bytes each.
        min_survivors: hospitals that a sum must have at the least (>= 2).
        max_colluding: hospitals that may side with the server without harm to the others (>= 0).
    """

    federation: str
    verify_keys: Mapping[str, bytes]
    min_survivors: int
    max_colluding: int = 0

    def __post_init__(self) -> None:
        if self.min_survivors < 2:
            raise ConfigError(
                f"min-survivors = {self.min_survivors} must be >= 2 with secure aggregation: the sum of one hospital "
                "is that hospital's data ([aggregation] min-survivors)"
            )
        if not 0 <= self.max_colluding <= self.min_survivors - 2:
            raise ConfigError(
                f"max-colluding = {self.max_colluding} must be >= 0 and <= {self.min_survivors - 2}, so that at least "
                "two honest hospitals are in every sum ([aggregation] max-colluding): lower it, or raise min-survivors"
            )
        check_name(self.federation, "federation", error=ConfigError)
        for name in self.verify_keys:
            check_name(name, "site", error=ConfigError)
        wrong = [name for name, key in self.verify_keys.items() if len(key) != KEY_BYTES]
        if wrong or len(set(self.verify_keys.values())) < len(self.verify_keys):
            raise ConfigError(
                f"the roster's keys must be {KEY_BYTES} bytes each and all different"
                f"{f' ({wrong[0]} is not)' if wrong else ''}: write it anew from the sites' public keys"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One site: who it is, and whom it trusts to be who.

    Attributes:
        name: the hospital's, as in the roster.
        signing_key: Ed25519 private key, 32 bytes.
        roster: the site's own copy.
        claims: folder in which every stage that is answered leaves a mark, so that a restart or two messages at once
            change nothing about "once"; None for simulated hospitals, which have no disk.
    """

    name: str
    signing_key: bytes
    roster: Roster
    claims: Path | None = None

    def __post_init__(self) -> None:
        if self.roster.verify_keys.get(self.name) != verify_key(self.signing_key):
            raise ConfigError(
                f"site {self.name}'s key is not the one that the roster has for it: use the key the roster was written "
                "with, or write a new roster and give it to every site"
            )

    @property
    def is_real(self) -> bool:
        """Whether this is a site of its own rather than a simulated hospital."""
        return self.claims is not None

    def claim(self, session: bytes, stage: str) -> None:
        """Mark a stage of a session as answered, for good.

        Raises:
            Refusal: it was answered before.
            ProtocolError: the mark can't be written.
        """
        if self.claims is None:
            return
        mark = self.claims / f"{session.hex()}-{stage}"
        try:
            make_private_folder(self.claims)
            os.close(open_private(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise Refusal(f'{self.name} refuses: stage "{stage}" of this round was answered before') from None
        except OSError as error:
            raise ProtocolError(f"{self.name} can't note what it answers in {self.claims}: {error.strerror}") from None

    def __repr__(self) -> str:
        return f"Site(name={self.name!r}, federation={self.roster.federation!r})"


def new_site_key(path: Path | str) -> bytes:
    """Write a new Ed25519 signing key, readable by its owner alone, and return its public half for the roster.

    Args:
        path: of a file that does not exist; PEM (PKCS #8), not encrypted. Where its folder does not exist, one is made
            that only its owner may enter.

    Raises:
        ConfigError: the file exists or can't be written.
    """
    path, key = Path(path), Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        if not path.parent.exists():
            make_private_folder(path.parent)
        with open(path, "xb", opener=open_private) as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"no site key was written to {path}: {error.strerror}; choose another path") from None
    return key.public_key().public_bytes_raw()


def write_roster(path: Path, roster: Roster) -> None:
    """Write the roster, for every site to keep a copy; as JSON, since it is read at every message and TOML is slow."""
    table = {
        "federation": roster.federation,
        "min-survivors": roster.min_survivors,
        "max-colluding": roster.max_colluding,
        "sites": {name: key.hex() for name, key in sorted(roster.verify_keys.items())},
    }
    path.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_site(name: str, key_path: Path, roster_path: Path) -> Site:
    """Return a site from the files that `new_site_key` and `write_roster` wrote.

    It notes beside its key, in a folder named <key>-answered, which stages it answered.

    Raises:
        ConfigError: a file is missing or broken, or the key is not the roster's.
    """
    return Site(
        name=name,
        signing_key=read_signing_key(key_path),
        roster=read_roster(roster_path),
        claims=key_path.with_name(f"{key_path.name}-answered"),
    )


def read_signing_key(path: Path) -> bytes:
    """Return the Ed25519 signing key that `new_site_key` wrote, 32 bytes.

    Raises:
        ConfigError: the file is missing or broken, holds another kind of key, or others may read it.
    """
    try:
        key = load_pem_private_key(file_bytes(path, _MOST_KEY_BYTES), password=None)
    except (OSError, ValueError, TypeError, InternalError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"can't read the site key {path}: {error}; make one with new_site_key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"the site key {path} is no Ed25519 key: make one with new_site_key")
    if (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
        raise ConfigError(
            f"the site key {path} of mode {mode:04o} must be 0600 or less, as whoever reads it can speak for the "
            f"site: chmod 600 {path}, and make a new key if others may have read it"
        )
    return key.private_bytes_raw()


def simulated_site(seed: int, name: str, names: Iterable[str], *, min_survivors: int, max_colluding: int) -> Site:
    """Return a simulated hospital's site; whoever knows the seed knows every key, so it is for simulation alone."""
    roster = simulated_roster(seed, tuple(names), min_survivors=min_survivors, max_colluding=max_colluding)
    return Site(name=name, signing_key=_simulated_key(seed, name), roster=roster)


@lru_cache(maxsize=16)
def simulated_roster(seed: int, names: tuple[str, ...], *, min_survivors: int, max_colluding: int) -> Roster:
    """Return the roster of simulated hospitals (see `simulated_site`)."""
    return Roster(
        federation="simulated",
        verify_keys={name: verify_key(_simulated_key(seed, name)) for name in names},
        min_survivors=min_survivors,
        max_colluding=max_colluding,
    )


def read_roster(path: Path) -> Roster:
    """Return the roster that `write_roster` wrote.

    Raises:
        ConfigError: the file is missing or broken.
    """
    with sound(ConfigError, f"can't read the roster {path}", "write it with write_roster"):
        table = from_json(file_text(path, _MOST_ROSTER_BYTES))
        return Roster(
            federation=str(table["federation"]),
            verify_keys={name: bytes.fromhex(key) for name, key in table["sites"].items()},
            min_survivors=_whole(table["min-survivors"]),
            max_colluding=_whole(table["max-colluding"]),
        )


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r:.40} is no whole number")
    return value


def _simulated_key(seed: int, name: str) -> bytes:
    return transcript(b"simulated site", str(seed).encode(), name.encode())
