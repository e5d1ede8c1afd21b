"""A table read by its schema, every cell as text first, so that nothing is guessed and nothing learned from it.

A cell that does not fit is refused by its column and the line of the file; what it holds is not repeated. Columns
that the schema does not name are not read. A hospital's or patient's name has at most 200 characters, and a table
makes at most 2^30 values of features (4 GiB). What is left out on purpose: rows are never dropped, and empty cells
never filled from other rows.
"""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import Column, FederationConfig, Schema
from wardround.datasets.own_tables.csv_files import CsvPiece, csv_pieces
from wardround.datasets.own_tables.files import EXCEL, PARQUET
from wardround.datasets.own_tables.identifiers import hospital_ids, is_rewritten, patient_ids
from wardround.datasets.own_tables.values import number_of, scaled
from wardround.datasets.records import ColumnUse, Dataset
from wardround.errors import ConfigError, DataError
from wardround.names import did_you_mean, shown_name

__all__ = ["read_schema_table"]

_LONGEST_NAME, _MOST_VALUES = 200, 2**30
_MOST_NAMES, _MOST_COMPARED, _LONGEST_HINT = 10, 1_000, 1_000


def read_schema_table(
    path: Path, config: FederationConfig, hospital_column: str | None, *, place: str
) -> tuple[Dataset, NDArray[np.float64]]:
    """Return the rows of a file that must fit `config.schema`.

    Args:
        path: CSV, packed by gzip where it ends in ".gz"; in UTF-8, with comma, semicolon or tab between cells and a
            decimal point where the settings say nothing else.
        config: schema, target, patient_column, patient_scope, separator, decimal, encoding and missing_values are used.
        hospital_column: names each row's hospital; None where all rows are of one.
        place: the setting that names the path, for messages.

    Returns:
        The data set, whose features, classes and scales are the schema's; and float64 (n, columns of the schema), the
        number or the index of the level that each cell holds, nan where it is empty.

    Raises:
        ConfigError: no schema is set, or there is no such file.
        DataError: the file can't be read, or does not fit the schema: the column is named.
    """
    schema, identifiers = _checked(path, config, hospital_column, place=place)
    target = str(config.target)
    cells, texts, unread = _read(path, config, schema, identifiers)
    column = schema.column(target)
    values = cells[:, schema.columns.index(column)]
    hospitals = hospital_ids(texts["hospital-column"], path) if "hospital-column" in texts else None
    patients, patient_notes = None, list[str]()
    if names := texts.get("patient-column"):
        patients, patient_notes = patient_ids(names, hospitals if config.patient_scope == "hospital" else None)
        different = set(names)
        if len({name.casefold() for name in different}) < len(different):
            patient_notes.append("names of patients that differ by capitals alone are taken for different patients")
    dataset = Dataset(
        name="csv",
        task=schema.task(target),
        features=_features(schema, target, cells),
        labels=values.astype(np.int64) if column.levels else _scaled(column, values).astype(np.float32),
        class_names=schema.class_names(target),
        feature_names=schema.feature_names(target),
        hospitals=hospitals,
        patients=patients,
        notes=(f"source: {path.name}", *_notes(schema, column, unread), *patient_notes),
        columns=_uses(schema, target, identifiers, unread),
    )
    return dataset, cells


def _checked(
    path: Path, config: FederationConfig, hospital_column: str | None, *, place: str
) -> tuple[Schema, dict[str, str]]:
    """Return the schema and the columns that name hospitals and patients, by key, of settings that go together."""
    if config.schema is None or config.target is None:
        raise ConfigError("a table is read by [federation.schema] and [federation] target: add both")
    if not path.is_file():
        raise ConfigError(f"no file {path}: check {place} (with a schema it is one file of text)")
    if path.suffix.lower() in (*PARQUET, *EXCEL):
        raise ConfigError(f"{path} is no file of text, which a table with a schema is ({place}): save it as CSV")
    keys = (("hospital-column", hospital_column), ("patient-column", config.patient_column))
    identifiers = {key: name for key, name in keys if name is not None}
    if len(set(identifiers.values())) < len(identifiers):
        raise ConfigError(f"hospital-column and patient-column are both {hospital_column!r}: name two columns")
    if config.patient_scope == "hospital" and hospital_column is None:
        raise ConfigError(
            'patient-scope = "hospital" needs rows whose hospital is known ([federation] patient-scope): add '
            "hospital-column; a real site's patients are its own without it"
        )
    return config.schema, identifiers


