"""Frozen records as plain values by key, and back: what comes back is what the annotations say, or is refused.

Annotations are bool, int, float, str, bytes, one of these or None, a tuple of any number of one of these, or another
record of such, whose keys begin with the field's. What is left out on purpose: transport (see `wire`), and whether a
value makes sense, which a record checks itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

from wardround.errors import ConfigError, ProtocolError

__all__ = ["LONGEST_TEXT", "MOST_BYTES", "MOST_ITEMS", "keys_of", "read_record", "record_values"]

_Record = TypeVar("_Record")
MOST_ITEMS = 65_536
"""Most elements of a list: one for each member of the largest round."""
LONGEST_TEXT = 1_000
"""Most characters of a text: names, digests, the name of a run."""
MOST_BYTES = 1_000
"""Most bytes of one value: keys, signatures, sealed shares."""
_ANY_FLOAT = frozenset({"loss", "score", "auc", "majority_score"})
"""Scores, which may be undefined or infinite; every other number must be finite."""
_NUMBERS = frozenset({int, float})
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", bytes: "bytes"}


class _Field(NamedTuple):
    """How one field of a record is read: compiled once for a kind and what its keys begin with, as rounds are long."""

    name: str
    key: str
    kind: type
    is_list: bool
    may_be_none: bool
    is_record: bool


def keys_of(kind: Any) -> tuple[str, ...]:
    """Return the keys that a kind of record has as plain values."""
    keys: list[str] = []
    for field in _fields(kind):
        keys += [f"{field.key}-{key}" for key in keys_of(field.kind)] if field.is_record else [field.key]
    return tuple(keys)


def record_values(record: Any) -> dict[str, Any]:
    """Return a record's values by key, as a Flower record takes them; None is left out."""
    kind: Any = type(record)
    values: dict[str, Any] = {}
    for field in _fields(kind):
        value = getattr(record, field.name)
        if field.is_record:
            values |= {f"{field.key}-{key}": inner for key, inner in record_values(value).items()}
        elif field.is_list:
            values[field.key] = list(value)
        elif value is not None:
            # A whole number where a record has a fractional one: the other side tells the two apart.
            values[field.key] = float(value) if field.kind is float else value
    return values


def read_record(kind: type[_Record], values: Mapping[str, Any]) -> _Record:
    """Return the record that `record_values` made the values of; what does not belong to it is ignored.

    Raises:
        ProtocolError: a value is missing, or not of the type, length or range that it must be of.
    """
    return _read(kind, values, "")


def _read(kind: type[_Record], values: Mapping[str, Any], prefix: str) -> _Record:
    """Return the record whose keys begin with a prefix."""
    all_fields = _fields(cast(Any, kind), prefix)
    missing = [field.name for field in all_fields if not (field.key in values or field.may_be_none or field.is_record)]
    if missing:
        raise ProtocolError(f"a {kind.__name__} message lacks {', '.join(missing)}: both sides need the same version")
    read: dict[str, Any] = {}
    for field in all_fields:
        value: Any = values.get(field.key)
        if field.is_record:
            read[field.name] = _read_within(field, values)
        elif _is_plain(field, value):
            read[field.name] = value
        elif value is None and field.may_be_none:
            read[field.name] = None
        elif fault := _list_fault(field, value) if field.is_list else _fault(field, (value,)):
            raise ProtocolError(f"the {kind.__name__} message is refused: {field.key} {fault}")
        else:
            # Flower has lists where our frozen records have tuples.
            read[field.name] = tuple(value) if field.is_list else value
    return kind(**read)


def _is_plain(field: _Field, value: Any) -> bool:
    """Return whether nothing can be wrong with a value, as with nearly all: a finite number, or a short text."""
    kind: Any = field.kind
    if field.is_list or type(value) is not kind:
        return False
    if kind is str:
        return len(value) <= LONGEST_TEXT and value.isascii()
    return kind in _NUMBERS and bool(value - value == 0)


def _read_within(field: _Field, values: Mapping[str, Any]) -> Any:
    try:
        return _read(field.kind, values, f"{field.key}-")
    except ConfigError as error:
        raise ProtocolError(f"the {field.name} of the message is refused: {error}") from None


def _list_fault(field: _Field, value: Any) -> str:
    if not isinstance(value, list | tuple):
        return f"is a {type(value).__name__}, and must be a list"
    if len(value) > MOST_ITEMS:
        return f"has {len(value)} elements, and must have <= {MOST_ITEMS}"
    fault = _fault(field, value)
    return f"in its list {fault}" if fault else ""


def _fault(field: _Field, items: Sequence[Any]) -> str:
    """Return what is wrong with the first bad one of some values, or ""."""
    for kind in dict.fromkeys(map(type, items)):
        # A bool is an int to Python.
        if not issubclass(kind, field.kind) or (issubclass(kind, bool) and field.kind is not bool):
            return f"is a {kind.__name__}, and must be {_WORDS[field.kind]}"
    if field.kind is float and field.name not in _ANY_FLOAT and not all(map(math.isfinite, items)):
        return f"= {next(item for item in items if not math.isfinite(item))} must be finite"
    longest = max(map(len, items), default=0) if field.kind in (str, bytes) else 0
    if field.kind is str and longest > LONGEST_TEXT:
        return f"has {longest} characters, and must have <= {LONGEST_TEXT}"
    if field.kind is bytes and longest > MOST_BYTES:
        return f"has {longest} bytes, and must have <= {MOST_BYTES}"
    if field.kind is str and (text := "".join(items)).encode(errors="ignore").decode() != text:
        return "must be text that has a UTF-8 form"
    return ""


@lru_cache(maxsize=64)
def _fields(kind: Any, prefix: str = "") -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    named = ((item.name, prefix + (item.metadata.get("key") or item.name)) for item in fields(kind))
    return tuple(_field_of(name, key, hints[name]) for name, key in named)


def _field_of(name: str, key: str, hint: Any) -> _Field:
    may_be_none = isinstance(hint, UnionType) and NoneType in get_args(hint)
    if may_be_none:
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    is_list = get_origin(hint) is tuple
    kind = get_args(hint)[0] if is_list else hint
    return _Field(name, key.replace("_", "-"), kind, is_list, may_be_none, is_dataclass(kind))
