"""Ways to bend a run folder: its ledger, its tables, its summary, its models."""

import csv
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from small_runs import small_config

from wardround.privacy.chain import GENESIS, row_digest

CONFIG = small_config(training={"num-rounds": 3})


def execute(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def rechain(folder: Path, change: Callable[[list[dict[str, Any]]], None] = lambda rows: None) -> None:
    """Change the ledger's rows and make every digest anew, as only someone who knows how can."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        connection.row_factory = sqlite3.Row
        tables = ("entries", "rounds", "closings")
        found = [(table, dict(row)) for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
        found.sort(key=lambda pair: pair[1]["sequence"])
        change([row for _, row in found])
        digest = GENESIS
        for table, row in found:
            digest = row["digest"] = row_digest(digest, row)
            values = ", ".join(f"{name} = ?" for name in row)
            connection.execute(f"UPDATE {table} SET {values} WHERE sequence = ?", (*row.values(), row["sequence"]))
        connection.execute("UPDATE head SET count = ?, digest = ?", (len(found), digest))


def edit_table(name: str, change: Callable[[list[list[str]]], Any]) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        with (folder / name).open(newline="") as file:
            rows = list(csv.reader(file))
        change(rows)
        with (folder / name).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    return tamper


def edit_summary(**changes: Any) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        summary = json.loads((folder / "summary.json").read_text())
        assert changes.keys() <= summary.keys()
        (folder / "summary.json").write_text(json.dumps(summary | changes))

    return tamper


def edit_config(before: str, after: str) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        text = (folder / "config.toml").read_text()
        assert before in text
        (folder / "config.toml").write_text(text.replace(before, after))

    return tamper


def sql(*statements: str) -> Callable[[Path], None]:
    return lambda folder: execute(folder, *statements)


def edit_model(folder: Path) -> None:
    arrays = load_file(folder / "model.safetensors")
    name = min(arrays)
    arrays[name] = np.nextafter(arrays[name], np.float32(9))
    save_file(arrays, folder / "model.safetensors")


def make_model_complex(folder: Path) -> None:
    arrays = load_file(folder / "model.safetensors")
    save_file({name: array.astype(np.complex64) for name, array in arrays.items()}, folder / "model.safetensors")


def link_model_nowhere(folder: Path) -> None:
    """Put a link in the model's place, to a name that is longer than any file's may be."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("a" * 300)


def edit_checkpoint(folder: Path) -> None:
    path = folder / "checkpoints" / "round-000002.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def cut_the_newest_round(folder: Path) -> None:
    """Take round 3 out of everything but the model, so that the ledger is a whole one of two rounds."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        (last, digest) = connection.execute("SELECT sequence, digest FROM rounds WHERE round_number = 2").fetchone()
        for table in ("entries", "rounds", "closings"):
            connection.execute(f"DELETE FROM {table} WHERE sequence > {last}")
        connection.execute("UPDATE head SET count = ?, digest = ?", (last, digest))
    for name in ("rounds.csv", "hospitals.csv"):
        edit_table(name, lambda rows: rows.__setitem__(slice(None), [row for row in rows if row[0] != "3"]))(folder)
    (folder / "checkpoints" / "round-000003.safetensors").unlink()
    (folder / "summary.json").unlink()
