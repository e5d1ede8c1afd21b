"""The rows of a CSV file as texts, taken line by line, so that no file can ask for more memory than a line's.

A line has at most 1,048,576 characters, a cell 131,072 (as the standard library has it), and a file 10,000,000 lines.
What is left out on purpose: what the cells mean.
"""

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import IO
from unicodedata import normalize

from wardround.disk import open_regular
from wardround.errors import DataError
from wardround.parsing import sound

__all__ = ["open_text", "rows_of", "separator_of"]

_LONGEST_LINE, _LONGEST_COMPOSED, _MOST_LINES = 2**20, 1_000, 10_000_000


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a regular file of UTF-8 text, packed by gzip where it ends in ".gz"; a byte order mark is no part of it.

    Raises:
        DataError: it can't be read, is no such text, or whatever is done with it meanwhile finds that it is no table.
    """
    with (
        sound(DataError, f"cannot read {path} as CSV", "check that it is a table in UTF-8"),
        open_regular(path) as raw,
        gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else nullcontext(raw) as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text,
    ):
        yield text


def separator_of(header: str) -> str:
    """Return comma, semicolon or tab, whichever the header has most of."""
    return max(",;\t", key=header.count)


def rows_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a file: the number of each one's last line, and its cells without blanks around them.

    An accent is the same whether it was typed with its letter or after it (Unicode's NFC). Empty lines are no rows.

    Args:
        path: as `open_text` has it.

    Raises:
        DataError: the file can't be read, is no such text, or is too large.
    """
    with open_text(path) as file:
        lines = _lines(file, path)
        header = next(lines, "")
        reader = csv.reader(chain([header], lines), delimiter=separator_of(header), strict=True, skipinitialspace=True)
        for cells in reader:
            if cells:
                yield reader.line_num, [_plain(cell) for cell in cells]


def _plain(cell: str) -> str:
    # Longer ones are neither a level nor a name, and to sort their accents could take long.
    is_composed = cell.isascii() or len(cell) > _LONGEST_COMPOSED
    return cell.strip() if is_composed else normalize("NFC", cell).strip()


def _lines(file: IO[str], path: Path) -> Iterator[str]:
    for number in range(1, _MOST_LINES + 2):
        line = file.readline(_LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > _LONGEST_LINE:
            raise DataError(f"{path}, line {number} has more than {_LONGEST_LINE:,} characters: check what file it is")
        yield line
    raise DataError(f"{path} has more than {_MOST_LINES:,} lines: no site's table is read beyond them")
