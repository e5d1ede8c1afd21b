"""What is kept of a round is of those to whom something happened; hospitals.csv has a line for everyone still."""

import csv
import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from bent_folders import rechain
from small_runs import charges_of, interrupted_in_training, rows_of, small_config

from wardround.privacy.ledger import open_ledger
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import resume, run

NUM_HOSPITALS, NUM_ROUNDS = 8, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config(
        federation={"num-hospitals": NUM_HOSPITALS},
        training={"num-rounds": NUM_ROUNDS, "fraction-train": 0.25, "evaluate-every": 3},
    )
    return run(config, out=tmp_path_factory.mktemp("quiet") / "run").folder


def _records(folder: Path) -> list[dict[str, Any]]:
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        return [json.loads(text) for _, text in ledger.rounds()]


def test_a_round_keeps_rows_of_its_cohort_alone(folder: Path) -> None:
    """Of rounds after which the model is not tested; else it grew with the federation."""
    charged = charges_of(folder, "planned")
    for record in _records(folder):
        number = record["round_row"]["round"]
        if number in (1, 2):
            own = sorted(name for of_round, name in charged if of_round == number)
            assert [row["hospital"] for row in record["hospital_rows"]] == own
            assert record["noise_multipliers"] == record["target_deltas"] == {}


def test_every_hospital_has_a_line_in_every_round(folder: Path) -> None:
    rows = rows_of(folder / "hospitals.csv")
    names = sorted({row["hospital"] for row in rows})
    assert len(names) == NUM_HOSPITALS
    assert [(row["round"], row["hospital"]) for row in rows] == [
        (str(number), name) for number in range(NUM_ROUNDS + 1) for name in names
    ]


def test_who_is_not_asked_has_spent_what_it_had(folder: Path) -> None:
    rows, charged = rows_of(folder / "hospitals.csv"), charges_of(folder, "planned")
    before: dict[str, str] = {}
    for row in rows:
        is_asked = (int(row["round"]), row["hospital"]) in charged
        assert row["selected"] == str(int(is_asked))
        if before:
            grew = float(row["epsilon"]) > float(before.get(row["hospital"], "0"))
            assert grew == is_asked
        before[row["hospital"]] = row["epsilon"]


def test_a_hospital_that_is_not_asked_in_a_tested_round_has_scores(folder: Path) -> None:
    rows = [row for row in rows_of(folder / "hospitals.csv") if row["round"] == "3"]
    assert all(row["loss"] for row in rows)
    assert not all(row["selected"] == "1" for row in rows)


def test_a_resumed_runs_tables_are_made_of_the_kept_rows(folder: Path) -> None:
    for name in ("rounds.csv", "hospitals.csv"):
        text = (folder / name).read_text()
        (folder / name).write_text("")
        resume(folder)
        assert (folder / name).read_text() == text


def _without_a_row(rows: list[dict[str, Any]]) -> None:
    """Take a charged hospital's row out of round 2, so that its line would say that it was not asked."""
    row = next(
        row for row in rows if "record" in row and json.loads(row["record"]).get("round_row", {}).get("round") == 2
    )
    record = json.loads(row["record"])
    record["hospital_rows"] = record["hospital_rows"][1:]
    row["record"] = json.dumps(record, sort_keys=True)


def test_a_charged_hospitals_row_that_was_taken_out_is_found(folder: Path, tmp_path: Path) -> None:
    copy = Path(copytree(folder, tmp_path / "copy"))
    assert verify_run(copy)[0] == []
    rechain(copy, _without_a_row)
    assert any("committed with selected of hospital-" in text for text in verify_run(copy)[0])


def test_a_line_of_someone_who_was_not_asked_is_held_to_the_ledger(folder: Path, tmp_path: Path) -> None:
    copy = Path(copytree(folder, tmp_path / "copy"))
    with (copy / "hospitals.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    quiet = next(row for row in rows if row[0] == "2" and row[2] == "0")
    quiet[rows[0].index("epsilon")] = "0.001"
    with (copy / "hospitals.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    (finding,) = verify_run(copy)[0]
    assert f"round 2 {quiet[1]} epsilon says 0.001" in finding


def test_whoever_a_round_charged_that_is_done_again_by_nobody_has_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second attempt has nobody left: the first one spent the only hospital's budget.
    config = small_config(
        training={"num-rounds": 4, "fraction-train": 0.34, "evaluate-every": 50},
        privacy={"budget-epsilon": 1.45, "on-budget": "drop"},
    )
    with interrupted_in_training(monkeypatch, 2):
        run(config, out=tmp_path / "run")
    resume(tmp_path / "run")
    charged = charges_of(tmp_path / "run", "planned")
    assert [number for number, _ in charged].count(2) == 1
    (name,) = [name for number, name in charged if number == 2]
    rows = {(row["round"], row["hospital"]): row for row in rows_of(tmp_path / "run" / "hospitals.csv")}
    assert rows["2", name]["selected"] == "0"
    assert float(rows["1", name]["epsilon"]) < float(rows["2", name]["epsilon"]) == float(rows["4", name]["epsilon"])
    assert verify_run(tmp_path / "run")[0] == []
