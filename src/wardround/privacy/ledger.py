"""The ledger: an append-only SQLite file of what every hospital released, hash-chained and durable.

A release is booked as planned before it leaves the hospital and as released when its round is committed. Planned
entries count, released or not: a crash in between may over-count, never under-count. A run that ends says so in a row
of its own. Epsilon isn't stored but computed from the entries (`spending`). Left out on purpose: write-ahead logging
(one file is easier to copy whole) and more than one writer at a time.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wardround.errors import ProtocolError
from wardround.privacy.chain import findings, row_digest
from wardround.privacy.entries import ENTRY_COLUMNS, EVENT_COLUMNS, Entry, entry_of, entry_row, event_of
from wardround.privacy.events import merged
from wardround.privacy.ledger_file import (
    COLUMNS,
    OUTCOME_COLUMNS,
    check_types,
    explained,
    open_copy,
    open_file,
    schema_findings,
)
from wardround.step_events import StepEvent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Entry", "Ledger", "Row", "open_ledger"]

_OUTCOMES = {"rounds": "round", "closings": "closing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the ledger.

    Attributes:
        sequence: from 1, over all tables.
        kind: "planned" or "released" of an entry, "round" of a committed round, "closing" of a run's end.
        content: the entry, or the record as JSON text.
        digest: sha256 hex digest of the row and all before it; its time is UTC, in ISO form.
    """

    sequence: int
    kind: str
    content: Entry | str
    digest: str
    time: str


def open_ledger(path: str | Path, *, read_only: bool = False, is_synced: bool = True) -> "Ledger":
    """Return the ledger in a SQLite file, made new where there is none; its folder must exist.

    With read_only an existing ledger is looked at as it is now, and nothing can be written. Not synced, a charge
    outlives the process, and a power cut only once the file was synced as a whole: for runs that are begun anew after
    one, and then release the same bits.

    Raises:
        ProtocolError: no such ledger (read_only), not a ledger, damaged, or a disk that is full or refuses.
    """
    path = Path(path)
    return Ledger(path, open_copy(path) if read_only else open_file(path, is_synced=is_synced))


