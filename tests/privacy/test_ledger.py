import math
import sqlite3

import made_up
import numpy as np
import pytest
from made_up import changed_assignment, flat_assignment

from wardround.errors import ConfigError, ProtocolError
from wardround.privacy.chain import GENESIS, findings, row_digest
from wardround.privacy.entries import ENTRY_COLUMNS, entry_for, entry_of, entry_row
from wardround.privacy.ledger import open_ledger
from wardround.step_events import StepEvent


def entry(hospital="Basel", round_number=1, run_id="run", **changes):
    values = {
        "charge_id": f"{run_id}/{round_number}/{hospital}",
        "fingerprint": "f" * 64,
        "hospital_id": hospital,
        "run_id": run_id,
        "round_number": round_number,
        "noise_multiplier": 1.0,
        "sample_rate": 0.1,
        "num_steps": 10,
        "sensitivity": 1.0,
    }
    return made_up.entry(**values | changes)


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def filled(path, num_rounds=3):
    with open_ledger(path) as ledger:
        for round_number in range(1, num_rounds + 1):
            entries = [entry(name, round_number) for name in ("Basel", "Bern")]
            ledger.charge(entries)
            ledger.commit_round("run", round_number, [item.charge_id for item in entries], '{"loss": 0.5}')
    return path


def tamper(path, *statements):
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def verified(path):
    with open_ledger(path, read_only=True) as ledger:
        return ledger.verify()


def test_what_was_charged_comes_back_after_reopening(tmp_path):
    path = tmp_path / "a folder" / "ledger 100%.sqlite"
    path.parent.mkdir()
    entries = [entry("Basel", noise_multiplier=0.1 + 0.2), entry("Bern", sample_rate=1 / 3)]
    with open_ledger(path) as ledger:
        ledger.charge(entries)
    with open_ledger(path, read_only=True) as ledger:
        assert ledger.entries() == entries
        assert ledger.verify() == []
        assert ledger.head[0] == 2


def test_planned_counts_before_and_after_release(ledger):
    ledger.charge([entry("Basel", 1), entry("Bern", 1)])
    before = ledger.events()
    ledger.commit_round("run", 1, ["run/1/Basel"], "{}")
    assert ledger.events() == before
    ledger.charge([entry("Basel", 2), entry("Basel", 3, noise_multiplier=2.0)])
    assert ledger.events()["Basel"] == (
        StepEvent(noise_multiplier=1.0, sample_rate=0.1, num_steps=20),
        StepEvent(noise_multiplier=2.0, sample_rate=0.1, num_steps=10),
    )


def test_jobs_on_the_same_data_add_up(ledger):
    ledger.charge([entry(run_id="monday"), entry(run_id="tuesday")])
    assert ledger.events()["Basel"][0].num_steps == 20


@pytest.mark.parametrize(
    "change", [{}, {"noise_multiplier": 1.1}, {"num_steps": 11}, {"sample_rate": 0.2}, {"fingerprint": "0" * 64}]
)
@pytest.mark.parametrize("released", [False, True])
def test_no_charge_is_ever_taken_for_one_that_is_there(ledger, change, released):
    ledger.charge([entry()])
    if released:
        ledger.commit_round("run", 1, ["run/1/Basel"], "{}")
    with pytest.raises(ProtocolError, match="run/1/Basel is charged already, and every release is a charge of its own"):
        ledger.charge([entry("Bern"), entry(**change)])
    assert [item.hospital_id for item in ledger.entries()] == ["Basel"]
    assert ledger.verify() == []


def test_every_attempt_at_a_round_is_paid_for(ledger):
    attempts = [entry(charge_id=f"run/1/{attempt}/Basel", attempt=attempt) for attempt in (1, 2)]
    assert ledger.num_attempts("run", 1) == 0
    for number, attempt in enumerate(attempts, 1):
        ledger.charge([attempt])
        assert (ledger.num_attempts("run", 1), ledger.num_attempts("run", 2)) == (number, 0)
    assert ledger.events()["Basel"][0].num_steps == 20
    ledger.commit_round("run", 1, [attempts[1].charge_id], "{}")
    assert ledger.events()["Basel"][0].num_steps == 20
    assert ledger.verify() == []


