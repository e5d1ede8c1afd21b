"""The schema of a table: which columns there are, in which order, and what a cell of each may hold.

Hospitals agree on it before anyone reads a row, so that nothing in it is learned from data: features, classes, outputs
and scales follow from the schema alone. What is left out on purpose: dates, free text and anything that would have to
be guessed from a file; and reading one, which is `datasets.own_tables`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from unicodedata import normalize

from wardround.errors import ConfigError
from wardround.names import MOST_LABEL_CHARACTERS, did_you_mean, shown_name

__all__ = ["Column", "Schema", "check_schema_use", "schema_from_table"]

_CLASSIFICATION, _REGRESSION = "classification", "regression"
_MOST_LEVELS, _MOST_FEATURES = 1_000, 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: a text of stated levels, or a number of a stated range.

    Attributes:
        name: as the header has it.
        levels: the texts that a cell may hold, at least two, in the order of features or classes; None for a number.
        range: lowest and highest number that a cell may hold, in `unit`; None for a text.
        unit: of the numbers, for people; None where nothing is said.
        missing: whether a cell may be empty.
    """

    name: str
    levels: tuple[str, ...] | None = None
    range: tuple[float, float] | None = None
    unit: str | None = None
    missing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _checked_text("a column's name", self.name, "[federation.schema]"))
        place = f"([federation.schema] {self.name})"
        if (self.levels is None) == (self.range is None):
            raise ConfigError(
                f'{self.name} must have either levels or a range {place}: write levels = ["...", "..."] for texts or '
                "range = [lowest, highest] for numbers"
            )
        if self.levels is not None:
            object.__setattr__(self, "levels", _checked_levels(self.levels, place))
        if self.range is not None:
            object.__setattr__(self, "range", _checked_range(self.range, place))
        if self.unit is not None:
            object.__setattr__(self, "unit", _checked_text("unit", self.unit, place))
            if self.range is None:
                raise ConfigError(f"unit = {shown_name(self.unit)} goes with a range {place}: remove it")
        if not isinstance(self.missing, bool):
            raise ConfigError(f"missing = {shown_name(self.missing)} must be true or false {place}")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features made of this column: one a level, or the number; and last where cells are empty.

        >>> Column(name="age", range=(18, 110), missing=True).feature_names
        ('age', 'age is missing')
        """
        made = (self.name,) if self.levels is None else tuple(f"{self.name} {level}" for level in self.levels)
        return (*made, f"{self.name} is missing") if self.missing else made


_COLUMN_KEYS = tuple(item.name for item in fields(Column) if item.name != "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Columns in the order in which features are made; any one of them can be the target."""

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not (isinstance(self.columns, tuple) and all(isinstance(column, Column) for column in self.columns)):
            raise ConfigError(f"columns = {shown_name(self.columns)} must be Column records ([federation.schema])")
        if len(self.columns) < 2:
            raise ConfigError(
                f"[federation.schema] names {len(self.columns)} columns and needs a target and at least one feature: "
                "add a line for each column that is read"
            )
        if (number := sum(len(column.feature_names) for column in self.columns)) > _MOST_FEATURES:
            raise ConfigError(
                f"[federation.schema] makes {number} features and must make <= {_MOST_FEATURES}: name fewer columns "
                "or levels"
            )
        made: dict[str, str] = {}
        for column in self.columns:
            # A column of levels makes no feature of its own name, but one of another column must not look like it.
            own = (column.name,) if column.range is None else ()
            for name in (*own, *column.feature_names):
                if name in made:
                    raise ConfigError(
                        f"columns {made[name]} and {column.name} both make {name!r} ([federation.schema]): rename one "
                        "of the columns or levels"
                    )
                made[name] = column.name
                if len(name) > MOST_LABEL_CHARACTERS:
                    raise ConfigError(
                        f"{name[:40]!r}... is made of column {column.name} and has {len(name)} characters, more than "
                        f"{MOST_LABEL_CHARACTERS} ([federation.schema]): shorten the column's name or its levels"
                    )

    def column(self, name: str) -> Column:
        """Return the column of a name.

        Raises:
            ConfigError: there is none.
        """
        by_name = {column.name: column for column in self.columns}
        if name not in by_name:
            raise ConfigError(f"[federation.schema] has no column {name!r}{did_you_mean(name, by_name)}")
        return by_name[name]

    def feature_names(self, target: str) -> tuple[str, ...]:
        """Return the name of each feature, in order; they are made of all columns but the target."""
        self.column(target)
        return tuple(name for column in self.columns if column.name != target for name in column.feature_names)

    def input_shape(self, target: str) -> tuple[int, ...]:
        """Return the shape of one row's features: (number of features,)."""
        return (len(self.feature_names(target)),)

    def class_names(self, target: str) -> tuple[str, ...]:
        """Return the classes in the order of their indices: the target's levels; () for a regression."""
        return self.column(target).levels or ()

    def task(self, target: str) -> str:
        """Return "classification" where the target has levels, "regression" where it has a range."""
        return _REGRESSION if self.column(target).levels is None else _CLASSIFICATION

    def as_table(self) -> dict[str, dict[str, Any]]:
        """Return the table of [federation.schema] that `schema_from_table` reads back to an equal record."""
        table: dict[str, dict[str, Any]] = {}
        for column in self.columns:
            told = ((key, getattr(column, key)) for key in _COLUMN_KEYS)
            table[column.name] = {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in told
                if value not in (None, False)
            }
        return table


