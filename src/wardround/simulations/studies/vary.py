"""[study.vary]: any settings with several values each, and variants, beside placements, noise and seeds.

Every combination of values is run. What is left out on purpose: what a study varies by keys of its own, and running.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from wardround.config import change_tables
from wardround.config.limits import EXCLUSIVE
from wardround.config.meanings import MEANINGS, look_in
from wardround.errors import ConfigError
from wardround.simulations.studies.own_settings import NamedSettings, check_setting

__all__ = ["VARIANT", "Variation", "applying", "read_variation"]

VARIANT = "variant"
"""What stands for the variants among the settings that are varied."""
_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "majority": ("federation",),
    "alone": ("federation", "features", "model", "training", "imbalance"),
    "pooled": ("federation", "features", "model", "training", "imbalance"),
}
"""By baseline, the sections that it hangs on; all where it has no line."""
_OF_ROUNDS = ("training.fraction-train", "training.cohorts", "training.evaluate-every")
"""Settings of [training] that make no difference where nobody takes turns, and only the end is scored."""
_OF_PRIVACY = "features.statistics-share"
"""The setting outside [privacy] that makes no difference where there is none."""
_MOST_LETTERS = 40


@dataclass(frozen=True, slots=True)
class Variation:
    """What is varied.

    Attributes:
        values: by "section.key", as TOML has them, in the order of the file.
        variants: settings that are compared as a whole, by name.
    """

    values: Mapping[str, tuple[Any, ...]]
    variants: NamedSettings = field(default_factory=NamedSettings)

    def __post_init__(self) -> None:
        for name, values in self.values.items():
            check_setting(name, "[study.vary]")
            if not isinstance(values, tuple) or not values:
                raise ConfigError(f'"{name}" = {values!r} must be a list of values ([study.vary]): write [1, 2]')
            for index, value in enumerate(values):
                if value in values[:index]:
                    raise ConfigError(f'"{name}" = {list(values)} holds a value twice ([study.vary]): once is enough')
        for section, *pair in EXCLUSIVE:
            if all(f"{section}.{key}" in self.values for key in pair):
                raise ConfigError(f"{pair[0]} and {pair[1]} exclude each other ([study.vary]): vary one of them")
        for variant, own in self.variants.named.items():
            if twice := sorted(set(own.texts) & set(self.values)):
                raise ConfigError(
                    f'"{twice[0]}" stands in [study.vary] and in [variants.{variant}]: remove it from one of them'
                )

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """What is varied, by setting; `VARIANT` first, where there are variants."""
        return ({VARIANT: tuple(self.variants.named)} if self.variants.named else {}) | dict(self.values)

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that are varied."""
        return tuple(self.choices)

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """The values as tables of results have them, by setting."""
        return {name: tuple(map(_text, values)) for name, values in self.choices.items()}

    def levels(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return every combination of the values of some settings."""
        choices = self.choices
        return [dict(zip(names, values, strict=True)) for values in product(*(choices[name] for name in names))]

    def changes(self, level: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return a combination of values by section and key."""
        variant = self.variants.tables(level.get(VARIANT, ""))
        changes = {section: dict(values) for section, values in variant.items()}
        for name, value in level.items():
            section, dot, key = name.partition(".")
            if dot:
                changes.setdefault(section, {})[key] = value
        return changes

    def words(self, level: Mapping[str, Any]) -> str:
        """Return a combination as part of a run's name: nothing where nothing is varied, else it begins with "-"."""
        last = [name.rpartition(".")[2] for name in self.names]
        parts = []
        for name, value in level.items():
            section, _, key = name.rpartition(".")
            slugs = [_slug(other) for other in self.choices[name]]
            index = self.choices[name].index(value)
            is_clear = slugs.count(slugs[index]) == 1 and 0 < len(slugs[index]) <= _MOST_LETTERS
            shown = slugs[index] if is_clear else f"{slugs[index][:_MOST_LETTERS]}-{index + 1}".lstrip("-")
            parts.append(f"-{key if last.count(key) == 1 else f'{section}-{key}'}-{shown}")
        return "".join(parts)

    def row(self, level: Mapping[str, Any]) -> tuple[tuple[str, str], ...] | None:
        """Return a combination as cells by column; empty where a setting does not apply, None where none is varied."""
        return tuple((name, _text(level[name]) if name in level else "") for name in self.names) or None


def read_variation(table: Any) -> Variation:
    """Return what [study.vary] says; a dotted key may be quoted or not.

    Raises:
        ConfigError: a setting that there is not, or that the study varies by a key of its own, or a value twice.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"vary = {table!r} must be a table of settings ([study.vary])")
    flat: dict[str, Any] = {}
    for name, values in table.items():
        inside = values.items() if isinstance(values, Mapping) else ()
        for key, value in ((f"{name}.{key}", value) for key, value in inside) if inside else ((name, values),):
            if key in flat:
                raise ConfigError(f'"{key}" stands twice in [study.vary]: once is enough')
            flat[key] = tuple(value) if isinstance(value, list) else value
    return Variation(flat)


def applying(variation: Variation, baseline: str, tables: Mapping[str, Any]) -> list[str]:
    """Return the varied settings that make a difference to a baseline; all of them to a run with privacy ("").

    Args:
        variation: what is varied.
        baseline: one of a study's baselines, or "".
        tables: settings of its runs, without privacy, before anything is varied.
    """
    if not baseline:
        return list(variation.names)
    names = [name for name in variation.names if _has_part_of(baseline, name, variation)]
    looks = [look_in(change_tables(tables, variation.changes(level)).tables) for level in variation.levels(names)]
    # What has no meaning in any of the combinations, such as a number of hospitals that are natural.
    unused = {name for name, has, _ in MEANINGS if name in names and not any(map(has, looks))}
    return [name for name in names if name not in unused]


def _has_part_of(baseline: str, name: str, variation: Variation) -> bool:
    """Return whether a varied setting, or any of a variant's, is one that a baseline hangs on."""
    if name != VARIANT:
        return _is_part_of(baseline, name)
    return any(_is_part_of(baseline, each) for own in variation.variants.named.values() for each in own.texts)


def _is_part_of(baseline: str, name: str) -> bool:
    section = name.partition(".")[0]
    if section == "privacy" or name == _OF_PRIVACY or section not in _SECTIONS.get(baseline, (section,)):
        return False
    return baseline not in _SECTIONS or name not in _OF_ROUNDS


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _slug(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(_slug, value))
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return re.sub(r"[^\w.+-]+", "-", _text(value)).strip("-.")