def test_commit_is_all_or_nothing(ledger):
    ledger.charge([entry("Basel")])
    with pytest.raises(ProtocolError, match="run/1/Bern was never charged"):
        ledger.commit_round("run", 1, ["run/1/Basel", "run/1/Bern"], "{}")
    assert ledger.rounds() == []
    assert set(ledger.to_frame()["state"]) == {"planned"}
    ledger.commit_round("run", 1, ["run/1/Basel"], '{"x": 1}')
    assert ledger.rounds() == [(1, '{"x": 1}')]
    with pytest.raises(ProtocolError, match="run/1/Basel was released before"):
        ledger.commit_round("run", 2, ["run/1/Basel"], "{}")
    with pytest.raises(ProtocolError, match="round 1 of run is committed already"):
        ledger.commit_round("run", 1, [], "{}")
    assert ledger.verify() == []


def test_rounds_of_one_run_or_of_all(ledger):
    ledger.commit_round("monday", 0, [], "a")
    ledger.commit_round("monday", 1, [], "b")
    ledger.commit_round("tuesday", 0, [], "c")
    assert ledger.rounds() == [(0, "a"), (1, "b"), (0, "c")]
    assert ledger.rounds("monday") == [(0, "a"), (1, "b")]


def test_frame_has_every_column_and_row(tmp_path):
    with open_ledger(filled(tmp_path / "ledger.sqlite"), read_only=True) as ledger:
        frame = ledger.to_frame()
    assert list(frame["state"]) == ["planned", "planned", "released", "released"] * 3
    assert set(ENTRY_COLUMNS) < set(frame.columns)
    assert frame["time"].str.endswith("+00:00").all()
    with open_ledger(tmp_path / "empty.sqlite") as empty:
        assert list(empty.to_frame().columns) == list(frame.columns)


