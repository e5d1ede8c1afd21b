"""A run that is under way, was interrupted or was killed is in order up to its last commit."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bent_folders import CONFIG, cut_the_newest_round, edit_table
from small_runs import interrupted_in_training

from wardround.server.record.run_folder import RunFolder
from wardround.server.record.verify import verify_run
from wardround.server.round.loop import RoundRow
from wardround.simulations.runs import resume, run


def without_last_rows(folder: Path, copy: Path) -> Path:
    """Return a copy of a folder as it is after a commit, before the tables have the round's rows."""
    shutil.copytree(folder, copy)
    for name in ("rounds.csv", "hospitals.csv"):
        edit_table(name, lambda rows: rows.__setitem__(slice(None), [row for row in rows if row[0] != rows[-1][0]]))(
            copy
        )
    return copy


def test_a_run_that_is_under_way_is_in_order_up_to_its_last_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at after every commit, before and after the tables have its rows, and in the run that goes on."""
    seen: list[str] = []

    def look(_: Any) -> None:
        early = without_last_rows(tmp_path / "run", tmp_path / f"early-{len(seen)}")
        with RunFolder(early).alone():
            for folder in (early, tmp_path / "run"):
                findings, sentence = verify_run(folder)
                assert findings == []
                seen.append(sentence)

    with interrupted_in_training(monkeypatch, 3):
        run(CONFIG, out=tmp_path / "run", progress=look)
    assert verify_run(tmp_path / "run")[1].startswith("in order: 9 charges, 3 committed rounds")
    resume(tmp_path / "run", progress=look)
    assert [sentence.partition(":")[0] for sentence in seen] == [
        f"in order up to the last commit, of round {number} of 3 (the run is under way)"
        for number in (0, 0, 1, 1, 2, 2, 2, 2, 3, 3)
    ]
    assert verify_run(tmp_path / "run")[0] == []


def test_files_that_are_newer_than_what_was_read_of_the_ledger_are_no_finding(
    finished: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on between two looks: ledger of one moment, tables, summary and model of a later one."""
    cut_the_newest_round(copy)
    rest = [path.relative_to(finished) for path in finished.rglob("*") if path.is_file()]
    with RunFolder(copy).alone():
        for name in ("rounds.csv", "hospitals.csv"):
            shutil.copy(finished / name, copy / name)
        shutil.copy(finished / "summary.json", copy / "summary.json")
        assert verify_run(copy)[0], "nobody writes to this ledger any more, whoever holds the lock"
        real = RunFolder.checkpoint_rounds

        def go_on(self: RunFolder) -> list[int]:
            for path in rest:
                shutil.copy(finished / path, copy / path) if path.name != "config.toml" else None
            return real(self)

        monkeypatch.setattr(RunFolder, "checkpoint_rounds", go_on)
        assert verify_run(copy)[0] == []


@pytest.mark.parametrize("when", ["before the tables", "in the middle of a row", "after the tables"])
def test_a_run_that_was_killed_is_in_order_up_to_its_last_commit(when: str, tmp_path: Path) -> None:
    killed = tmp_path / "killed"

    def kill(row: RoundRow) -> None:
        if row.round_number == 2:
            (shutil.copytree if when == "after the tables" else without_last_rows)(tmp_path / "run", killed)

    run(CONFIG, out=tmp_path / "run", progress=kill)
    if when == "in the middle of a row":
        with (killed / "rounds.csv").open("a") as file:
            file.write("2,3,3,0.4")
    findings, sentence = verify_run(killed)
    assert findings == []
    assert sentence.startswith("in order up to the last commit, of round 2 of 3 (the run was killed: ")
    # What is not the last round's is still held to the ledger.
    edit_table("hospitals.csv", lambda rows: rows[2].__setitem__(8, "0.1"))(killed)
    assert verify_run(killed)[0][0].startswith("hospitals.csv round 0 hospital-02 epsilon says 0.1")


def test_a_run_that_committed_nothing(copy: Path) -> None:
    (copy / "ledger.sqlite").unlink()
    shutil.rmtree(copy / "checkpoints")
    found = verify_run(copy)[0]
    assert "summary.json is there, and the run never came to an end that it could tell of" in found
    assert "model.safetensors is there, and no round is committed" in found
    assert "hospitals.csv has round 0 hospital-01, which the ledger does not give" in found
    for name in ("summary.json", "model.safetensors"):
        (copy / name).unlink()
    RunFolder(copy).write_tables([])
    assert verify_run(copy) == ([], "in order: no round is committed yet, and nothing was charged")


_KILLED_WRITER = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE entries SET noise_multiplier = 99, fingerprint = fingerprint || fingerprint")
connection.execute("UPDATE rounds SET record = record || record || record || record")
os.kill(os.getpid(), 9)
"""


def test_a_ledger_whose_writer_was_killed_is_read_as_it_was_and_left_alone(copy: Path) -> None:
    ledger = copy / "ledger.sqlite"
    before = ledger.read_bytes()
    done = subprocess.run([sys.executable, "-c", _KILLED_WRITER, str(ledger)], check=False)
    assert done.returncode == -signal.SIGKILL
    half_written = ledger.read_bytes()
    assert half_written != before
    assert (copy / "ledger.sqlite-journal").stat().st_size > 0
    assert verify_run(copy)[0] == []
    assert ledger.read_bytes() == half_written
    assert resume(copy).summary["status"] == "done"
    assert verify_run(copy)[0] == []
