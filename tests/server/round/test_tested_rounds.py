"""With evaluate-every = n the model is tested before training, after every n-th round and after the last."""

import json
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from grid_runs import LineGrid, line, run_over
from safetensors.numpy import load_file
from small_runs import charges_of, draw_in_common, interrupted_in_training, results_of, rows_of, small_config

from wardround.cli import app
from wardround.config import Config, check_agreement
from wardround.errors import ConfigError, WardroundError
from wardround.reports.folder import read_run
from wardround.reports.report import write_report
from wardround.server.record.verify import verify_run
from wardround.server.round.progress import RoundRow
from wardround.simulations.runs import resume, run

SCORES = ("loss", "accuracy", "auc")


def settings(every: int, num_rounds: int = 7, **privacy: Any) -> Config:
    return small_config(training={"num-rounds": num_rounds, "evaluate-every": every}, privacy=privacy)


def rounds_with_scores(folder: Path) -> list[int]:
    """Return the rounds that have scores in both tables, having checked that the others have none in either."""
    found = []
    hospitals = rows_of(folder / "hospitals.csv")
    for row in rows_of(folder / "rounds.csv"):
        lines = [row, *(line for line in hospitals if line["round"] == row["round"])]
        filled = {all(line[column] for column in SCORES) for line in lines}
        empty = {not any(line[column] for column in SCORES) for line in lines}
        assert filled == {not is_empty for is_empty in empty} and len(filled) == 1, row["round"]
        found += [int(row["round"])] if filled == {True} else []
    return found


@pytest.mark.parametrize(
    ("every", "want"), [(1, [0, 1, 2, 3, 4, 5, 6, 7]), (3, [0, 3, 6, 7]), (7, [0, 7]), (50, [0, 7])]
)
def test_every_nth_round_and_the_last_are_tested(every: int, want: list[int], tmp_path: Path) -> None:
    folder = run(settings(every), out=tmp_path / "run").folder
    assert rounds_with_scores(folder) == want
    assert verify_run(folder)[0] == []


class Counting(LineGrid):
    """Counts what is asked of the nodes."""

    asked: list[str]

    def is_cut(self, message: Message) -> bool:
        self.asked = [*getattr(self, "asked", []), message.metadata.message_type.split(".")[0]]
        return False


def test_rounds_between_ask_nobody(tmp_path: Path) -> None:
    grids: list[Counting] = []

    def make(*given: Any) -> Any:
        grids.append(line(Counting)(*given))  # type: ignore[arg-type]
        return grids[-1]

    run_over(tmp_path / "run", settings(3), make)
    assert grids[0].asked.count("evaluate") == 4 * 3  # of three hospitals, in rounds 0, 3, 6 and 7
    assert grids[0].asked.count("train") == 7 * 3


def test_a_round_that_the_budget_ends_the_run_with_is_tested(tmp_path: Path) -> None:
    whole = run(settings(1, 8), out=tmp_path / "whole").summary["epsilon"]["max"]
    finished = run(settings(5, 8, **{"budget-epsilon": 0.9 * whole}), out=tmp_path / "run")
    last = finished.summary["num_rounds"]
    assert finished.summary["status"] == "stopped-at-budget"
    assert 5 < last < 8
    assert rounds_with_scores(finished.folder) == [0, 5, last]
    assert verify_run(finished.folder)[0] == []


@pytest.mark.parametrize("on_budget", ["drop", "replan"])
def test_who_is_dropped_or_gets_more_noise_is_no_end(on_budget: str, tmp_path: Path) -> None:
    whole = run(settings(1, 8), out=tmp_path / "whole").summary["epsilon"]["max"]
    budget = {"budget-epsilon": 0.9 * whole, "on-budget": on_budget}
    folder = run(settings(5, 8, **budget), out=tmp_path / "run").folder
    last = int(rows_of(folder / "rounds.csv")[-1]["round"])
    assert rounds_with_scores(folder) == [0, 5, last]


def failing_after(number: int) -> Any:
    def failing(row: RoundRow) -> None:
        if row.round_number == number:
            raise WardroundError("pulled the plug")

    return failing


