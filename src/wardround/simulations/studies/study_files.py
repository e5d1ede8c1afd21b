"""The files of a study's folder: written whole or not at all, with what to do where they can't be.

What is left out on purpose: what is in them (see `comparison`, `study_run`), and the folders of its runs.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wardround.disk import write_whole
from wardround.server.record.run_folder import writing

__all__ = ["csv_text", "write_text"]


def write_text(path: Path, text: str, *, is_synced: bool = True) -> None:
    """Write a text file whole or not at all, durable before it returns if synced.

    Raises:
        WardroundError: it can't be written.
    """
    with writing(path, "repeat the command with the same --out"):
        write_whole(path, text.encode(), is_synced=is_synced)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, header: bool = True) -> str:
    """Return a table as text; a column that a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
