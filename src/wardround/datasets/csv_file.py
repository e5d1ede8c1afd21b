"""A user's own CSV file: checked, texts one-hot, numbers left for each hospital to standardise by its own rows.

Separators are comma, semicolon or tab, whichever the header has most of; numbers have a decimal point. Dates and
free text are refused rather than guessed at.
"""

import gzip
import warnings
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wardround.config import FederationConfig
from wardround.datasets.csv_columns import feature_columns, hospital_ids, patient_ids
from wardround.datasets.csv_target import read_target
from wardround.datasets.records import REGRESSION, Dataset
from wardround.disk import open_regular
from wardround.errors import ConfigError, DataError
from wardround.names import did_you_mean
from wardround.small_counts import shown_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_csv"]

_SEPARATORS = ",;\t"


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
    target = read_target(table[config.target], config.task, path)
    columns, local, feature_notes = feature_columns(table.drop(columns=[c for c in named.values() if c]), path)
    hospitals = None if config.hospital_column is None else hospital_ids(table[config.hospital_column], path)
    patient_column = config.patient_column
    patients, patient_notes = (None, []) if patient_column is None else patient_ids(table[patient_column])
    unit_note = ["the target is in its own unit"] if target.task == REGRESSION else []
    return Dataset(
        name="csv",
        task=target.task,
        features=np.stack(list(columns.values()), axis=1).astype(np.float32),
        labels=target.labels,
        class_names=target.class_names,
        feature_names=tuple(columns),
        hospitals=hospitals,
        patients=patients,
        notes=(f"source: {path.name}", *notes, *feature_notes, *patient_notes, *unit_note),
        local_columns=tuple(index for index, name in enumerate(columns) if name in local),
    )


def _read_table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        with open_regular(path) as raw, gzip.open(raw) if path.suffix == ".gz" else nullcontext(raw) as file:
            header = file.readline().decode("utf-8-sig")
        separator = max(_SEPARATORS, key=header.count)
        with warnings.catch_warnings():
            # Without index_col = False the first column would silently become the index where rows are too wide.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep=separator,
                encoding="utf-8-sig",
                skipinitialspace=True,
                low_memory=False,
                index_col=False,
            )
    except FileNotFoundError:
        raise ConfigError(f"no file {path}: check [federation] path (relative to the current directory)") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty: it needs a header line and one line per record") from None
    except pd.errors.ParserWarning:
        raise DataError(f"{path}: rows have more cells than the header has names: give every column a name") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}): save it as CSV in UTF-8") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"cannot read {path} as CSV ({error}): check that it is a table in UTF-8") from None
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
