"""Counts of fewer than ten people are not shown, and nothing that is shown tells them."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_runs import profiles_of, small_config
from test_claims import printed
from test_report import text_of

from wardround.config import FederationConfig
from wardround.datasets import describe, load_federation
from wardround.reports.data_tables import print_description, shown_description
from wardround.reports.folder import read_run
from wardround.reports.report import write_report
from wardround.reports.terminal import print_plan
from wardround.server.plan.alternatives import plan_notes
from wardround.server.plan.planning import plan_federation
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import run
from wardround.small_counts import shown_rate, shown_share, shown_total

SIZES = {"Cleveland": 199, "Hungary": 172, "Tiny": 7}


@pytest.fixture
def folder(write_run: Callable[..., Path]) -> Path:
    """A run with a hospital of 7 training and 3 test records, as the server writes it."""
    folder = write_run(hospitals=SIZES)
    summary = json.loads((folder / "summary.json").read_text())
    for item in summary["hospitals"]:
        item |= {"majority_accuracy": None}
        if item["hospital"] == "Tiny":
            item |= {"num_train": "<10", "num_test": "<10"}
    (folder / "summary.json").write_text(json.dumps(summary))
    table = (folder / "hospitals.csv").read_text()
    (folder / "hospitals.csv").write_text(re.sub(r"(?m)^(\d+,Tiny,\d,\d),7,(\d+),1.0,", r"\1,<10,\2,0.5,", table))
    return folder


def test_neither_a_size_nor_a_rate_nor_a_score_tells_it(folder: Path) -> None:
    tiny = next(hospital for hospital in read_run(folder).hospitals if hospital.name == "Tiny")
    assert tiny.size == "<10"
    for value in (tiny.num_train, *tiny.sample_rate, tiny.score, tiny.auc):
        assert value != value
    assert all(row["accuracy"] != row["accuracy"] for row in tiny.rows)
    assert tiny.epsilon > 0


def test_until_the_run_says_how_many_test_records_there_are_no_score_is_shown(write_run: Callable[..., Path]) -> None:
    run = read_run(write_run("killed", has_summary=False))
    assert all(hospital.score != hospital.score for hospital in run.hospitals)
    assert run.scores["score"] > 0


def test_the_total_is_that_of_the_others(folder: Path) -> None:
    text = text_of(write_report(folder))
    assert "Training records 371 or more in 3 hospitals" in text
    assert "378" not in text  # with Tiny's 7
    terminal = printed(folder)
    assert "371+" in terminal and "378" not in terminal
    assert re.search(r"Tiny <10 ", terminal)


def test_sums_rates_and_shares() -> None:
    assert shown_total([5.0, 20]) == "25"
    assert shown_total(["<10", 20]) == "20 or more"
    assert shown_rate(8 / 9, 9) is None and shown_rate(1.0, 9) == 1.0 and shown_rate(0.5, 10) == 0.5
    assert shown_share(0.5, 18) is None and shown_share(0.5, 20) == 0.5


def test_a_plan_hides_the_rate_that_is_a_batch_divided_by_the_size() -> None:
    config = small_config(training={"sample-rate": None, "batch-size": 4})
    plan = plan_federation(config, profiles_of([100, 8]))
    rows = plan.to_dict()["hospitals"]
    # The same epsilon can't be shown without it, so that is said, and of nobody by name.
    (note,) = (note for note in plan_notes(plan) if "batch-size" in note)
    assert "sample-rate" in note and plan.names[1] not in note
    assert [(row["num_examples"], row["sample_rate"]) for row in rows] == [(100, 0.04), ("<10", None)]
    console = Console(file=io.StringIO(), width=100)
    print_plan(plan, console)
    assert isinstance(console.file, io.StringIO)
    assert re.search(r"hospital-001 +<10 ", console.file.getvalue()) and "0.5" not in console.file.getvalue()


def _table(tmp_path: Path, sizes: dict[str, int]) -> dict[str, Any]:
    rows = [f"{name},{20 + index},{index % 2}" for name, size in sizes.items() for index in range(size)]
    (tmp_path / "t.csv").write_text("\n".join(["site,age,sick", *rows]))
    return {
        "dataset": "csv",
        "path": str(tmp_path / "t.csv"),
        "target": "sick",
        "hospital-column": "site",
        "num-hospitals": None,
    }


def test_a_run_writes_no_count_below_ten_into_its_summary(tmp_path: Path) -> None:
    federation = _table(tmp_path, {"a": 140, "b": 60, "c": 8, "d": 4}) | {"min-patients": 5}
    summary = run(small_config(federation=federation, training={"num-rounds": 1}), out=tmp_path / "run").summary
    by_name = {item["hospital"]: item for item in summary["hospitals"]}
    assert by_name["c"]["num_train"] == by_name["c"]["num_test"] == "<10"
    assert {item["majority_accuracy"] for item in by_name.values()} == {None}  # one that is left out would follow
    assert summary["excluded"] == ["d has <10 patients, fewer than min-patients = 5"]
    assert not any(re.search(r"\b212\b|\b208\b", sentence) for sentence in summary["notes"])
    assert summary["own_statistics"] is True and summary["record_is"] == "row"


def test_tables_hold_no_score_or_rate_that_tells_a_count_below_ten(tmp_path: Path) -> None:
    federation = _table(tmp_path, {"a": 140, "b": 60, "c": 8})
    training = {"num-rounds": 1, "sample-rate": None, "batch-size": 4}
    finished = run(small_config(federation=federation, training=training), out=tmp_path / "run")
    last = finished.hospitals.set_index("hospital")[-3:]
    assert last.loc["a", ["loss", "accuracy", "sample_rate"]].notna().all()
    assert last.loc["c", ["loss", "accuracy", "auc", "sample_rate"]].isna().all()
    assert verify_run(finished.folder)[0] == []


def test_a_rate_that_the_settings_give_to_all_is_shown() -> None:
    config = small_config(training={"sample-rate": 0.25})
    plan = plan_federation(config, profiles_of([100, 8]))
    assert [row["sample_rate"] for row in plan.to_dict()["hospitals"]] == [0.25, 0.25]
    assert not any("batch-size" in note for note in plan_notes(plan))


def test_a_description_hides_counts_shares_and_what_they_follow_from(tmp_path: Path) -> None:
    tables = _table(tmp_path, {"a": 140, "b": 15, "c": 6})
    config = FederationConfig(dataset="csv", path=tables["path"], target="sick", hospital_column="site")
    federation = load_federation(config)
    said = {row["hospital"]: row for row in shown_description(describe(federation))}
    assert said["a"]["records"] == 140 and said["a"]["share 1"] == pytest.approx(0.5)
    # The 15 records of b would tell its 3 test records beside the 12 for training.
    assert (said["b"]["records"], said["b"]["train"], said["b"]["test"]) == ("12 or more", 12, "<10")
    assert said["b"]["share 0"] is None and said["c"]["records"] == "<10"
    console = Console(file=io.StringIO(), width=100)
    print_description(describe(federation), federation.notes, federation.excluded, console)
    assert isinstance(console.file, io.StringIO)
    assert "161" not in console.file.getvalue()