class Ledger:
    """An open ledger; close it or use it as a context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
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
            booked = self._booked([entry.charge_id for entry in entries])
            for entry in entries:
                if booked.setdefault(entry.charge_id, []):
                    raise ProtocolError(
                        f"{self.path}: {entry.charge_id} is charged already, and every release is a charge of its own: "
                        "resume the run, which charges the round as its next attempt"
                    )
                row = {"state": "planned", **entry_row(entry)}
                append("entries", row)
                booked[entry.charge_id].append(row)

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
            self._release(released, append)
            if self._rows("SELECT 1 FROM rounds WHERE run_id = ? AND round_number = ?", run_id, round_number):
                raise ProtocolError(f"{self.path}: round {round_number} of {run_id} is committed already: resume")
            append("rounds", {"run_id": run_id, "round_number": round_number, "record": record})

    def dates(self) -> tuple[str, str]:
        """Return when the first and the last round were committed, in UTC to the minute; empty before the first."""
        (row,) = self._rows("SELECT min(time) AS first, max(time) AS last FROM rounds")
        first, last = (str(row[key] or "")[:16].replace("T", " ") for key in ("first", "last"))
        return first, last

    def close_run(self, run_id: str, round_number: int, record: str, released: Sequence[str] = ()) -> None:
        """Book that a run ended after a round, for now or for good, with how as JSON text, which is kept as it is.

        Not again where nothing happened since, and it ended alike. Charges are booked as released with it.

        Raises:
            ProtocolError: an unknown or already released charge_id, or an unwritable file.
        """
        last = self._rows("SELECT record FROM closings WHERE sequence = (SELECT count FROM head)")
        if [row["record"] for row in last] != [record]:
            with self._transaction() as append:
                self._release(released, append)
                append("closings", {"run_id": run_id, "round_number": round_number, "record": record})

    def rounds(self, run_id: str | None = None) -> list[tuple[int, str]]:
        """Return (round_number, record) of the committed rounds, of one run or of all, in order."""
        query = "SELECT round_number, record FROM rounds WHERE run_id = coalesce(?, run_id) ORDER BY sequence"
        return [(row["round_number"], row["record"]) for row in self._rows(query, run_id)]

    def history(self) -> list[Row]:
        """Return every row there is, in the order in which they were written."""
        found: list[tuple[str, Entry | str, dict[str, Any]]]
        found = [(row["state"], entry_of(row), row) for row in self._select("entries")]
        for table, kind in _OUTCOMES.items():
            found += [(kind, row["record"], row) for row in self._select(table)]
        own = ("sequence", "digest", "time")
        rows = (Row(kind=kind, content=content, **{name: row[name] for name in own}) for kind, content, row in found)
        return sorted(rows, key=lambda row: row.sequence)

    def entries(self) -> list[Entry]:
        """Return what was charged, in order, each release once."""
        return [entry_of(row) for row in self._select("entries", "state = 'planned'")]

    def events(self) -> dict[str, tuple[StepEvent, ...]]:
        """Return what every hospital was charged for, over all runs and attempts, released or not."""
        events: defaultdict[str, list[StepEvent]] = defaultdict(list)
        kinds = ", ".join(EVENT_COLUMNS)
        query = (
            f"SELECT hospital_id, {kinds}, sum(num_steps) AS num_steps FROM entries WHERE state = 'planned' "
            f"GROUP BY hospital_id, {kinds}"
        )
        for row in self._rows(query):
            events[row["hospital_id"]].append(event_of(row))
        return {hospital_id: merged(parts) for hospital_id, parts in events.items()}

    def to_frame(self) -> "pd.DataFrame":
        """Return all entries, planned and released, one row each, as stored."""
        import pandas as pd

        return pd.DataFrame(self._select("entries"), columns=list(COLUMNS))

    @property
    def head(self) -> tuple[int, str]:
        """The number of rows and the digest of the last, which stands for the whole ledger."""
        rows = self._rows("SELECT count, digest FROM head")
        if len(rows) != 1:
            raise ProtocolError(f"ledger {self.path} has {len(rows)} head rows instead of 1: restore it from a backup")
        return rows[0]["count"], rows[0]["digest"]

    def verify(self) -> list[str]:
        """Return what is wrong with the ledger: changed, missing, added or moved rows; [] when nothing is."""
        with explained(self.path):
            found = schema_findings(self._connection)
        try:
            return [*found, *self._row_findings()]
        except ProtocolError:
            if found:  # tables of another form can't be read
                return found
            raise

    def _row_findings(self) -> list[str]:
        heads = self._rows("SELECT count, digest FROM head", is_checked=False)
        if len(heads) != 1:
            return [f"the ledger has {len(heads)} head rows instead of 1"]
        # Values of any type: what is changed is found, and not read.
        entries = self._select("entries", is_checked=False)
        rows = [*entries, *(row for table in _OUTCOMES for row in self._select(table, is_checked=False))]
        if wrong := [row["sequence"] for row in rows if type(row["sequence"]) is not int]:
            return [f"the ledger has a row whose number is {wrong[0]!r:.40}"]
        rows.sort(key=lambda row: int(row["sequence"]))
        checks = self._rows("PRAGMA integrity_check")
        found = [row["integrity_check"] for row in checks if row["integrity_check"] != "ok"]
        return [*found, *findings(rows, heads[0]["count"], heads[0]["digest"]), *_state_findings(entries)]

    def _rows(self, query: str, *values: Any, is_checked: bool = True) -> list[dict[str, Any]]:
        with explained(self.path):
            cursor = self._connection.execute(query, values)
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        for row in rows if is_checked else ():
            check_types(row, self.path)
        return rows

    def _select(self, table: str, condition: str = "1", *values: Any, is_checked: bool = True) -> list[dict[str, Any]]:
        columns = OUTCOME_COLUMNS if table in _OUTCOMES else COLUMNS
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE {condition} ORDER BY sequence"
        return self._rows(query, *values, is_checked=is_checked)

    def closings(self) -> list[str]:
        """Return how runs ended, for now or for good, as JSON texts, in order."""
        return [str(row["record"]) for row in self._rows("SELECT record FROM closings ORDER BY sequence")]

    def _release(self, charge_ids: Sequence[str], append: Any) -> None:
        booked = self._booked(charge_ids)
        for charge_id in charge_ids:
            rows = booked.setdefault(charge_id, [])
            if [row["state"] for row in rows] != ["planned"]:
                what = "was released before" if rows else "was never charged"
                raise ProtocolError(f"{self.path}: {charge_id} {what}: charge each release once, before it")
            rows.append({"state": "released", **entry_row(entry_of(rows[0]))})
            append("entries", rows[-1])

    def _booked(self, charge_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the entries of charges, in order, by charge_id."""
        found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        condition = "charge_id IN (SELECT value FROM json_each(?))"
        for row in self._select("entries", condition, json.dumps(list(charge_ids))):
            found[row["charge_id"]].append(row)
        return dict(found)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Yield a function that appends a row to the chain; everything is written, or nothing."""
        with explained(self.path):
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


def _state_findings(entries: Sequence[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    states: defaultdict[str, list[str]] = defaultdict(list)
    contents: dict[str, list[Any]] = {}
    for row in entries:
        charge_id, content = row["charge_id"], [row[name] for name in ENTRY_COLUMNS]
        if row["state"] in states[charge_id]:
            found.append(f"row {row['sequence']}: {charge_id} is {row['state']} twice")
        elif row["state"] == "released" and not states[charge_id]:
            found.append(f"row {row['sequence']}: {charge_id} is released but was not planned before")
        elif contents.setdefault(charge_id, content) != content:
            found.append(f"row {row['sequence']}: {charge_id} was released with other content than was planned")
        states[charge_id].append(row["state"])
    return found
