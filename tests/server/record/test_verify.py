"""Everything a run folder says, held to its ledger: whatever is bent, left out, added or put back is found."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bent_folders import (
    cut_the_newest_round,
    edit_checkpoint,
    edit_config,
    edit_model,
    edit_summary,
    edit_table,
    execute,
    link_model_nowhere,
    make_model_complex,
    rechain,
    sql,
)
from small_runs import small_config

from wardround.errors import ConfigError, ProtocolError
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import run

TAMPERINGS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another delta": (edit_summary(target_delta=1e-9), "summary.json target_delta says 1e-09, the ledger gives 0.0001"),
    "another unit": (edit_summary(unit="hospital"), "summary.json unit says hospital"),
    "another relation": (edit_summary(relation="add-or-remove-one"), "summary.json relation says add-or-remove-one"),
    "another mechanism": (edit_summary(mechanism="none"), "summary.json mechanism says none"),
    "no ledger head": (edit_summary(ledger_head=None), "summary.json ledger_head says None"),
    "no summary": (lambda folder: (folder / "summary.json").unlink(), "summary.json is missing"),
    "a broken summary": (lambda folder: (folder / "summary.json").write_text("{"), "summary.json can't be read"),
    "another clip": (
        edit_config("max-grad-norm = 1.0", "max-grad-norm = 2.0"),
        r"max-grad-norm = 2\.0, which was 1\.0",
    ),
    "another overlap": (edit_config("patient-overlap = 1", "patient-overlap = 2"), "patient-overlap = 2, which was 1"),
    "broken settings": (edit_config("patient-overlap = 1", "patient-overlap ="), "config.toml was changed since"),
    "another version": (
        lambda folder: (folder / "versions.txt").write_text("wardround 99\n"),
        "versions.txt says wardround 99, and the run was begun with wardround",
    ),
    "no versions": (lambda folder: (folder / "versions.txt").unlink(), "versions.txt can't be read"),
    "a model one bit off": (edit_model, "model.safetensors is not the model of round 3 that was committed"),
    "no model": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no model at all": (lambda folder: (folder / "model.safetensors").write_bytes(b"none"), "can't be read"),
    "a model of complex numbers": (make_model_complex, "model.safetensors can't be read .it has complex numbers"),
    "a model behind a link that can't be followed": (link_model_nowhere, "model.safetensors can't be read .*too long"),
    "another checkpoint": (edit_checkpoint, "the checkpoint of round 2 is not the one that was committed"),
    "a checkpoint of a lost round": (
        lambda folder: (folder / "checkpoints" / "round-000005.safetensors").write_bytes(b""),
        "there is a checkpoint of round 5, and the ledger ends at round 3",
    ),
    "no newest checkpoint": (
        lambda folder: (folder / "checkpoints" / "round-000003.safetensors").unlink(),
        "the checkpoint of round 3 is missing",
    ),
    "a folder for a checkpoint": (
        lambda folder: (
            (folder / "checkpoints" / "round-000002.safetensors").unlink(),
            (folder / "checkpoints" / "round-000002.safetensors").mkdir(),
        ),
        "the checkpoint of round 2 is not the one that was committed",
    ),
    "a summary without bottom": (
        lambda folder: (folder / "summary.json").write_text("[" * 200_000),
        "summary.json can't be read",
    ),
    "a summary that says it twice": (
        lambda folder: (folder / "summary.json").write_text(
            (folder / "summary.json").read_text().replace("{", '{"target_delta": 1e-9, ', 1)
        ),
        "summary.json can't be read .target_delta is there twice",
    ),
    "a summary of another kind": (lambda folder: (folder / "summary.json").write_text("[]"), "summary.json says"),
    "a table with a cell that never ends": (
        lambda folder: (folder / "rounds.csv").write_text("0," + "1" * 200_000),
        "rounds.csv can't be read",
    ),
    "a table of bytes": (lambda folder: (folder / "rounds.csv").write_bytes(b"\xff\x00"), "rounds.csv can't be read"),
    "an emptied table": (edit_table("rounds.csv", lambda rows: rows.clear()), "rounds.csv has the columns"),
    "a table without rows": (
        edit_table("hospitals.csv", lambda rows: rows.__delitem__(slice(1, None))),
        "lacks round 0",
    ),
    "a table without its last row": (edit_table("rounds.csv", lambda rows: rows.pop()), "rounds.csv lacks round 3"),
    "no table": (lambda folder: (folder / "rounds.csv").unlink(), "rounds.csv can't be read"),
    "a row that nobody committed": (
        edit_table("hospitals.csv", lambda rows: rows.append([*rows[-1][:1], "hospital-09", *rows[-1][2:]])),
        "hospitals.csv has round 3 hospital-09, which the ledger does not give",
    ),
    "a row twice": (
        edit_table("hospitals.csv", lambda rows: rows.append(rows[-1])),
        "hospitals.csv has round 3 hospital-03 2 times",
    ),
    "a longer row": (edit_table("rounds.csv", lambda rows: rows[-1].append("1")), "round 3 has 11 cells instead of 10"),
    "rows in another order": (edit_table("rounds.csv", lambda rows: rows.append(rows.pop(1))), "in another order"),
    "another column": (edit_table("rounds.csv", lambda rows: rows[0].reverse()), "rounds.csv has the columns"),
    "flipped participation": (
        edit_table("hospitals.csv", lambda rows: rows[-1].__setitem__(2, "0")),
        "hospitals.csv round 3 hospital-03 selected says 0, the ledger gives 1",
    ),
    "no index": (sql("DROP INDEX rounds_by_number"), "the ledger's index rounds_by_number is missing"),
    "a trigger": (
        sql("CREATE TRIGGER quiet AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE num_steps > 5; END"),
        "the ledger has a trigger quiet that was added",
    ),
    "a view": (sql("CREATE VIEW fewer AS SELECT * FROM entries LIMIT 1"), "the ledger has a view fewer"),
    "a table": (sql("CREATE TABLE more (x)"), "the ledger has a table more"),
    "another index": (
        sql("DROP INDEX entries_by_charge", "CREATE INDEX entries_by_charge ON entries (charge_id)"),
        "the ledger's index entries_by_charge was altered",
    ),
    "a view for a table": (
        sql("ALTER TABLE closings RENAME TO ended", "CREATE VIEW closings AS SELECT * FROM ended LIMIT 0"),
        "the ledger's table closings is missing",
    ),
    "a bent charge": (sql("UPDATE entries SET num_steps = 1 WHERE sequence = 3"), "row 3 was changed"),
    "a charge of text": (sql("UPDATE entries SET noise_multiplier = 'much' WHERE sequence = 3"), "row 3 was changed"),
    "a charge of bytes": (sql("UPDATE entries SET hospital_id = x'00' WHERE sequence = 3"), "row 3 was changed"),
    "a digest of bytes": (sql("UPDATE rounds SET digest = x'00' WHERE round_number = 1"), "was changed"),
    "a round of bytes": (sql("UPDATE rounds SET record = CAST(record AS BLOB)"), "was changed"),
    "a bent round": (sql("UPDATE rounds SET record = replace(record, '0.1', '0.2')"), "was changed"),
    "a bent end": (sql("UPDATE closings SET record = replace(record, 'done', 'interrupted')"), "was changed"),
    "an end left out": (sql("DELETE FROM closings"), "should end with row"),
    "charges left out": (sql("DELETE FROM entries WHERE round_number = 3"), "are missing"),
    "a round left out": (sql("DELETE FROM rounds WHERE round_number = 3"), "is missing"),
    "no head": (sql("DELETE FROM head"), "0 head rows instead of 1"),
    "the newest round cut out": (cut_the_newest_round, "model.safetensors is not the model of round 2"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(name: str, copy: Path) -> None:
    tamper, finding = TAMPERINGS[name]
    tamper(copy)
    found, sentence = verify_run(copy)
    assert [text for text in found if re.search(finding, text)], found
    assert sentence == ""


def test_a_run_is_in_order_where_it_was_written_and_as_a_copy_elsewhere(finished: Path, copy: Path) -> None:
    for folder in (finished, copy):
        findings, sentence = verify_run(folder)
        assert findings == []
        assert sentence.startswith("in order: 9 charges, 4 committed rounds, every epsilon recomputed (total ")
    head = json.loads((finished / "summary.json").read_text())["ledger_head"]
    assert f"ends with row {head['count']}, digest {head['digest'][:12]}" in sentence


@pytest.mark.parametrize(
    "sections",
    [
        {"privacy": {"placement": "none", "noise-multiplier": None}},
        {"privacy": {"noise-multiplier": 0.0}},
        {"privacy": {"noise-multiplier": None, "target-epsilon": 2.0}},
        {"privacy": {"budget-epsilon": 1.7}},
        {"privacy": {"target-delta": {"hospital-01": 1e-4, "hospital-02": 1e-5, "hospital-03": 1e-3}}},
        {"training": {"fraction-train": 0.4}, "simulation": {"dropout-rate": 0.4}},
        {"aggregation": {"strategy": "fedadam"}, "privacy": {"patient-overlap": 2}},
    ],
    ids=str,
)
def test_runs_of_every_kind_are_in_order(sections: dict[str, Any], tmp_path: Path) -> None:
    config = small_config(**{"training": {"num-rounds": 4}} | sections)
    assert verify_run(run(config, out=tmp_path / "run").folder)[0] == []


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from leaves(part, (*path, key))
    if not isinstance(value, dict | list):
        yield path


def bent(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, float):
        return value * 1.000001 + 1e-9
    return value + 1 if isinstance(value, int) else f"{value}x"


def test_every_value_of_the_summary_is_held_to_the_ledger(copy: Path) -> None:
    text = (copy / "summary.json").read_text()
    paths = list(leaves(json.loads(text)))
    assert len(paths) > 100
    summary = json.loads(text)
    for path in paths:
        table = summary
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = bent(table[path[-1]])
    (copy / "summary.json").write_text(json.dumps(summary))
    found = verify_run(copy)[0]
    # One finding each, by its own name.
    assert len({finding.partition(" says ")[0] for finding in found}) == len(found) == len(paths)
    assert all(finding.startswith("summary.json ") for finding in found)


def test_every_key_of_the_summary_must_be_there_and_no_other(copy: Path) -> None:
    text = (copy / "summary.json").read_text()
    for key in json.loads(text):
        summary = json.loads(text)
        del summary[key]
        (copy / "summary.json").write_text(json.dumps(summary))
        assert verify_run(copy)[0] == [f"summary.json lacks {key}"]
    (copy / "summary.json").write_text(json.dumps(json.loads(text) | {"epsilon_certified": 0.1}))
    assert verify_run(copy)[0] == ["summary.json has epsilon_certified, which the ledger does not give"]


@pytest.mark.parametrize("name", ["rounds.csv", "hospitals.csv"])
def test_every_cell_of_a_table_is_held_to_the_ledger(name: str, copy: Path) -> None:
    text = (copy / name).read_text()
    rows = list(csv.reader(text.splitlines()))

    def found(lines: list[list[str]]) -> list[str]:
        (copy / name).write_text("\n".join(",".join(line) for line in lines) + "\n")
        return verify_run(copy)[0]

    def bent_at(row: list[str], place: int) -> list[str]:
        return [*row[:place], f"{row[place]}1" if row[place] else "0", *row[place + 1 :]]

    assert found(rows) == []
    for place, column in enumerate(rows[0]):
        assert found([bent_at(rows[0], place), *rows[1:]]), column
        # A finding for every row, whichever column is bent in all of them.
        assert len(found([rows[0], *(bent_at(row, place) for row in rows[1:])])) >= len(rows) - 1, column


def test_a_ledger_whose_chain_was_made_anew_must_still_agree_with_itself(copy: Path) -> None:
    rechain(copy)
    # Only the summary knows the head that it had.
    assert all(text.startswith("summary.json ledger_head") for text in verify_run(copy)[0])

    def more_noise(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row.get("round_number") == 2 and "noise_multiplier" in row:
                row["noise_multiplier"] = 5.0

    rechain(copy, more_noise)
    found = verify_run(copy)[0]
    assert [text.rpartition("/")[2] for text in found] == [
        f"hospital-0{number} has noise_multiplier = 5.0, the plan 1.0" for number in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("before", "after", "finding"),
    [
        ('"num_steps": 2', '"num_steps": 1', "committed with num_steps of hospital-01 = 1, the charges give 2"),
        ('"selected": 1', '"selected": 0', "committed with selected of hospital-01 = 0, the charges give 1"),
        ('"completed": 1', '"completed": 0', "committed with completed of hospital-01 = 0, the charges give 1"),
        ('"num_completed": 3', '"num_completed": 2', "committed with num_completed = 2, the charges give 3"),
        (
            '"max_grad_norm": 1.0',
            '"max_grad_norm": 0.5',
            "committed with clip of hospital-01 = 1.0, the charges give 0.5",
        ),
        (r'"epsilon_max": \d', '"epsilon_max": 9', "committed with epsilon_max = 9"),
    ],
)
def test_a_round_that_is_not_what_was_charged_is_found(copy: Path, before: str, after: str, finding: str) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row.get("round_number") == 2 and "record" in row:
                row["record"], count = re.subn(before, after, row["record"])
                assert count

    rechain(copy, change)
    assert any(finding in text for text in verify_run(copy)[0]), verify_run(copy)[0]


@pytest.mark.parametrize(
    ("column", "value", "finding"),
    [
        ("fingerprint", "0" * 64, r"has fingerprint = 0+, the plan"),
        ("sensitivity", 0.5, r"round 1 was committed with clip of hospital-01 = 0\.5, the charges give 1\.0"),
        ("num_steps", 1, "has num_steps = 1, the plan 2"),
        ("sample_rate", 0.01, r"has sample_rate = 0\.01, the plan 0\.1"),
        ("noise_multiplier", 2.0, r"has noise_multiplier = 2\.0, the plan 1\.0"),
        ("hospital_id", "hospital-09", "is for no hospital of the plan"),
        ("run_id", "another", "has run_id = another, the run is"),
        ("charge_id", "another", "charge another is named for another release than attempt 1 at round 1"),
        ("attempt", 2, "is named for another release than attempt 2 at round 1 of hospital-01"),
    ],
)
def test_a_charge_that_is_not_the_plans_is_found(copy: Path, column: str, value: Any, finding: str) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row.get("hospital_id") == "hospital-01" and row["round_number"] == 1:
                row[column] = value

    rechain(copy, change)
    assert [text for text in verify_run(copy)[0] if re.search(finding, text)], verify_run(copy)[0]


def test_a_fact_of_the_end_takes_no_place_of_what_follows_from_the_ledger(copy: Path) -> None:
    def certify(rows: list[dict[str, Any]]) -> None:
        record = json.loads(rows[-1]["record"])
        record["facts"]["epsilon"] = {"max": 0.1}
        rows[-1]["record"] = json.dumps(record)

    rechain(copy, certify)
    edit_summary(epsilon={"max": 0.1})(copy)
    assert "summary.json epsilon lacks total" in verify_run(copy)[0]


def test_rounds_that_are_numbered_otherwise_or_no_records_are_found(copy: Path) -> None:
    def renumber(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row.get("round_number") == 3 and "record" in row and "status" not in row["record"]:
                row["round_number"] = 7

    def empty(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row.get("round_number") == 0 and "record" in row:
                row["record"] = "{}"

    rechain(copy, renumber)
    assert verify_run(copy)[0] == [
        "the ledger's rounds are [0, 1, 2, 7], and must be 0 and those that follow, each once"
    ]
    execute(copy, "UPDATE rounds SET round_number = 3 WHERE round_number = 7")
    rechain(copy, empty)
    with pytest.raises(ProtocolError, match="the rounds in the ledger are not as they were committed"):
        verify_run(copy)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run folder"):
        verify_run(tmp_path)
