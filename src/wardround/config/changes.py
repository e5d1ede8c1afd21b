"""Settings changed by later words: what a change leaves without meaning gives way to it, and is named.

Only settings that were there before give way. Those that are changed together are kept, so that a contradiction among
them is refused where the settings are checked. What is left out on purpose: what a value may be, which sections say.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from wardround.config.limits import EXCLUSIVE
from wardround.config.meanings import MEANINGS, default_of, look_in, shown_setting
from wardround.errors import ConfigError

__all__ = ["Changed", "change_tables"]

_Tables = dict[str, dict[str, Any]]


class Changed(NamedTuple):
    """Settings after a change.

    Attributes:
        tables: nested and kebab-case, not checked.
        gave_way: a sentence for each setting that gave way and was not at its default.
    """

    tables: _Tables
    gave_way: tuple[str, ...]


def change_tables(tables: Mapping[str, Any], changes: Mapping[str, Any]) -> Changed:
    """Return the tables with the changes, without what these exclude or leave without meaning.

    >>> file = {"privacy": {"target-epsilon": 2.0, "target-delta": 1e-6}}
    >>> change_tables(file, {"privacy": {"placement": "none"}}).tables
    {'privacy': {'target-delta': 1e-06, 'placement': 'none'}}

    Args:
        tables: settings as they stand, by section and key, checked or not; they are left as they are.
        changes: what is set now, by section and key; None takes a setting back to its default.

    Raises:
        ConfigError: a section is not a table.
    """
    before = look_in(tables)
    changed = _merged(tables, changes)
    gave_way: list[str] = []

    def drop(name: str, reason: str) -> None:
        section, _, key = name.partition(".")
        value = changed[section].pop(key)
        if (tuple(value) if isinstance(value, list) else value) != default_of(name):
            gave_way.append(f"{shown_setting(name, value)} gives way: {reason}")

    def is_old(name: str) -> bool:
        section, _, key = name.partition(".")
        return key in changed.get(section, ()) and key not in changes.get(section, ())

    for section, *pair in EXCLUSIVE:
        for key, other in (pair, pair[::-1]):
            if changes.get(section, {}).get(key) is not None and is_old(f"{section}.{other}"):
                drop(f"{section}.{other}", f"{key} excludes it")
    found = True
    while found:  # what gives way may leave more without meaning
        found = False
        for name, has, goes_with in MEANINGS:
            if is_old(name) and has(before) and not has(look_in(changed)):
                drop(name, f"it goes with {goes_with}")
                found = True
    return Changed(changed, tuple(gave_way))


def _merged(tables: Mapping[str, Any], changes: Mapping[str, Any]) -> _Tables:
    for part in (tables, changes):
        for section, table in part.items():
            if not isinstance(table, Mapping):
                raise ConfigError(f"[{section}] must be a table, not {table!r}")
    merged: _Tables = {section: dict(table) for section, table in tables.items()}
    for section, table in changes.items():
        kept = merged.setdefault(section, {})
        for key, value in table.items():
            if value is None:
                kept.pop(key, None)
            else:
                kept[key] = value
    return merged
