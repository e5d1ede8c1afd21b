"""The ledger: an append-only SQLite file of what every hospital released, hash-chained and durable.

A release is booked as planned before it leaves the hospital and as released when its round is committed. Planned
entries count, released or not: a crash in between may over-count, never under-count. Epsilon isn't stored but
computed from the entries (`account`). Left out on purpose: write-ahead logging (one file is easier to copy whole) and
more than one writer at a time.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from wardround.errors import ProtocolError
from wardround.privacy.chain import GENESIS, findings, row_digest
from wardround.privacy.entries import Entry
from wardround.privacy.phases import KIND_FIELDS, Phase, merged

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Entry", "Ledger", "open_ledger"]

_VERSION = 3
_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL"}
_ENTRY_COLUMNS = tuple(item.name for item in fields(Entry))
_COLUMNS = ("sequence", "state", *_ENTRY_COLUMNS, "time", "digest")
_ROUND_COLUMNS = ("sequence", "run_id", "round_number", "record", "time", "digest")
_SCHEMA = (
    "CREATE TABLE entries (sequence INTEGER PRIMARY KEY, state TEXT NOT NULL, "
    + ", ".join(f"{item.name} {_TYPES[item.type]} NOT NULL" for item in fields(Entry) if isinstance(item.type, type))
    + ", time TEXT NOT NULL, digest TEXT NOT NULL)",
    "CREATE UNIQUE INDEX entries_by_charge ON entries (charge_id, state)",
    "CREATE TABLE rounds (sequence INTEGER PRIMARY KEY, run_id TEXT NOT NULL, round_number INTEGER NOT NULL, "
    "record TEXT NOT NULL, time TEXT NOT NULL, digest TEXT NOT NULL)",
    "CREATE UNIQUE INDEX rounds_by_number ON rounds (run_id, round_number)",
    "CREATE TABLE head (count INTEGER NOT NULL, digest TEXT NOT NULL)",
    f"INSERT INTO head VALUES (0, '{GENESIS}')",
    f"PRAGMA user_version = {_VERSION}",
)
_NEXT_STEPS = {
    "full": "free some disk space, then resume",
    "locked": "another process is writing to it; wait for that one, then resume",
    "readonly": "check the permissions of the file and its folder",
    "not a database": "restore the file from a backup",
    "malformed": "restore the file from a backup",
    "disk I/O": "check the disk, then restore the file from a backup",
    "unable to open": "check that its folder exists and can be written to",
}


def open_ledger(path: str | Path, *, read_only: bool = False) -> "Ledger":
    """Return the ledger in a file, made new where there is none.

    Args:
        path: the SQLite file; its folder must exist.
        read_only: open an existing ledger to look at it; nothing can be written.

    Raises:
        ProtocolError: no such ledger (read_only), not a ledger, damaged, or a disk that is full or refuses.
    """
    path = Path(path)
    if read_only and not path.is_file():
        raise ProtocolError(f"no ledger {path}: name the folder of a run that was started")
    with _explained(path):
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}", uri=True, isolation_level=None
        )
        try:
            _prepare(connection, path, read_only=read_only)
        except BaseException:
            connection.close()
            raise
    return Ledger(path, connection)


class Ledger:
    """An open ledger; close it or use it as a context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was charged or committed is on the disk already."""
        self._connection.close()

    def charge(self, entries: Sequence[Entry]) -> None:
        """Book releases as planned, all or none; they are on the disk when this returns.

        Raises:
            ProtocolError: an entry's charge_id is there already, or the file can't be written.
        """
        with self._transaction() as append:
            for entry in entries:
                if self._select("charge_id = ?", entry.charge_id):
                    raise ProtocolError(
                        f"{self.path}: {entry.charge_id} is charged already, and every release is a charge of its own: "
                        "resume the run, which charges the round as its next attempt"
                    )
                append("entries", {"state": "planned", **asdict(entry)})

    def num_attempts(self, run_id: str, round_number: int) -> int:
        """Return how often a round was charged, 0 where it never was."""
        query = "SELECT coalesce(max(attempt), 0) AS number FROM entries WHERE run_id = ? AND round_number = ?"
        return int(self._rows(query, run_id, round_number)[0]["number"])

    def commit_round(self, run_id: str, round_number: int, released: Sequence[str], record: str) -> None:
        """Book charges as released and the round as done, all or nothing.

        Args:
            run_id: which job.
            round_number: from 1, not committed before.
            released: charge_ids that were charged and not yet released.
            record: what the round came to, as JSON text; kept as it is.

        Raises:
            ProtocolError: an unknown or already released charge_id, a round committed before, or an unwritable file.
        """
        with self._transaction() as append:
            for charge_id in released:
                rows = self._select("charge_id = ?", charge_id)
                if [row["state"] for row in rows] != ["planned"]:
                    what = "was released before" if rows else "was never charged"
                    raise ProtocolError(f"{self.path}: {charge_id} {what}: charge each release once, before it")
                append("entries", {"state": "released", **asdict(_entry(rows[0]))})
            if self._rows("SELECT 1 FROM rounds WHERE run_id = ? AND round_number = ?", run_id, round_number):
                raise ProtocolError(f"{self.path}: round {round_number} of {run_id} is committed already: resume")
            append("rounds", {"run_id": run_id, "round_number": round_number, "record": record})

    def rounds(self, run_id: str | None = None) -> list[tuple[int, str]]:
        """Return (round_number, record) of the committed rounds, of one run or of all, in order."""
        query = "SELECT round_number, record FROM rounds WHERE run_id = coalesce(?, run_id) ORDER BY sequence"
        return [(row["round_number"], row["record"]) for row in self._rows(query, run_id)]

    def entries(self) -> list[Entry]:
        """Return what was charged, in order, each release once."""
        return [_entry(row) for row in self._select("state = 'planned'")]

    def phases(self) -> dict[str, tuple[Phase, ...]]:
        """Return what every hospital was charged for, over all runs and attempts, released or not."""
        phases: defaultdict[str, list[Phase]] = defaultdict(list)
        kinds = ", ".join(KIND_FIELDS)
        query = (
            f"SELECT hospital_id, {kinds}, sum(num_steps) AS num_steps FROM entries WHERE state = 'planned' "
            f"GROUP BY hospital_id, {kinds}"
        )
        for row in self._rows(query):
            hospital_id = row.pop("hospital_id")
            phases[hospital_id].append(Phase(**row))
        return {hospital_id: merged(parts) for hospital_id, parts in phases.items()}

    def to_frame(self) -> "pd.DataFrame":
        """Return all entries, planned and released, one row each, as stored."""
        import pandas as pd

        return pd.DataFrame(self._select("1"), columns=list(_COLUMNS))

    @property
    def head(self) -> tuple[int, str]:
        """The number of rows and the digest of the last, which stands for the whole ledger."""
        rows = self._rows("SELECT count, digest FROM head")
        if len(rows) != 1:
            raise ProtocolError(f"ledger {self.path} has {len(rows)} head rows instead of 1: restore it from a backup")
        return rows[0]["count"], rows[0]["digest"]

    def verify(self) -> list[str]:
        """Return what is wrong with the ledger: changed, missing, added or moved rows; [] when nothing is."""
        heads = self._rows("SELECT count, digest FROM head")
        if len(heads) != 1:
            return [f"the ledger has {len(heads)} head rows instead of 1"]
        entries = self._select("1")
        rounds = self._rows(f"SELECT {', '.join(_ROUND_COLUMNS)} FROM rounds ORDER BY sequence")
        rows = sorted([*entries, *rounds], key=lambda row: int(row["sequence"]))
        found = [row["quick_check"] for row in self._rows("PRAGMA quick_check") if row["quick_check"] != "ok"]
        return [*found, *findings(rows, heads[0]["count"], heads[0]["digest"]), *_state_findings(entries)]

    def _rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with _explained(self.path):
            cursor = self._connection.execute(query, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def _select(self, condition: str, *values: Any) -> list[dict[str, Any]]:
        return self._rows(f"SELECT {', '.join(_COLUMNS)} FROM entries WHERE {condition} ORDER BY sequence", *values)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Yield a function that appends a row to the chain; everything is written, or nothing."""
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                count, digest = self.head
                time = datetime.now(UTC).isoformat(timespec="milliseconds")

                def append(table: str, values: dict[str, Any]) -> None:
                    nonlocal count, digest
                    count += 1
                    row = {"sequence": count, **values, "time": time}
                    digest = row["digest"] = row_digest(digest, row)
                    places = ", ".join("?" * len(row))
                    self._connection.execute(
                        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", tuple(row.values())
                    )

                yield append
                self._connection.execute("UPDATE head SET count = ?, digest = ?", (count, digest))
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _prepare(connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    """Set durability, make the tables of a new file, and refuse a file of another kind."""
    # EXTRA also syncs the folder: after a power cut a finished charge can't come undone.
    connection.execute("PRAGMA synchronous = EXTRA")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version == 0 and tables == 0 and not read_only:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")
    elif 0 < version < _VERSION:
        raise ProtocolError(
            f"{path} is a ledger of form {version}, whose charges state a neighbouring relation that their epsilon "
            f"does not hold for (this version writes form {_VERSION}, relation zero-out-one-record): it is not read; "
            "make the run anew from its config.toml"
        )
    elif version != _VERSION:
        raise ProtocolError(f"{path} is no ledger of this version of wardround: name another file")


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(**{name: row[name] for name in _ENTRY_COLUMNS})


def _state_findings(entries: Sequence[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    states: defaultdict[str, list[str]] = defaultdict(list)
    contents: dict[str, list[Any]] = {}
    for row in entries:
        charge_id, content = row["charge_id"], [row[name] for name in _ENTRY_COLUMNS]
        if row["state"] in states[charge_id]:
            found.append(f"row {row['sequence']}: {charge_id} is {row['state']} twice")
        elif row["state"] == "released" and not states[charge_id]:
            found.append(f"row {row['sequence']}: {charge_id} is released but was not planned before")
        elif contents.setdefault(charge_id, content) != content:
            found.append(f"row {row['sequence']}: {charge_id} was released with other content than was planned")
        states[charge_id].append(row["state"])
    return found


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the file and the next step."""
    try:
        yield
    except sqlite3.Error as error:
        steps = [step for part, step in _NEXT_STEPS.items() if part in str(error)]
        raise ProtocolError(
            f"ledger {path}: {error}: {steps[0] if steps else 'check the file and the disk'}"
        ) from error
