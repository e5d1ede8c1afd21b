"""Which settings mean something beside which others: one table, for whoever changes settings and whoever explains them.

A setting without meaning is refused by the sections, or not used; either way it is in the table. What is left out on
purpose: settings that mean something and contradict each other, of which only a person can say which one is right.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

from wardround.config.audit import AuditConfig
from wardround.config.features import PRIVATE, PUBLIC, SCATTERING, FeaturesConfig
from wardround.config.federation import SCHEMA_SAYS, TABLE_KEYS, may_be_table
from wardround.config.imbalance import ImbalanceConfig, shares_are_released
from wardround.config.limits import kebab
from wardround.config.personal import PersonalConfig
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
from wardround.config.strategy_options import STRATEGY_OPTIONS
from wardround.errors import ProtocolError
from wardround.privacy.cells import AUTOMATIC, Cell, cell_of

__all__ = ["MEANINGS", "Look", "Meaning", "default_of", "look_in", "shown_setting"]

Look = Callable[[str], Any]
"""Returns the value of a setting, by "section.key"; its default where it is not set."""

_SECTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "federation": FederationConfig,
        "features": FeaturesConfig,
        "model": ModelConfig,
        "training": TrainingConfig,
        "privacy": PrivacyConfig,
        "aggregation": AggregationConfig,
        "imbalance": ImbalanceConfig,
        "personal": PersonalConfig,
        "evaluation": EvaluationConfig,
        "simulation": SimulationConfig,
        "audit": AuditConfig,
    }
)
"""The sections' records."""


class Meaning(NamedTuple):
    """When a setting means something.

    Attributes:
        name: "section.key".
        has: returns whether it does, beside all other settings.
        goes_with: what it goes with, in words.
    """

    name: str
    has: Callable[[Look], bool]
    goes_with: str


def look_in(tables: Mapping[str, Any]) -> Look:
    """Return what reads the settings of nested kebab-case tables, checked or not, with the defaults of the records."""

    def look(name: str) -> Any:
        section, _, key = name.partition(".")
        table = tables.get(section)
        return table[key] if isinstance(table, Mapping) and key in table else default_of(name)

    return look


def default_of(name: str) -> Any:
    """Return the default of a setting, by "section.key"; None where there is no such setting.

    >>> default_of("training.num-rounds")
    10
    """
    section, _, key = name.partition(".")
    found = (
        [item.default for item in fields(_SECTIONS[section]) if kebab(item.name) == key] if section in _SECTIONS else []
    )
    return found[0] if found else None


def shown_setting(name: str, value: Any) -> str:
    """Return a setting, by "section.key", with its value and where it stands.

    >>> shown_setting("model.hidden-sizes", (64, 32))
    'hidden-sizes = [64, 32] ([model] hidden-sizes)'
    """
    section, _, key = name.partition(".")
    shown = "..." if isinstance(value, Mapping | Schema) else value
    if isinstance(value, bool):
        shown = str(value).lower()
    elif isinstance(value, str):
        shown = f'"{value}"'
    elif isinstance(value, tuple):
        shown = list(value)
    return f"{key} = {shown} ([{section}] {key})"


def _is(name: str, *values: Any) -> Callable[[Look], bool]:
    return lambda look: look(name) in values


def _cell(look: Look) -> Cell | None:
    names = ("unit", "placement", "noise-correlation", "microbatch-size")
    try:
        return cell_of(SimpleNamespace(**{name.replace("-", "_"): look(f"privacy.{name}") for name in names}))
    except (ProtocolError, TypeError):
        return None  # what there is not is refused where it is read


def _in_cell(asked: Callable[[Cell], bool]) -> Callable[[Look], bool]:
    return lambda look: (cell := _cell(look)) is None or asked(cell)


def _option(key: str) -> Callable[[Look], bool]:
    return lambda look: key in STRATEGY_OPTIONS.get(str(look("aggregation.strategy")), ())