def test_a_resumed_run_ends_in_the_tables_and_bits_of_one_that_went_through(tmp_path: Path) -> None:
    config = settings(3)
    whole = run(config, out=tmp_path / "whole").folder
    with pytest.raises(WardroundError, match="pulled the plug"):
        run(config, out=tmp_path / "run", progress=failing_after(5))
    # It stands between two tests, and says so wherever it shows scores.
    folder = tmp_path / "run"
    summary = json.loads((folder / "summary.json").read_text())
    third = next(row for row in rows_of(folder / "rounds.csv") if row["round"] == "3")
    assert {key: summary[key] for key in SCORES} == {key: float(third[key]) for key in SCORES}
    assert any(
        "loss and scores are those after round 3, and the model is that after round 5" in n for n in summary["notes"]
    )
    assert verify_run(folder)[0] == []
    shown = read_run(folder)
    assert shown.scores["loss"] == float(third["loss"])
    assert all(hospital.auc == hospital.auc for hospital in shown.hospitals)
    (folder / "summary.json").unlink()
    assert read_run(folder).scores["loss"] == float(third["loss"])
    assert resume(folder).summary["notes"] == json.loads((whole / "summary.json").read_text())["notes"]
    assert results_of(folder) == results_of(whole)


def test_a_run_that_lost_its_last_attempt_to_the_budget_says_which_model_was_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost attempt is charged: the budget may end the run after a round that was not known to be the last."""
    whole = run(settings(1, 8), out=tmp_path / "whole").summary["epsilon"]["max"]
    config, folder = settings(5, 8, **{"budget-epsilon": whole * 1.001}), tmp_path / "run"
    with interrupted_in_training(monkeypatch, 8):
        run(config, out=folder)
    assert len(charges_of(folder, "planned")) == 8 * 3
    summary = resume(folder).summary
    assert (summary["status"], summary["num_rounds"]) == ("stopped-at-budget", 7)
    assert rounds_with_scores(folder) == [0, 5]
    assert any("after round 5, and the model is that after round 7" in note for note in summary["notes"])
    assert verify_run(folder)[0] == []


def test_testing_less_changes_no_bit_of_the_model_of_the_same_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_common(monkeypatch)
    often, seldom = (run(settings(every), out=tmp_path / str(every)).folder for every in (1, 4))
    first, second = (load_file(folder / "model.safetensors") for folder in (often, seldom))
    assert all((first[name] == second[name]).all() for name in first)


def test_what_is_watched_and_the_page_have_the_rounds_that_were_tested(tmp_path: Path) -> None:
    rows: list[RoundRow] = []
    folder = run(settings(3), out=tmp_path / "run", progress=rows.append).folder
    assert [row.round_number for row in rows if row.loss is not None] == [0, 3, 6, 7]
    assert all((row.loss is None) == (row.metric is None) for row in rows)
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "AUC by round" in page and "not measured" not in page


def test_while_it_goes_on_the_last_scores_are_shown_with_their_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["run", "--engine", "inline", "--out", str(tmp_path / "run")]
    for setting in ("federation.num-hospitals=2", "training.num-rounds=5", "training.evaluate-every=3"):
        options += ["--set", setting]
    app(options, standalone_mode=False)
    lines = {line.split("/")[0]: line for line in capsys.readouterr().err.splitlines() if line.startswith("round ")}
    rounds = {row["round"]: row for row in rows_of(tmp_path / "run" / "rounds.csv")}
    assert f"auc {float(rounds['3']['auc']):.3f} (after round 3)  epsilon" in lines["round 4"]
    assert all("(after" not in lines[f"round {number}"] for number in (0, 3, 5))


def test_real_sites_test_nothing_and_such_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"evaluate-every = 2 is of simulated hospitals"):
        check_agreement(
            small_config(
                federation={
                    "dataset": "csv",
                    "num-hospitals": None,
                    "target": "died",
                    "max-records": 50,
                    "schema": {"died": {"levels": ["no", "yes"]}, "age": {"range": [0, 100]}},
                },
                training={"evaluate-every": 2},
                aggregation={"protocol": "secagg+", "min-survivors": 3},
            )
        )
