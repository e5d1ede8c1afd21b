"""The features of a user's table: which columns are numbers, texts or dates, and which are left out, and why.

Nothing is guessed in silence: every column is either a feature, or named with the reason why it is none. What is left
out on purpose: scaling (see `standardising`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.own_tables.mixed import check_numbers
from wardround.datasets.own_tables.suspects import why_left_out
from wardround.datasets.own_tables.text_tables import Texts, TextTable
from wardround.datasets.own_tables.values import are_codes, days_of, looks_like_date, numbers_of
from wardround.datasets.records import ColumnUse
from wardround.errors import DataError

__all__ = ["FeatureColumn", "feature_columns", "is_marker"]

_MOST_LEVELS = 1_000
_MISSING = "(missing)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureColumn:
    """What became of one column.

    Attributes:
        use: for whoever asks; its features name `values`.
        values: one array (n,) for each feature, numbers in their own unit with nan where missing.
        num_missing: rows without a value.
        is_number: whether the first feature is a number, which is still to be standardised.
    """

    use: ColumnUse
    values: tuple[NDArray[np.float64], ...] = ()
    num_missing: int = 0
    is_number: bool = False


def feature_columns(table: TextTable, config: FederationConfig, roles: frozenset[str]) -> tuple[FeatureColumn, ...]:
    """Return what becomes of every column that has no other role, in the order of the table.

    Args:
        table: its rows.
        config: columns, drop_columns, date_columns, categorical_columns, decimal and missing_values are used.
        roles: names of target, hospital and patient.

    Raises:
        DataError: a cell is not what its column is, two features have one name, or there is no feature.
    """
    made = tuple(_column(name, texts, table, config) for name, texts in table.columns.items() if name not in roles)
    names: dict[str, str] = {}
    for column in made:
        own = {column.use.name} - set(column.use.features)
        for name in (*own, *column.use.features):
            if name in names:
                raise DataError(
                    f"{table.source}: columns {names[name]!r} and {column.use.name!r} both make {name!r}: rename one "
                    "of them, or leave one out ([federation] drop-columns)"
                )
            names[name] = column.use.name
    if not any(column.values for column in made):
        left = "; ".join(f"{column.use.name}: {column.use.reason}" for column in made[:10])
        raise DataError(
            f"{table.source} has no feature column with two different values: add columns beside the target"
            + (f" ({left})" if left else "")
        )
    return made


def _column(name: str, texts: Texts, table: TextTable, config: FederationConfig) -> FeatureColumn:
    if name in (config.drop_columns or ()):
        return _left_out(name, "drop-columns names it")
    if config.columns is not None and name not in config.columns:
        return _left_out(name, "columns does not name it")
    if name in (config.date_columns or ()):
        return _dates(name, texts, table, config)
    if name in (config.categorical_columns or ()):
        return _levels(name, texts, table)
    numbers = numbers_of(texts, config.decimal)
    values = np.where(is_marker(numbers, config), np.nan, numbers)
    is_filled = texts != ""
    is_named = config.columns is not None
    are_numbers = bool(np.isfinite(numbers[is_filled]).all())
    if not is_named and (reason := why_left_out(name, texts, values, are_numbers=are_numbers)):
        return _left_out(name, reason)
    if not is_filled.any() or (is_filled.all() and len(set(texts.tolist())) == 1):
        return _left_out(name, "it never varies")
    if are_numbers and not are_codes(set(texts.tolist())):
        return _number(name, values, "number")
    if sum(map(looks_like_date, texts[is_filled].tolist())) * 2 >= is_filled.sum():
        raise DataError(
            f"{table.source}: {name} holds dates: name it in [federation] date-columns, or in categorical-columns"
        )
    check_numbers(texts, numbers, name, table, config)
    return _levels(name, texts, table)


def is_marker(numbers: NDArray[np.float64], config: FederationConfig) -> NDArray[np.bool_]:
    """Return where a number is one of missing-values in another spelling: -9 as -9.0."""
    markers = numbers_of(np.array(config.missing_values or (), dtype=object), config.decimal)
    return np.isin(numbers, markers[np.isfinite(markers)])


def _left_out(name: str, reason: str) -> FeatureColumn:
    return FeatureColumn(use=ColumnUse(name=name, kind="left out", reason=reason))


def _number(name: str, values: NDArray[np.float64], kind: str) -> FeatureColumn:
    """Return a number, and where it is missing."""
    is_missing = np.isnan(values)
    made: dict[str, NDArray[np.float64]] = {}
    varies = len(np.unique(values[~is_missing])) > 1
    if varies:
        made[name] = values
    if is_missing.any() and not is_missing.all():
        made[f"{name} is missing"] = is_missing.astype(np.float64)
    if not made:
        return _left_out(name, "it never varies")
    return FeatureColumn(
        use=ColumnUse(name=name, kind=kind, features=tuple(made)),
        values=tuple(made.values()),
        num_missing=int(is_missing.sum()),
        is_number=varies,
    )


def _dates(name: str, texts: Texts, table: TextTable, config: FederationConfig) -> FeatureColumn:
    form = config.date_columns[name] if isinstance(config.date_columns, dict) else None
    days = days_of(texts, form)
    if (is_none := (texts != "") & np.isnan(days)).any():
        row = int(np.flatnonzero(is_none)[0])
        wanted = f"of the form {form}" if form else "as in 2024-01-31 or 2024-01-31 12:30:00"
        raise DataError(
            f"{table.place(row)}: {name} = {texts[row]!r} is no date {wanted}: correct the cell, say what it means "
            f'(missing-values), or state the form ([federation] date-columns = {{ "{name}" = "%d.%m.%Y" }})'
        )
    return _number(name, days, "date")


def _levels(name: str, texts: Texts, table: TextTable) -> FeatureColumn:
    """Return a feature for each level, a missing text being one of its own."""
    if _MISSING in texts.tolist() and (texts == "").any():
        raise DataError(f"{table.source}: {name} has both empty cells and {_MISSING!r}: write one of them")
    filled = np.where(texts == "", _MISSING, texts)
    levels = sorted(set(filled.tolist()))
    if len(levels) == 1:
        return _left_out(name, "it never varies")
    if len(levels) > _MOST_LEVELS:
        raise DataError(
            f"{table.source}: {name} has {len(levels):,} different texts, more than {_MOST_LEVELS:,}: names and free "
            "text are no features: leave it out ([federation] drop-columns), or group its texts"
        )
    return FeatureColumn(
        use=ColumnUse(name=name, kind="levels", features=tuple(_level_names(name, levels))),
        values=tuple((filled == level).astype(np.float64) for level in levels),
        num_missing=int((texts == "").sum()),
    )


def _level_names(name: str, levels: list[str]) -> Iterator[str]:
    return (f"{name}={level}" for level in levels)
