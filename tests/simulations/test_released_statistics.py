"""Statistics of features that are released before round 1: in every cell, charged, in the target, taken up again."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pytest
import torch
from flwr.app import Message
from grid_runs import LineGrid, line, run_over
from made_up import PRIVATE
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from small_runs import (
    charges_of,
    interrupted_before_charging,
    interrupted_in_training,
    results_of,
    rows_of,
    small_config,
)

import wardround as wr
from wardround import wire
from wardround.config import Config, FeaturesConfig
from wardround.datasets import load_federation
from wardround.datasets.moments import layout_of, moments_of, scaling_from
from wardround.errors import ConfigError, WardroundError
from wardround.privacy.accounting import headline_epsilon
from wardround.privacy.ledger import open_ledger
from wardround.privacy.profiles import gaussian_epsilon
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.statistics import gaussian_mu
from wardround.server.record.beginnings import opening_in
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run

DELTA = 1e-4
CELLS = [*PRIVATE, ("record", "none")]


def settings(unit: str = "record", placement: str = "local", **sections: dict[str, Any]) -> Config:
    gradient = unit == "record" and placement in ("central", "distributed")
    private = placement != "none"
    whole: dict[str, dict[str, Any]] = {
        "features": {"standardise": "private"},
        "training": {"num-rounds": 2, "local-steps": None if gradient else 2},
        "privacy": {
            "unit": unit,
            "placement": placement,
            "target-delta": DELTA if unit == "record" else 1e-2,
            "noise-multiplier": None,
            "target-epsilon": 4.0 if private else None,
        },
        "aggregation": {"protocol": "secure-sum", "min-survivors": 2},
    }
    return small_config(**{name: whole.get(name, {}) | sections.get(name, {}) for name in whole | sections})


def constants_of(folder: Path) -> Any:
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        opening = opening_in(ledger)
    assert opening is not None
    return opening.scaling


def exact_constants(config: Config, answered: Sequence[str] | None = None) -> Any:
    federation = load_federation(config.federation, FeaturesConfig(standardise="private"))
    layout = layout_of(federation)
    assert layout is not None
    there = [each for each in federation.hospitals if answered is None or each.hospital_id in answered]
    rows = np.concatenate([hospital.train_features for hospital in there])
    return scaling_from(moments_of(rows, layout).mean(axis=0, dtype=np.float64), layout, stddev=0.0)


@pytest.mark.parametrize(("unit", "placement"), CELLS)
@pytest.mark.parametrize("engine", ["inline", "stacked"])
def test_every_cell_releases_charges_and_verifies(unit: str, placement: str, engine: str, tmp_path: Path) -> None:
    config = settings(unit, placement, simulation={"engine": engine})
    done = run(config, out=tmp_path / "run")
    assert verify_run(done.folder)[0] == []
    rows = [row for row in rows_of(done.folder / "hospitals.csv") if row["round"] == "0"]
    assert {(row["selected"], row["completed"], row["num_steps"]) for row in rows} == {("1", "1", "1")}
    assert charges_of(done.folder, "planned")[:3] == [
        (0, name) for name in ("hospital-01", "hospital-02", "hospital-03")
    ]
    planned = plan(config)
    assert planned.statistics is not None
    with open_ledger(done.folder / "ledger.sqlite", read_only=True) as ledger:
        first = {entry.hospital_id: entry.event for entry in ledger.entries() if entry.round_number == 0}
    assert first == {hospital.name: hospital.event for hospital in planned.statistics.hospitals}
    if placement == "none":
        assert done.summary["epsilon"]["max"] == math.inf
        exact = exact_constants(config)
        assert constants_of(done.folder).centre == pytest.approx(exact.centre, abs=2e-6)
        assert constants_of(done.folder).scale == pytest.approx(exact.scale, abs=2e-5)
    else:
        assert 3.9 < done.summary["epsilon"]["max"] <= 4.0
        assert {row["noise_multiplier"] for row in rows} == {str(event.noise_multiplier) for event in first.values()}


@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_secure_aggregation_releases_the_same_statistics(unit: str, placement: str, tmp_path: Path) -> None:
    protocols = ("secagg+", "secure-sum") if placement == "none" else ("secagg+",)
    config = settings(unit, placement, aggregation={"protocol": "secagg+"})
    for protocol in protocols:
        config = config.change(aggregation={"protocol": protocol})
        run(config, out=tmp_path / protocol)
        assert verify_run(tmp_path / protocol)[0] == []
    exact = exact_constants(config)
    found = constants_of(tmp_path / "secagg+")
    if placement == "none":
        assert found.centre == pytest.approx(exact.centre, abs=1e-5)
    assert found != exact and len(found.centre) == len(exact.centre)


@pytest.mark.parametrize("placement", ["local", "central"])
def test_the_bill_is_what_dp_accounting_makes_of_release_and_rounds(placement: str, tmp_path: Path) -> None:
    summary = run(settings("record", placement), out=tmp_path / "run").summary
    events = summary["events"]["hospital-01"]
    assert len(events) == 2
    accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4)
    for event in events:
        accountant.compose(eval(event, vars(dp_accounting)))
    assert summary["epsilon"]["hospitals"]["hospital-01"] == pytest.approx(accountant.get_epsilon(DELTA), rel=2e-3)


def shares(planned: FederationPlan, delta: float) -> list[float]:
    assert planned.statistics is not None
    release = [headline_epsilon([hospital.event], delta) for hospital in planned.statistics.hospitals]
    whole = [headline_epsilon(hospital.events, delta) for hospital in planned.hospitals]
    return [
        (gaussian_mu(part, delta) / gaussian_mu(all_, delta)) ** 2 for part, all_ in zip(release, whole, strict=True)
    ]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.4])
@pytest.mark.parametrize("noise", [{"target-epsilon": 4.0}, {"target-epsilon": None, "noise-multiplier": 1.5}])
def test_the_release_costs_its_share_of_the_whole_bill(share: float, noise: dict[str, float]) -> None:
    planned = plan(settings(features={"statistics-share": share}, privacy=noise))
    # Of rounds that are Gaussian the shares add up; these are sampled, and nearly are.
    assert max(shares(planned, DELTA)) == pytest.approx(share, rel=0.15)


def test_gaussian_mu_is_the_inverse_of_gaussian_epsilon() -> None:
    for mu in (0.01, 0.5, 1.0, 5.0, 20.0):
        for delta in (1e-2, 1e-5, 1e-8):
            if (epsilon := gaussian_epsilon(mu, delta)) > 0:
                assert gaussian_mu(epsilon, delta) == pytest.approx(mu, rel=1e-6)
    assert gaussian_mu(math.inf, 1e-5) == math.inf


def test_noise_that_is_released_is_what_was_planned(tmp_path: Path) -> None:
    config = settings(
        features={"statistics-share": 0.9},
        federation={"num-hospitals": 2},
        training={"num-rounds": 1},
        simulation={"noise": "system", "engine": "inline"},
    )
    planned, exact, differences = plan(config), exact_constants(config), []
    assert planned.statistics is not None and planned.moments is not None
    for number in range(20):
        found = constants_of(run(config, out=tmp_path / str(number)).folder)
        differences.append(np.array(found.centre) - np.array(exact.centre))
    noise, records = planned.statistics.hospitals[0].noise_multiplier, sum(h.num_train for h in planned.hospitals)
    # Two hospitals, each with noise of its own on its sum: 20 draws of 30 means.
    expected = noise * planned.moments.most_norm * math.sqrt(2) / records
    assert np.std(differences) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    "change", [{"federation": {"class-weights": [1.0, 0.9]}}, {"features": {"statistics-share": 0.2}}]
)
def test_other_data_or_another_size_have_independent_noise(change: dict[str, Any], tmp_path: Path) -> None:
    releases = []
    for number, config in enumerate((settings(), settings(**change))):
        found, exact = constants_of(run(config, out=tmp_path / str(number)).folder), exact_constants(config)
        releases.append(np.array(found.centre) - np.array(exact.centre))
    assert abs(np.corrcoef(*releases)[0, 1]) < 0.6


def test_a_target_holds_for_a_beginning_that_was_charged_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(training={"num-rounds": 4}, privacy={"target-epsilon": 4.0})
    with interrupted_in_training(monkeypatch, 0):
        run(config, out=tmp_path / "broken")
    findings, sentence = verify_run(tmp_path / "broken")
    assert findings == [] and sentence.endswith("what is released before round 1 is charged")
    resumed = resume(tmp_path / "broken")
    assert [number for number, _ in charges_of(resumed.folder, "planned")][:9] == [0] * 6 + [1] * 3
    assert 3.5 < resumed.summary["epsilon"]["max"] <= 4.0
    assert verify_run(resumed.folder)[0] == []
    whole = run(config, out=tmp_path / "whole")
    assert constants_of(whole.folder) != constants_of(resumed.folder)  # another release, with noise of its own


def test_a_run_that_is_resumed_between_rounds_ends_in_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(training={"num-rounds": 3})
    whole = run(config, out=tmp_path / "whole").folder
    with interrupted_before_charging(monkeypatch, 2):
        run(config, out=tmp_path / "broken")
    assert results_of(resume(tmp_path / "broken").folder) == results_of(whole)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_workers_of_ray_and_this_process_release_the_same_bits(tmp_path: Path) -> None:
    made = []
    for engine in ("inline", "ray"):
        config = settings(simulation={"engine": engine})
        made.append(results_of(run(config, out=tmp_path / engine).folder))
    assert made[0] == made[1]


def test_too_few_answers_are_charged_and_leave_features_as_they_are(tmp_path: Path) -> None:
    config = settings(
        simulation={"dropout-rate": 0.6},
        aggregation={"min-survivors": 3},
        training={"num-rounds": 1},
        federation={"seed": 3},
    )
    done = run(config, out=tmp_path / "run")
    rows = [row for row in rows_of(done.folder / "hospitals.csv") if row["round"] == "0"]
    assert [row["completed"] for row in rows].count("0") > 0
    assert set(constants_of(done.folder).scale) == {1.0}
    assert done.summary["epsilon"]["max"] > 0 and verify_run(done.folder)[0] == []


def test_statistics_are_those_of_the_hospitals_that_answered(tmp_path: Path) -> None:
    """Not a part of a mean of which the others' share is taken to be zero."""
    privacy = {"noise-multiplier": 0.0, "target-epsilon": None}
    config = settings("record", "central", simulation={"dropout-rate": 0.6}, privacy=privacy, federation={"seed": 5})
    config = config.change(aggregation={"protocol": "plain", "min_survivors": 1})
    done = run(config, out=tmp_path / "run")
    rows = [row for row in rows_of(done.folder / "hospitals.csv") if row["round"] == "0"]
    answered = [row["hospital"] for row in rows if row["completed"] == "1"]
    assert 1 <= len(answered) < 3
    exact = exact_constants(config, answered)
    assert constants_of(done.folder).centre == pytest.approx(exact.centre, abs=2e-6)
    assert constants_of(done.folder).scale == pytest.approx(exact.scale, abs=2e-5)