COPY = "charge_id, fingerprint, hospital_id, run_id, round_number, unit, relation, placement, mechanism, "
COPY += (
    "noise_multiplier, sample_rate, num_steps, sensitivity, reader, scaled_norm, dimension, num_shares, attempt, "
    "time, digest"
)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["UPDATE entries SET noise_multiplier = 5.0 WHERE sequence = 2"], "row 2 was changed"),
        (["UPDATE entries SET num_steps = 1 WHERE sequence = 13"], "released with other content"),
        (["UPDATE entries SET time = '2001-01-01' WHERE sequence = 4"], "row 4 was changed"),
        (["UPDATE entries SET digest = '00' WHERE sequence = 1"], "row 1 was changed"),
        (["UPDATE rounds SET record = '{}' WHERE round_number = 2"], "row 10 was changed"),
        (["DELETE FROM entries WHERE sequence = 6"], "row 6 is missing"),
        (["DELETE FROM entries WHERE sequence IN (6, 7)"], "rows 6 to 7 are missing"),
        (["DELETE FROM entries WHERE sequence = 1"], "row 1 is missing"),
        (["DELETE FROM rounds WHERE round_number = 1"], "row 5 is missing"),
        (["DELETE FROM rounds WHERE round_number = 3"], "should end with row 15"),
        (
            ["DELETE FROM entries WHERE sequence > 10", "DELETE FROM rounds WHERE sequence > 10"],
            "should end with row 15",
        ),
        (["DELETE FROM entries", "DELETE FROM rounds"], "should end with row 15"),
        (
            [
                "UPDATE entries SET sequence = 99 WHERE sequence = 2",
                "UPDATE entries SET sequence = 2 WHERE sequence = 1",
                "UPDATE entries SET sequence = 1 WHERE sequence = 99",
            ],
            "row 1 was changed or moved",
        ),
        (["DELETE FROM entries WHERE sequence = 1"], "released but was not planned"),
        ([f"INSERT INTO entries SELECT 16, 'free', {COPY} FROM entries WHERE sequence = 1"], "row 16 was changed"),
        (
            [
                "DROP INDEX entries_by_charge",
                f"INSERT INTO entries SELECT 16, 'planned', {COPY} FROM entries WHERE sequence = 1",
            ],
            "row 16: run/1/Basel is planned twice",
        ),
        (["UPDATE rounds SET sequence = 14 WHERE round_number = 3"], "sequence number 14 is used twice"),
        (["DELETE FROM head"], "0 head rows instead of 1"),
        (["UPDATE head SET count = 14"], "should end with row 14"),
    ],
)
def test_tampering_is_found(tmp_path, statements, expected):
    path = filled(tmp_path / "ledger.sqlite")
    assert verified(path) == []
    tamper(path, *statements)
    assert any(expected in finding for finding in verified(path)), verified(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("noise_multiplier", "'much'"),
        ("noise_multiplier", "x'00ff'"),
        ("num_steps", "9e999"),
        ("num_steps", "'[]'"),
        ("round_number", "x'00'"),
        ("hospital_id", "x'ff'"),
    ],
)
def test_a_value_of_another_type_than_its_columns_is_named(tmp_path, column, value):
    path = tmp_path / "ledger.sqlite"
    with open_ledger(path) as ledger:
        ledger.charge([entry()])
    tamper(path, f"UPDATE entries SET {column} = {value}")
    with open_ledger(path, read_only=True) as ledger:
        assert any("row 1 was changed" in finding for finding in ledger.verify())
        # Events are made of what an epsilon depends on, which the round's number is not.
        events = () if column == "round_number" else (ledger.events,)
        for look in (ledger.entries, ledger.history, ledger.to_frame, *events):
            with pytest.raises(
                ProtocolError, match=rf"{column} of (row 1|a row) is no .*: restore the file from a backup"
            ):
                look()


def test_a_rewritten_digest_breaks_the_next_row():
    rows = [{"sequence": number, "value": number * 0.1} for number in range(1, 5)]
    digest = GENESIS
    for row in rows:
        digest = row["digest"] = row_digest(digest, row)
    assert findings(rows, 4, digest) == []
    rows[1]["value"] = 7.0
    rows[1]["digest"] = row_digest(rows[0]["digest"], rows[1])
    assert findings(rows, 4, digest) == ["row 3 was changed or moved, or the row before it was"]


def test_disk_full_is_a_message_and_the_ledger_stays_true(tmp_path):
    with open_ledger(filled(tmp_path / "ledger.sqlite")) as ledger:
        before = ledger.head
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ProtocolError, match=r"ledger\.sqlite: database or disk is full: free some disk space"):
            ledger.charge([entry(f"hospital {number}", 9) for number in range(200)])
        assert ledger.head == before
        assert ledger.verify() == []


def test_an_interrupted_charge_leaves_nothing(ledger):
    def interrupted():
        yield entry("Basel")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.charge(interrupted())
    assert ledger.entries() == []
    ledger.charge([entry("Basel")])
    assert ledger.verify() == []


def test_a_second_writer_waits_and_is_told(tmp_path, ledger):
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger._connection.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(ProtocolError, match="another process is writing"):
        ledger.charge([entry()])
    other.execute("ROLLBACK")
    other.close()
    ledger.charge([entry()])


