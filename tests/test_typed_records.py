"""Records from plain values that anyone may have sent: what the annotations say, or refused."""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.errors import ProtocolError
from wardround.rounds import Evaluation
from wardround.secagg import Terms, stated_digest
from wardround.typed_records import LONGEST_TEXT, MOST_BYTES, MOST_ITEMS, read_record, record_values


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """One field of each type."""

    yes: bool = True
    whole: int = 3
    number: float = 1.5
    text: str = "a"
    key: bytes = b"b"
    names: tuple[str, ...] = ("x", "y")
    keys: tuple[bytes, ...] = ()
    shape: tuple[int, ...] = (2,)
    clip: float | None = None


VALUES = record_values(Mixed())
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize("record", [Mixed(), Mixed(clip=2.0, names=(), yes=False, number=-0.0)])
def test_records_come_back_as_they_were(record: Mixed) -> None:
    assert read_record(Mixed, record_values(record)) == record
    assert read_record(Mixed, {**record_values(record), "stranger": [object()]}) == record


def test_a_whole_number_is_sent_as_what_the_field_says() -> None:
    values = record_values(Mixed(number=2, clip=3))
    assert [type(values[key]) for key in ("number", "clip", "whole")] == [float, float, int]


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("yes", 1, "is a int, and must be true or false"),
        ("whole", True, "is a bool, and must be a whole number"),
        ("whole", 3.0, "is a float, and must be a whole number"),
        ("whole", "3", "is a str, and must be a whole number"),
        ("number", 3, "is a int, and must be a number"),
        ("number", math.nan, "= nan must be finite"),
        ("number", -math.inf, "= -inf must be finite"),
        ("clip", math.nan, "= nan must be finite"),
        ("clip", "1", "is a str, and must be a number"),
        ("number", None, "is a NoneType, and must be a number"),
        ("text", b"a", "is a bytes, and must be text"),
        ("text", "a" * (LONGEST_TEXT + 1), "has 1001 characters, and must have <= 1000"),
        ("text", "\ud800", "must be text that has a UTF-8 form"),
        ("key", "b", "is a str, and must be bytes"),
        ("key", b"b" * (MOST_BYTES + 1), "has 1001 bytes, and must have <= 1000"),
        ("names", "xy", "is a str, and must be a list"),
        ("names", {"x": 1}, "is a dict, and must be a list"),
        ("names", ["x", 2], "in its list is a int, and must be text"),
        ("names", ["x", ["y"]], "in its list is a list, and must be text"),
        ("keys", [b""] * (MOST_ITEMS + 1), "has 65537 elements, and must have <= 65536"),
        ("keys", [b"b" * (MOST_BYTES + 1)], "in its list has 1001 bytes"),
        ("shape", [2, True], "in its list is a bool, and must be a whole number"),
    ],
)
def test_a_value_of_another_type_or_size_is_refused(key: str, value: Any, fault: str) -> None:
    with pytest.raises(ProtocolError, match=f"^the Mixed message is refused: {key} {fault}"):
        read_record(Mixed, {**VALUES, key: value})


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(VALUES)), ANYTHING)
def test_whatever_comes_is_read_or_refused(key: str, value: Any) -> None:
    with suppress(ProtocolError):
        record = read_record(Mixed, {**VALUES, key: value})
        assert read_record(Mixed, record_values(record)) == record


def test_scores_may_be_undefined() -> None:
    values = {"hospital-id": "a", "num-examples": 3, "loss": math.inf, "accuracy": 0.5, "auc": math.nan}
    assert math.isnan(read_record(Evaluation, values).auc)


def test_a_record_that_checks_itself_has_the_last_word() -> None:
    terms = Terms(
        federation="f",
        run_id="r",
        round_number=1,
        min_survivors=2,
        max_colluding=0,
        payload="values",
        max_update=1.0,
        max_weight=1.0,
        model_digest=bytes(32),
        settings_digest=stated_digest(b""),
    )
    assert read_record(Terms, record_values(terms)) == terms
    with pytest.raises(ProtocolError, match="round_number must be >= 0"):
        read_record(Terms, {**record_values(terms), "round-number": -1})
