"""The user's files as one table of texts: CSV, Parquet or Excel; one file, or one for each hospital."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wardround.config import FederationConfig
from wardround.datasets.own_tables.csv_files import csv_pieces
from wardround.datasets.own_tables.text_tables import TextTable, header_of, joined, table_of_frame
from wardround.datasets.own_tables.values import looks_like_value
from wardround.errors import ConfigError, DataError
from wardround.names import shown_name
from wardround.parsing import sound

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EXCEL", "PARQUET", "table_of_path"]

PARQUET, EXCEL = (".parquet", ".pq"), (".xlsx", ".xlsm")
"""How files end that are no text."""

_TEXT = (".csv", ".tsv", ".txt", ".data", ".dat", ".tab")
_READ = (*_TEXT, *PARQUET, *EXCEL)
_PACKED = (".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz")
_UNREAD = (".xls", ".ods", ".sav", ".dta", ".sas7bdat", ".rda", ".rds", ".json", *_PACKED)
"""How tables end that are known and not read."""

_MOST_FILES = 10_000
_MOST_OF_SPREADSHEETS = 1e15
"""Numbers of a spreadsheet have 15 digits."""
_EMPTY = "has a header but no row: it needs one line per record"


def table_of_path(config: FederationConfig) -> TextTable:
    """Return what is at `config.path`, every cell a text.

    Args:
        config: path, separator, decimal and encoding are used.

    Raises:
        ConfigError: nothing is there, or a package is missing that reads such a file.
        DataError: a file can't be read, is no table, or has other columns than the others.
    """
    path = Path(str(config.path)).expanduser()
    files = _files_of(path)
    if files is None:
        return _table_of_file(path, config)
    tables = [_table_of_file(file, config) for file in files]
    return joined(tables, [_stem(file) for file in files], str(path))


def _files_of(path: Path) -> list[Path] | None:
    """Return the files of a folder or of a pattern in order; None where the path is of a single file."""
    if path.is_dir():
        # A table of a kind that is not read is refused by name, as a hospital would be missing without a word.
        found = [file for file in path.iterdir() if {_kind(file), file.suffix.lower()} & {*_READ, *_UNREAD}]
    elif path.exists() or not any(sign in path.name for sign in "*?["):
        if not path.exists():
            raise ConfigError(f"no file {path}: check [federation] path (relative to the current directory)")
        return None
    else:
        found = list(path.parent.glob(path.name))
    files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    if not files:
        raise ConfigError(f"no file is at {path} that could be a table ([federation] path): its name ends in {_KINDS}")
    if len(files) > _MOST_FILES:
        raise ConfigError(f"{len(files):,} files are at {path}, and at most {_MOST_FILES:,} are read: name fewer")
    stems = [_stem(file) for file in files]
    if twice := [stem for place, stem in enumerate(stems) if stem in stems[:place]]:
        raise DataError(
            f"{path} has two files of the name {shown_name(twice[0])}, and each is one hospital's: rename one, or move "
            "it elsewhere"
        )
    return files


_KINDS = ", ".join((*_READ[:2], *PARQUET[:1], *EXCEL[:1]))


def _kind(file: Path) -> str:
    return Path(file.stem).suffix.lower() if file.suffix.lower() == ".gz" else file.suffix.lower()


def _stem(file: Path) -> str:
    return Path(file.stem).stem if file.suffix.lower() == ".gz" else file.stem


def _table_of_file(path: Path, config: FederationConfig) -> TextTable:
    kind = path.suffix.lower()
    if kind in (*PARQUET, *EXCEL):
        for key in ("separator", "encoding"):
            if getattr(config, key) is not None:
                raise ConfigError(
                    f"{key} goes with files of text, and {path.name} is none ([federation] {key}): remove it"
                )
        return _parquet(path, config) if kind in PARQUET else _excel(path)
    if kind in _UNREAD:
        raise ConfigError(
            f"{path} is not read ([federation] path): save it as CSV, Parquet or .xlsx, packed by gzip (.csv.gz) if at "
            "all, or hand it over as a DataFrame (pandas reads most kinds); a pattern such as *.csv leaves it out of a "
            "folder"
        )
    return _csv(path, config)


def _csv(path: Path, config: FederationConfig) -> TextTable:
    pieces = csv_pieces(path, separator=config.separator, encoding=config.encoding)
    first = next(pieces, None)
    if first is None:
        raise DataError(f"{path} is empty: it needs a header line and one line per record")
    cells = list(first.cells[0])
    _check_header(cells, path)
    names = header_of(cells, str(path))
    rest = list(pieces)
    if not rest:
        raise DataError(f"{path} {_EMPTY}")
    columns = {name: np.concatenate([piece.cells[:, place] for piece in rest]) for place, name in enumerate(names)}
    lines = np.concatenate([piece.lines for piece in rest])
    return _without_empty_rows(
        TextTable(
            source=str(path),
            columns=columns,
            lines=lines,
            line_is="line",
            files=(str(path),),
            file_of_row=np.zeros(len(lines), dtype=np.int64),
        )
    )


def _check_header(cells: list[str], path: Path) -> None:
    """Refuse a first line that holds values: the first record would be lost, and its values be names."""
    values = [cell for cell in cells if looks_like_value(cell)]
    if values and 2 * len(values) >= len(cells):
        raise DataError(
            f"{path}: the first line holds {', '.join(map(repr, values[:3]))} and is no header: write a first line "
            "with a name for each column"
        )


def _without_empty_rows(table: TextTable) -> TextTable:
    """Return the table without rows whose every cell is empty, as spreadsheets leave them behind a table's end."""
    kept = np.zeros(table.num_rows, dtype=np.bool_)
    for texts in table.columns.values():
        kept |= texts != ""
    return table if kept.all() else table.rows(kept)


