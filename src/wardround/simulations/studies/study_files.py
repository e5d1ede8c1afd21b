"""The files of a study's folder: written whole or not at all, with what to do where they can't be.

What is left out on purpose: what is in them (see `comparison`, `study_run`), and the folders of its runs.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from wardround.disk import write_whole
from wardround.server.record.run_folder import writing

__all__ = ["write_csv", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        WardroundError: it can't be written.
    """
    with writing(path, "repeat the command with the same --out"):
        write_whole(path, text.encode())


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table whole or not at all; a column that a row lacks is empty.

    Raises:
        WardroundError: it can't be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