def test_a_budget_that_the_statistics_alone_would_pass_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"budget-epsilon = 0.1 is less than the .* that the statistics"):
        plan(settings(privacy={"budget-epsilon": 0.1, "target-epsilon": None, "noise-multiplier": 1.0}))


def test_public_records_have_no_constants_and_are_refused() -> None:
    with pytest.raises(ConfigError, match="nobody knows before the run how these are scaled"):
        wr.run(settings(), public=(np.zeros((4, 30), np.float32), np.array([0, 1, 0, 1])))


class Forgetful(LineGrid):
    """Takes the constants out of what hospitals are sent."""

    def sent(self, message: Message) -> None:
        if wire.FEATURES in message.content:
            del message.content[wire.FEATURES]


def test_a_hospital_that_is_told_no_constants_refuses(tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match="the server sends no constants of features"):
        run_over(tmp_path / "run", settings(), line(Forgetful))


def test_the_model_takes_features_in_their_own_unit(tmp_path: Path) -> None:
    config = settings(training={"num-rounds": 2})
    done = wr.run(config, out=tmp_path / "run")
    raw = load_federation(config.federation, FeaturesConfig(standardise="none"))
    model, right = done.model(), []
    for hospital in raw.hospitals:
        with torch.no_grad():
            outputs = model(torch.tensor(hospital.test_features))
        right.append((outputs.argmax(dim=1).numpy() == hospital.test_labels).mean())
    told = [float(row["accuracy"]) for row in rows_of(done.folder / "hospitals.csv") if row["round"] == "2"]
    assert right == pytest.approx(told)


