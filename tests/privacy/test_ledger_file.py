"""A ledger's file as others left it: a killed writer's journal, links, pipes, sizes, and who may read it."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import entry

from wardround.errors import ProtocolError
from wardround.privacy.ledger import open_ledger

_KILLED = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that changed pages are written before the end
connection.execute("BEGIN IMMEDIATE")
for number in range(1000):
    connection.execute("INSERT INTO rounds VALUES (?, 'run', ?, ?, '', '')", (100 + number, number, "x" * 500))
os.kill(os.getpid(), signal.SIGKILL)
"""


def charged(path: Path) -> Path:
    one = entry(
        charge_id="run/1/1/north",
        fingerprint="0" * 64,
        hospital_id="north",
        run_id="run",
        round_number=1,
        noise_multiplier=1.0,
        sample_rate=0.1,
        num_steps=1,
        sensitivity=1.0,
    )
    with open_ledger(path) as ledger:
        ledger.charge([one])
    return path


@pytest.fixture
def left_behind(tmp_path: Path) -> Path:
    """A ledger whose writer was killed in a transaction that was on the disk in part."""
    path = charged(tmp_path / "ledger.sqlite")
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "ledger.sqlite-journal").stat().st_size > 0
    return path


def test_a_killed_writers_journal_is_taken_back_in_a_copy_and_nothing_is_written(left_behind: Path) -> None:
    before = {path.name: path.read_bytes() for path in left_behind.parent.iterdir()}
    with open_ledger(left_behind, read_only=True) as ledger:
        assert ledger.verify() == []
        assert [entry.hospital_id for entry in ledger.entries()] == ["north"]
    assert {path.name: path.read_bytes() for path in left_behind.parent.iterdir()} == before


def test_a_journal_that_can_not_be_read_is_said_and_permissions_are_not_blamed(
    left_behind: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.copyfile

    def refused(source: Path, target: Path) -> object:
        if source.name.endswith("-journal"):
            raise PermissionError(13, "Permission denied")
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", refused)
    words = (
        r"its last writer was killed in the middle of a charge, and what is to be taken back stands in ledger.sqlite-"
    )
    with pytest.raises(ProtocolError, match=rf"{words}journal, which can't be read .*wardround resume"):
        open_ledger(left_behind, read_only=True)


def test_a_journal_of_a_writer_that_goes_on_is_no_reason_to_wait_for_a_copy(tmp_path: Path) -> None:
    path = charged(tmp_path / "ledger.sqlite")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE head SET count = 7")
    with open_ledger(path, read_only=True) as ledger:
        assert ledger.head[0] == 1
    writer.execute("ROLLBACK")
    writer.close()


def test_what_is_no_file_or_too_large_is_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    words = {
        "pipe": "is a pipe or a device, and not a file",
        "folder": "is a folder, and not a file",
        "loop": "can't be looked at",
        "huge": "has 1,099,511,627,776 bytes, and a ledger has 2,147,483,648 at the most",
        "none": "no ledger .*none: name the folder",
    }
    for name, said in words.items():
        with pytest.raises(ProtocolError, match=said):
            open_ledger(tmp_path / name, read_only=True)
    for name in ("pipe", "folder", "huge"):
        with pytest.raises(ProtocolError, match=words[name]):
            open_ledger(tmp_path / name)


def test_a_link_to_a_ledger_is_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(charged(tmp_path / "ledger.sqlite"))
    with open_ledger(tmp_path / "link", read_only=True) as ledger:
        assert ledger.verify() == [] and len(ledger.entries()) == 1


def test_a_ledger_and_its_journal_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = charged(tmp_path / "ledger.sqlite")
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE head SET count = 7")
        modes = {item.name: stat.S_IMODE(item.stat().st_mode) for item in tmp_path.iterdir()}
        writer.execute("ROLLBACK")
        writer.close()
    finally:
        os.umask(before)
    assert modes == {"ledger.sqlite": 0o600, "ledger.sqlite-journal": 0o600}
