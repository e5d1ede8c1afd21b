"""Settings that a part of a study's runs has for itself: its baselines, the runs of a placement, a variant.

What is left out on purpose: which runs these are (see `study`, `vary`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from wardround.config import Config
from wardround.config.limits import keys_of
from wardround.errors import ConfigError
from wardround.names import check_name, did_you_mean

__all__ = ["PLACEMENTS", "NamedSettings", "OwnSettings", "check_setting"]

PLACEMENTS = ("local", "distributed", "central")
"""Where the noise of a study's runs can be."""
_OF_BASELINES = ("model", "training", "aggregation")
_OWN = {
    "privacy.unit": "units",
    "privacy.placement": "placements",
    "privacy.noise-multiplier": "noise-multipliers",
    "privacy.target-epsilon": "target-epsilons",
    "federation.seed": "seeds",
}
"""By setting, the key of [study] that varies it."""
_OF_THE_STUDY = ("simulation.engine", "simulation.num-workers", "simulation.gpus-per-worker")

Tables = Mapping[str, Mapping[str, Any]]
"""By section, then by key as TOML has it."""


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """Settings in the place of the base's.

    Attributes:
        tables: by section, then by key as TOML has it.
        of: what has them, as a table of the study's file.
    """

    tables: Tables
    of: str = "baselines"

    @property
    def texts(self) -> dict[str, str]:
        """The values as texts, by "section.key"."""
        pairs = ((section, key, value) for section, table in self.tables.items() for key, value in table.items())
        return {f"{section}.{key}": str(value) for section, key, value in pairs}

    def __post_init__(self) -> None:
        tables = self.tables if isinstance(self.tables, Mapping) else {"": self.tables}
        for section, values in tables.items():
            if self.of == "baselines" and (section not in _OF_BASELINES or not isinstance(values, Mapping)):
                raise ConfigError(
                    f"[baselines.{section}] must be a table of {' or '.join(_OF_BASELINES)} ([baselines]): data, "
                    "privacy and engine are those of the runs that baselines are compared with"
                )
            if not isinstance(values, Mapping):
                raise ConfigError(f"[{self.of}.{section}] must be a table of settings, not {values!r}")
            for key in values:
                check_setting(f"{section}.{key}", f"[{self.of}]")


@dataclass(frozen=True, slots=True)
class NamedSettings:
    """Settings of several parts of a study.

    Attributes:
        named: by the part's name; an `OwnSettings`, or its tables.
        of: what they are: placements or variants.
    """

    named: Mapping[str, Any] = field(default_factory=dict)
    of: str = "variants"

    @property
    def texts(self) -> dict[str, dict[str, str]]:
        """The values as texts, by name and "section.key"."""
        return {name: own.texts for name, own in self.named.items()}

    def __post_init__(self) -> None:
        if not isinstance(self.named, Mapping):
            raise ConfigError(f"[{self.of}] must be a table of tables, not {self.named!r}")
        for name in self.named:
            if self.of == "placements" and name not in PLACEMENTS:
                raise ConfigError(f"unknown placement in [placements.{name}]{did_you_mean(name, PLACEMENTS)}")
            check_name(name, self.of.removesuffix("s"), error=ConfigError)
        own = {
            name: value if isinstance(value, OwnSettings) else OwnSettings(value, f"{self.of}.{name}")
            for name, value in self.named.items()
        }
        object.__setattr__(self, "named", own)

    def tables(self, name: str) -> Tables:
        """Return the settings of one part; none of one that has none."""
        found = self.named.get(name)
        return found.tables if found is not None else {}


def check_setting(name: str, table: str) -> None:
    """Refuse what is no setting, and what the study says by keys of its own.

    Args:
        name: "section.key".
        table: where it stands.

    Raises:
        ConfigError: naming it and the next step.
    """
    section, dot, key = name.partition(".")
    kinds = get_type_hints(Config)
    place = f'"{name}" in {table}'
    if not (dot and key):
        raise ConfigError(f'{place} must be "section.key" = [...], for example "training.learning-rate" = [0.1, 0.5]')
    if section not in kinds:
        raise ConfigError(f"{place}: unknown section [{section}]{did_you_mean(section, kinds)}")
    if key not in (keys := keys_of(kinds[section])):
        raise ConfigError(f"{place}: unknown key {key} in [{section}]{did_you_mean(key, keys)}")
    if name in _OWN:
        raise ConfigError(f"{place} is what the study varies by a key of its own: write [study] {_OWN[name]} = [...]")
    if name in _OF_THE_STUDY:
        raise ConfigError(f"{place} says where runs are done, which the study decides: set it in [set.simulation]")
