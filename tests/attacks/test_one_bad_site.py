"""One site that replies with nonsense, or moves the sum, harms nobody's round but its own part in it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from users_app import BAD, BOUNDS, NAMES, WIDTH, UsersSites, play

from wardround import wire
from wardround.secagg import read_roster

_DRAWS = np.random.default_rng(3)
MODEL = {
    "1.weight": _DRAWS.normal(size=(WIDTH, WIDTH)),
    "1.bias": np.zeros(WIDTH),
    "2.weight": _DRAWS.normal(size=(WIDTH, WIDTH)),
    "2.bias": np.zeros(WIDTH),
}
TYPES: tuple[Any, ...] = (None, 1, 1.5, float("nan"), True, "text", b"octets", [1], ["text"], [b"octets"], [True])
"""What a Flower record can hold in the place of any value; None is no value at all."""
FIELDS = {
    "advertise": ("name", "sealing-key", "masking-key", "signature"),
    "share": ("receivers", "sealed", "commitment"),
    "confirm": ("signature",),
    "unmask": ("seeds-of", "seed-shares", "keys-of", "key-shares"),
}
HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"


def npy(kind: str, shape: str, version: bytes = b"\1\0", body: bytes = bytes(64)) -> bytes:
    """Return an array file with any header, whatever follows it."""
    header = (HEADER % (kind, shape)).encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + body


ARRAYS: dict[str, Array] = {
    "no file": Array("uint32", (4,), "numpy.ndarray", b"garbage"),
    "half a magic": Array("uint32", (4,), "numpy.ndarray", b"\x93NUMPY\1"),
    "another version": Array("uint32", (4,), "numpy.ndarray", npy("<u4", "4,", b"\7\7")),
    "half a header": Array("uint32", (4,), "numpy.ndarray", npy("<u4", "4,")[:40]),
    "objects": Array("object", (4,), "numpy.ndarray", npy("|O", "4,")),
    "no shape": Array("uint32", (4,), "numpy.ndarray", npy("<u4", "'four'")),
    "negative": Array("uint32", (4,), "numpy.ndarray", npy("<u4", "-4,")),
    "more than it has": Array("uint32", (2**40,), "numpy.ndarray", npy("<u4", f"{2**40},")),
    "32 GiB asked for": Array("uint32", (4,), "numpy.ndarray", npy("<u4", f"{2**33},")),
    "another type": Array("float64", (4,), "numpy.ndarray", npy("<f8", "4,")),
    "another shape": Array("uint32", (5,), "numpy.ndarray", npy("<u4", "5,")),
    "no known form": Array("uint32", (4,), "unknown", npy("<u4", "4,")),
    "a type that is none": Array("nothing", (4,), "numpy.ndarray", npy("nothing", "4,")),
}


@pytest.fixture
def sites(tmp_path: Path) -> UsersSites:
    def reading(message: Message) -> tuple[list[Any], float]:
        record = message.content[wire.ARRAYS]
        return [array.numpy() for name, array in record.items()], 0.1  # type: ignore[union-attr]

    return UsersSites(tmp_path, reading)


def in_place_of(stage: str, key: str, value: Any) -> Any:
    def spoil(asked: str, reply: Message) -> None:
        if asked == stage:
            values = dict(reply.content[wire.SECAGG])  # type: ignore[call-overload]
            values.pop(key)
            reply.content[wire.SECAGG] = ConfigRecord(values if value is None else {**values, key: value})

    return spoil


def with_arrays(change: Any) -> Any:
    def spoil(asked: str, reply: Message) -> None:
        if asked == "mask":
            change(reply)

    return spoil


def check_the_rest(sites: UsersSites, change: Mapping[str, Any] | None, *, with_bad: bool) -> None:
    """The round's change is the mean of the others' updates; of all five where the bad one's vector arrived first."""
    assert change is not None
    members = [index for index in range(len(NAMES)) if with_bad or index != BAD]
    for place, name in enumerate(MODEL):
        wanted = np.mean([sites.moved[index][place] for index in members], axis=0)
        np.testing.assert_allclose(change[name], wanted, atol=1e-6)


@pytest.mark.parametrize("stage", FIELDS)
def test_a_value_of_another_type_leaves_out_the_site_that_sent_it(
    stage: str, sites: UsersSites, caplog: pytest.LogCaptureFixture
) -> None:
    roster = read_roster(sites.folder / "roster.json")
    for key in FIELDS[stage]:
        for value in TYPES:
            fits = (key == "name" and value == "text") or (isinstance(value, bytes) and "s-of" not in key)
            with caplog.at_level(logging.WARNING):
                learned = play(sites, roster, MODEL, spoil=in_place_of(stage, key, value))
            # It drops out where it sent nonsense; its vector is in the sum if that came before.
            assert learned.change is not None, (key, value, caplog.text)
            check_the_rest(sites, learned.change, with_bad=stage in ("confirm", "unmask"))
            if not fits and stage != "unmask":
                assert f"node {BAD + 1} " in caplog.text, (key, value)
            caplog.clear()


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_is_none_leaves_out_the_site_that_sent_it(
    name: str, sites: UsersSites, caplog: pytest.LogCaptureFixture
) -> None:
    def change(reply: Message) -> None:
        reply.content[wire.ARRAYS]["1.bias"] = ARRAYS[name]  # type: ignore[index]

    learned = play(sites, read_roster(sites.folder / "roster.json"), MODEL, spoil=with_arrays(change))
    check_the_rest(sites, learned.change, with_bad=False)
    assert f"node {BAD + 1} " in caplog.text


@pytest.mark.parametrize("record", [None, MetricRecord({"loss": 1.0}), ArrayRecord()], ids=["none", "metrics", "empty"])
def test_a_reply_without_its_record_leaves_out_the_site_that_sent_it(record: Any, sites: UsersSites) -> None:
    def change(reply: Message) -> None:
        del reply.content[wire.ARRAYS]
        if record is not None:
            reply.content[wire.ARRAYS] = record

    learned = play(sites, read_roster(sites.folder / "roster.json"), MODEL, spoil=with_arrays(change))
    check_the_rest(sites, learned.change, with_bad=False)


def shifted(amount: float) -> Any:
    """Return what takes an amount off the weight that a bad site's vector carries, masked as it is."""

    def change(reply: Message) -> None:
        record: Any = reply.content[wire.ARRAYS]
        steps = round(amount / BOUNDS["max_weight"] * ((2**31 - 1) // len(NAMES)))
        masked = int(record[wire.SUM_OF_WEIGHTS].numpy())
        record[wire.SUM_OF_WEIGHTS] = wire.LazyArray(np.array((masked - steps) % 2**32, np.uint32))

    return with_arrays(change)


def test_a_weight_that_one_site_shifts_does_not_blow_up_the_mean(sites: UsersSites) -> None:
    """With the sum of weights next to nothing the mean was five million times the largest update."""
    roster = read_roster(sites.folder / "roster.json")
    blown_up = play(sites, roster, MODEL, spoil=shifted(5 * 40 - 1e-5))
    assert blown_up.change is None or max(np.abs(part).max() for part in blown_up.change.values()) <= 8.0
    # The lever is real: half of the weights gone doubles the mean, which the bound on it can't see.
    doubled = play(sites, roster, MODEL, spoil=shifted(5 * 20))
    assert doubled.change is not None
    honest = np.mean([sites.moved[index][0] for index in range(len(NAMES))], axis=0)
    np.testing.assert_allclose(doubled.change["1.weight"], 2 * honest, rtol=1e-4, atol=1e-6)
