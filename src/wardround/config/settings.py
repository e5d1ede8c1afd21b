"""All settings as one record: checked however it is made, changed into another, read from TOML and written to it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import numpy as np
import tomli_w

from wardround.config.audit import AuditConfig, check_audit_use
from wardround.config.changes import change_tables
from wardround.config.features import FeaturesConfig, check_features_use
from wardround.config.imbalance import ImbalanceConfig, check_imbalance_use
from wardround.config.limits import Default, kebab, keys_of
from wardround.config.personal import PersonalConfig, check_personal_use
from wardround.config.releases import check_release_use
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
from wardround.config.toml_files import read_overrides, read_toml
from wardround.errors import ConfigError
from wardround.names import did_you_mean, shown_name
from wardround.objects import Handed
from wardround.privacy.cells import cell_of

__all__ = ["NAMED_BY", "Config", "config_from_dict", "config_to_toml", "given_values", "load_config"]


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
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    aggregation: AggregationConfig = field(default_factory=AggregationConfig)
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)
    personal: PersonalConfig = field(default_factory=PersonalConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Config).items():
            object.__setattr__(self, name, _section(name, kind, getattr(self, name)))
        for message in cell_of(self.privacy).refusals(self.privacy, self.training, self.aggregation):
            raise ConfigError(message)
        check_features_use(self.features, self.federation)
        check_imbalance_use(self)
        check_personal_use(self)
        check_release_use(self)
        check_audit_use(self)

    @classmethod
    def load(cls, path: str | Path | None = None, overrides: Iterable[str] = ()) -> "Config":
        """Return the settings of a TOML file (see `load_config`)."""
        return load_config(path, overrides)

    @classmethod
    def of(cls, sections: Mapping[str, Any]) -> "Config":
        """Return the settings of a mapping of sections, whose keys are spelled as TOML has them or as Python does.

        Raises:
            ConfigError: an unknown section or key (with its nearest neighbour), or a value out of range.
        """
        for name in sections:
            _check_section(name)
        return cls(**sections)

    def change(self, **sections: Mapping[str, Any]) -> "Config":
        """Return other settings: the same except for the keys that are given, by section.

        A key that is given takes the place of those that it excludes or leaves without meaning (see
        `changes.change_tables`); None takes one back to its default.

        >>> Config().change(training={"num_rounds": 20}, privacy={"target_epsilon": 2.0}).privacy.noise_multiplier

        Raises:
            ConfigError: an unknown section or key, or a value out of range.
        """
        kinds, changes = get_type_hints(Config), {}
        for name, change in sections.items():
            _check_section(name)
            if not isinstance(change, Mapping):
                raise ConfigError(f"[{name}] must be a mapping of keys to values, not {shown_name(change)}")
            changes[name] = {kebab(key): value for key, value in _by_field(name, kinds[name], change).items()}
        stand = {item.name: given_values(getattr(self, item.name)) for item in fields(self)}
        return self.remade(change_tables(stand, changes).tables)

    def remade(self, tables: Mapping[str, Any]) -> "Config":
        """Return the settings of nested tables, with these settings' objects from Python where they are still named."""
        made = config_from_dict(tables)
        for section, key in NAMED_BY.items():
            handed = getattr(self, section).handed
            if handed is not None and getattr(getattr(made, section), key) == handed.name:
                made = made.with_object(section, handed)
        return made

    def with_object(self, section: str, handed: Handed) -> "Config":
        """Return these settings with an object from Python in the place of what a section names.

        Args:
            section: "federation", "model" or "aggregation".
            handed: the object; its name is written in the place of the other.
        """
        own = replace(getattr(self, section), **{NAMED_BY[section]: handed.name, "handed": handed})
        return replace(self, **{section: own})


NAMED_BY: Mapping[str, str] = MappingProxyType({"federation": "dataset", "model": "name", "aggregation": "strategy"})
"""By section, the key that names what may also be an object from Python."""


def load_config(
    path: str | Path | None = None, overrides: Iterable[str] = (), *, note: Callable[[str], None] | None = None
) -> Config:
    """Return the settings of a TOML file with `section.key=value` overrides applied, all checked.

    Args:
        path: the TOML file; None starts from the defaults.
        overrides: see `toml_files.read_overrides`; settings of the file that they exclude, or leave without meaning,
            give way to them (see `changes.change_tables`).
        note: called with a sentence for each setting that gave way.

    Raises:
        ConfigError: the file is missing or broken, or a key or value is wrong.
    """
    if path is not None and not isinstance(path, str | Path):
        raise ConfigError(f"a file of settings must be a path, not {shown_name(path)}: a mapping is Config.of(mapping)")
    changed = change_tables({} if path is None else read_toml(Path(path)), read_overrides(overrides))
    if note is not None:
        for sentence in changed.gave_way:
            note(sentence)
    return config_from_dict(changed.tables)


def config_from_dict(tables: Mapping[str, Any]) -> Config:
    """Return the checked settings of nested tables, whose keys are spelled as TOML has them.

    >>> config_from_dict({"training": {"num-rounds": 3}}).training.num_rounds
    3

    Raises:
        ConfigError: an unknown section or key (with its nearest neighbour), or a value out of range.
    """
    kinds = get_type_hints(Config)
    for name, table in tables.items():
        _check_section(name)
        if not isinstance(table, Mapping):
            raise ConfigError(f"[{name}] must be a table, not {table!r}")
        for key in table:
            _check_known("key", key, keys_of(kinds[name]), f" in [{name}]")
    return Config(**tables)


def config_to_toml(config: Config) -> str:
    """Return the settings as TOML that `load_config` reads back to an equal record."""
    tables = {item.name: _table(getattr(config, item.name)) for item in fields(config)}
    return tomli_w.dumps({name: table for name, table in tables.items() if table})


def _check_section(name: object) -> None:
    kinds = get_type_hints(Config)
    owners = [section for section, kind in kinds.items() if kebab(str(name)) in keys_of(kind)]
    if name not in kinds and owners:
        raise ConfigError(f"unknown section [{name}]: {kebab(str(name))} is a key of [{'] and ['.join(owners)}]")
    _check_known("section", name, kinds)


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
    known = keys_of(kind)
    found: dict[str, Any] = {}
    for key, value in given.items():
        _check_known("key", kebab(str(key)), known, f" in [{name}]")
        field_name = known[kebab(key)]
        if field_name in found:
            raise ConfigError(f"{kebab(key)} is given twice, spelled in two ways ([{name}]): once is enough")
        found[field_name] = value.item() if isinstance(value, np.generic) else value
    return found


def given_values(section: Any) -> dict[str, Any]:
    """Return a section's values by key, as TOML spells it, without what nobody set."""
    kind: type = type(section)
    values = {key: getattr(section, name) for key, name in keys_of(kind).items()}
    return {key: value for key, value in values.items() if value is not None and not isinstance(value, Default)}


def _table(section: Any) -> dict[str, Any]:
    values = ((item, getattr(section, item.name)) for item in fields(section) if not item.metadata.get("is_object"))
    return {
        kebab(item.name): _written(value)
        for item, value in values
        if value is not None and not (item.metadata.get("unwritten") and value == item.default)
    }


def _written(value: Any) -> Any:
    if isinstance(value, Schema):
        return value.as_table()
    return float(value) if isinstance(value, Default) else list(value) if isinstance(value, tuple) else value