def _trains(name: str, *values: Any) -> Callable[[Look], bool]:
    """Return whether hospitals take steps of their own, or the value is what one step is anyway."""
    return lambda look: look(name) in values or _in_cell(lambda cell: not cell.sends_sum)(look)


def _adapts(look: Look) -> bool:
    return look("privacy.clipping") in (None, "adaptive")


def _clips(clipping: str) -> Callable[[Cell], bool]:
    """Return whether a cell has any use for a kind of clipping."""
    if clipping == AUTOMATIC:
        return lambda cell: cell.clips_records
    return lambda cell: cell.adapts_clip if clipping == "adaptive" else cell.is_private


def _of_table(key: str) -> Meaning:
    if key in ("path", "schema", "separator", "encoding"):
        return Meaning(f"federation.{key}", _is("federation.dataset", "csv"), 'dataset = "csv"')
    if key not in SCHEMA_SAYS:
        return Meaning(f"federation.{key}", _has_table, 'dataset = "csv" or a loader of your own')
    return Meaning(
        f"federation.{key}",
        lambda look: _has_table(look) and look("federation.schema") is None,
        'dataset = "csv" without a schema',
    )


def _has_table(look: Look) -> bool:
    return may_be_table(str(look("federation.dataset")))


def _without_schema(look: Look) -> bool:
    return look("federation.schema") is None


def _may_be_private(look: Look) -> bool:
    return _without_schema(look) and look("features.standardise") in (None, PRIVATE)


def _releases_shares(look: Look) -> bool:
    return shares_are_released(lambda section, key: look(f"{section}.{key}"))


_NOISE = _in_cell(lambda cell: cell.is_private)
_STEPS = "hospitals that take steps of their own"
_OPTIONS = {
    key: [f'"{name}"' for name, keys in STRATEGY_OPTIONS.items() if key in keys]
    for key in dict.fromkeys(key for keys in STRATEGY_OPTIONS.values() for key in keys)
}

