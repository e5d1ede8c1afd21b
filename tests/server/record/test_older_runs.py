"""A run's folder as an earlier version wrote it, half of its rounds done: it is read, and goes on, or is refused.

older_run.json has the folder's files, the ledger as SQL; made with the version before ledgers and summaries were
records, by `fedavgm` on breast cancer at two hospitals, interrupted after round 1 of 2.
"""

import base64
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from wardround.errors import ProtocolError
from wardround.json_records import json_values, read_json_record
from wardround.json_text import json_text
from wardround.parsing import from_json
from wardround.privacy.chain import GENESIS, row_digest
from wardround.privacy.ledger import open_ledger
from wardround.reports.report import write_report
from wardround.server.record.records import Closing, RoundRecord, read_record_text, record_text
from wardround.server.record.summaries import Summary
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import resume

FILES = json.loads(Path(__file__).with_name("older_run.json").read_text())
KINDS = {"round": RoundRecord, "closing": Closing}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    for name, content in FILES.items():
        if name == "ledger.sql":
            with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
                connection.executescript("\n".join(content))
        elif isinstance(content, dict):
            (folder / name).write_bytes(base64.b64decode(content["base64"]))
        else:
            (folder / name).write_text("".join(content))
    return folder


def texts_of(folder: Path) -> list[tuple[str, str]]:
    """Return kind and text of every outcome in a ledger."""
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        return [(row.kind, str(row.content)) for row in ledger.history() if row.kind in KINDS]


def change_rounds(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the rounds' records and make every digest anew, so that the ledger itself is sound."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        connection.row_factory = sqlite3.Row
        tables = ("entries", "rounds", "closings")
        found = [(table, dict(row)) for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
        digest = GENESIS
        for table, row in sorted(found, key=lambda pair: pair[1]["sequence"]):
            if table == "rounds":
                record = json.loads(row["record"])
                change(record)
                row["record"] = json.dumps(record, sort_keys=True)
            digest = row["digest"] = row_digest(digest, row)
            values = ", ".join(f"{name} = ?" for name in row)
            connection.execute(f"UPDATE {table} SET {values} WHERE sequence = ?", (*row.values(), row["sequence"]))
        connection.execute("UPDATE head SET digest = ?", (digest,))


def test_every_record_and_the_summary_are_written_as_they_were_read(older: Path) -> None:
    texts = texts_of(older)
    assert [kind for kind, _ in texts] == ["round", "round", "closing"]
    for kind, text in texts:
        assert record_text(read_record_text(KINDS[kind], text)) == text
    summary = (older / "summary.json").read_text()
    assert json_text(json_values(read_json_record(Summary, from_json(summary)))) + "\n" == summary


def test_it_verifies_and_has_a_page(older: Path) -> None:
    findings, sentence = verify_run(older)
    assert findings == []
    assert sentence.startswith("in order: 2 charges, 2 committed rounds, every epsilon recomputed")
    assert "breast-cancer" in write_report(older).read_text()


def test_it_goes_on(older: Path) -> None:
    before = texts_of(older)
    outcome = resume(older).outcome
    assert (outcome.status, outcome.num_rounds) == ("done", 2)
    assert texts_of(older)[: len(before)] == before
    assert verify_run(older)[0] == []


@pytest.mark.parametrize("key", ["attempt", "round_row", "hospital_rows", "target_deltas"])
def test_a_ledger_of_a_form_that_is_not_known_is_refused_in_a_sentence(key: str, older: Path) -> None:
    change_rounds(older, lambda record: record.pop(key))
    for look in (verify_run, resume):
        with pytest.raises(ProtocolError, match=rf"not as .* committed \(it lacks {key}\): restore"):
            look(older)


def test_a_first_round_that_does_not_say_what_the_run_began_with_is_refused_in_a_sentence(older: Path) -> None:
    opening = ("config", "profiles", "measures", "num_parameters", "drawn_from", "packages", "settings", "fingerprints")
    change_rounds(older, lambda record: [record.pop(key, None) for key in (*opening, "absent")])
    for look in (verify_run, resume):
        with pytest.raises(ProtocolError, match=r"round 0 does not say what the run began with"):
            look(older)


def test_what_still_earlier_versions_did_not_write_is_read_as_not_said(older: Path, tmp_path: Path) -> None:
    change_rounds(older, lambda record: [record.pop(key, None) for key in ("dropped", "absent")])
    shutil.copytree(older, tmp_path / "again")
    assert [text for text in verify_run(older)[0] if "ledger_head" not in text] == []
    path = older / "summary.json"
    later = ("record_is", "own_statistics", "measured", "num_rounds_lost", "ledger_head", "gdp_mu", "attacker")
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key not in later}))
    summary = read_json_record(Summary, from_json(path.read_text()))
    assert summary.protection.own_statistics is None
    assert summary.ledger_head is None
    assert "Epsilon is at most" in write_report(older).read_text()
