"""A server that tells one site something else than the rest reads that site's update off the sum of all.

What an ordinary app makes of a message depends on more than the values in it: on the order of its arrays, on the kind
of a record, on where a key ends and on records that are empty. Each trick leaves every other site's first layer as it
was. In clear it works, which is the control; behind the secure sum whoever is told something else sends nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from users_app import BOUNDS, NAMES, VICTIM, WIDTH, Reading, Tampering, UsersSites, cosine, play

from wardround import wire
from wardround.secagg import read_roster

_DRAWS = np.random.default_rng(3)
# A second bias that no softmax notices; in the first one's place it silences the first layer.
MODEL = {
    "1.weight": _DRAWS.normal(size=(WIDTH, WIDTH)),
    "1.bias": np.zeros(WIDTH),
    "2.weight": _DRAWS.normal(size=(WIDTH, WIDTH)),
    "2.bias": np.full(WIDTH, -1e6),
}
RATE, IDLE = 0.1, 1e-30


def arrays_in(message: Message) -> list[Any]:
    """Return the arrays by place, as most apps take them."""
    record = message.content[wire.ARRAYS]
    return [array.numpy() for name, array in record.items() if name != wire.SUM_OF_WEIGHTS]  # type: ignore[union-attr]


def by_place(message: Message) -> tuple[list[Any], float]:
    return arrays_in(message), RATE


def by_kind(message: Message) -> tuple[list[Any], float]:
    config = message.content.config_records.get(wire.CONFIG, {})
    return arrays_in(message), float(config.get("rate", IDLE))  # type: ignore[arg-type]


def by_name(message: Message) -> tuple[list[Any], float]:
    config = message.content.get(wire.CONFIG, {})
    return arrays_in(message), float(config.get("train/rate", IDLE))  # type: ignore[arg-type, union-attr]


def by_empty_record(message: Message) -> tuple[list[Any], float]:
    return arrays_in(message), IDLE if "frozen" in message.content else RATE


def by_type(message: Message) -> tuple[list[Any], float]:
    whole = isinstance(message.content[wire.CONFIG]["warm"], bool)  # type: ignore[index]
    return arrays_in(message), RATE if whole else IDLE


def reorder(message: Message) -> None:
    record = message.content[wire.ARRAYS]
    swapped = {"1.bias": "2.bias", "2.bias": "1.bias"}
    names = [swapped.get(name, name) for name in record]  # type: ignore[union-attr]
    message.content[wire.ARRAYS] = ArrayRecord({name: record[name] for name in names})  # type: ignore[index, call-overload]


def change_kind(message: Message) -> None:
    message.content[wire.CONFIG] = MetricRecord(dict(message.content[wire.CONFIG]))  # type: ignore[arg-type, call-overload]


def move_slash(message: Message) -> None:
    config = dict(message.content[wire.CONFIG])  # type: ignore[call-overload]
    message.content["config/train"] = ConfigRecord({"rate": config.pop("train/rate")})
    message.content[wire.CONFIG] = ConfigRecord(config)


def add_empty_record(message: Message) -> None:
    message.content["frozen"] = ConfigRecord({})


def change_type(message: Message) -> None:
    config = dict(message.content[wire.CONFIG])  # type: ignore[call-overload]
    message.content[wire.CONFIG] = ConfigRecord({**config, "warm": 1})


TRICKS: dict[str, tuple[Reading, Callable[[Message], None], dict[str, Any]]] = {
    "arrays in another order": (by_place, reorder, {}),
    "another kind of record": (by_kind, change_kind, {"rate": RATE}),
    "a name that ends elsewhere": (by_name, move_slash, {"train/rate": RATE}),
    "an empty record": (by_empty_record, add_empty_record, {}),
    "true for 1": (by_type, change_type, {"warm": True}),
}


def for_all_but_the_victim(trick: Callable[[Message], None]) -> Tampering:
    return lambda message, index: trick(message) if index != VICTIM else None


@pytest.mark.parametrize("name", TRICKS)
def test_what_is_told_to_one_site_alone_is_refused_whatever_form_the_difference_has(name: str, tmp_path: Path) -> None:
    reading, trick, settings = TRICKS[name]
    sites = UsersSites(tmp_path, reading)
    roster, tamper = read_roster(tmp_path / "roster.json"), for_all_but_the_victim(trick)
    in_clear = play(sites, roster, MODEL, tamper, settings=settings, masked=False)
    assert in_clear.change is not None
    assert cosine(in_clear.change["1.weight"], sites.moved[VICTIM][0]) > 0.9999
    sites.moved.clear()
    masked = play(sites, roster, MODEL, tamper, settings=settings)
    assert masked.change is None
    assert set(sites.moved) <= {VICTIM}
    assert set(masked.refusals) == set(range(len(NAMES))) - {VICTIM}


@pytest.mark.parametrize("name", TRICKS)
def test_one_site_that_is_told_something_else_is_not_in_the_sum_of_the_rest(name: str, tmp_path: Path) -> None:
    reading, trick, settings = TRICKS[name]
    sites = UsersSites(tmp_path, reading)
    learned = play(
        sites,
        read_roster(tmp_path / "roster.json"),
        MODEL,
        lambda message, index: trick(message) if index == VICTIM else None,
        settings=settings,
    )
    others = [index for index in range(len(NAMES)) if index != VICTIM]
    assert set(sites.moved) == set(others)
    assert learned.change is not None
    np.testing.assert_allclose(
        learned.change["1.weight"], np.mean([sites.moved[index][0] for index in others], axis=0), atol=1e-6
    )


@pytest.mark.parametrize("bound", ["max_update", "max_weight"])
def test_bounds_that_the_server_halves_from_round_to_round_find_nothing(bound: str, tmp_path: Path) -> None:
    """A bound below what a site holds would be refused, and one above it not: a bisection in ten rounds."""
    sites, refused = UsersSites(tmp_path, by_place), set()
    roster = read_roster(tmp_path / "roster.json")
    for exponent in range(-20, 11, 3):
        bounds = {**BOUNDS, bound: 2.0**exponent}
        learned = play(sites, roster, MODEL, bounds=bounds)
        assert learned.change is None
        refused |= {tuple(reasons) for reasons in learned.refusals.values()}
    # Nobody trained, and what each said does not depend on which side of its own numbers the bound is.
    assert sites.moved == {}
    assert {reason.split("=")[0] for reasons in refused for reason in reasons} == {
        f"Refusal: the terms are refused: {bound} "
    }
