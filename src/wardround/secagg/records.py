"""What server and hospitals say to each other in a secure sum: one request and one reply for each of five stages.

Fields are of types that any transport has: text, bytes, numbers, and lists of them; lists that belong together have one
length. What is left out on purpose: the masked vector itself, which travels as arrays, and transport.
"""

from dataclasses import dataclass

from wardround.errors import ProtocolError

__all__ = [
    "STAGES",
    "Advertisement",
    "ConfirmRequest",
    "Confirmation",
    "MaskRequest",
    "ShareRequest",
    "Shares",
    "UnmaskRequest",
    "UnmaskShares",
    "paired",
]

STAGES = ("advertise", "share", "mask", "confirm", "unmask")
"""In this order. The request of the first is `terms.Terms`; "mask" is the training itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """A hospital's keys for this round, public.

    Attributes:
        name: of the hospital.
        sealing_key: X25519 public key that shares are sealed to, 32 bytes.
        masking_key: X25519 public key that masks are agreed with, 32 bytes.
        signature: Ed25519, by the site's long-term key, on session, name and both keys; 64 bytes.
    """

    name: str
    sealing_key: bytes
    masking_key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRequest:
    """Everybody's advertisements, one list for each field."""

    session: bytes
    names: tuple[str, ...]
    sealing_keys: tuple[bytes, ...]
    masking_keys: tuple[bytes, ...]
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """A hospital's secrets in shares, each sealed for the neighbour that it is for.

    Attributes:
        receivers: names.
        sealed: for each, its shares of the masking key and of the seed.
        commitment: hash of the seed, by which a wrong share is found out; 32 bytes.
    """

    receivers: tuple[str, ...]
    sealed: tuple[bytes, ...]
    commitment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRequest:
    """Who shared secrets, and what they sealed for this hospital."""

    session: bytes
    sharing: tuple[str, ...]
    senders: tuple[str, ...]
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRequest:
    """Whose masked vectors arrived (active), and who shared secrets but sent none (dropped)."""

    session: bytes
    active: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A hospital's word that these lists, and no others, are the ones it will help to unmask; 64 bytes."""

    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmaskRequest(ConfirmRequest):
    """The lists once more, and the confirmations of a quorum."""

    signers: tuple[str, ...]
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmaskShares:
    """For active neighbours the shares of their seeds, for dropped ones those of their masking keys; 33 bytes each."""

    seeds_of: tuple[str, ...]
    seed_shares: tuple[bytes, ...]
    keys_of: tuple[str, ...]
    key_shares: tuple[bytes, ...]


def paired(names: tuple[str, ...], values: tuple[bytes, ...], what: str) -> dict[str, bytes]:
    """Return the values by name.

    Raises:
        ProtocolError: a name is there twice, or there are not as many values as names.
    """
    if len(set(names)) < len(names) or len(names) != len(values):
        raise ProtocolError(f"{len(values)} {what} for {len(names)} hospitals, {len(set(names))} of them different")
    return dict(zip(names, values, strict=True))
