"""Readers of what runs and studies leave behind: ledgers, and the files of their folders."""

import json
import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from fuzz_mutations import mutated_bytes, mutated_text, mutated_toml, mutated_value
from fuzz_run import MEBI, Reader, Ways, each
from small_runs import small_config

from wardround.privacy.ledger import open_ledger
from wardround.reports.folder import read_run
from wardround.reports.study_folder import read_study
from wardround.server.record.books import books_of
from wardround.server.record.run_folder import open_run_folder
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import run
from wardround.simulations.studies.study_run import read_result

__all__ = ["FOLDER_READERS"]

_TABLES = {
    "entries": (
        "sequence",
        "state",
        "charge_id",
        "hospital_id",
        "round_number",
        "noise_multiplier",
        "sample_rate",
        "num_steps",
        "unit",
        "digest",
        "scaled_norm",
    ),
    "rounds": ("sequence", "run_id", "round_number", "record", "digest"),
    "closings": ("sequence", "record", "time"),
    "head": ("count", "digest"),
}
_CELLS = (
    "NULL",
    "''",
    "0",
    "-1",
    "1e999",
    "9223372036854775807",
    "x'00ff'",
    "'nan'",
    "CAST(x'ff' AS TEXT)",
    "randomblob(40)",
    "zeroblob(20000)",
    "1.5",
    "'{}'",
    "'[]'",
)


def _sql(random: Random) -> str:
    table = random.choice(list(_TABLES))
    column = random.choice(_TABLES[table])
    other = random.choice(list(_TABLES))
    return random.choice(
        (
            f"UPDATE {table} SET {column} = {random.choice(_CELLS)} WHERE rowid = {random.randint(1, 6)}",
            f"UPDATE {table} SET {column} = {random.choice(_CELLS)}",
            f"DELETE FROM {table} WHERE rowid = {random.randint(1, 6)}",
            f"DELETE FROM {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE {table} RENAME COLUMN {column} TO x",
            f"ALTER TABLE {table} ADD COLUMN extra",
            f"ALTER TABLE {table} RENAME TO gone",
            f"INSERT INTO {other} SELECT * FROM {table}",
            f"CREATE TABLE again AS SELECT * FROM {table}",
            f"PRAGMA user_version = {random.choice((0, 1, 5, -1, 4))}",
            f"DROP TABLE {table}; CREATE VIEW {table} AS SELECT 1 AS {column}",
            f"CREATE TRIGGER t AFTER INSERT ON {table} BEGIN DELETE FROM {other}; END",
            "DROP INDEX rounds_by_number",
        )
    )


