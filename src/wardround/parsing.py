"""Texts that others wrote, parsed: whatever a parser trips over is one kind of error, which its caller turns into ours.

What is left out on purpose: files (see `disk`) and what a text means.
"""

import csv
import json
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wardround.errors import WardroundError

__all__ = ["from_json", "from_toml", "sound"]

_DEFECTS = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RecursionError, TypeError, ValueError),
    *(csv.Error, zlib.error),
)
"""What Python raises about a file that can't be read and a value that is not of the form it is read as."""


@contextmanager
def sound(error: type[WardroundError], failure: str, step: str, *more: type[Exception]) -> Iterator[None]:
    """Turn every way in which something may not be readable, or not of the form it is read as, into an error of ours.

    >>> with sound(WardroundError, "can't read the roster", "write it anew"):
    ...     {}["sites"]
    Traceback (most recent call last):
    ...
    wardround.errors.WardroundError: can't read the roster (it lacks sites): write it anew

    Args:
        error: what is raised instead.
        failure: what failed, for the message.
        step: what to do.
        more: errors of a library that mean the same.

    Raises:
        WardroundError: of the given kind; one that is raised inside comes through as it is.
    """
    try:
        yield
    except Exception as defect:
        if not isinstance(defect, (*_DEFECTS, *more)):
            raise
        raise error(f"{failure} ({_in_words(defect)}): {step}") from defect


def _in_words(defect: Exception) -> str:
    if isinstance(defect, KeyError) and defect.args:
        return f"it lacks {defect.args[0]}"
    if isinstance(defect, RecursionError):
        return "it is nested too deeply"
    return (str(defect) or type(defect).__name__)[:300]


def from_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, as UTF-8 where it is bytes.

    Raises:
        ValueError: it is none, is nested too deeply, or has a key twice, of which readers take one or the other.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_key_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} is there twice")
    return table


def from_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        ValueError: it is none, is nested too deeply, or has a whole number of more than 64 bits, as TOML does not.
    """
    try:
        tables = tomllib.loads(text)
        _check_numbers(tables)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return tables


def _check_numbers(value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"a whole number of {value.bit_length()} bits must have 64 at the most")
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_numbers(part)
