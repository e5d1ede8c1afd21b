"""Settings read from TOML and written to it, with an error for every key that there is not.

Left out on purpose: what a value may be, which the sections check.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import tomli_w

from wardround.config.changes import change_tables
from wardround.config.limits import kebab
from wardround.config.schemas import Schema
from wardround.config.sections import Config
from wardround.disk import file_text
from wardround.errors import ConfigError
from wardround.names import did_you_mean
from wardround.parsing import from_toml, sound

__all__ = ["config_from_dict", "config_to_toml", "load_config", "read_toml", "split_overrides"]

_MOST_BYTES = 2**20
"""Of a settings file."""


def load_config(
    path: str | Path | None = None, overrides: Iterable[str] = (), *, note: Callable[[str], None] | None = None
) -> Config:
    """Return the settings of a TOML file with `section.key=value` overrides applied, all checked.

    Args:
        path: the TOML file; None starts from the defaults.
        overrides: `section.key=value` texts, the value as TOML writes it; a bare word is read as text. A setting of
            the file that they exclude, or leave without meaning, gives way to them (see `changes`).
        note: called with a sentence for each setting that gave way.

    Raises:
        ConfigError: the file is missing or broken, or a key or value is wrong.
    """
    tables: dict[str, Any] = {} if path is None else read_toml(Path(path))
    changed = change_tables(tables, _changes(overrides))
    if note is not None:
        for sentence in changed.gave_way:
            note(sentence)
    return config_from_dict(changed.tables)


def _changes(overrides: Iterable[str]) -> dict[str, dict[str, Any]]:
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


def config_from_dict(tables: Mapping[str, Any]) -> Config:
    """Return the checked settings of nested kebab-case tables.

    >>> config_from_dict({"training": {"num-rounds": 3}}).training.num_rounds
    3

    Raises:
        ConfigError: an unknown section or key (with its nearest neighbour), or a value out of range.
    """
    sections: dict[str, Any] = {}
    classes = get_type_hints(Config)
    for name, table in tables.items():
        if name not in classes:
            raise ConfigError(f"unknown section [{name}]{did_you_mean(name, classes)}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"[{name}] must be a table, not {table!r}")
        known = {kebab(item.name): item.name for item in fields(classes[name])}
        for key in table:
            if key not in known:
                raise ConfigError(f"unknown key {key} in [{name}]{did_you_mean(key, known)}")
        sections[name] = classes[name](**{known[key]: _frozen(value) for key, value in table.items()})
    return Config(**sections)


def config_to_toml(config: Config) -> str:
    """Return the settings as TOML that `load_config` reads back to an equal record."""
    return tomli_w.dumps({item.name: _table(getattr(config, item.name)) for item in fields(config)})


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


def _table(section: Any) -> dict[str, Any]:
    values = ((item, getattr(section, item.name)) for item in fields(section))
    return {
        kebab(item.name): _written(value)
        for item, value in values
        if value is not None and not (item.metadata.get("unwritten") and value == item.default)
    }


def _written(value: Any) -> Any:
    if isinstance(value, Schema):
        return value.as_table()
    return list(value) if isinstance(value, tuple) else value


def _toml_value(text: str) -> Any:
    try:
        return from_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