MEANINGS: tuple[Meaning, ...] = (
    Meaning(
        "federation.data-dir",
        lambda look: look("federation.dataset") != "csv",
        "data sets of the catalogue, whose files are looked for there",
    ),
    *map(_of_table, TABLE_KEYS),
    Meaning("federation.time-edges", _is("federation.task", "survival", None), 'task = "survival"'),
    Meaning(
        "federation.patient-scope",
        lambda look: _has_table(look) and look("federation.patient-column") is not None,
        "patient-column",
    ),
    Meaning(
        "federation.num-hospitals",
        lambda look: look("federation.partition") != "natural",
        "hospitals that are made by a partition, and these are natural",
    ),
    Meaning(
        "federation.dirichlet-alpha",
        _is("federation.partition", "dirichlet", "quantity"),
        'partition = "dirichlet" or "quantity"',
    ),
    Meaning("federation.shards-per-hospital", _is("federation.partition", "shards"), 'partition = "shards"'),
    Meaning(
        "features.standardise",
        lambda look: look("federation.schema") is None or look("features.standardise") == PUBLIC,
        "data without a schema",
    ),
    Meaning("features.bounds", _may_be_private, 'standardise = "private"'),
    Meaning(
        "features.statistics-share",
        lambda look: _may_be_private(look) or _releases_shares(look),
        'standardise = "private", or a remedy for imbalance that is made of released shares',
    ),
    Meaning("features.extract", _without_schema, "data without a schema"),
    Meaning(
        "features.group-norm",
        lambda look: _without_schema(look) and look("features.extract") == SCATTERING,
        'extract = "scattering"',
    ),
    Meaning("model.hidden-sizes", _is("model.name", "mlp"), 'name = "mlp"'),
    Meaning("model.channels", _is("model.name", "cnn"), 'name = "cnn"'),
    Meaning("model.width", _is("model.name", "resnet18", "vgg19", "lstm", "transformer"), "a model that has a width"),
    Meaning("model.num-layers", _is("model.name", "lstm", "transformer"), 'name = "lstm" or "transformer"'),
    Meaning("model.num-heads", _is("model.name", "transformer"), 'name = "transformer"'),
    Meaning("training.local-steps", _trains("training.local-steps", 1), _STEPS),
    Meaning("training.local-epochs", _trains("training.local-epochs"), _STEPS),
    Meaning("training.optimizer", _trains("training.optimizer", "sgd"), _STEPS),
    Meaning(
        "training.momentum",
        lambda look: look("training.optimizer") == "sgd" and _trains("training.momentum", 0)(look),
        'optimizer = "sgd", of hospitals that take steps of their own',
    ),
    Meaning("training.cohorts", lambda look: look("training.fraction-train") != 1, "fraction-train below 1"),
    Meaning("training.grad-sample-mode", _in_cell(lambda cell: cell.clips_records), "privacy whose unit is a record"),
    *(
        Meaning(f"privacy.{key}", _NOISE, "privacy, and placement is none")
        for key in ("unit", "noise-multiplier", "target-epsilon", "budget-epsilon", "max-grad-norm")
    ),
    Meaning("privacy.on-budget", lambda look: look("privacy.budget-epsilon") is not None, "budget-epsilon"),
    Meaning(
        "privacy.patient-overlap",
        _in_cell(lambda cell: cell.clips_records or not cell.is_private),
        "privacy whose unit is a record",
    ),
    Meaning(
        "privacy.adaptive-clipping",
        lambda look: _adapts(look) and _in_cell(lambda cell: cell.adapts_clip)(look),
        "updates of whole hospitals that are summed before anyone sees them, and no other clipping",
    ),
    Meaning(
        "privacy.clipping",
        lambda look: look("privacy.clipping") is None or _in_cell(_clips(str(look("privacy.clipping"))))(look),
        "what it clips",
    ),
    *(
        Meaning(
            f"privacy.{key}",
            lambda look: _adapts(look) and (look("privacy.adaptive-clipping") or look("privacy.clipping") is not None),
            "adaptive-clipping = true",
        )
        for key in ("target-quantile", "clip-learning-rate")
    ),
    Meaning(
        "privacy.microbatch-size",
        lambda look: look("privacy.microbatch-size") == 1 or _in_cell(lambda cell: cell.clips_groups)(look),
        "records whose noise is added at the hospital or by the server",
    ),
    Meaning(
        "privacy.noise-correlation",
        lambda look: (cell := _cell(look)) is None or cell.noise_correlation == look("privacy.noise-correlation"),
        "noise that the server adds to whole updates",
    ),
    Meaning(
        "aggregation.strategy",
        lambda look: look("aggregation.strategy") != "fedprox" or _in_cell(lambda cell: not cell.sends_sum)(look),
        _STEPS,
    ),
    *(
        Meaning(f"aggregation.{key}", _option(key), f"strategy = {' or '.join(names)}")
        for key, names in _OPTIONS.items()
    ),
    Meaning(
        "aggregation.max-colluding",
        lambda look: look("aggregation.protocol") != "plain",
        "a protocol that hides something from the server",
    ),
    Meaning("aggregation.max-update", _is("aggregation.protocol", "secagg+"), 'protocol = "secagg+"'),
    *(
        Meaning(f"imbalance.{key}", _is("imbalance.remedy", "duplicate"), 'remedy = "duplicate"')
        for key in ("copies", "max-copies")
    ),
    Meaning("imbalance.neighbours", _is("imbalance.remedy", "smote"), 'remedy = "smote"'),
    Meaning("evaluation.release-share", _is("evaluation.release", "private"), 'release = "private"'),
    Meaning("personal.strength", _is("personal.method", "mr-mtl"), 'method = "mr-mtl"'),
    Meaning("simulation.num-workers", _is("simulation.engine", "ray", "auto"), 'engine = "ray"'),
    Meaning("simulation.gpus-per-worker", _is("simulation.engine", "ray", "auto"), 'engine = "ray"'),
)
"""Every setting that means something beside certain others only; where one hangs on two, on both."""