def schema_from_table(table: Any) -> Schema:
    """Return the schema that a table of [federation.schema] describes: one inline table for each column.

    >>> schema_from_table({"died": {"levels": ["no", "yes"]}, "age": {"range": [18, 110]}}).feature_names("died")
    ('age',)

    Raises:
        ConfigError: it is no table of tables, a column has a key that there is not, or one that can't be used.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"schema = {shown_name(table)} must be a table ([federation] schema): write [federation.schema] and below "
            "it a line for each column, as in age = { range = [18, 110] }"
        )
    return Schema(columns=tuple(_column_from_table(name, value) for name, value in table.items()))


def check_schema_use(schema: Schema, target: str, task: str | None, identifiers: Mapping[str, str | None]) -> None:
    """Refuse a target or an identifying column that does not go with a schema.

    Args:
        schema: of the table.
        target: the column to be predicted.
        task: "classification", "regression", or None where the schema alone decides.
        identifiers: columns by key of [federation] that name hospitals or patients.

    Raises:
        ConfigError: the target is not in the schema or may be missing, the task is another, or an identifying column
            would be a feature.
    """
    column = schema.column(target)
    if column.missing:
        raise ConfigError(
            f"the target {target} can't be missing ([federation.schema] {target}): remove missing = true from it"
        )
    if task not in (None, schema.task(target)):
        raise ConfigError(
            f'task = "{task}" must be "{schema.task(target)}", as the schema has the target {target} ([federation] '
            "task): remove it"
        )
    for key, name in identifiers.items():
        if name is not None and name in (column.name for column in schema.columns):
            raise ConfigError(
                f"{key} = {name!r} is a column of [federation.schema], and who someone is can't be a feature: remove "
                "it from the schema"
            )


def _column_from_table(name: str, table: Any) -> Column:
    name = _checked_text("a column's name", name, "[federation.schema]")
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"{name} = {shown_name(table)} must be a table ([federation.schema] {name}): write levels = [...] or "
            "range = [...] in braces"
        )
    for key in table:
        if key not in _COLUMN_KEYS:
            near = did_you_mean(str(key), _COLUMN_KEYS)
            raise ConfigError(f"unknown key {shown_name(key)} in [federation.schema] {name}{near}")
    given: dict[str, Any] = {key: tuple(part) if isinstance(part, list) else part for key, part in table.items()}
    return Column(name=name, **given)


def _checked_text(what: str, text: Any, place: str) -> str:
    """Return the text with accents as cells are read with (Unicode's NFC)."""
    if not isinstance(text, str):
        raise ConfigError(f"{what} = {shown_name(text)} must be a text {place}: write it in quotes")
    composed = normalize("NFC", text) if len(text) <= MOST_LABEL_CHARACTERS else text
    is_short = 1 <= len(composed) <= MOST_LABEL_CHARACTERS
    if not (is_short and composed == " ".join(composed.split()) and composed.isprintable()):
        raise ConfigError(
            f"{what} = {shown_name(text)} must be 1 to {MOST_LABEL_CHARACTERS} characters that can be seen, without "
            f"blanks at its ends and two in a row {place}"
        )
    return composed


def _checked_levels(given: Any, place: str) -> tuple[str, ...]:
    if not isinstance(given, tuple):
        raise ConfigError(f"levels = {shown_name(given)} must be a list of texts {place}")
    levels = tuple(_checked_text("a level", level, place) for level in given)
    if not 2 <= len(levels) <= _MOST_LEVELS:
        raise ConfigError(
            f"levels must be 2 to {_MOST_LEVELS:,} texts, not {len(levels)} {place}: a column that never varies is "
            "no feature, and names and free text are none either"
        )
    if twice := [level for number, level in enumerate(levels) if level in levels[:number]]:
        raise ConfigError(f"levels name {twice[0]!r} twice {place}: name each once")
    return levels


def _checked_range(given: Any, place: str) -> tuple[float, float]:
    is_pair = isinstance(given, tuple) and len(given) == 2
    if not is_pair or any(isinstance(end, bool) or not isinstance(end, int | float) for end in given):
        raise ConfigError(f"range = {shown_name(given)} must be two numbers {place}: write range = [lowest, highest]")
    try:
        low, high = (float(end) + 0.0 for end in given)  # -0.0 is 0.0
    except OverflowError:
        low = high = math.inf
    if not (low < high and math.isfinite(low) and math.isfinite(high - low)):
        raise ConfigError(
            f"range = {shown_name(list(given))} must be finite numbers, the lowest first, less than 1.8e308 apart "
            f"{place}"
        )
    return low, high
