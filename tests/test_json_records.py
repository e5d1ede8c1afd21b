"""Records as JSON's values: they come back as they were, or what is wrong is named by its place."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.json_records import json_field, json_values, read_json_record
from wardround.json_text import json_text


@dataclass(frozen=True, kw_only=True)
class Part:
    """A record within another."""

    name: str
    share: float | None


@dataclass(frozen=True, kw_only=True)
class First:
    """One of two kinds whose keys stand among those of the whole."""

    first: float | None


@dataclass(frozen=True, kw_only=True)
class Second:
    """The other."""

    second: int
    more: str = json_field(lacking="none")


@dataclass(frozen=True, kw_only=True)
class Whole:
    """One field of each form."""

    flag: bool
    count: int | str
    number: float
    parts: tuple[Part, ...]
    by_name: Mapping[str, float] | float
    nested: Mapping[str, Part]
    other_key: str = json_field(key="a.b")
    either: First | Second | None = json_field(lacking=None, is_inline=True)
    gone: str | None = json_field(default=None, is_left_out=True)
    later: tuple[str, ...] = json_field(lacking=("unsaid",))


WHOLE = Whole(
    flag=True,
    count="<10",
    number=1.5,
    parts=(Part(name="x", share=None), Part(name="y", share=math.inf)),
    by_name={"a": 1.0},
    nested={"p": Part(name="z", share=0.5)},
    other_key="text",
    either=None,
    later=(),
)
PARTS = st.builds(Part, name=st.text(max_size=5), share=st.none() | st.floats(allow_nan=False))
WHOLES = st.builds(
    Whole,
    flag=st.booleans(),
    count=st.integers() | st.text(max_size=3),
    number=st.floats(allow_nan=False),
    parts=st.lists(PARTS, max_size=3).map(tuple),
    by_name=st.floats(allow_nan=False) | st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=2),
    nested=st.dictionaries(st.text(max_size=3), PARTS, max_size=2),
    other_key=st.text(max_size=3),
    either=st.none()
    | st.builds(First, first=st.none() | st.floats(allow_nan=False))
    | st.builds(Second, second=st.integers(), more=st.text(max_size=3)),
    gone=st.none() | st.text(max_size=3),
    later=st.lists(st.text(max_size=3), max_size=2).map(tuple),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(WHOLES)
def test_records_come_back_as_they_were_and_are_written_as_they_were_read(record: Whole) -> None:
    text = json.dumps(json_values(record), sort_keys=True)
    again = read_json_record(Whole, json.loads(text))
    assert again == record
    assert json.dumps(json_values(again), sort_keys=True) == text


@given(WHOLES)
def test_infinite_numbers_come_back_as_summaries_write_them(record: Whole) -> None:
    assert read_json_record(Whole, json.loads(json_text(json_values(record)))) == record


def test_undefined_numbers_come_back_undefined() -> None:
    for text in (json.dumps(json_values(replace(WHOLE, number=math.nan))), '{"number": null}'):
        table = json_values(WHOLE) | json.loads(text)
        assert math.isnan(read_json_record(Whole, table).number)


def test_whole_numbers_stay_what_they_are_where_a_number_belongs() -> None:
    number = read_json_record(Whole, json_values(WHOLE) | {"number": 2}).number
    assert (number, type(number)) == (2, int)


def test_the_keys_are_the_fields_in_their_order_those_of_a_record_within_among_them() -> None:
    keys = ["flag", "count", "number", "parts", "by_name", "nested", "a.b", "later"]
    assert list(json_values(WHOLE)) == keys
    assert list(json_values(replace(WHOLE, either=First(first=None), gone="x"))) == [
        *keys[:-1],
        "first",
        "gone",
        "later",
    ]


def test_of_several_kinds_it_is_the_one_that_has_a_key() -> None:
    table = json_values(WHOLE)
    assert read_json_record(Whole, table).either is None
    assert read_json_record(Whole, table | {"first": None}).either == First(first=None)
    assert read_json_record(Whole, table | {"second": 3}).either == Second(second=3, more="none")
    with pytest.raises(ValueError, match="it lacks second"):
        read_json_record(Whole, table | {"more": "x"})


def test_what_an_earlier_version_did_not_write_is_not_said_and_what_a_later_one_adds_is_not_read() -> None:
    table = {key: value for key, value in json_values(WHOLE).items() if key != "later"}
    assert read_json_record(Whole, table | {"stranger": [{}]}) == replace(WHOLE, later=("unsaid",))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"flag": 1}, "flag is a int, and must be true or false"),
        ({"count": 1.0}, "count is a float, and must be text"),
        ({"number": True}, "number is a bool, and must be a number"),
        ({"number": "much"}, "number is a str, and must be a number"),
        ({"number": "infinity"}, "number is a str, and must be a number"),
        ({"parts": "xy"}, "parts is a str, and must be a list"),
        ({"parts": [{"name": "x"}]}, "parts lacks share"),
        ({"parts": [{"name": 1, "share": None}]}, "parts name is a int, and must be text"),
        ({"parts": ["x"]}, "parts is a str, and must be a table"),
        ({"nested": {"p": {"name": "x", "share": []}}}, "nested p share is a list, and must be a number"),
        ({"nested": []}, "nested is a list, and must be a table"),
        ({"by_name": {"a": "b"}}, "by_name is a dict, and must be a number"),
        ({"a.b": None}, "a.b is a NoneType, and must be text"),
        ({"gone": 3}, "gone is a int, and must be text"),
    ],
)
def test_a_value_of_another_type_is_named_by_its_place(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=f"^{fault}$"):
        read_json_record(Whole, json_values(WHOLE) | changes)


@pytest.mark.parametrize("key", ["flag", "number", "parts", "by_name", "nested", "a.b"])
def test_a_key_that_must_be_there_is_missed_by_name(key: str) -> None:
    table = {name: value for name, value in json_values(WHOLE).items() if name != key}
    with pytest.raises(ValueError, match=f"^it lacks {key}$"):
        read_json_record(Whole, table)


@given(st.dictionaries(st.sampled_from([*json_values(WHOLE), "first", "second", "gone"]), ANYTHING) | ANYTHING)
def test_anything_is_read_or_refused(changes: Any) -> None:
    table = json_values(WHOLE) | changes if isinstance(changes, dict) else changes
    try:
        read_json_record(Whole, table)
    except ValueError as error:
        assert str(error)