def test_two_writers_in_turn_keep_one_chain(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with open_ledger(path) as first, open_ledger(path) as second:
        first.charge([entry("Basel")])
        second.charge([entry("Bern")])
        first.charge([entry("Chur")])
        assert second.verify() == []
        assert second.head[0] == 3


def test_read_only_cannot_write(tmp_path):
    with (
        open_ledger(filled(tmp_path / "ledger.sqlite"), read_only=True) as ledger,
        pytest.raises(ProtocolError, match="readonly database"),
    ):
        ledger.charge([entry("Chur")])


def test_missing_foreign_and_damaged_files(tmp_path):
    with pytest.raises(ProtocolError, match=r"no ledger .*missing\.sqlite"):
        open_ledger(tmp_path / "missing.sqlite", read_only=True)
    with pytest.raises(ProtocolError, match="check that its folder exists"):
        open_ledger(tmp_path / "no folder" / "ledger.sqlite")
    (tmp_path / "text.sqlite").write_text("not a database at all, but long enough to be one" * 100)
    with pytest.raises(ProtocolError, match="restore the file from a backup"):
        open_ledger(tmp_path / "text.sqlite")
    tamper(tmp_path / "other.sqlite", "CREATE TABLE t (x)")
    with pytest.raises(ProtocolError, match="no ledger of this version"):
        open_ledger(tmp_path / "other.sqlite")
    path = filled(tmp_path / "damaged.sqlite", num_rounds=20)
    content = bytearray(path.read_bytes())
    content[8192:16384] = b"\xff" * 8192
    path.write_bytes(content)
    with pytest.raises(ProtocolError, match="restore the file from a backup"):
        verified(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "ward"}, 'unit = "ward"'),
        ({"unit": "hospital"}, 'relation = "zero-out-one-record"'),
        ({"placement": "central"}, 'reader = "anyone"'),
        ({"dimension": 3}, "dimension = 3"),
        ({"placement": "none"}, 'placement = "none" must be local'),
        ({"relation": "replace-one"}, "relation"),
        ({"mechanism": "laplace"}, "mechanism"),
        ({"reader": "server"}, "reader"),
        ({"num_steps": 0}, "num_steps = 0"),
        ({"round_number": -1}, "round_number = -1"),
        ({"sensitivity": 0.0}, "sensitivity = 0.0"),
        ({"sensitivity": math.nan}, "sensitivity = nan"),
        ({"charge_id": ""}, "charge_id"),
        ({"sensitivity": math.inf}, "needs clipping"),
        ({"mechanism": "none"}, "needs clipping"),
    ],
)
def test_entries_refuse_what_cannot_be_accounted(change, message):
    with pytest.raises(ProtocolError, match=message):
        entry_of(entry_row(entry()) | change)


@pytest.mark.parametrize("change", [{"noise_multiplier": -1.0}, {"sample_rate": 0.0}, {"sample_rate": 1.5}])
def test_entries_check_noise_and_rate(change):
    with pytest.raises(ConfigError, match=r"noise-multiplier|sample-rate"):
        entry_of(entry_row(entry()) | change)


def test_whole_and_numpy_numbers_are_the_same_entry(ledger):
    whole = entry(noise_multiplier=2, sensitivity=1)
    assert whole == entry(noise_multiplier=np.float64(2.0), num_steps=np.int64(10), attempt=np.int64(1))
    ledger.charge([whole])
    assert ledger.entries() == [whole]
    assert ledger.verify() == []


def test_entry_for_an_assignment(ledger):
    assignment = flat_assignment(
        hospital_id="Basel",
        round_number=3,
        sample_rate=0.25,
        expected_batch_size=8.0,
        num_steps=4,
        noise_multiplier=1.5,
        max_grad_norm=0.7,
        weight=0.5,
    )
    paid = entry_for(assignment, "run", "f" * 64)
    assert (paid.charge_id, paid.sensitivity, paid.event.num_steps) == ("run/3/1/Basel", 0.7, 4)
    assert paid.event == StepEvent(noise_multiplier=1.5, sample_rate=0.25, num_steps=4)
    bare = changed_assignment(assignment, cell="none", max_grad_norm=None, noise_multiplier=0.0)
    free = entry_for(bare, "bare", "f" * 64)
    assert (entry_row(free)["mechanism"], free.sensitivity, free.event.noise_multiplier) == ("none", math.inf, 0.0)
    ledger.charge([paid, free])
    assert ledger.entries() == [paid, free]
    assert ledger.verify() == []
