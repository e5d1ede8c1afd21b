"""The SQLite file of a ledger: its tables, how it is opened, and whether it still has the form it was made with.

Whoever only looks gets a copy in memory, made in one read transaction: what it sees is of one moment, a run that
writes is not kept waiting, and the file stays as it is even where a killed writer left a journal to roll back. The file
and its journal, which SQLite gives the file's mode, are their owner's alone. What is left out on purpose: what the rows
mean (see `ledger`).
"""

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from wardround.disk import open_private
from wardround.errors import ProtocolError
from wardround.privacy.chain import GENESIS
from wardround.privacy.entries import ENTRY_COLUMNS

__all__ = ["COLUMNS", "OUTCOME_COLUMNS", "check_types", "explained", "open_copy", "open_file", "schema_findings"]

_VERSION = 5
_MOST_BYTES = 2**31
"""Of a ledger that is looked at: 2 GiB, some six million charges."""
_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL"}
COLUMNS = ("sequence", "state", *ENTRY_COLUMNS, "time", "digest")
"""Of the table of entries."""
OUTCOME_COLUMNS = ("sequence", "run_id", "round_number", "record", "time", "digest")
"""Of the tables of rounds and of closings."""
_VALUES = {
    **ENTRY_COLUMNS,
    "sequence": int,
    "count": int,
    **dict.fromkeys(("state", "record", "time", "digest"), str),
}
"""What a column's values are in Python; SQLite itself keeps anything in any column."""
_OUTCOME = (
    "(sequence INTEGER PRIMARY KEY, run_id TEXT NOT NULL, round_number INTEGER NOT NULL, record TEXT NOT NULL, "
    "time TEXT NOT NULL, digest TEXT NOT NULL)"
)
_SCHEMA = (
    "CREATE TABLE entries (sequence INTEGER PRIMARY KEY, state TEXT NOT NULL, "
    + ", ".join(f"{name} {_TYPES[kind]} NOT NULL" for name, kind in ENTRY_COLUMNS.items())
    + ", time TEXT NOT NULL, digest TEXT NOT NULL)",
    "CREATE UNIQUE INDEX entries_by_charge ON entries (charge_id, state)",
    f"CREATE TABLE rounds {_OUTCOME}",
    "CREATE UNIQUE INDEX rounds_by_number ON rounds (run_id, round_number)",
    f"CREATE TABLE closings {_OUTCOME}",
    "CREATE TABLE head (count INTEGER NOT NULL, digest TEXT NOT NULL)",
    f"INSERT INTO head VALUES (0, '{GENESIS}')",
    f"PRAGMA user_version = {_VERSION}",
)
_NEXT_STEPS = {
    "free some disk space, then resume": ("full", "No space left"),
    "another process is writing to it; wait for that one, then resume": ("locked",),
    "check the permissions of the file and its folder": ("readonly", "Permission denied"),
    "restore the file from a backup": ("not a database", "malformed"),
    "check the disk, then restore the file from a backup": ("disk I/O",),
    "check that its folder exists and can be written to": ("No such file", "unable to open"),
}
"""By what an error says."""


