"""Read the files of a run folder, each defect a ProtocolError that names the file and the next step.

Left out on purpose: what the columns and keys mean (`folder` knows).
"""

import csv
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from wardround.audits.records import AUDIT, Audit
from wardround.disk import file_text, open_regular
from wardround.errors import ConfigError, ProtocolError
from wardround.json_records import read_json_record
from wardround.parsing import from_json, from_toml, sound
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.summaries import Summary
from wardround.server.record.verify import verify_run

__all__ = [
    "NOT_KNOWN",
    "as_written",
    "each_row",
    "is_small",
    "read_audit",
    "read_count",
    "read_ended",
    "read_json",
    "read_number",
    "read_numbers",
    "read_rows",
    "read_summary",
    "read_text",
    "read_toml",
]

NOT_KNOWN = float("nan")
_MOST_BYTES = 2**30
"""Of a table: a line for each round and hospital."""


def as_written(folder: Path) -> AbstractContextManager[None]:
    """Turn whatever the files of a folder trip up, once each is read, into an error that names the folder.

    Raises:
        ProtocolError: a value in a file, or a column, is not what a run or a study writes.
    """
    step = "restore the files that were written, or write them anew with the command that did"
    return sound(ProtocolError, f"the files in {folder} do not fit together", step, csv.Error)


def read_text(path: Path) -> str | None:
    """Return the text of a file, or None where there is no such file.

    Raises:
        ProtocolError: it is there and cannot be read.
    """
    try:
        return file_text(path, _MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"cannot read {path}: {error}") from None


def read_toml(path: Path, text: str) -> dict[str, dict[str, Any]]:
    """Return the tables of a TOML text.

    Raises:
        ProtocolError: the text is not TOML.
    """
    with sound(ProtocolError, f"{path} is not valid TOML", "restore the file that the run wrote"):
        tables = from_toml(text)
    return {section: table for section, table in tables.items() if isinstance(table, dict)}


def read_json(path: Path, mend: str = "") -> dict[str, Any] | None:
    """Return the table of a JSON file, or None where there is no such file.

    Args:
        path: of the file.
        mend: what to do where it is not JSON; "" is to take up the run again.

    Raises:
        ProtocolError: the file is not a JSON table.
    """
    text = read_text(path)
    if text is None:
        return None
    with sound(ProtocolError, f"{path} is not valid JSON", mend or f"run `wardround resume {path.parent}`"):
        table = from_json(text)
    if not isinstance(table, dict):
        raise ProtocolError(f"{path} must hold a table, not a {type(table).__name__}: restore the file")
    return table


def read_summary(run_folder: Path) -> Summary | None:
    """Return what summary.json of a run says, or None where the run did not get so far.

    Raises:
        ProtocolError: it is damaged, or of a version that did not write what is needed.
    """
    path = run_folder / "summary.json"
    table = read_json(path)
    if table is None:
        return None
    with sound(ProtocolError, f"{path} is no summary of a run", f"`wardround resume {run_folder}` writes it anew"):
        return read_json_record(Summary, table)


def read_audit(run_folder: Path) -> Audit | None:
    """Return what audit.json says of a run as it is; None where it was not audited, or not since it went on.

    Raises:
        ProtocolError: it is damaged, or summary.json is.
    """
    path, mend = run_folder / AUDIT, f"`wardround audit {run_folder}` writes it anew"
    table = read_json(path, mend)
    summary = None if table is None else read_summary(run_folder)
    if table is None or summary is None or summary.ledger_head is None:
        return None
    with sound(ProtocolError, f"{path} is no audit of a run", mend):
        audit = read_json_record(Audit, table)
    return audit if audit.ledger_digest == summary.ledger_head.digest else None


def read_ended(run: RunFolder, what: str) -> Summary:
    """Return the summary of a run that has come to an end and whose files are as its ledger has them.

    Args:
        run: its folder.
        what: is made of it, and is not where something is wrong: "dossier".

    Raises:
        ConfigError: the run has not come to an end.
        ProtocolError: a file is not what the ledger says.
    """
    summary = read_summary(run.path)
    if summary is None or summary.status == "interrupted":
        raise ConfigError(f"{run.path} holds a run that has not come to an end: wardround resume {run.path} goes on")
    findings, _ = verify_run(run.path)
    if findings:
        raise ProtocolError(f"{run.path} is not in order, and no {what} is made of it: {findings[0]}")
    return summary


def read_rows(path: Path, *, is_growing: bool = False) -> list[dict[str, str]]:
    """Return the lines of a CSV file; none where there is no such file. What is given and raised is `each_row`'s."""
    return list(each_row(path, is_growing=is_growing))


def each_row(path: Path, *, is_growing: bool = False) -> Iterator[dict[str, str]]:
    """Yield the lines of a CSV file, which may be larger than memory; none where there is no such file.

    Args:
        path: of the file.
        is_growing: whether a last line without its end is still being written, and is not read.

    Raises:
        ProtocolError: it can't be read, or a line does not have the columns of the header.
    """
    try:
        with open_regular(path) as file, TextIOWrapper(file, encoding="utf-8", newline="") as text:
            reader = csv.DictReader(line for line in text if line.endswith("\n") or not is_growing)
            with sound(ProtocolError, f"{path} is no table", "restore the file", csv.Error):
                for row in reader:
                    if None in row or None in row.values():
                        raise ProtocolError(
                            f"{path} line {reader.line_num} does not have the columns of its header: restore the file"
                        )
                    yield row
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"cannot read {path}: {error}") from None


def read_numbers(row: Mapping[str, str], path: Path) -> dict[str, float]:
    """Return a line of a run's table as numbers, nan where a cell is empty.

    Raises:
        ProtocolError: a cell is not a number, or the line has no round.
    """
    try:
        numbers = {key: read_number(value) for key, value in row.items()}
    except ProtocolError as error:
        raise ProtocolError(f"{path}, round {row.get('round', '')}: {error}") from None
    if math.isnan(numbers.get("round", NOT_KNOWN)):
        raise ProtocolError(f"{path} has a line without a round: restore the file")
    return numbers


def read_number(value: Any) -> float:
    """Return a cell as a number: empty, None or a count not shown is nan, `inf` infinite, true and false 1 and 0.

    Raises:
        ProtocolError: it is none of these.
    """
    if value is None or value == "" or is_small(value):
        return NOT_KNOWN
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ProtocolError(f"{value!r} stands where a number belongs: restore the file that the run wrote") from None


def read_count(cell: str) -> int | str | None:
    """Return a cell that holds a count as it may be shown: a number, or "<10"; None where it is empty."""
    return cell if is_small(cell) else int(cell) if cell else None


def is_small(count: Any) -> bool:
    """Return whether a count is one of fewer than ten, and so not shown."""
    return isinstance(count, str) and count.startswith("<")
