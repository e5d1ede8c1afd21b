"""The section [federation]: which data, split over which hospitals; and how a user's own table is read.

What is left out on purpose: the table itself, which is not read before a run needs it.
"""

import math
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from wardround.config.limits import check_section, from_python, kebab, setting
from wardround.config.schemas import Schema, check_schema_use, schema_from_table
from wardround.errors import ConfigError
from wardround.names import shown_name
from wardround.objects import Handed
from wardround.survival import SURVIVAL, check_time_edges

__all__ = ["SCHEMA_SAYS", "TABLE_KEYS", "FederationConfig", "composed", "may_be_table"]

_ROLES = ("target", "event_column", "hospital_column", "patient_column")
_LISTS = ("columns", "drop_columns", "date_columns", "categorical_columns")
_COLUMN_KEYS = (*_ROLES, *_LISTS)
_OF_TABLES = ("path", *_COLUMN_KEYS, "task", "schema", "positive_class", "target_range", "missing_values")
_OF_TEXTS = ("separator", "decimal", "encoding")
_SCHEMA_SAYS = (*_LISTS, "positive_class", "target_range")
TABLE_KEYS = tuple(kebab(key) for key in (*_OF_TABLES, *_OF_TEXTS))
"""Keys that mean something with a user's own table only."""
SCHEMA_SAYS = tuple(kebab(key) for key in _SCHEMA_SAYS)
"""Those of them that mean nothing beside a schema."""
_SEPARATORS = (",", ";", "\t", "|", ":", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationConfig:
    """Which data, split over which hospitals.

    `partition` None means natural where the data names its hospitals, iid otherwise. `class_weights` keeps that
    share of each class's rows, in class order. `dirichlet_alpha` shapes both dirichlet and quantity partitions.
    `time_edges` cut a survival's times into intervals, and are public, as `max_records` is: no hospital has more
    training records. A `schema` says what a table may hold (a mapping is
    read as TOML's); without `path` it is of tables that the hospitals have themselves. Keys from `columns` on are of a
    user's own table without a schema, unless docs/tables.md says otherwise.
    """

    dataset: str = "breast-cancer"
    data_dir: str | None = None
    partition: str | None = setting(None, choices=("natural", "iid", "dirichlet", "quantity", "shards"))
    num_hospitals: int = setting(5, least=1, most=100_000)
    dirichlet_alpha: float = setting(0.5, above=0)
    shards_per_hospital: int = setting(2, least=1)
    min_patients: int = setting(2, least=2)
    class_weights: tuple[float, ...] | None = setting(None, above=0, most=1)
    test_fraction: float = setting(0.2, above=0, below=1)
    seed: int = setting(42, least=0, most=2**63 - 1)
    path: str | None = None
    target: str | None = None
    hospital_column: str | None = None
    patient_column: str | None = None
    task: str | None = setting(None, choices=("classification", "regression", SURVIVAL))
    event_column: str | None = None
    time_edges: tuple[float, ...] | None = None
    max_records: int | None = setting(None, least=1, most=2**40)
    schema: Schema | None = None
    columns: tuple[str, ...] | None = None
    drop_columns: tuple[str, ...] | None = None
    date_columns: tuple[str, ...] | dict[str, str] | None = None
    categorical_columns: tuple[str, ...] | None = None
    positive_class: str | None = None
    target_range: tuple[float, ...] | None = None
    patient_scope: str = setting("federation", choices=("federation", "hospital"), unwritten=True)
    missing_values: tuple[str, ...] | None = None
    separator: str | None = None
    decimal: str | None = setting(None, choices=(".", ","))
    encoding: str | None = None
    handed: Handed | None = from_python()

    def __post_init__(self) -> None:
        for key in ("positive_class", "missing_values"):
            object.__setattr__(self, key, _as_texts(getattr(self, key)))
        for key in _COLUMN_KEYS:
            object.__setattr__(self, key, composed(getattr(self, key)))
        if self.schema is not None and not isinstance(self.schema, Schema):
            object.__setattr__(self, "schema", schema_from_table(self.schema))
        check_section("federation", self)
        if self.time_edges is not None:
            check_time_edges(self.time_edges, "([federation] time-edges)")
        _check_table_keys(self)


def may_be_table(dataset: str) -> bool:
    """Return whether a data set may be a table of a user's: their file, or what a loader of theirs returns.

    >>> may_be_table("csv"), may_be_table("package.module:loader"), may_be_table("digits")
    (True, True, False)
    """
    return dataset == "csv" or ":" in dataset


def _check_table_keys(config: FederationConfig) -> None:
    """Refuse settings of a user's table that have no meaning, or not with each other.

    Args:
        config: whose single values have been checked.

    Raises:
        ConfigError: naming the key, its value and the next step.
    """
    is_table = may_be_table(config.dataset)
    for key in (*_OF_TABLES, *_OF_TEXTS):
        is_given = getattr(config, key) is not None
        if is_given and not is_table:
            raise ConfigError(f'[federation] {kebab(key)} goes with dataset = "csv", not "{config.dataset}": remove it')
        if config.dataset == "csv" and not is_given and key == "target":
            raise ConfigError(f'dataset = "csv" needs [federation] {key}: add {key} = "..."')
    if not is_table:
        if config.patient_scope != "federation":
            raise ConfigError(
                f'[federation] patient-scope goes with dataset = "csv", not "{config.dataset}": remove it'
            )
        return
    _check_values(config)
    _check_survival(config)
    _check_lists(config)
    if config.patient_scope == "hospital" and config.patient_column is None:
        raise ConfigError(
            'patient-scope = "hospital" says where a patient\'s number holds, and no patient-column names any '
            "([federation] patient-scope): add patient-column, or remove it"
        )
    if config.schema is not None and config.target is not None:
        for key in _SCHEMA_SAYS:
            if getattr(config, key) is not None:
                raise ConfigError(
                    f"[federation] {kebab(key)} is what [federation.schema] says already, by its columns, levels and "
                    "ranges: remove it"
                )
        identifiers = {"hospital-column": config.hospital_column, "patient-column": config.patient_column}
        check_schema_use(config.schema, config.target, config.task, identifiers)


def composed(value: Any) -> Any:
    """Return names of columns as headers are read: accents composed, single blanks between words, none at the ends."""
    if isinstance(value, str):
        return " ".join(normalize("NFC", value).split())
    if isinstance(value, tuple | list):
        return tuple(composed(part) for part in value)
    if isinstance(value, dict):
        return {composed(key): part for key, part in value.items()}
    return value


def _as_texts(value: Any) -> Any:
    """Return whole numbers of a setting as the texts that cells are, so that `missing-values = [-9]` can be written."""
    if isinstance(value, tuple | list):
        return tuple(_as_texts(part) for part in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return normalize("NFC", value).strip() if isinstance(value, str) else value


def _check_values(config: FederationConfig) -> None:
    if config.separator is not None and config.separator not in _SEPARATORS:
        raise ConfigError(
            f"separator = {shown_name(config.separator)} must be one of {', '.join(map(repr, _SEPARATORS))} "
            "([federation] separator): remove it, and the header decides"
        )
    if config.separator is not None and config.separator == config.decimal:
        raise ConfigError(
            f"separator and decimal are both {config.separator!r} ([federation] decimal): no cell could be told from "
            "the next one"
        )
    if config.encoding is not None:
        try:
            "".encode(config.encoding)
        except (LookupError, ValueError):
            raise ConfigError(
                f"encoding = {shown_name(config.encoding)} is not known ([federation] encoding): write utf-8, cp1252, "
                "latin-1 or utf-16"
            ) from None
    if config.target_range is not None:
        low, high = config.target_range if len(config.target_range) == 2 else (1.0, 0.0)
        if not (low < high and math.isfinite(high - low)):
            raise ConfigError(
                f"target-range = {list(config.target_range)} must be two numbers, the lowest first ([federation] "
                "target-range)"
            )
        if config.task == "classification" or config.positive_class is not None:
            raise ConfigError(
                "target-range is of a target that is a number to be predicted ([federation] target-range): remove it, "
                'or set task = "regression" and no positive-class'
            )
    if config.positive_class is not None and config.task == "regression":
        raise ConfigError(
            'positive-class goes with classes, not with task = "regression" ([federation] positive-class): remove it'
        )


def _check_survival(config: FederationConfig) -> None:
    """Refuse a table's times that nothing says all of, and what is of times where none are predicted."""
    if config.task != SURVIVAL:
        for key in ("event_column", "time_edges"):
            if getattr(config, key) is not None:
                raise ConfigError(
                    f'{kebab(key)} goes with task = "survival" ([federation] {kebab(key)}): set that, or remove it'
                )
        return
    if config.event_column is None or config.time_edges is None:
        raise ConfigError(
            'task = "survival" needs [federation] event-column, which says in which rows the event was seen, and '
            'time-edges, the ends of the intervals that time is cut into: add event-column = "..." and time-edges = '
            "[0, 365, 730], from public knowledge and never from these data"
        )
    if config.schema is not None:
        raise ConfigError(
            'task = "survival" has two columns to be predicted, a time and whether the event was seen, and '
            "[federation.schema] states one ([federation] task): remove the schema, or predict one column by it"
        )
    if config.target_range is not None:
        raise ConfigError(
            "target-range is of a target that is a number to be predicted, and times have time-edges ([federation] "
            "target-range): remove it"
        )


def _check_lists(config: FederationConfig) -> None:
    for key in _LISTS:
        names = getattr(config, key)
        if names is not None and (not names or "" in names or len(set(names)) < len(names)):
            raise ConfigError(
                f"{kebab(key)} must name columns, each once ([federation] {kebab(key)}): {list(names)} does not"
            )
    place_of = {name: kebab(key) for key in _ROLES if (name := getattr(config, key)) is not None}
    for key in ("drop_columns", "date_columns", "categorical_columns"):
        for name in getattr(config, key) or ():
            if name in place_of:
                raise ConfigError(
                    f"{name!r} is in {kebab(key)} and in {place_of[name]} ([federation] {kebab(key)}): name it in one "
                    "of them"
                )
            place_of[name] = kebab(key)
    for name in config.columns or ():
        if place_of.get(name) in ("drop-columns", *map(kebab, _ROLES)):
            raise ConfigError(
                f"{name!r} is in columns and in {place_of[name]} ([federation] columns): columns are the features, so "
                "name it in one of them"
            )
    for key in ("date_columns", "categorical_columns"):
        unread = [
            name for name in getattr(config, key) or () if config.columns is not None and name not in config.columns
        ]
        if unread:
            raise ConfigError(
                f"{unread[0]!r} is in {kebab(key)} and not in columns, which lists every feature ([federation] "
                "columns): add it there"
            )
