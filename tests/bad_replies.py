"""What a bad site may answer in the place of what it was asked: for the strategy and the round loop alike."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from wardround import wire
from wardround.simulations.engines.flower_internals import copy_of

Spoil = Callable[[Message], Sequence[Message]]
"""Returns what comes in the place of a reply."""


def values(**changes: Any) -> Spoil:
    """Return what changes the values of the protocol's record; None takes one out, a function makes another of it."""

    def spoil(reply: Message) -> list[Message]:
        told = dict(reply.content[wire.SECAGG].items())  # type: ignore[union-attr]
        for name, change in changes.items():
            key = name.replace("_", "-")
            value = change(told[key]) if callable(change) else change
            told = {other: old for other, old in told.items() if other != key} | ({} if value is None else {key: value})
        return [content(reply, {wire.SECAGG: ConfigRecord(told)})]

    return spoil


def content(reply: Message, records: dict[str, Any]) -> Message:
    return copy_of(reply, RecordDict(records))


def arrays(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Return what changes the masked arrays, given as NumPy's; it may return arrays of any kind."""

    def spoil(reply: Message) -> list[Message]:
        changed = change(dict(wire.arrays_in(reply)))
        record = ArrayRecord(
            {name: array if isinstance(array, Array) else Array(np.array(array)) for name, array in changed.items()}
        )
        return [content(reply, {**dict(reply.content.items()), wire.ARRAYS: record})]

    return spoil


def failed(reply: Message) -> list[Message]:
    """An error, as Flower makes one of an app that raises."""
    return [Message(Error(code=2, reason="gone"), metadata=reply.metadata)]  # type: ignore[call-overload]


def addressed(**metadata: Any) -> Spoil:
    """Return what says that a reply is from or to something else."""

    def spoil(reply: Message) -> list[Message]:
        changed = copy_of(reply, reply.content)
        for name, value in metadata.items():
            changed.metadata.__dict__[f"_{name}"] = value
        return [changed]

    return spoil


def file_of(dtype: str, shape: tuple[int, ...], data: bytes) -> Array:
    return Array(dtype, shape, "numpy.ndarray", data)


BAD: dict[str, tuple[str, Spoil]] = {
    "advertise: no reply": ("advertise", lambda reply: []),
    "advertise: an error": ("advertise", failed),
    "advertise: nothing in it": ("advertise", lambda reply: [content(reply, {})]),
    "advertise: metrics": ("advertise", lambda reply: [content(reply, {wire.SECAGG: MetricRecord({"a": 1})})]),
    "advertise: arrays": ("advertise", lambda reply: [content(reply, {wire.SECAGG: ArrayRecord()})]),
    "advertise: a name that is a number": ("advertise", values(name=3)),
    "advertise: a name that is a list": ("advertise", values(name=["a", "b"])),
    "advertise: an endless name": ("advertise", values(name="a" * 10**6)),
    "advertise: a stranger": ("advertise", values(name="stranger")),
    "advertise: another's name": ("advertise", values(name="site-0")),
    "advertise: no key": ("advertise", values(masking_key=None)),
    "advertise: a key that is text": ("advertise", values(sealing_key="key")),
    "advertise: a key too short": ("advertise", values(sealing_key=b"key")),
    "advertise: a signature that is none": ("advertise", values(signature=bytes(64))),
    "advertise: an endless signature": ("advertise", values(signature=bytes(10**6))),
    "share: no reply": ("share", lambda reply: []),
    "share: an error": ("share", failed),
    "share: a text for a list": ("share", values(receivers="site-0")),
    "share: numbers for names": ("share", values(receivers=[1, 2, 3])),
    "share: a name twice": ("share", values(receivers=lambda names: [names[0], *names[:-1]])),
    "share: strangers": ("share", values(receivers=lambda names: [*names[:-1], "stranger"])),
    "share: one too few": ("share", values(sealed=lambda sealed: sealed[:-1])),
    "share: nobody": ("share", values(receivers=[], sealed=[])),
    "share: of another length": ("share", values(sealed=lambda sealed: [*sealed[:-1], b"short"])),
    "share: no commitment": ("share", values(commitment=b"")),
    "share: a million names": ("share", values(receivers=["a"] * 10**6)),
    "mask: no reply": ("mask", lambda reply: []),
    "mask: an error": ("mask", failed),
    "mask: nothing in it": ("mask", lambda reply: [content(reply, {})]),
    "mask: no arrays": ("mask", lambda reply: [content(reply, {wire.METRICS: MetricRecord()})]),
    "mask: an array too few": ("mask", arrays(lambda masked: dict(list(masked.items())[1:]))),
    "mask: an array too many": ("mask", arrays(lambda masked: masked | {"more": np.zeros(1, np.uint32)})),
    "mask: other names": ("mask", arrays(lambda masked: {f"a{name}": array for name, array in masked.items()})),
    "mask: another shape": ("mask", arrays(lambda masked: {n: a.reshape(1, *a.shape) for n, a in masked.items()})),
    "mask: not masked": ("mask", arrays(lambda masked: {n: np.zeros(a.shape, np.float32) for n, a in masked.items()})),
    "mask: not a number": ("mask", arrays(lambda masked: {n: np.full(a.shape, np.nan) for n, a in masked.items()})),
    "mask: no array": ("mask", arrays(lambda masked: dict.fromkeys(masked, file_of("uint32", (1,), b"junk")))),
    "mask: objects": ("mask", arrays(lambda masked: dict.fromkeys(masked, file_of("object", (1,), b"\x93NUMPY")))),
    "mask: pickled": ("mask", arrays(lambda masked: dict.fromkeys(masked, Array("uint32", (1,), "pickle", b"junk")))),
    "mask: 32 GiB": ("mask", arrays(lambda masked: dict.fromkeys(masked, file_of("uint32", (2**33,), b"junk")))),
    "mask: from another node": ("mask", addressed(src_node_id=1)),
    "mask: to another message": ("mask", addressed(reply_to_message_id="message-1")),
}
"""By name, the stage at which site 2 is bad, and how; it is left out, and its vector is not in the sum."""

BAD_LATER: dict[str, tuple[str, Spoil]] = {
    "confirm: no reply": ("confirm", lambda reply: []),
    "confirm: an error": ("confirm", failed),
    "confirm: a number": ("confirm", values(signature=3)),
    "confirm: a signature that is none": ("confirm", values(signature=bytes(64))),
    "unmask: no reply": ("unmask", lambda reply: []),
    "unmask: an error": ("unmask", failed),
    "unmask: no list": ("unmask", values(seeds_of="site-0")),
    "unmask: a name twice": ("unmask", values(seeds_of=lambda names: [names[0], *names[:-1]])),
    "unmask: one share too few": ("unmask", values(seed_shares=lambda shares: shares[:-1])),
    "unmask: a share too short": ("unmask", values(seed_shares=lambda shares: [b"", *shares[1:]])),
    "unmask: wrong shares": ("unmask", values(seed_shares=lambda shares: [bytes(33) for _ in shares])),
    "unmask: numbers for names": ("unmask", values(keys_of=[1], key_shares=[bytes(33)])),
}
"""The same for stages after its vector arrived, which is in the sum."""

HARMLESS: dict[str, tuple[str, Spoil]] = {
    "a reply twice": ("mask", lambda reply: [reply, reply]),
    "shares of strangers": (
        "unmask",
        values(seeds_of=lambda names: [*names, "stranger"], seed_shares=lambda shares: [*shares, bytes(33)]),
    ),
    "more than was asked for": ("advertise", values(more="of it")),
}
