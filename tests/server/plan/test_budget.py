"""The budget holds for every hospital, however the cohorts fall and wherever the run is interrupted."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from made_up import PRIVATE
from small_runs import charges_of, interrupted_in_training, results_of, rows_of, small_config

from wardround.errors import WardroundError
from wardround.server.record.verify import verify_run
from wardround.server.round.progress import RoundRow
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run


def _config(on_budget: str, budget: float, **training: Any) -> Any:
    # A quantity partition with one batch size: small hospitals pay most, so that they meet the budget first.
    return small_config(
        federation={"partition": "quantity", "num-hospitals": 4, "dirichlet-alpha": 2.0},
        training={"batch-size": 16, "sample-rate": None, "num-rounds": 8, **training},
        privacy={"budget-epsilon": budget, "on-budget": on_budget},
    )


def _reported(summary: dict[str, Any]) -> dict[str, float]:
    """Return what every hospital spent, as the summary has it."""
    return dict(summary["epsilon"]["hospitals"])


@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("on_budget", ["stop", "drop", "replan"])
def test_no_hospital_ever_passes_the_budget(on_budget: str, fraction: float, tmp_path: Path) -> None:
    unlimited = {
        h.profile.hospital_id: h.epsilon for h in plan(_config("stop", 1e6, **{"fraction-train": fraction})).hospitals
    }
    budget = 0.75 * max(unlimited.values())
    config = _config(on_budget, budget, **{"fraction-train": fraction})
    finished = run(config, out=tmp_path / "whole")
    folder, summary = finished.folder, finished.summary
    spent = _reported(summary)
    assert all(epsilon <= budget for epsilon in spent.values())
    assert max(spent.values()) > 0.4 * budget
    assert summary["epsilon"]["total"] <= budget
    assert verify_run(folder)[0] == []
    if on_budget == "stop":
        assert summary["status"] == "stopped-at-budget"
        assert "would take" in summary["stopped_because"]
        assert 0 < summary["num_rounds"] < 8 == summary["num_rounds_planned"]
        assert (folder / "model.safetensors").is_file()
    else:
        assert summary["num_rounds"] == 8
        assert summary["status"] == "done"
    if on_budget == "drop":
        left = [text for text in summary["left_out"] if "left out from round" in text]
        assert left
    if on_budget == "replan":
        noise = {float(row["noise_multiplier"]) for row in rows_of(folder / "hospitals.csv") if row["selected"] == "1"}
        assert min(noise) == 1.0 < max(noise)
        # Nothing of the budget is left lying about by the hospital that needed more noise.
        assert max(spent.values()) > 0.99 * budget

    _interrupt_twice(config, tmp_path / "pieces")
    assert results_of(tmp_path / "pieces") == results_of(folder)
    assert charges_of(tmp_path / "pieces", "planned") == charges_of(folder, "planned")
    again = json.loads((tmp_path / "pieces" / "summary.json").read_text())
    assert (again["status"], again["left_out"]) == (summary["status"], summary["left_out"])


def _interrupt_twice(config: Any, folder: Path) -> None:
    """Run as if the machine failed after rounds 2 and 5."""

    def failing(row: RoundRow) -> None:
        if row.round_number in (2, 5) and row.round_number not in failed:
            failed.append(row.round_number)
            raise WardroundError("pulled the plug")

    failed: list[int] = []
    with pytest.raises(WardroundError, match="pulled the plug"):
        run(config, out=folder, progress=failing)
    with suppress(WardroundError):
        resume(folder, progress=failing)
    resume(folder)


@pytest.mark.parametrize(("unit", "placement"), PRIVATE)
def test_a_target_holds_with_a_lost_attempt_in_it(
    unit: str, placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _with_target(unit, placement, rounds=6)
    with interrupted_in_training(monkeypatch, 2):
        run(config, out=tmp_path / "run")
    finished = resume(tmp_path / "run")
    assert (finished.summary["status"], finished.summary["num_rounds"]) == ("done", 6)
    assert [number for number, _ in charges_of(finished.folder, "planned")].count(2) == 6
    spent = _reported(finished.summary)
    assert all(1.8 < epsilon <= 2.0 for epsilon in spent.values())
    assert finished.summary["epsilon"]["max"] <= 2.0
    noise = [float(row["noise_multiplier"]) for row in rows_of(finished.folder / "hospitals.csv")[3:]]
    assert max(noise[:3]) < min(noise[3:])  # five rounds are left, and what was meant for four
    assert verify_run(finished.folder)[0] == []


def test_a_target_holds_with_two_lost_attempts_and_a_budget_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _with_target("record", "local", rounds=6, **{"budget-epsilon": 1.5, "on-budget": "replan"})
    with interrupted_in_training(monkeypatch, 2):
        run(config, out=tmp_path / "run")
    with interrupted_in_training(monkeypatch, 2):
        resume(tmp_path / "run")
    finished = resume(tmp_path / "run")
    assert [number for number, _ in charges_of(finished.folder, "planned")].count(2) == 9
    assert all(epsilon <= 1.5 for epsilon in _reported(finished.summary).values())
    assert verify_run(finished.folder)[0] == []


def test_a_last_round_that_was_lost_is_not_drowned_in_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _with_target("record", "local", rounds=3)
    with interrupted_in_training(monkeypatch, 3):
        run(config, out=tmp_path / "run")
    summary = resume(tmp_path / "run").summary
    assert (summary["status"], summary["num_rounds"]) == ("stopped-at-budget", 2)
    assert "round 3 was charged and interrupted" in summary["stopped_because"]
    assert summary["epsilon"]["max"] <= 2.0
    assert resume(tmp_path / "run").summary == summary
    assert verify_run(tmp_path / "run")[0] == []


def _with_target(unit: str, placement: str, *, rounds: int, **privacy: Any) -> Any:
    gradient = unit == "record" and placement != "local"
    return small_config(
        training={"num-rounds": rounds, "local-steps": None if gradient else 2},
        privacy={"unit": unit, "placement": placement, "noise-multiplier": None, "target-epsilon": 2.0, **privacy},
        aggregation={"protocol": "secure-sum", "min-survivors": 3},
    )


@pytest.mark.parametrize("on_budget", ["stop", "drop"])
def test_a_budget_below_one_round_stops_before_anything_is_charged(on_budget: str, tmp_path: Path) -> None:
    finished = run(_config(on_budget, 1e-3), out=tmp_path / "run")
    assert finished.summary["status"] == "stopped-at-budget"
    assert finished.summary["num_rounds"] == 0
    assert finished.summary["epsilon"]["max"] == 0.0
    assert charges_of(finished.folder, "planned") == []
    assert json.loads((finished.folder / "summary.json").read_text()) == finished.summary
    assert verify_run(finished.folder)[0] == []


def test_replanning_meets_even_a_small_budget(tmp_path: Path) -> None:
    finished = run(_config("replan", 0.05), out=tmp_path / "run")
    assert finished.summary["status"] == "done"
    assert all(0.04 < epsilon <= 0.05 for epsilon in _reported(finished.summary).values())


def test_dropping_goes_on_while_anyone_has_budget_left(tmp_path: Path) -> None:
    # One hospital a round: a round whose only hospital is at the budget passes, the next one may have another.
    config = _config("drop", 4.0, **{"fraction-train": 0.25, "num-rounds": 30})
    finished = run(config, out=tmp_path / "run")
    rounds = rows_of(finished.folder / "rounds.csv")
    selected = [int(row["num_selected"]) for row in rounds[1:]]
    assert 0 in selected
    assert 1 in selected[selected.index(0) :]
    assert all(epsilon <= 4.0 for epsilon in _reported(finished.summary).values())


@pytest.mark.parametrize("on_budget", ["stop", "drop", "replan"])
def test_the_budget_holds_for_a_patient_in_several_hospitals(on_budget: str, tmp_path: Path) -> None:
    """No hospital alone comes near the budget: it is the total that passes it."""
    settings: dict[str, Any] = {"training": {"num-rounds": 6}, "federation": {"num-hospitals": 3}}
    overlap = {"patient-overlap": 2}
    whole = plan(small_config(privacy=overlap, **settings))
    budget = 0.9 * whole.epsilon_total
    assert whole.epsilon_max < budget
    privacy = {**overlap, "budget-epsilon": budget, "on-budget": on_budget}
    summary = run(small_config(privacy=privacy, **settings), out=tmp_path / "run").summary
    assert 0.6 * budget < summary["epsilon"]["total"] <= budget
    if on_budget == "stop":
        assert summary["status"] == "stopped-at-budget" and 0 < summary["num_rounds"] < 6
    if on_budget == "replan":
        assert summary["num_rounds"] == 6 and summary["epsilon"]["total"] > 0.995 * budget
    assert verify_run(tmp_path / "run")[0] == []


@pytest.mark.parametrize("overlap", [1, 2])
def test_a_target_is_what_the_summary_reports_after_all_rounds(overlap: int, tmp_path: Path) -> None:
    privacy = {"noise-multiplier": None, "target-epsilon": 2.0, "patient-overlap": overlap}
    summary = run(small_config(privacy=privacy), out=tmp_path / "run").summary
    assert 0.995 * 2.0 <= summary["epsilon"]["total"] <= 2.0
    assert max(summary["epsilon"]["hospitals"].values()) <= 2.0
    attacker = summary["attacker"]
    assert attacker["by"] == "pld"
    assert 0.5 < attacker["coin_toss_accuracy"] < 0.75
    assert 0.001 < attacker["tpr_at_fpr_0.001"] < attacker["tpr_at_fpr_0.01"] < 0.2
    assert summary["attackers"]["recipient"] == attacker
    assert set(summary["attackers_by_hospital"]) == set(summary["epsilon"]["hospitals"])
