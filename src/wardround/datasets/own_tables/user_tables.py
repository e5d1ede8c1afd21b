"""A user's own table as a data set: from a file, from several, or from a DataFrame."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.own_tables.features import FeatureColumn, feature_columns, is_marker
from wardround.datasets.own_tables.files import table_of_path
from wardround.datasets.own_tables.identifiers import (
    alike_notes,
    exact_names,
    hospital_ids,
    named_after_words,
    patient_ids,
    texts_of_names,
)
from wardround.datasets.own_tables.said import duplicate_notes, feature_notes, level_notes, suspect_notes, word_notes
from wardround.datasets.own_tables.suspects import repeated_names
from wardround.datasets.own_tables.targets import Target, read_target
from wardround.datasets.own_tables.text_tables import TextTable, table_of_frame, with_missing
from wardround.datasets.own_tables.values import numbers_of, words_among_values
from wardround.datasets.records import CLASSIFICATION, ColumnUse, Dataset, NumberColumn
from wardround.errors import ConfigError, DataError
from wardround.names import did_you_mean
from wardround.small_counts import shown_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["dataset_of_frame", "load_own_table"]

_MOST_NAMES = 30


def dataset_of_frame(frame: "pd.DataFrame", config: FederationConfig, *, source: str) -> Dataset:
    """Return a DataFrame as a data set: the same as of the CSV that `frame.to_csv(index=False)` writes.

    Args:
        frame: one row per record, of any dtypes; its index is not read.
        config: all keys of tables but path, separator and encoding are used.
        source: what the frame is, for notes and messages.

    Raises:
        ConfigError: there is no such column, one is named for two purposes, or a key goes with files alone.
        DataError: a column can't be used as it is: it is named, with the row and the next step.
    """
    for key in ("separator", "encoding", "schema"):
        if getattr(config, key) is not None:
            raise ConfigError(f"{key} goes with files, and {source} is a DataFrame ([federation] {key}): remove it")
    for key in ("target", "event_column", "hospital_column", "patient_column"):
        if (name := getattr(config, key)) in frame.index.names and name is not None and name not in frame.columns:
            raise ConfigError(
                f"{name!r} is the index of {source}, which is not read ([federation] {key.replace('_', '-')}): "
                "frame.reset_index() makes it a column"
            )
    table = table_of_frame(frame, source, decimal=config.decimal or ".")
    for key in ("hospital_column", "patient_column"):
        if (name := getattr(config, key)) in frame.columns and frame[name].dtype in (np.float16, np.float32):
            texts_of_names(frame[name].to_numpy(), f"{source}: {name}")  # which are rounded earlier than other floats
    if not table.num_rows:
        raise DataError(f"{source} has no row: it needs one per record")
    return _dataset(table, config, source)


def load_own_table(config: FederationConfig) -> Dataset:
    """Return the rows of the user's files that have a target and, where asked for, a hospital.

    Args:
        config: all keys of tables are used but the schema.

    Raises:
        ConfigError: there is no such file or column, or one column is named for two purposes.
        DataError: a file can't be read, or a column can't be used as it is.
    """
    table = table_of_path(config)
    return _dataset(table, config, Path(table.source).name)


def _dataset(table: TextTable, config: FederationConfig, said: str) -> Dataset:
    _check_named_columns(table, config)
    _check_repeated(table, config)
    notes = duplicate_notes(table)
    table = with_missing(table, config.missing_values or ())
    table, words = _without_words(table, config)
    table, dropped = _complete(table, config)
    target = read_target(table, config)
    columns = feature_columns(table, config, frozenset(_roles(config).values()))
    hospitals, hospital_notes = _hospitals(table, config)
    patients, patient_notes = _patients(table, config, hospitals)
    class_notes = named_after_words(table.columns[str(config.target)].tolist(), "class", str(config.target))
    return Dataset(
        name="csv",
        task=target.task,
        features=np.stack([values for column in columns for values in column.values], axis=1),
        labels=target.labels,
        class_names=target.class_names,
        feature_names=tuple(name for column in columns for name in column.use.features),
        hospitals=hospitals,
        patients=patients,
        notes=(
            f"source: {said}",
            *notes,
            *word_notes(words),
            *dropped,
            *feature_notes(columns),
            *level_notes(columns),
            *suspect_notes(table, columns, str(config.target)),
            *hospital_notes,
            *patient_notes,
            *(class_notes if target.task == CLASSIFICATION else ()),
            *target.notes,
        ),
        numbers=_numbers(columns),
        groups=_groups(columns),
        columns=_uses(table, config, target, columns),
        time_edges=config.time_edges or (),
    )


def _roles(config: FederationConfig) -> dict[str, str]:
    """Return the columns that are no features, by what names them."""
    keys = ("target", "event_column", "hospital_column", "patient_column")
    named = {key.replace("_", "-"): getattr(config, key) for key in keys}
    return {key: name for key, name in named.items() if name is not None}


def _numbers(columns: tuple[FeatureColumn, ...]) -> tuple[NumberColumn, ...]:
    starts = np.cumsum([0, *(len(column.values) for column in columns)])
    places = (int(start) for start, column in zip(starts, columns, strict=False) if column.is_number)
    return tuple(NumberColumn(column=place) for place in places)


def _groups(columns: tuple[FeatureColumn, ...]) -> tuple[int, ...]:
    made = [column for column in columns if column.values]
    return tuple(group for group, column in enumerate(made) for _ in column.values)


def _uses(
    table: TextTable, config: FederationConfig, target: Target, columns: tuple[FeatureColumn, ...]
) -> tuple[ColumnUse, ...]:
    """Return what every column is used for, in the order of the table."""
    uses = {column.use.name: column.use for column in columns}
    kinds = {"target": f"{target.task} target"}
    for key, name in _roles(config).items():
        uses[name] = ColumnUse(name=name, kind=kinds.get(key, key.removesuffix("-column")))
    return tuple(uses[name] for name in table.columns)


def _check_named_columns(table: TextTable, config: FederationConfig) -> None:
    wanted: dict[str, str] = {}
    for key, name in _roles(config).items():
        _check_known(name, key, table)
        if name in wanted:
            raise ConfigError(
                f"{key} = {name!r} is already the {wanted[name]} ([federation] {key}): name another column"
            )
        wanted[name] = key
    lists = (("columns", config.columns), ("drop-columns", config.drop_columns), ("date-columns", config.date_columns))
    for key, names in (*lists, ("categorical-columns", config.categorical_columns)):
        for name in names or ():
            _check_known(name, key, table)


def _check_known(name: str, key: str, table: TextTable) -> None:
    if name not in table.columns:
        near = did_you_mean(name, table.columns, otherwise=":")
        shown = ", ".join(list(table.columns)[:_MOST_NAMES]) + (", ..." if len(table.columns) > _MOST_NAMES else "")
        hint = ""
        if near == ":" and len(table.columns) < 2:
            hint = " (if these are no names, the separator is another one, or the first line is no header)"
        raise ConfigError(
            f"{table.source} has no column {name!r} ([federation] {key}){near} its columns are {shown}{hint}"
        )


def _check_repeated(table: TextTable, config: FederationConfig) -> None:
    """Refuse "died.1" beside "died": programs rename a second column of one name so."""
    named = {*(config.columns or ()), *(config.drop_columns or ())}
    for first, second in repeated_names(list(table.columns)):
        if second not in named and first not in (config.drop_columns or ()):
            raise DataError(
                f"{table.source} names a column twice: {second!r} is how pandas and R call a second {first!r}. Rename "
                f'it, or leave it out ([federation] drop-columns = ["{second}"])'
            )


def _complete(table: TextTable, config: FederationConfig) -> tuple[TextTable, list[str]]:
    """Return the rows that have a target and, where asked for, an event and a hospital, and what was left out."""
    notes = []
    for name in (config.target, config.event_column, config.hospital_column):
        if name is None:
            continue
        texts = table.columns[name]
        is_there = texts != ""
        if name == config.target:
            is_there &= ~is_marker(numbers_of(texts, config.decimal), config)
        if num_missing := int((~is_there).sum()):
            table = table.rows(is_there)
            notes.append(f"rows dropped because {name} is missing: {shown_count(num_missing)}")
    if not table.num_rows:
        raise DataError(f"{table.source} has no row with a {config.target}: check [federation] target and the file")
    return table, notes


def _without_words(table: TextTable, config: FederationConfig) -> tuple[TextTable, dict[str, tuple[str, ...]]]:
    """Return the table with words for missing empty in columns of numbers or dates, and those words by column."""
    found = {name: words_among_values(texts, config.decimal) for name, texts in table.columns.items()}
    words = {name: own for name, own in found.items() if own}
    for name, own in words.items():
        emptied = table.columns[name].copy()
        emptied[[text in own for text in emptied]] = ""
        table = replace(table, columns=table.columns | {name: emptied})
    return table, words


def _hospitals(table: TextTable, config: FederationConfig) -> tuple[NDArray[np.str_] | None, list[str]]:
    if config.hospital_column is not None:
        column = config.hospital_column
        texts = exact_names(table.columns[column], "hospital-column", column, table).tolist()
        notes = [*alike_notes(texts, "hospitals", table), *named_after_words(texts, "hospital", column)]
        return hospital_ids(texts, table.source), notes
    if table.hospitals is not None:
        files = len(set(table.hospitals.tolist()))
        return hospital_ids(table.hospitals.tolist(), table.source), [f"one file a hospital: {files} files"]
    return None, []


def _patients(
    table: TextTable, config: FederationConfig, hospitals: NDArray[np.str_] | None
) -> tuple[NDArray[np.str_] | None, list[str]]:
    column = config.patient_column
    if column is None:
        return None, []
    is_scoped = config.patient_scope == "hospital"
    if is_scoped and hospitals is None:
        raise ConfigError(
            'patient-scope = "hospital" needs rows whose hospital is known ([federation] patient-scope): add '
            "hospital-column, or one file a hospital"
        )
    texts = exact_names(table.columns[column], "patient-column", column, table).tolist()
    patients, notes = patient_ids(texts, hospitals if is_scoped else None)
    words = [word for word, number in Counter(texts).items() if number > 1]
    return patients, [*notes, *alike_notes(texts, "patients", table), *named_after_words(words, "patient", column)]
