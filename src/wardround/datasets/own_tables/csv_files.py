"""A CSV file as texts, a piece at a time, so that no file can ask for more memory than its lines need.

The standard library tells the cells apart and leaves each as the text it is. A line has at most 1,048,576 characters, a
cell 131,072 (as the standard library has it), and a file 10,000,000 lines. What is left out on purpose: what the cells
mean.
"""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from wardround.disk import open_regular
from wardround.errors import DataError
from wardround.parsing import sound

__all__ = ["CsvPiece", "csv_pieces", "plain_text"]

_LONGEST_LINE, _LONGEST_COMPOSED = 2**20, 1_000
_ROWS_OF_A_PIECE = 20_000
_STATED = re.compile(r'"?sep=(.)"?\s*')
_BLANKS = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
"""Those of ASCII, without any of which no cell needs to be looked at."""

_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CsvPiece:
    """Some rows of a file, one after another.

    Attributes:
        cells: texts (n, columns), accents composed (Unicode's NFC), without blanks around them.
        lines: int64 (n,), the last line of each row, from 1.
    """

    cells: NDArray[np.object_]
    lines: NDArray[np.int64]


def csv_pieces(
    path: Path, *, separator: str | None = None, encoding: str | None = None, most_lines: int = 10_000_000
) -> Iterator[CsvPiece]:
    """Yield the rows of a file, the header's alone first; empty lines are no rows.

    Args:
        path: a regular file, packed by gzip where it ends in ".gz".
        separator: between cells; None is what a first line such as "sep=;" says, else comma, semicolon or tab,
            whichever the header has most of.
        encoding: of the text; None is UTF-8. A byte order mark is no part of it.
        most_lines: of the text, empty ones and those within quotes too (>= 1).

    Raises:
        DataError: the file can't be read, is no such text, is too large, or a row has more or fewer cells than the
            first one.
    """
    encoding = "utf-8-sig" if encoding is None or codecs.lookup(encoding).name == "utf-8" else encoding
    with _opened(path, encoding) as file:
        lines = _BoundedLines(file, path, most_lines)
        separator = separator or lines.separator or max(",;\t", key=lines.first.count)
        rows = _rows_of(lines, separator, path)
        for header in rows:
            yield _piece_of([header])
            while piece := list(islice(rows, _ROWS_OF_A_PIECE)):
                yield _piece_of(piece)


def _rows_of(lines: "_BoundedLines", separator: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the last line of each row and its cells, as many as the first has."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    last_line, num_names = lines.num_skipped, 0
    try:
        for cells in reader:
            last_line = lines.num_skipped + reader.line_num
            num_names = num_names or len(cells)
            if len(cells) == num_names:
                yield last_line, cells
            elif cells:
                raise _other_width(path, last_line, len(cells), num_names)
    except csv.Error as error:
        raise _bad_quote(path, last_line + 1, is_long="field limit" in str(error)) from None


def _piece_of(rows: Sequence[tuple[int, list[str]]]) -> CsvPiece:
    cells = np.array([cells for _, cells in rows], dtype=object)
    for place, column in enumerate(cells.T):
        joined = "".join(column.tolist())
        if not joined.isascii() or any(blank in joined for blank in _BLANKS):
            cells[:, place] = [plain_text(cell) for cell in column]
    return CsvPiece(cells=cells, lines=np.array([line for line, _ in rows], dtype=np.int64))


def plain_text(cell: str) -> str:
    """Return a cell without blanks around it; an accent is the same whether typed with its letter or after it."""
    # Longer ones are neither a level nor a name, and to sort their accents could take long.
    is_composed = cell.isascii() or len(cell) > _LONGEST_COMPOSED
    return cell.strip() if is_composed else normalize("NFC", cell).strip()


def _other_width(path: Path, line: int, num_cells: int, num_names: int) -> DataError:
    if num_cells < num_names:
        step = "write all of its cells, the empty ones too, or remove the line if it is no record"
    elif 2 * num_names <= num_cells:
        step = "remove what stands above the header, or quote cells with separators"
    else:
        step = "quote cells with separators, and give every column a name"
    cells = "1 cell" if num_cells == 1 else f"{num_cells} cells"
    names = "1 name" if num_names == 1 else f"{num_names} names"
    return DataError(f"{path}, line {line} has {cells} and the header {names}: {step}")


def _bad_quote(path: Path, line: int, *, is_long: bool) -> DataError:
    """Return what is said of a row whose quotes can't be read, or that has too long a cell, with where it begins."""
    if is_long:
        return DataError(
            f"{path}, line {line}: a cell has more than {csv.field_size_limit():,} characters: shorten it, or close or "
            'remove the quote (") that begins it'
        )
    return DataError(
        f'{path}, line {line}: a quote (") begins a cell and does not end it: close it, remove it, or write "" for '
        "one inside a cell in quotes"
    )


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[IO[str]]:
    """Open a regular file of text, and turn whatever is wrong with it as a table into an error of ours."""
    step = 'check that it is a table in UTF-8, or name its encoding ([federation] encoding = "cp1252" or "utf-16")'
    with (
        sound(DataError, f"cannot read {path} as CSV", step),
        open_regular(path) as raw,
        gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else nullcontext(raw) as file,
        io.TextIOWrapper(file, encoding=encoding, newline="") as text,
    ):
        _check_mark(file.peek(4), path, encoding)
        yield text


def _check_mark(head: bytes, path: Path, encoding: str) -> None:
    """Refuse a text whose first bytes are of another encoding than the one that it is read in."""
    known = codecs.lookup(encoding).name
    if known.startswith(("utf-16", "utf-32")):
        return
    found = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if found is None and b"\0" in head[:2]:  # without a mark: a letter of ASCII has a zero beside it
        found = "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
    if found is not None and not known.startswith(found):
        step = "remove [federation] encoding" if found == "utf-8" else f'set [federation] encoding = "{found}"'
        other = known.removesuffix("-sig")
        raise DataError(f"{path} begins as text in {found} does, and is read as {other}: {step}")


class _BoundedLines:
    """The lines of a text, none of them and not all of them too long, from the first one that is not empty.

    A line that says which sign separates cells, as spreadsheets write it, is no row.
    """

    def __init__(self, file: IO[str], path: Path, most_lines: int) -> None:
        self._file, self._path, self._most_lines = file, path, most_lines
        self.number, self.num_skipped = 0, -1
        self.first = "\n"
        self.separator: str | None = None
        while self.first and not self.first.strip():
            self.first, self.num_skipped = self._next().removeprefix(_MARK), self.num_skipped + 1
            if stated := _STATED.fullmatch(self.first):
                self.first, self.separator = "\n", stated[1]

    def __iter__(self) -> Iterator[str]:
        line = self.first
        while line:
            yield line
            line = self._next()

    def _next(self) -> str:
        line = self._file.readline(_LONGEST_LINE + 1)
        self.number += bool(line)
        if "\0" in line:
            raise DataError(
                f"{self._path}, line {self.number} holds a character 0, as no text does: name its encoding "
                '([federation] encoding = "utf-16-le"), or save it again'
            )
        if self.number > self._most_lines:
            raise DataError(f"{self._path} has more than {self._most_lines:,} lines: no table is read beyond them")
        if len(line) > _LONGEST_LINE:
            raise DataError(
                f"{self._path}, line {self.number} has more than {_LONGEST_LINE:,} characters: check what file it is"
            )
        return line
