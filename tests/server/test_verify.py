"""Everything a run folder says about privacy, recomputed; every figure that is bent is found."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from small_runs import small_config

from wardround.errors import ConfigError
from wardround.server.verify import verify_run
from wardround.simulations.runs import run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(small_config(training={"num-rounds": 3}), out=tmp_path_factory.mktemp("verify") / "run").folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_a_run_as_it_was_written_is_in_order(finished: Path) -> None:
    findings, sentence = verify_run(finished)
    assert findings == []
    assert sentence.startswith("in order: 9 charges, 4 committed rounds")


@pytest.mark.parametrize(
    ("table", "column", "finding"),
    [
        ("rounds.csv", "epsilon_max", r"rounds.csv round 3 epsilon_max says 0.1, the ledger gives"),
        ("rounds.csv", "epsilon_total", r"rounds.csv round 3 epsilon_total says 0.1"),
        ("hospitals.csv", "epsilon", r"hospitals.csv round 3 hospital-03 epsilon says 0.1"),
        ("hospitals.csv", "noise_multiplier", r"hospitals.csv round 3 hospital-03 noise_multiplier says 0.1"),
        ("hospitals.csv", "sample_rate", r"hospitals.csv round 3 hospital-03 sample_rate says"),
        ("hospitals.csv", "num_steps", r"hospitals.csv round 3 hospital-03 num_steps says 0.1"),
    ],
)
def test_a_bent_table_is_found(copy: Path, table: str, column: str, finding: str) -> None:
    lines = (copy / table).read_text().splitlines()
    cells = lines[-1].split(",")
    cells[lines[0].split(",").index(column)] = "0.1" if column != "sample_rate" else "0.05"
    (copy / table).write_text("\n".join([*lines[:-1], ",".join(cells)]) + "\n")
    (found,) = verify_run(copy)[0]
    assert found.startswith(finding)


def test_a_row_left_out_of_a_table_is_found(copy: Path) -> None:
    lines = (copy / "hospitals.csv").read_text().splitlines()
    (copy / "hospitals.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert verify_run(copy)[0] == ["hospitals.csv lacks round 3 of hospital-03"]


def test_a_row_that_nobody_charged_is_found(copy: Path) -> None:
    with (copy / "hospitals.csv").open("a") as file:
        file.write("3,hospital-09,1,1,90,2,0.1,1.0,0.0,,,\n")
    assert any("hospital-09 took part, which the ledger did not charge" in text for text in verify_run(copy)[0])


@pytest.mark.parametrize("key", ["max", "total", "hospital-02"])
def test_a_bent_summary_is_found(copy: Path, key: str) -> None:
    summary = json.loads((copy / "summary.json").read_text())
    (summary["epsilon"] if key in ("max", "total") else summary["epsilon"]["hospitals"])[key] *= 0.9
    (copy / "summary.json").write_text(json.dumps(summary))
    (found,) = verify_run(copy)[0]
    assert found.startswith(f"summary.json epsilon {key} says")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET num_steps = 1 WHERE sequence = 3",
        "UPDATE entries SET noise_multiplier = 'much' WHERE sequence = 3",
        "UPDATE rounds SET record = replace(record, '0.1', '0.2') WHERE round_number = 2",
        "DELETE FROM entries WHERE round_number = 3",
        "DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)",
        "DELETE FROM rounds WHERE round_number = 3",
        "DELETE FROM head",
    ],
)
def test_a_bent_ledger_is_found(copy: Path, statement: str) -> None:
    connection = sqlite3.connect(copy / "ledger.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()
    assert verify_run(copy)[0]


def test_changed_settings_are_found(copy: Path) -> None:
    text = (copy / "config.toml").read_text()
    (copy / "config.toml").write_text(text.replace("patient-overlap = 1", "patient-overlap = 2"))
    findings = verify_run(copy)[0]
    assert findings[0].endswith("config.toml was changed since the run began")


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run folder"):
        verify_run(tmp_path)