def open_file(path: Path, *, is_synced: bool = True) -> sqlite3.Connection:
    """Return a connection that may write; the tables are made where the file is new.

    Not synced, what is written outlives the process and not a power cut, which may leave a damaged file.

    Raises:
        ProtocolError: not a ledger, damaged, or a disk that is full or refuses.
    """
    if path.exists():
        _check_file(path)
    with explained(path):
        os.close(open_private(path, os.O_RDWR | os.O_CREAT))
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)
        try:
            # EXTRA also syncs the folder: after a power cut a finished charge can't come undone.
            connection.execute(f"PRAGMA synchronous = {'EXTRA' if is_synced else 'OFF'}")
            if _is_empty(connection):
                connection.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("COMMIT")
            _check_version(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_copy(path: Path) -> sqlite3.Connection:
    """Return a connection to a copy in memory of the ledger as it is now; nothing can be written to it.

    Raises:
        ProtocolError: there is no such ledger, or it is damaged.
    """
    _check_file(path)
    with explained(path):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        try:
            try:
                _copy(path, connection, mode="ro")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                    raise
                _copy_rolled_back(path, connection)
            connection.execute("PRAGMA query_only = ON")
            _check_version(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def schema_findings(connection: sqlite3.Connection) -> list[str]:
    """Return one sentence for every table, index, view or trigger that is missing, altered or was added."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        for statement in _SCHEMA:
            fresh.execute(statement)
        wanted, there = _objects(fresh), _objects(connection)
    return [
        *(f"the ledger's {kind} {name} is missing" for kind, name in sorted(wanted.keys() - there.keys())),
        *(f"the ledger has a {kind} {name} that was added" for kind, name in sorted(there.keys() - wanted.keys())),
        *(
            f"the ledger's {kind} {name} was altered"
            for kind, name in sorted(wanted.keys() & there.keys())
            if wanted[kind, name] != there[kind, name]
        ),
    ]


def check_types(row: Mapping[str, object], path: Path) -> None:
    """Raise ProtocolError, naming row and column, for a value of another type than its column has."""
    for name, value in row.items():
        if name in _VALUES and type(value) is not _VALUES[name]:
            which = f"row {row['sequence']!r:.40}" if "sequence" in row else "a row"
            raise ProtocolError(
                f"ledger {path}: {name} of {which} is no {_TYPES[_VALUES[name]]}: restore the file from a backup"
            )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite and of the disk into ours, with the file and the next step."""
    try:
        yield
    except (sqlite3.Error, OSError, OverflowError, UnicodeDecodeError) as error:
        steps = [step for step, parts in _NEXT_STEPS.items() if any(part in str(error) for part in parts)]
        raise ProtocolError(
            f"ledger {path}: {error}: {steps[0] if steps else 'check the file and the disk'}"
        ) from error


def _check_file(path: Path) -> None:
    """Raise ProtocolError for what is no file that a copy of fits into memory."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ProtocolError(f"no ledger {path}: name the folder of a run that was started") from None
    except OSError as error:
        raise ProtocolError(f"ledger {path} can't be looked at ({error.strerror}): name another file") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise ProtocolError(f"ledger {path} is {kind}, and not a file: restore it from a backup")
    if status.st_size > _MOST_BYTES:
        raise ProtocolError(
            f"ledger {path} has {status.st_size:,} bytes, and a ledger has {_MOST_BYTES:,} at the most: restore it "
            "from a backup"
        )


def _copy(path: Path, into: sqlite3.Connection, *, mode: str) -> None:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True)) as source:
        source.backup(into)


def _copy_rolled_back(path: Path, into: sqlite3.Connection) -> None:
    """Copy a ledger whose writer was killed: its journal is rolled back beside the copy, as the next writer would.

    Without a journal that can be read nobody knows what the ledger held last.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in (path.name, f"{path.name}-journal"):
            try:
                shutil.copyfile(path.with_name(name), Path(folder) / name)
            except OSError as error:
                raise ProtocolError(
                    f"ledger {path}: its last writer was killed in the middle of a charge, and what is to be taken "
                    f"back stands in {name}, which can't be read ({error.strerror}): make it readable, or let "
                    "wardround resume take it back"
                ) from None
        _copy(Path(folder) / path.name, into, mode="rw")


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str | None]:
    rows = connection.execute("SELECT type, name, tbl_name || ': ' || sql FROM sqlite_master")
    return {(kind, name): sql for kind, name, sql in rows}


def _is_empty(connection: sqlite3.Connection) -> bool:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if 0 < version < _VERSION:
        raise ProtocolError(
            f"{path} is a ledger of form {version}, and this version reads form {_VERSION}, which states the "
            "neighbouring relation zero-out-one-record, holds all that a run's files say, and keeps what hospitals say "
            "of themselves apart from what is measured of them: make the run anew from its config.toml; what the old "
            "one spent on the data comes on top"
        )
    if version != _VERSION:
        raise ProtocolError(f"{path} is no ledger of this version of wardround: name another file")
