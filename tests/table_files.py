"""Tables for tests: written row by row, read as a user's own, and described on the command line."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from wardround.cli import main
from wardround.config import FederationConfig
from wardround.datasets import Dataset, load_dataset

ROLES = {"target": "died", "hospital_column": "hospital", "patient_column": "patient"}


def patients(number: int = 60, hospitals: Sequence[str] = ("north", "south", "west"), **columns: Sequence[Any]) -> str:
    """Return a CSV of hospital, patient, age, sex, crp and died; given columns replace or add to these."""
    table: dict[str, Sequence[Any]] = {
        "hospital": [hospitals[row * len(hospitals) // number] for row in range(number)],
        "patient": [f"p{row + 1:03d}" for row in range(number)],
        "age": [30 + row * 7 % 59 for row in range(number)],
        "sex": ["fm"[row % 2] for row in range(number)],
        "crp": [f"{row * 37 % 101 + 0.5}" for row in range(number)],
        "died": [int(row * 7 % 59 > 30) for row in range(number)],
    } | columns
    return csv_of(table)


def csv_of(table: Mapping[str, Sequence[Any]], separator: str = ",") -> str:
    """Return columns as CSV; a cell with the separator is quoted."""
    rows = [list(table), *zip(*table.values(), strict=True)]
    texts = [[f'"{cell}"' if separator in str(cell) else str(cell) for cell in row] for row in rows]
    return "".join(separator.join(row) + "\n" for row in texts)


def settings(path: Path | None, **keys: Any) -> FederationConfig:
    """Return the settings of a table of `patients`, with keys replaced; None removes one."""
    return FederationConfig(**{"dataset": "csv", "path": path and str(path), **ROLES, **keys})


def load(folder: Path, text: str | bytes, **keys: Any) -> Dataset:
    """Return a file of that text as a data set."""
    path = folder / "own.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_dataset(settings(path, **keys))


def words_for(path: Path, **keys: Any) -> list[str]:
    """Return the command line's options for a table of `patients`."""
    named = {"dataset": "csv", "path": str(path), **ROLES, **keys}
    pairs = ((key.replace("_", "-"), value) for key, value in named.items() if value is not None)
    return [word for key, value in pairs for word in ("--set", f"federation.{key}={value}")]


def on_command_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """Return the exit status of a command, and what it printed and said, in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["wardround", *words])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


def described(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], path: Path, **keys: Any) -> Any:
    """Return what `wardround data describe --json` tells of a table."""
    code, out, err = on_command_line(monkeypatch, capfd, "data", "describe", *words_for(path, **keys), "--json")
    assert code == 0, err
    return json.loads(out)
