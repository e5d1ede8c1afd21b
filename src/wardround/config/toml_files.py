"""TOML files and overrides as tables.

Left out on purpose: which keys there are (see `settings`), and what a value may be, which the sections check.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wardround.config.limits import EXCLUSIVE
from wardround.disk import file_text
from wardround.errors import ConfigError
from wardround.parsing import from_toml, sound

__all__ = ["overridden", "read_toml", "split_overrides"]

_MOST_BYTES = 2**20
"""Of a settings file."""


def overridden(tables: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return the tables with `section.key=value` overrides in them.

    Args:
        tables: of a TOML file.
        overrides: `section.key=value` texts, the value as TOML writes it; a bare word is read as text. An override
            replaces a setting of the file that it excludes (target-epsilon one of noise-multiplier, for example).

    Raises:
        ConfigError: a text is no override.
    """
    changed: dict[str, Any] = {
        name: dict(table) if isinstance(table, dict) else table for name, table in tables.items()
    }
    for text in overrides:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigError(f'--set {text} must be section.key=value, for example "training.num-rounds=20"')
        table = changed.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"[{section}] must be a table, not {table!r}")
        for pair in EXCLUSIVE:
            if (section, key) in {(pair[0], pair[1]), (pair[0], pair[2])}:
                # The override is the later word, so its counterpart in the file gives way.
                table.pop(pair[2] if key == pair[1] else pair[1], None)
        table[key] = _toml_value(value.strip())
    return changed


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