def test_the_file_of_the_model_alone_is_enough_to_score_new_records(tmp_path: Path) -> None:
    """By the formula in docs/config.md: nothing but the file, and that the model is logistic."""
    done = wr.run(settings(), out=tmp_path / "run")
    with safe_open(done.folder / "model.safetensors", "numpy") as file:
        told = json.loads(file.metadata()["features"])
    own = load_federation(done.config.federation, FeaturesConfig(standardise="none")).hospitals[0].test_features
    own = np.concatenate([own, 10 * own, -own, np.full_like(own[:1], np.nan)])  # beyond all bounds, and missing
    features, places = own.astype(np.float64), told["numbers"]
    low, high = np.array(told["low"]), np.array(told["high"])
    features[:, places] = 2 * (np.clip(features[:, places], low, high) - low) / (high - low) - 1
    scaled = np.clip((features - np.array(told["centre"])) / np.array(told["scale"]), -5, 5)
    arrays = load_file(done.folder / "model.safetensors")
    outputs = np.nan_to_num(scaled) @ arrays["1.weight"].T + arrays["1.bias"]
    with torch.no_grad():
        assert outputs == pytest.approx(done.model()(torch.tensor(own)).numpy(), rel=1e-4, abs=1e-4)


def test_constants_in_the_file_of_the_model_are_held_to_those_that_were_released(tmp_path: Path) -> None:
    folder = run(settings(), out=tmp_path / "run").folder
    arrays = load_file(folder / "model.safetensors")
    with safe_open(folder / "model.safetensors", "numpy") as file:
        told = file.metadata()["features"]
    for metadata in (None, {"features": told.replace("0.", "1.", 1)}, {"features": told, "more": ""}):
        save_file(arrays, folder / "model.safetensors", metadata)
        assert verify_run(folder)[0] == [
            "model.safetensors has other constants of features than were released: wardround resume writes it anew"
        ]
    resume(folder)
    assert verify_run(folder)[0] == []


def test_what_stands_in_the_plan_stands_in_the_summary(tmp_path: Path) -> None:
    summary = run(settings(), out=tmp_path / "run").summary
    (note,) = [note for note in summary["notes"] if "moments is released" in note]
    assert "in the bill as round 0" in note and note in wr.plan(settings()).notes
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["own_statistics"] is False
