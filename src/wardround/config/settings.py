"""All settings as one record: checked however it is made, changed into another, read from TOML and written to it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import tomli_w

from wardround.config.limits import EXCLUSIVE, Default, kebab
from wardround.config.schemas import Schema
from wardround.config.sections import (
    AggregationConfig,
    EvaluationConfig,
    FederationConfig,
    ModelConfig,
    PrivacyConfig,
    SimulationConfig,
    TrainingConfig,
)
from wardround.config.toml_files import overridden, read_toml
from wardround.errors import ConfigError
from wardround.names import did_you_mean, shown_name
from wardround.privacy.cells import cell_of

__all__ = ["Config", "config_from_dict", "config_to_toml", "load_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a run needs to know; immutable, comparable, and writable as TOML.

    A section may be given as a mapping of its keys, spelled as TOML has them or as Python does.

    >>> Config(training={"num_rounds": 3}).training.num_rounds
    3

    Raises:
        ConfigError: an unknown section or key (with its nearest neighbour), or a value out of range.
    """

    federation: FederationConfig = field(default_factory=FederationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    aggregation: AggregationConfig = field(default_factory=AggregationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Config).items():
            object.__setattr__(self, name, _section(name, kind, getattr(self, name)))
        for message in cell_of(self.privacy).refusals(self.privacy, self.training, self.aggregation):
            raise ConfigError(message)

    @classmethod
    def load(cls, path: str | Path | None = None, overrides: Iterable[str] = ()) -> "Config":
        """Return the settings of a TOML file (see `load_config`)."""
        return load_config(path, overrides)

    def change(self, **sections: Mapping[str, Any]) -> "Config":
        """Return other settings: the same but for the keys that are given, by section.

        A key that is given takes the place of one that it excludes.

        >>> Config().change(training={"num_rounds": 20}, privacy={"target_epsilon": 2.0}).privacy.noise_multiplier

        Raises:
            ConfigError: an unknown section or key, or a value out of range.
        """
        for name, change in sections.items():
            _check_known("section", name, get_type_hints(Config))
            if not isinstance(change, Mapping):
                raise ConfigError(f"[{name}] must be a mapping of keys to values, not {shown_name(change)}")
        return Config(
            **{
                item.name: _changed(item.name, getattr(self, item.name), sections[item.name])
                if item.name in sections
                else getattr(self, item.name)
                for item in fields(self)
            }
        )


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Return the settings of a TOML file with `section.key=value` overrides applied, all checked.

    Args:
        path: the TOML file; None starts from the defaults.
        overrides: see `toml_files.overridden`.

    Raises:
        ConfigError: the file is missing or broken, or a key or value is wrong.
    """
    return config_from_dict(overridden({} if path is None else read_toml(Path(path)), overrides))


def config_from_dict(tables: Mapping[str, Any]) -> Config:
    """Return the checked settings of nested tables, whose keys are spelled as TOML has them.

    >>> config_from_dict({"training": {"num-rounds": 3}}).training.num_rounds
    3

    Raises:
        ConfigError: an unknown section or key (with its nearest neighbour), or a value out of range.
    """
    kinds = get_type_hints(Config)
    for name, table in tables.items():
        _check_known("section", name, kinds)
        if not isinstance(table, Mapping):
            raise ConfigError(f"[{name}] must be a table, not {table!r}")
        for key in table:
            _check_known("key", key, (kebab(item.name) for item in fields(kinds[name])), f" in [{name}]")
    return Config(**tables)


def config_to_toml(config: Config) -> str:
    """Return the settings as TOML that `load_config` reads back to an equal record."""
    return tomli_w.dumps({item.name: _table(getattr(config, item.name)) for item in fields(config)})


def _check_known(what: str, name: object, known: Iterable[str], where: str = "") -> None:
    known = list(known)
    if name not in known:
        shown = f"[{name}]" if what == "section" else name
        raise ConfigError(f"unknown {what} {shown}{where}{did_you_mean(str(name), known)}")


def _section(name: str, kind: type, given: Any) -> Any:
    """Return a section as its record."""
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"[{name}] must be a mapping of its keys or a {kind.__name__}, not {shown_name(given)}: write "
            f"{name}={{...}}"
        )
    return kind(**_by_field(name, kind, given))


def _by_field(name: str, kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by the names of the record's fields."""
    known = {kebab(item.name): item.name for item in fields(kind)}
    found: dict[str, Any] = {}
    for key, value in given.items():
        _check_known("key", kebab(str(key)), known, f" in [{name}]")
        field_name = known[kebab(key)]
        if field_name in found:
            raise ConfigError(f"{kebab(key)} is given twice, spelled in two ways ([{name}]): once is enough")
        found[field_name] = value
    return found


def _changed(name: str, section: Any, change: Mapping[str, Any]) -> Any:
    given = _by_field(name, type(section), change)
    kept = {item.name: getattr(section, item.name) for item in fields(section)}
    for where, *pair in EXCLUSIVE:
        first, second = (key.replace("-", "_") for key in pair)
        for mine, other in ((first, second), (second, first)):
            if where == name and given.get(mine) is not None and other not in given:
                kept[other] = None
    return type(section)(**(kept | given))


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
    return float(value) if isinstance(value, Default) else list(value) if isinstance(value, tuple) else value
