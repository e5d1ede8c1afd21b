"""A user's own CSV file: checked, texts one-hot, numbers left for each hospital to standardise by its own rows.

Separators are comma, semicolon or tab, whichever the header has most of; numbers have a decimal point. Dates and
free text are refused rather than guessed at.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.csv_columns import feature_columns, hospital_ids, patient_ids, plain_texts
from wardround.datasets.csv_rows import open_text, separator_of
from wardround.datasets.csv_target import read_target
from wardround.datasets.records import REGRESSION, Dataset
from wardround.errors import ConfigError, DataError
from wardround.names import did_you_mean
from wardround.small_counts import shown_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_csv"]


def load_csv(config: FederationConfig) -> Dataset:
    """Return the rows of the file at `config.path` that have a target and, where asked for, a hospital.

    Numeric columns stay in their own unit, with nan where missing, and are listed in `local_columns`; each that
    misses a value brings a column of 0 and 1 saying where. Texts become one column per level, a missing text being a
    level of its own.

    Args:
        config: path, target, hospital_column, patient_column and task are used.

    Raises:
        ConfigError: there is no such file or column, or one column is named for two purposes.
        DataError: the file cannot be read, or the target or a feature cannot be used.
    """
    path = Path(str(config.path)).expanduser()
    table = _read_table(path)
    named = {
        "target": config.target,
        "hospital-column": config.hospital_column,
        "patient-column": config.patient_column,
    }
    _check_named_columns(table, named, path)
    table, notes = _drop_incomplete(table, [config.target, config.hospital_column])
    if table.empty:
        raise DataError(f"{path} has no row with a {config.target}: check [federation] target and the file")
    task, labels, class_names = read_target(table[config.target], config.task, path)
    columns, local, feature_notes = feature_columns(table.drop(columns=[c for c in named.values() if c]), path)
    patients, patient_notes = None, list[str]()
    if config.patient_column is not None:
        column = table[config.patient_column]
        texts = zip(plain_texts(column).tolist(), column.notna(), strict=True)
        patients, patient_notes = patient_ids([text if is_known else None for text, is_known in texts])
    return Dataset(
        name="csv",
        task=task,
        features=np.stack(list(columns.values()), axis=1).astype(np.float32),
        labels=labels,
        class_names=class_names,
        feature_names=tuple(columns),
        hospitals=None if config.hospital_column is None else _hospitals(table[config.hospital_column], path),
        patients=patients,
        notes=(
            f"source: {path.name}",
            *notes,
            *feature_notes,
            *patient_notes,
            *(["the target is in its own unit"] if task == REGRESSION else []),
        ),
        local_columns=tuple(index for index, name in enumerate(columns) if name in local),
    )


def _hospitals(column: "pd.Series[Any]", path: Path) -> NDArray[np.str_]:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    are_numbers = is_numeric_dtype(column) and not is_bool_dtype(column)
    texts = [str(value).removesuffix(".0") if are_numbers else str(value) for value in column]
    return hospital_ids(texts, path, are_numbers=are_numbers)


def _read_table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if not path.exists():
        raise ConfigError(f"no file {path}: check [federation] path (relative to the current directory)")
    try:
        with warnings.catch_warnings(), open_text(path) as file:
            # Without index_col = False the first column would silently become the index where rows are too wide.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            separator = separator_of(file.readline())
            file.seek(0)
            table = pd.read_csv(file, sep=separator, skipinitialspace=True, low_memory=False, index_col=False)
    except pd.errors.ParserWarning:
        raise DataError(f"{path}: rows have more cells than the header has names: give every column a name") from None
    if table.empty:
        raise DataError(f"{path} has a header but no row: it needs one line per record")
    table.columns = pd.Index([" ".join(str(name).split()) for name in table.columns])
    if not table.columns.is_unique:
        twice = ", ".join(table.columns[table.columns.duplicated()])
        raise DataError(f"{path} names a column twice: {twice}. Give every column a name of its own")
    return table


def _check_named_columns(table: "pd.DataFrame", named: dict[str, str | None], path: Path) -> None:
    wanted: dict[str, str] = {}
    for key, name in named.items():
        if name is None:
            continue
        if name not in table.columns:
            near = did_you_mean(name, table.columns, otherwise=":")
            columns = ", ".join(table.columns)
            raise ConfigError(f"{path} has no column {name!r} ([federation] {key}){near} its columns are {columns}")
        if name in wanted:
            raise ConfigError(
                f"{key} = {name!r} is already the {wanted[name]} ([federation] {key}): name another column"
            )
        wanted[name] = key


def _drop_incomplete(table: "pd.DataFrame", required: list[str | None]) -> tuple["pd.DataFrame", list[str]]:
    notes = []
    for name in required:
        if name is not None and (num_missing := int(table[name].isna().sum())):
            table = table[table[name].notna()]
            notes.append(f"rows dropped because {name} is missing: {shown_count(num_missing)}")
    return table, notes
