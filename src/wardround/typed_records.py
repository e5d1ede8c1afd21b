"""Frozen records as plain values by key, and back: what comes back is what the annotations say, or is refused.

Annotations are bool, int, float, str, bytes, one of these or None, or a tuple of any number of one of these. What is
left out on purpose: transport (see `wire`), and whether a value makes sense, which a record checks itself.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from wardround.errors import ProtocolError

__all__ = ["LONGEST_TEXT", "MOST_BYTES", "MOST_ITEMS", "keys_of", "read_record", "record_values"]

_Record = TypeVar("_Record")
MOST_ITEMS = 65_536
"""Most elements of a list: one for each member of the largest round."""
LONGEST_TEXT = 1_000
"""Most characters of a text: names, digests, the name of a run."""
MOST_BYTES = 1_000
"""Most bytes of one value: keys, signatures, sealed shares."""
_ANY_FLOAT = frozenset({"loss", "accuracy", "auc", "majority_accuracy"})
"""Scores, which may be undefined or infinite; every other number must be finite."""
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", bytes: "bytes"}


def keys_of(kind: Any) -> tuple[str, ...]:
    """Return the keys that a kind of record has as plain values."""
    return tuple(map(_kebab, _hints(kind)))


def record_values(record: Any) -> dict[str, Any]:
    """Return a record's values by key, as a Flower record takes them; None is left out."""
    kind: Any = type(record)
    hints = _hints(kind)
    return {
        _kebab(item.name): _sent(hints[item.name], value)
        for item in fields(record)
        if (value := getattr(record, item.name)) is not None
    }


def read_record(kind: type[_Record], values: Mapping[str, Any]) -> _Record:
    """Return the record that `record_values` made the values of; what does not belong to it is ignored.

    Args:
        kind: of record.
        values: by key, from anyone.

    Raises:
        ProtocolError: a value is missing, or not of the type, length or range that it must be of.
    """
    hints = _hints(cast(Any, kind))
    missing = [name for name, hint in hints.items() if _kebab(name) not in values and not _may_be_none(hint)]
    if missing:
        raise ProtocolError(f"a {kind.__name__} message lacks {', '.join(missing)}: both sides need the same version")
    read = {}
    for name, hint in hints.items():
        fault, read[name] = _read(name, hint, values.get(_kebab(name)))
        if fault:
            raise ProtocolError(f"the {kind.__name__} message is refused: {_kebab(name)} {fault}")
    return kind(**read)


def _read(name: str, hint: Any, value: Any) -> tuple[str, Any]:
    """Return what is wrong with a value, or "", and the value as the record has it."""
    if _may_be_none(hint):
        return ("", None) if value is None else _read(name, _without_none(hint), value)
    if get_origin(hint) is tuple:
        # Flower has lists where our frozen records have tuples.
        if not isinstance(value, list | tuple):
            return f"is a {type(value).__name__}, and must be a list", None
        if len(value) > MOST_ITEMS:
            return f"has {len(value)} elements, and must have <= {MOST_ITEMS}", None
        read = [_read(name, get_args(hint)[0], item) for item in value]
        return next((f"in its list {fault}" for fault, _ in read if fault), ""), tuple(item for _, item in read)
    # A bool is an int to Python.
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        return f"is a {type(value).__name__}, and must be {_WORDS[hint]}", None
    return _fault(name, value), value


def _fault(name: str, value: Any) -> str:
    if isinstance(value, float) and name not in _ANY_FLOAT and not math.isfinite(value):
        return f"= {value} must be finite"
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            return f"has {len(value)} characters, and must have <= {LONGEST_TEXT}"
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            return "must be text that has a UTF-8 form"
    if isinstance(value, bytes) and len(value) > MOST_BYTES:
        return f"has {len(value)} bytes, and must have <= {MOST_BYTES}"
    return ""


def _sent(hint: Any, value: Any) -> Any:
    if get_origin(hint) is tuple:
        return [_sent(get_args(hint)[0], item) for item in value]
    # A whole number where a record has a fractional one: the other side tells the two apart.
    return float(value) if (_without_none(hint) if _may_be_none(hint) else hint) is float else value


@lru_cache(maxsize=64)
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind)}


def _may_be_none(hint: Any) -> bool:
    return isinstance(hint, UnionType) and NoneType in get_args(hint)


def _without_none(hint: Any) -> Any:
    return next(kind for kind in get_args(hint) if kind is not NoneType)


def _kebab(name: str) -> str:
    return name.replace("_", "-")