def _read(
    path: Path, config: FederationConfig, schema: Schema, identifiers: Mapping[str, str]
) -> tuple[NDArray[np.float64], dict[str, list[str]], list[str]]:
    """Return cells as numbers (n, columns), the texts of identifiers by key, and the names of columns not read."""
    pieces = csv_pieces(path, separator=config.separator, encoding=config.encoding)
    first = next(pieces, None)
    header = [] if first is None else [" ".join(name.split()) for name in first.cells[0]]
    wanted = {column.name: f"[federation.schema] {column.name}" for column in schema.columns}
    wanted |= {name: f"[federation] {key}" for key, name in identifiers.items()}
    _check_header(header, wanted, path)
    place_of = {name: place for place, name in enumerate(header)}
    columns = [(column, place_of[column.name], _reader_of(column, config.decimal)) for column in schema.columns]
    places = {key: place_of[name] for key, name in identifiers.items()}
    cells, texts = array("d"), {key: list[str]() for key in identifiers}
    width, missing = max(len(columns), *schema.input_shape(str(config.target))), frozenset(config.missing_values or ())
    for line, row in _rows(pieces):
        where = f"{path}, line {line}"
        if (len(cells) // len(columns) + 1) * width > _MOST_VALUES:
            raise DataError(f"{where}: the table makes more than 2^30 values of features: name fewer columns or levels")
        for column, place, read in columns:
            if (value := read("" if row[place] in missing else row[place])) is None:
                raise DataError(f"{where}: {_misfit(column, row[place], config.decimal)}")
            cells.append(value)
        for key, place in places.items():
            texts[key].append(_identifier("" if row[place] in missing else row[place], key, header[place], where))
    if not cells:
        raise DataError(f"{path} has a header but no row: it needs one line per record")
    return np.frombuffer(cells).reshape(-1, len(columns)), texts, [name for name in header if name not in wanted]


def _rows(pieces: Iterable[CsvPiece]) -> Iterator[tuple[int, list[str]]]:
    for piece in pieces:
        yield from zip(piece.lines.tolist(), piece.cells.tolist(), strict=True)


def _check_header(header: Sequence[str], wanted: Mapping[str, str], path: Path) -> None:
    if not header:
        raise DataError(f"{path} is empty: it needs a header line and one line per record")
    number_of = Counter(header)
    for name, place in wanted.items():
        if name not in number_of:
            near = did_you_mean(name, (other for other in header[:_MOST_COMPARED] if other and other.isprintable()))
            raise DataError(f"{path} needs a column {name!r}, spelled so ({place}){near[:_LONGEST_HINT]}")
    if twice := [name for name, number in number_of.items() if name and number > 1]:
        raise DataError(f"{path} names column {shown_name(twice[0])} twice: give every column a name of its own")


def _reader_of(column: Column, decimal: str | None) -> Callable[[str], float | None]:
    """Return what makes a number of a cell: nan where it may be empty and is, None where it does not fit."""
    empty = math.nan if column.missing else None
    if column.range is None:
        codes = {level: float(code) for code, level in enumerate(column.levels or ())}
        return lambda text: codes.get(text) if text else empty
    low, high = column.range

    def number(text: str) -> float | None:
        if not text:
            return empty
        value = number_of(text, decimal)
        return value if low <= value <= high else None

    return number


def _misfit(column: Column, text: str, decimal: str | None) -> str:
    """Return why a cell does not fit, without what it holds: a column that slipped may hold a name."""
    name, next_step = column.name, "correct the cell, or agree on another schema ([federation.schema])"
    if not text:
        return f"{name} is empty, which it may not be: fill the cell, or agree on missing = true ([federation.schema])"
    if column.range is None:
        levels = column.levels or ()
        alike = [level for level in levels if level.casefold() == text.casefold()]
        shown = ", ".join(levels[:_MOST_NAMES]) + (", ..." if len(levels) > _MOST_NAMES else "")
        hint = f" (it differs from {alike[0]!r} by capitals alone)" if alike else ""
        return f"{name} holds a text that is none of its levels{hint}; they are {shown}: {next_step}"
    if math.isnan(number_of(text, decimal)):
        sign = "comma" if decimal == "," else "point"
        return (
            f"{name} holds something that is no number: write digits with a decimal {sign} and nothing else, or leave "
            "the cell empty where the schema says missing = true"
        )
    unit = f" {column.unit}" if column.unit else ""
    return f"{name} is outside its range, {column.range[0]:g} to {column.range[1]:g}{unit}: {next_step}"


def _identifier(text: str, key: str, name: str, where: str) -> str:
    if key == "hospital-column" and not text:
        raise DataError(f"{where}: {name} names no hospital: fill the cell ([federation] hospital-column)")
    if len(text) > _LONGEST_NAME:
        raise DataError(
            f"{where}: {name} has more than {_LONGEST_NAME} characters, which is no name ([federation] {key})"
        )
    if is_rewritten(text):
        raise DataError(
            f"{where}: {name} is a number as a program has rewritten it (such as 7.0 or 1.1E+17), so that one name may "
            f"be two, or two one: export the column as text ([federation] {key})"
        )
    return text


def _features(schema: Schema, target: str, cells: NDArray[np.float64]) -> NDArray[np.float32]:
    features = np.empty((len(cells), *schema.input_shape(target)), dtype=np.float32)
    columns = zip(schema.columns, cells.T, strict=True)
    made = chain.from_iterable(_features_of(column, values) for column, values in columns if column.name != target)
    for place, values in enumerate(made):
        features[:, place] = values
    return features


def _features_of(column: Column, values: NDArray[np.float64]) -> Iterator[NDArray[Any]]:
    """Yield the features of one column, in the order of their names."""
    if column.levels is None:
        yield np.where(np.isnan(values), 0.0, _scaled(column, values))
    else:
        yield from (values == code for code in range(len(column.levels)))
    if column.missing:
        yield np.isnan(values)


def _scaled(column: Column, values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = column.range or (0.0, 1.0)
    return scaled(values, low, high)


def _uses(schema: Schema, target: str, identifiers: Mapping[str, str], unread: Sequence[str]) -> tuple[ColumnUse, ...]:
    """Return what every column is used for, in the order of the schema."""
    uses = [
        ColumnUse(name=column.name, kind=f"{schema.task(target)} target")
        if column.name == target
        else ColumnUse(
            name=column.name, kind="number" if column.levels is None else "levels", features=column.feature_names
        )
        for column in schema.columns
    ]
    uses += [ColumnUse(name=name, kind=key.removesuffix("-column")) for key, name in identifiers.items()]
    reason = "the schema does not name it"
    return (*uses, *(ColumnUse(name=shown_name(name), kind="left out", reason=reason) for name in unread if name))


def _notes(schema: Schema, target: Column, unread: Sequence[str]) -> list[str]:
    notes = [
        "normalisation: numbers are scaled from the range of the schema to [-1, 1]; the schema is public, and nothing "
        "of a row is used for another"
    ]
    if target.range is not None:
        notes.append(f"the target {target.name} is scaled to [-1, 1] in the same way, and so are its losses")
    if any(column.missing for column in schema.columns):
        notes.append("an empty cell becomes 0 in its column's features, and a feature of its own says so")
    if named := [shown_name(name) for name in unread if name]:
        shown = ", ".join(named[:_MOST_NAMES])
        more = f" and {len(named) - _MOST_NAMES} more" if len(named) > _MOST_NAMES else ""
        notes.append(f"columns that the schema does not name, which were not read: {shown}{more}")
    return notes