def _excel(path: Path) -> TextTable:
    _need("openpyxl", path)
    import pandas as pd

    with sound(DataError, f"cannot read {path} as Excel", "save it again as .xlsx, or as CSV", *_of_packages()):
        frame = pd.read_excel(path, dtype=object, keep_default_na=False, na_filter=False, header=None)
    is_blank = [all(cell is None or not str(cell).strip() for cell in row) for row in frame.itertuples(index=False)]
    if all(is_blank):
        raise DataError(f"{path} is empty: its first sheet needs a header and one row per record")
    num_above = is_blank.index(False)  # as a spreadsheet has them whose table does not begin at the top
    frame = frame.iloc[num_above:]
    cells = [str(cell) for cell in frame.iloc[0].tolist()]
    _check_header(cells, path)
    header_of(cells, str(path))
    frame = frame.iloc[1:].map(_as_kept).set_axis(cells, axis=1)
    if frame.empty:
        raise DataError(f"{path} {_EMPTY}")
    table = table_of_frame(frame, str(path))
    return _without_empty_rows(replace(table, lines=table.lines + 1 + num_above))


def _as_kept(cell: object) -> object:
    """Return a cell, a number of more digits than a spreadsheet keeps being written as rounded."""
    if not isinstance(cell, int | float) or isinstance(cell, bool) or abs(cell) < _MOST_OF_SPREADSHEETS:
        return cell
    return f"{float(cell):.16e}"


def _parquet(path: Path, config: FederationConfig) -> TextTable:
    _need("pyarrow", path)
    import pandas as pd

    with sound(DataError, f"cannot read {path} as Parquet", "write it again", *_of_packages()):
        frame = _with_index(pd.read_parquet(path, engine="pyarrow"))
    if frame.empty:
        raise DataError(f"{path} {_EMPTY}")
    return table_of_frame(frame, str(path), decimal=config.decimal or ".")


def _with_index(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the frame with a named index as columns: a file has no other place for it."""
    return frame.reset_index() if any(name is not None for name in frame.index.names) else frame


def _of_packages() -> tuple[type[Exception], ...]:
    """Return what is raised about a file that is packed and none."""
    import zipfile

    return (zipfile.BadZipFile,)


def _need(package: str, path: Path) -> None:
    try:
        importlib.import_module(package)
    except ImportError:
        raise ConfigError(
            f'{path} needs the package {package} to be read: pip install "wardround[tables]", or save it as CSV'
        ) from None
