"""What the release before round 1 may spend: never more than a target or a budget, whoever joins, whatever breaks."""

from pathlib import Path
from typing import Any

import pytest
from small_runs import charges_of, interrupted_in_training, small_config

from wardround.config import Config
from wardround.errors import BudgetError, ConfigError
from wardround.server.plan.planning import assign_round
from wardround.server.plan.plans import FederationPlan
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run


def own_settings(**sections: dict[str, Any]) -> Config:
    whole: dict[str, dict[str, Any]] = {
        "features": {"standardise": "private"},
        "training": {"num-rounds": 2},
        "privacy": {"noise-multiplier": None, "target-epsilon": 4.0},
    }
    return small_config(**{name: whole.get(name, {}) | sections.get(name, {}) for name in whole | sections})


@pytest.mark.parametrize("noise", [{"budget-epsilon": 1.5, "noise-multiplier": 1.0, "target-epsilon": None}, {}])
def test_beginnings_that_were_interrupted_never_pass_what_may_be_spent(
    noise: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, num_fits = own_settings(features={"statistics-share": 0.4}, privacy=noise), 1 if noise else 2
    for number in range(num_fits):
        with interrupted_in_training(monkeypatch, 0):
            resume(tmp_path / "run") if number else run(config, out=tmp_path / "run")
    with pytest.raises(BudgetError, match="the statistics before round 1 would spend more than"):
        resume(tmp_path / "run")
    assert len(charges_of(tmp_path / "run", "planned")) == 3 * num_fits


def test_settings_that_were_changed_after_the_release_was_charged_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted_in_training(monkeypatch, 0):
        run(own_settings(), out=tmp_path / "run")
    path = tmp_path / "run" / "config.toml"
    begun = path.read_text()
    for changed in (
        begun.replace("[features]", "[features]\nstatistics-share = 0.3"),
        begun.replace('standardise = "private"', 'standardise = "public"'),
    ):
        path.write_text(changed)
        with pytest.raises(ConfigError, match=r"config.toml was changed since the run was interrupted as it began"):
            resume(tmp_path / "run")
    path.write_text(begun)
    assert 3.5 < resume(tmp_path / "run").summary["epsilon"]["max"] <= 4.0


def test_a_release_with_other_noise_than_was_planned_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def louder(plan: FederationPlan, cohort: Any, number: int, noise: dict[str, float], **others: Any) -> Any:
        return assign_round(plan, cohort, number, {name: 1.01 * value for name, value in noise.items()}, **others)

    monkeypatch.setattr("wardround.server.round.statistics.assign_round", louder)
    run(own_settings(), out=tmp_path / "run")
    (finding, *_), _ = verify_run(tmp_path / "run")
    assert "/0/1/hospital-01 has noise_multiplier = " in finding and "the plan" in finding


@pytest.mark.parametrize("patient_overlap", [2, 3])
def test_a_target_holds_for_a_patient_of_hospitals_that_join_no_round(patient_overlap: int) -> None:
    rounds = {"num-rounds": 1, "fraction-train": 0.34, "local-steps": 2}
    few = {"min-survivors": 1}
    planned = plan(own_settings(training=rounds, privacy={"patient-overlap": patient_overlap}, aggregation=few))
    assert sorted(hospital.num_participations for hospital in planned.hospitals) == [0, 0, 1]
    assert 3.9 < planned.epsilon_total <= 4.0


def test_a_budget_that_the_statistics_alone_would_pass_for_a_patient_of_several_hospitals_is_refused() -> None:
    overlap = {"patient-overlap": 3, "target-epsilon": None, "noise-multiplier": 1.0}
    released = plan(own_settings(privacy=overlap)).statistics
    assert released is not None
    between = (released.epsilon_max + released.epsilon_total) / 2
    with pytest.raises(ConfigError, match="that the statistics before round 1 spend"):
        plan(own_settings(privacy=overlap | {"budget-epsilon": between}))


def test_a_target_that_no_noise_reaches_is_refused_in_words() -> None:
    with pytest.raises(BudgetError, match="no noise multiplier was found"):
        plan(own_settings(privacy={"target-epsilon": 1e-4, "patient-overlap": 3}))


def test_next_to_no_noise_is_planned_and_billed_as_such() -> None:
    planned = plan(own_settings(privacy={"noise-multiplier": 1e-8, "target-epsilon": None}))
    assert planned.statistics is not None
    assert 1e9 < planned.statistics.epsilon_max < planned.epsilon_max