def _ledger(folder: Path) -> Ways:
    path = folder / "changed.sqlite"
    good = (_run_folder(folder) / "ledger.sqlite").read_bytes()

    def draw(random: Random) -> bytes:
        if random.random() < 0.5:
            # The first page has the header and the schema; most of the rest is empty.
            page = 0 if random.random() < 0.3 else random.randrange(len(good) // 4096) * 4096
            changed = mutated_bytes(random, good[page : page + 4096], most_changes=12)
            return good[:page] + changed + good[page + 4096 :]
        path.write_bytes(good)
        connection = sqlite3.connect(path, isolation_level=None)
        for _ in range(random.randint(1, 2)):
            try:
                connection.executescript(_sql(random))
            except (sqlite3.Error, OverflowError):
                continue
        connection.close()
        return path.read_bytes()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with open_ledger(path, read_only=True) as ledger:
            each(
                *(
                    ledger.verify,
                    ledger.history,
                    ledger.entries,
                    ledger.events,
                    ledger.to_frame,
                    ledger.rounds,
                    ledger.dates,
                ),
                *(lambda: ledger.head, lambda: ledger.num_attempts("run", 1), lambda: books_of(ledger.history())),
            )

    return good, draw, read


def _books(folder: Path) -> Ways:
    with open_ledger(_run_folder(folder) / "ledger.sqlite", read_only=True) as ledger:
        rows = ledger.history()
    places = [index for index, row in enumerate(rows) if row.kind in ("round", "closing")]

    def draw(random: Random) -> Any:
        place = random.choice(places[: random.choice((1, len(places)))])
        text = str(rows[place].content)
        changed = (
            mutated_text(random, text).decode(errors="replace")
            if random.random() < 0.2
            else json.dumps(mutated_value(random, json.loads(text)), default=str)
        )
        return [*rows[:place], replace(rows[place], content=changed), *rows[place + 1 :]]

    def read(changed: Any) -> None:
        books = books_of(changed)
        if books is not None:
            closing = books.closing
            each(books.findings, lambda: books.account, lambda: closing and books.summary(closing))

    return rows, draw, read


def _folder_files(folder: Path) -> Ways:
    """A run folder in which one file was changed, and every command that looks at one."""
    # Without privacy, as nothing has to be accounted for then at every look; the rounds have a reader of their own.
    whole, path = _run_folder(folder, is_private=False), folder / "changed"
    names = ("config.toml", "summary.json", "rounds.csv", "hospitals.csv", "versions.txt", "model.safetensors")
    good = {name: (whole / name).read_bytes() for name in names}
    shutil.copytree(whole, path)

    def draw(random: Random) -> Any:
        name = random.choice(names)
        if name == "summary.json" and random.random() < 0.7:
            return name, json.dumps(mutated_value(random, json.loads(good[name])), default=str).encode()
        change = mutated_toml if name == "config.toml" else mutated_text
        return name, mutated_bytes(random, good[name]) if name.startswith("model") else change(
            random, good[name].decode()
        )

    def read(case: Any) -> None:
        name, data = case
        (path / name).write_bytes(data)
        try:
            each(
                lambda: verify_run(path),
                lambda: read_run(path),
                lambda: open_run_folder(path).config(),
                lambda: open_run_folder(path).other_versions(),
            )
        finally:
            (path / name).write_bytes(good[name])

    return ("versions.txt", good["versions.txt"]), draw, read


_LABELS = {
    "placement": "local",
    "unit": "record",
    "noise_multiplier": "1.0",
    "target_epsilon": "",
    "seed": "1",
    "baseline": "",
    "run": "record-local-noise-1-seed-1",
    "relation": "zero-out-one-record",
    "accuracy": "0.9",
    "auc": "0.95",
}
_RESULT = _LABELS | {
    **dict.fromkeys((f"epsilon_{name}" for name in ("max", "total", "server", "hospital", "recipient")), "2.5"),
    "seconds": "1.5",
    "status": "done",
    "num_rounds": "3",
    "task": "classification",
    "target_delta": "1e-05",
}
_HOSPITAL = _LABELS | {"hospital": "north", "num_examples": "100", "epsilon": "2.5", "num_test": "25"}
_NOISE = {"unit": "record", "placement": "local", "num_hospitals": "2", "num_coordinates": "100"} | dict.fromkeys(
    ("noise_multiplier", "max_grad_norm", "stddev_measured", "stddev_theory"), "0.5"
)
_VARIED = {
    "units": ["record"],
    "placements": ["local"],
    "noise_multipliers": [1.0],
    "target_epsilons": [],
    "baselines": [],
}


def _csv_of(row: dict[str, str]) -> str:
    return f"{','.join(row)}\n{','.join(row.values())}\n"


_STUDY_FILES = {
    "study.json": json.dumps(
        {"name": "a", "seeds": [1], **_VARIED, "runs": {_LABELS["run"]: "", "majority-seed-1": ""}}
    ),
    "results.csv": _csv_of(_RESULT),
    "hospitals.csv": _csv_of(_HOSPITAL),
    "failures.csv": _csv_of({"run": "majority-seed-1", "reason": "no"}),
    "noise_on_average.csv": _csv_of(_NOISE),
    "result.json": json.dumps({"row": {"run": "a"}, "hospitals": []}),
}


def _study_files(folder: Path) -> Ways:
    good = _STUDY_FILES
    for name, text in good.items():
        (folder / name).write_text(text)

    def draw(random: Random) -> Any:
        name = random.choice(list(good))
        if name.endswith("json") and random.random() < 0.7:
            return name, json.dumps(mutated_value(random, json.loads(good[name])), default=str).encode()
        return name, mutated_text(random, good[name])

    def read(case: Any) -> None:
        (folder / case[0]).write_bytes(case[1])
        try:
            each(lambda: read_study(folder).metric, lambda: read_result(folder))
        finally:
            (folder / case[0]).write_text(good[case[0]])

    return ("study.json", good["study.json"].encode()), draw, read


def _run_folder(folder: Path, *, is_private: bool = True) -> Path:
    """Return the folder of a small run that ended."""
    privacy = {} if is_private else {"placement": "none", "noise-multiplier": None}
    config = small_config(training={"num-rounds": 2}, federation={"num-hospitals": 2}, privacy=privacy)
    return run(config, out=folder / "run").folder


FOLDER_READERS: Iterable[Reader] = (
    Reader(name="ledger (SQLite)", most_bytes=16 * MEBI, prepare=_ledger, share=0.5),
    Reader(name="rounds in the ledger", most_bytes=16 * MEBI, prepare=_books, share=0.3),
    Reader(name="files of a run", most_bytes=16 * MEBI, prepare=_folder_files, share=0.12),
    Reader(name="files of a study", most_bytes=4 * MEBI, prepare=_study_files),
)
