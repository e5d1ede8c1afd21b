"""TOML files and overrides as tables.

Left out on purpose: which keys there are (see `settings`), and what a value may be, which the sections check.
"""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wardround.disk import file_text
from wardround.errors import ConfigError
from wardround.parsing import from_toml, sound

__all__ = ["read_overrides", "read_toml", "split_overrides"]

_MOST_BYTES = 2**20
"""Of a settings file."""


def read_overrides(overrides: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what `section.key=value` texts set, by section and key; of one key the last word counts.

    Args:
        overrides: the value as TOML writes it; a bare word is read as text.

    Raises:
        ConfigError: a text is no override.
    """
    changes: dict[str, dict[str, Any]] = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigError(f'--set {text} must be section.key=value, for example "training.num-rounds=20"')
        changes.setdefault(section, {})[key] = _toml_value(value.strip())
    return changes


def split_overrides(text: str) -> list[str]:
    """Return the overrides in a text that separates them by spaces, as a shell does.

    >>> split_overrides("training.num-rounds=20 'federation.target=died early'")
    ['training.num-rounds=20', 'federation.target=died early']

    Raises:
        ConfigError: a quotation mark has no counterpart.
    """
    with sound(ConfigError, f"the overrides {text[:200]!r} can't be told apart", "quote them as a shell has it"):
        return shlex.split(text)


def read_toml(path: Path, *, examples: str = "examples/") -> dict[str, Any]:
    """Return the tables of a TOML file.

    Args:
        path: the file.
        examples: where there are more of its kind, for whoever mistyped the path.

    Raises:
        ConfigError: the file is missing, unreadable or not TOML.
    """
    try:
        return from_toml(file_text(path, _MOST_BYTES))
    except FileNotFoundError:
        raise ConfigError(f"no file {path}: check the path (examples are in {examples})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _toml_value(text: str) -> Any:
    try:
        return from_toml(f"value = {text}")["value"]
    except ValueError:
        return text
