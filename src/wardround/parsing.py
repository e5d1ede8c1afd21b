"""Texts that others wrote, parsed: whatever a parser trips over is one kind of error, which its caller turns into ours.

What is left out on purpose: files (see `disk`) and what a text means.
"""

import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wardround.errors import WardroundError

__all__ = ["from_json", "from_toml", "sound"]

_DEFECTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What Python raises about a value that is not of the form it is read as."""


@contextmanager
def sound(error: type[WardroundError], sentence: str) -> Iterator[None]:
    """Turn every way in which a value may not be of the form it is read as into one error of ours.

    Args:
        error: what is raised instead.
        sentence: what was read, and what to do; what was wrong stands in the `{}` of it.

    Raises:
        WardroundError: of the given kind; one that is raised inside comes through as it is.
    """
    try:
        yield
    except _DEFECTS as defect:
        what = f"it lacks {defect}" if isinstance(defect, KeyError) else str(defect) or type(defect).__name__
        raise error(sentence.format(what[:300])) from None


def from_json(text: str | bytes, *, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the value of a JSON text.

    Args:
        text: as UTF-8 where it is bytes.
        pairs: makes an object of its keys and values; a dict by default.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def from_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"it is no TOML ({error})") from None
