"""The checks that every section of the settings goes through when it is built: types, limits, contradictions.

A message has the name, the value, the allowed range and, where one is near, the value that was probably meant.
"""

import math
from collections.abc import Iterator, Mapping, Sized
from dataclasses import Field, field, fields
from functools import cache
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from wardround.errors import ConfigError
from wardround.names import did_you_mean

__all__ = [
    "EXCLUSIVE",
    "Default",
    "check_section",
    "from_python",
    "kebab",
    "keys_of",
    "setting",
]

EXCLUSIVE = (
    ("training", "local-steps", "local-epochs"),
    ("training", "batch-size", "sample-rate"),
    ("privacy", "noise-multiplier", "target-epsilon"),
    ("imbalance", "copies", "max-copies"),
)
"""(section, key, key): settings that exclude each other."""


class Default(float):
    """A number that nobody set: a record made of another one's fields takes it for not given, so that it gives way.

    >>> Default(2.0) == 2.0
    True
    """


def setting(default: Any, **limits: Any) -> Any:
    """Declare a setting with its limits: least, most, above, below, choices (checked when the record is built).

    With `unwritten` its default is not written, so that settings have the digest they had before there was the key.
    """
    return field(default=default, metadata=limits)


def from_python() -> Any:
    """Declare what is no setting: an object from Python in the place of a name; no TOML has it."""
    return field(default=None, repr=False, metadata={"is_object": True})


@cache
def keys_of(kind: type) -> Mapping[str, str]:
    """Return the fields of a section that are settings, by their keys."""
    keys = {kebab(item.name): item.name for item in fields(kind) if not item.metadata.get("is_object")}
    return MappingProxyType(keys)


def kebab(name: str) -> str:
    """Return a field's name as TOML has it.

    >>> kebab("num_rounds")
    'num-rounds'
    """
    return name.replace("_", "-")


def check_section(section: str, record: Any) -> None:
    """Check type and limits of every field of a section, in place (a whole number becomes a float where one is meant).

    Raises:
        ConfigError: naming the setting, its value and the allowed range, or two settings that exclude each other.
    """
    hints = get_type_hints(type(record))
    for item in fields(record):
        given = getattr(record, item.name)
        given = None if isinstance(given, Default) else tuple(given) if isinstance(given, list) else given
        value = _checked_type(section, item.name, given, hints[item.name])
        object.__setattr__(record, item.name, value)
        for part in _parts(value):
            _check_limits(section, item, part)
    for where, first, second in EXCLUSIVE:
        if where == section and all(getattr(record, key.replace("-", "_")) is not None for key in (first, second)):
            raise ConfigError(f"{first} and {second} exclude each other ([{section}]): remove one of them")


def _parts(value: Any) -> Iterator[Any]:
    """Yield what a setting is made of, of tables and lists their parts."""
    if isinstance(value, dict | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part)
    elif value is not None:
        yield value


def _checked_type(section: str, name: str, value: Any, hint: Any) -> Any:
    """Return the value, an int made a float where a float is wanted, or raise for a wrong type."""
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    for option in options:
        if option is type(None):
            if value is None:
                return value
        elif get_origin(option) is tuple and isinstance(value, tuple | list) and _has_length(value, get_args(option)):
            return tuple(_checked_type(section, name, part, get_args(option)[0]) for part in value)
        elif get_origin(option) is dict and isinstance(value, dict):
            return {key: _checked_type(section, name, part, get_args(option)[1]) for key, part in value.items()}
        elif option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return _as_float(value)
        elif isinstance(option, type) and isinstance(value, option) and isinstance(value, bool) == (option is bool):
            return value
    wanted = " or ".join(_WORDS.get(option, str(option)) for option in options if option is not type(None))
    raise ConfigError(f"{kebab(name)} = {value!r} must be {wanted} ([{section}] {kebab(name)})")


def _has_length(value: Sized, hints: tuple[Any, ...]) -> bool:
    return hints[-1] is Ellipsis or len(value) == len(hints)


def _as_float(value: float) -> float:
    """Return a number as float, infinite where it is a whole one that no float can be."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple[float, ...]: "a list of numbers",
    tuple[int, ...]: "a list of whole numbers",
    tuple[str, ...]: "a list of texts",
    tuple[float, float]: "two numbers, the lowest first",
    dict[str, float]: "a table of numbers",
    dict[str, tuple[float, float]]: "a table of two numbers for each name",
    dict[str, str]: "a table of texts",
}


def _check_limits(section: str, item: Field[Any], value: Any) -> None:
    limits = item.metadata
    name = kebab(item.name)
    if isinstance(value, float) and value != value:
        raise ConfigError(f"{name} = nan must be a number ([{section}] {name})")
    if "choices" in limits and value not in limits["choices"]:
        hint = did_you_mean(str(value), limits["choices"], otherwise="")
        raise ConfigError(
            f'{name} = "{value}" must be one of {", ".join(limits["choices"])} ([{section}] {name}){hint}'
        )
    if not isinstance(value, int | float):
        return
    inside = (
        value >= limits.get("least", value)
        and value <= limits.get("most", value)
        and ("above" not in limits or value > limits["above"])
        and ("below" not in limits or value < limits["below"])
        and (not isinstance(value, float) or abs(value) != float("inf"))
    )
    if not inside:
        raise ConfigError(f"{name} = {value} must be {_range_text(limits)} ([{section}] {name})")


def _range_text(limits: Mapping[str, Any]) -> str:
    signs = {"least": ">=", "above": ">", "most": "<=", "below": "<"}
    return " and ".join(f"{sign} {limits[key]}" for key, sign in signs.items() if key in limits) or "finite"
