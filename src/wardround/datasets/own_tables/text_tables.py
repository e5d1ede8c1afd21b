"""A table as texts: every cell is what its file says, and nothing is taken for a number before its column is known.

What is left out on purpose: where a table is from (`csv_files`, `files`), and what its columns mean.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.own_tables.csv_files import plain_text
from wardround.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Texts", "TextTable", "header_of", "joined", "table_of_frame", "with_missing"]

Texts = NDArray[np.object_]
"""(n,) cells of a column, each a str; "" where it is empty."""

_MOST_FILES_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextTable:
    """Columns of texts.

    Attributes:
        source: what it is, for messages: a path, or a name.
        columns: by name, all equally long.
        lines: int64 (n,), where each row is in its file, from 1.
        line_is: "line" or "row".
        files: what each row's file is, by `file_of_row`.
        file_of_row: int64 (n,).
        hospitals: (n,) hospital of each row's file, where there is one for each; None otherwise.
    """

    source: str
    columns: dict[str, Texts]
    lines: NDArray[np.int64]
    line_is: str
    files: tuple[str, ...]
    file_of_row: NDArray[np.int64]
    hospitals: Texts | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def place(self, row: int) -> str:
        """Return where a row is, for a message."""
        return f"{self.files[self.file_of_row[row]]}, {self.line_is} {self.lines[row]}"

    def place_to_show(self, row: int) -> str:
        """Return where a row is, for a note that others may read: without the folder of its file."""
        return f"{PurePath(self.files[self.file_of_row[row]]).name}, {self.line_is} {self.lines[row]}"

    def rows(self, kept: NDArray[np.bool_]) -> "TextTable":
        """Return a table of some of the rows."""
        return replace(
            self,
            columns={name: texts[kept] for name, texts in self.columns.items()},
            lines=self.lines[kept],
            file_of_row=self.file_of_row[kept],
            hospitals=None if self.hospitals is None else self.hospitals[kept],
        )


def header_of(names: Iterable[object], source: str) -> tuple[str, ...]:
    """Return the names of columns as texts, single blanks between words; one without a name is "(column 3)".

    Raises:
        DataError: a name is there twice.
    """
    header = [" ".join(plain_text(str(name)).split()) for name in names]
    header = [name or f"(column {place})" for place, name in enumerate(header, start=1)]
    if twice := [name for place, name in enumerate(header) if name in header[:place]]:
        raise DataError(
            f"{source} names a column twice: {', '.join(dict.fromkeys(twice))}. Give every column a name of its own"
        )
    return tuple(header)


def table_of_frame(frame: "pd.DataFrame", source: str, *, decimal: str = ".") -> TextTable:
    """Return a DataFrame as the texts that `frame.to_csv(index=False, decimal=decimal)` writes.

    Args:
        frame: of any dtypes; its index is not read.
        source: what it is, for messages.
        decimal: what is written before the decimals of columns of floats.

    Raises:
        DataError: a column's name is there twice.
    """
    if getattr(frame.columns, "nlevels", 1) > 1:
        raise DataError(f"{source} has columns of several levels: give every column one name")
    names = header_of(frame.columns, source)
    columns = {name: _texts(frame.iloc[:, place], decimal) for place, name in enumerate(names)}
    return TextTable(
        source=source,
        columns=columns,
        lines=np.arange(1, len(frame) + 1),
        line_is="row",
        files=(source,),
        file_of_row=np.zeros(len(frame), dtype=np.int64),
    )


def _texts(column: "pd.Series[Any]", decimal: str) -> Texts:
    kind = getattr(column.dtype, "kind", "O")
    is_missing = column.isna().to_numpy(dtype=np.bool_)
    written: Iterable[str]
    if isinstance(column.dtype, np.dtype) and kind in "biu":
        written = map(str, column.tolist())
    elif isinstance(column.dtype, np.dtype) and column.dtype == np.float64:
        written = (repr(value).replace(".", decimal) for value in column.tolist())
    elif kind in "OUT" or str(column.dtype) in ("object", "str", "string", "category"):
        written = (plain_text(_text(value, decimal)) for value in column.astype(object).tolist())
    else:  # dates, small floats, numbers with a mask: as pandas writes them
        import csv
        import io

        lines = column.to_csv(index=False, header=False, decimal=decimal, na_rep="", lineterminator="\n")
        written = (plain_text(row[0]) if row else "" for row in csv.reader(io.StringIO(lines, newline="")))
    made = np.empty(len(column), dtype=object)
    made[:] = list(written)
    made[is_missing] = ""
    return made


def _text(value: object, decimal: str) -> str:
    return repr(float(value)).replace(".", decimal) if isinstance(value, float) else str(value)


def with_missing(table: TextTable, markers: Sequence[str]) -> TextTable:
    """Return the table with cells that are one of the markers empty."""
    if not markers:
        return table
    is_marker: Callable[[str], bool] = frozenset(markers).__contains__
    columns = {}
    for name, texts in table.columns.items():
        columns[name] = texts.copy()
        columns[name][[is_marker(text) for text in texts]] = ""
    return replace(table, columns=columns)


def joined(tables: Sequence[TextTable], hospitals: Sequence[str], source: str) -> TextTable:
    """Return the rows of several files, each of one hospital, as one table.

    Args:
        tables: at least one.
        hospitals: name of each file's.
        source: what they are together.

    Raises:
        DataError: a file lacks a column that another one has.
    """
    first = tables[0]
    for table in tables[1:]:
        for one, other in ((first, table), (table, first)):
            if lacking := [name for name in one.columns if name not in other.columns]:
                raise DataError(
                    f"{other.source} lacks {', '.join(lacking[:_MOST_FILES_NAMED])}, which {one.source} has: give all "
                    "files the same columns, or read one of them ([federation] path)"
                )
    sizes = [table.num_rows for table in tables]
    files = [np.full(size, number, dtype=np.int64) for number, size in enumerate(sizes)]
    names = np.empty(len(hospitals), dtype=object)
    names[:] = list(hospitals)
    return TextTable(
        source=source,
        columns={name: np.concatenate([table.columns[name] for table in tables]) for name in first.columns},
        lines=np.concatenate([table.lines for table in tables]),
        line_is=first.line_is,
        files=tuple(table.source for table in tables),
        file_of_row=np.concatenate(files),
        hospitals=np.repeat(names, sizes),
    )
