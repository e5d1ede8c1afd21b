"""Frozen records as JSON's values, and back: one codec for everything that a run's folder keeps.

A record is a table with its fields' names as keys; records in records, tuples and mappings go as deep as they go. What
comes back is what the annotations say, or is refused with the place that is wrong. Infinite numbers are read as `json`
and as `json_text` write them, undefined ones likewise. What is left out on purpose: keys that no field has, which are
not read; texts and files; and whether a value makes sense, which a record checks itself. Flat records that come over
the network, and are held to sizes, have a codec of their own (see `typed_records`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, field, fields, is_dataclass
from functools import lru_cache, partial
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

__all__ = ["json_field", "json_keys", "json_values", "read_json_record"]

_Record = TypeVar("_Record")
_Read = Callable[[Any, str], Any]
_INFINITE = {"inf": math.inf, "-inf": -math.inf}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def json_field(
    *, key: str = "", lacking: Any = MISSING, default: Any = MISSING, is_inline: bool = False, is_left_out: bool = False
) -> Any:
    """Return a dataclass field with a form of its own.

    Args:
        key: in the table; "" is the field's name.
        lacking: what is read where the key is not there, as in what earlier versions wrote; a default is, too.
        default: as of `dataclasses.field`.
        is_inline: whether the record's keys stand among those of the one that holds it. Of several kinds of record
            that it may be, it is the first that has a key there; None where there is no key of any.
        is_left_out: whether None has no key, instead of null.
    """
    form: dict[str, Any] = {"is_inline": is_inline, "is_left_out": is_left_out}
    form |= {"key": key} if key else {}
    form |= {} if lacking is MISSING else {"lacking": lacking}
    return field(default=default, metadata=form)


def json_values(record: Any) -> dict[str, Any]:
    """Return a record's table, in the order of its fields, of values that `json` and `json_text` can write."""
    values: dict[str, Any] = {}
    kind: Any = type(record)
    for form in _forms(kind):
        value = getattr(record, form.name)
        if form.is_inline:
            values |= {} if value is None else json_values(value)
        elif value is not None or not form.is_left_out:
            values[form.key] = _plain(value)
    return values


def json_keys(kind: Any) -> tuple[str, ...]:
    """Return the keys of a record's table, in the order of its fields; a record among them counts as one."""
    return tuple(form.key for form in _forms(kind))


def read_json_record(kind: type[_Record], table: Any, where: str = "") -> _Record:
    """Return the record that `json_values` made the table of; `where` it was in what was parsed is for the message.

    Raises:
        ValueError: a key is missing, or a value is not of the type that it must be of.
    """
    _held((dict,), "a table", table, where or "it")
    inside = f"{where} " if where else ""
    read: dict[str, Any] = {}
    for form in _forms(cast(Any, kind)):
        if form.is_inline:
            read[form.name] = _inline(form, table, where)
        elif form.key in table:
            read[form.name] = form.read(table[form.key], f"{inside}{form.key}")
        elif form.lacking is not MISSING:
            read[form.name] = form.lacking
        else:
            raise ValueError(f"{where or 'it'} lacks {form.key}")
    return kind(**read)


class _Form(NamedTuple):
    """How one field is written and read (see `json_field`)."""

    name: str
    read: _Read
    kinds: tuple[Any, ...]
    key: str
    lacking: Any
    is_inline: bool = False
    is_left_out: bool = False


@lru_cache(maxsize=64)
def _forms(kind: Any) -> tuple[_Form, ...]:
    hints = get_type_hints(kind)
    own = {item.name: dict[str, Any](key=item.name, lacking=item.default) | item.metadata for item in fields(kind)}
    return tuple(_Form(name, _reader(hints[name]), _kinds(hints[name]), **form) for name, form in own.items())


def _inline(form: _Form, table: Mapping[str, Any], where: str) -> Any:
    for kind in form.kinds:
        if any(part.key in table for part in _forms(kind)) or form.lacking is MISSING:
            return read_json_record(kind, table, where)
    return form.lacking


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | NoneType):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else json_values(value)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Return what an annotation allows beside None."""
    parts = get_args(hint) if isinstance(hint, UnionType) or get_origin(hint) is Union else (hint,)
    return tuple(part for part in parts if part is not NoneType)


def _reader(hint: Any) -> _Read:
    """Return what reads a value of an annotation, or raises ValueError."""
    kinds, origin = _kinds(hint), get_origin(hint)
    if kinds != (hint,):
        return partial(_of_some_kind, [_reader(kind) for kind in kinds], NoneType in get_args(hint))
    if origin is tuple:
        return partial(_tuple, _reader(get_args(hint)[0]))
    if origin in (Mapping, dict):
        return partial(_mapping, _reader(get_args(hint)[1]))
    if is_dataclass(hint):
        return partial(read_json_record, cast(Any, hint))
    return _number if hint is float else partial(_held, (hint,), _WORDS.get(hint, hint.__name__))


def _of_some_kind(readers: Sequence[_Read], may_be_none: bool, value: Any, where: str) -> Any:
    if value is None and may_be_none:
        return None
    for reader in readers[:-1]:
        with suppress(ValueError):
            return reader(value, where)
    return readers[-1](value, where)


def _tuple(reader: _Read, value: Any, where: str) -> Any:
    return tuple(reader(part, where) for part in _held((list, tuple), "a list", value, where))


def _mapping(reader: _Read, value: Any, where: str) -> Any:
    return {key: reader(part, f"{where} {key}") for key, part in _held((dict,), "a table", value, where).items()}


def _number(value: Any, where: str) -> Any:
    if type(value) is float:
        return value
    if value is None:  # as `json_text` writes what is not defined
        return math.nan
    if isinstance(value, str) and value in _INFINITE:
        return _INFINITE[value]
    # A whole one is not made a float: it is written as it was read.
    return _held((int,), _WORDS[float], value, where)


def _held(kinds: tuple[type, ...], wanted: str, value: Any, where: str) -> Any:
    """Return a value of exactly one of some kinds: a bool is an int to Python."""
    if type(value) not in kinds:
        raise ValueError(f"{where} is a {type(value).__name__}, and must be {wanted}")
    return value
