"""Hospitals with models of their own: the papers' loops, the bill of one model, scores of each one's own model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from grid_runs import run_over
from safetensors.numpy import load_file, save_file
from small_runs import (
    draw_in_common,
    interrupted_before_charging,
    interrupted_in_training,
    replaced,
    results_of,
    rows_of,
    small_config,
)
from test_scaffold import FlowersEngine

import wardround as wr
from wardround.agreed.cohorts import draw_cohort
from wardround.clients.initial_models import built_model
from wardround.clients.trainers import build_trainer, hospital_tensors
from wardround.config import Config, config_from_dict, config_to_toml
from wardround.datasets import load_federation
from wardround.errors import ConfigError
from wardround.models import parameters_of
from wardround.privacy.ledger import open_ledger
from wardround.scores import Predictions, auc_of, together
from wardround.server.plan.planning import assign_round
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run

METHODS = {
    "mr-mtl": {"personal": {"method": "mr-mtl", "strength": 0.3}},
    "local-head": {"personal": {"method": "local-head"}, "model": {"name": "mlp", "hidden-sizes": [5]}},
}
_LINEAR: dict[str, dict[str, Any]] = {
    "federation": {"dataset": "synthetic-regression", "partition": "quantity", "num-hospitals": 3, "seed": 3},
    "training": {"num-rounds": 4, "local-steps": 5, "sample-rate": 1.0, "learning-rate": 0.1},
    "privacy": {"placement": "none"},
    "simulation": {"engine": "inline"},
}
"""A quadratic problem, where every step takes all records of a hospital."""
_WITHOUT_NOISE = {"noise-multiplier": 0.0, "max-grad-norm": 0.5}


def own_of(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return what is each hospital's own, by hospital and parameter."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in load_file(folder / "personal.safetensors").items():
        hospital, _, parameter = name.partition("/")
        found.setdefault(hospital, {})[parameter] = array
    return found


def flat(arrays: Any) -> np.ndarray:
    """Return weights and the bias, the last one, in float64."""
    parts = sorted(arrays.items(), key=lambda item: item[0].endswith("bias"))
    return np.concatenate([np.asarray(array, np.float64).reshape(-1) for _, array in parts])


@pytest.mark.parametrize("engine", ["inline", "stacked"])
@pytest.mark.parametrize("strength", [0.0, 0.7, 10.0])
def test_four_rounds_equal_the_papers_loop(strength: float, engine: str, tmp_path: Path) -> None:
    """Of hospitals of several sizes, two of three of which are drawn for a round, and the third keeps its model."""
    config = config_from_dict(
        replaced(
            _LINEAR,
            {
                "training": {"fraction-train": 0.67},
                "personal": {"method": "mr-mtl", "strength": strength},
                "simulation": {"engine": engine},
            },
        )
    )
    federation = load_federation(config.federation)
    data = {
        h.hospital_id: (np.c_[h.train_features, np.ones(h.num_train)], h.train_labels) for h in federation.hospitals
    }
    start = flat(parameters_of(built_model(config, federation.input_shape, federation.num_classes)[0]))
    models: dict[str, np.ndarray] = {}
    mean = start
    for round_number in (1, 2, 3, 4):
        for name in draw_cohort(config, list(data), round_number):
            w, (features, labels) = models.get(name, mean).copy(), data[name]
            for _ in range(5):
                w -= 0.1 * (2 * features.T @ (features @ w - labels) / len(labels) + strength * (w - mean))
            models[name] = w
        sizes = {name: len(data[name][1]) for name in models}
        mean = sum(sizes[name] * w for name, w in models.items()) / sum(sizes.values())
    folder = run(config, out=tmp_path / "run").folder
    np.testing.assert_allclose(flat(load_file(folder / "model.safetensors")), mean, atol=3e-6)
    assert own_of(folder).keys() == models.keys() == data.keys()
    for name, own in own_of(folder).items():
        np.testing.assert_allclose(flat(own), models[name], atol=3e-6)


def test_without_a_pull_every_hospital_trains_alone(tmp_path: Path) -> None:
    """By DP-SGD with clips, and no noise that would differ."""
    training = {"num-rounds": 3, "local-steps": 4, "sample-rate": 1.0}
    config = small_config(training=training, privacy=_WITHOUT_NOISE, personal={"method": "mr-mtl", "strength": 0.0})
    folder = run(config, out=tmp_path / "run").folder
    federation, planned = load_federation(config.federation), plan(config)
    trainer = build_trainer(config, federation)
    initial = parameters_of(trainer.model)
    for hospital in federation.hospitals:
        name, arrays = hospital.hospital_id, initial
        for round_number in (1, 2, 3):
            (assignment,) = assign_round(planned, [name], round_number, planned.noise_multipliers)
            arrays, *_ = trainer.train(arrays, hospital_tensors(hospital, trainer.device), assignment)
        np.testing.assert_allclose(flat(own_of(folder)[name]), flat(arrays), atol=1e-6)


def test_the_stronger_the_pull_the_nearer_are_the_models_to_one(tmp_path: Path) -> None:
    def spread(strength: float) -> float:
        config = small_config(
            training={"sample-rate": 1.0, "local-steps": 5, "learning-rate": 0.1},
            privacy=_WITHOUT_NOISE,
            personal={"method": "mr-mtl", "strength": strength},
        )
        models = np.stack([flat(own) for own in own_of(run(config, out=tmp_path / str(strength)).folder).values()])
        return float(np.linalg.norm(models - models.mean(axis=0)))

    spreads = [spread(strength) for strength in (0.0, 0.1, 1.0, 10.0)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 0.2 * spreads[0]


def charged(folder: Path) -> list[tuple[Any, ...]]:
    """Return what the ledger has of every charge but when it was made, and by which run."""
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        return [(e.round_number, e.hospital_id, e.event, e.sensitivity, e.attempt) for e in ledger.entries()]


@pytest.mark.parametrize("method", METHODS)
def test_the_bill_is_that_of_one_model(method: str, tmp_path: Path) -> None:
    privacy = {"noise-multiplier": None, "target-epsilon": 3.0}
    config = small_config(privacy=privacy, **METHODS[method])
    own = run(config, out=tmp_path / "own")
    one = run(config.change(personal={"method": "none"}), out=tmp_path / "one")
    assert charged(own.folder) == charged(one.folder) != []
    assert own.outcome.epsilon == one.outcome.epsilon


@pytest.mark.parametrize("engine", ["inline", "stacked"])
@pytest.mark.parametrize("method", METHODS)
def test_a_first_step_with_its_noise_is_that_of_federated_averaging(
    method: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All begin from one model, where there is nothing to be pulled from."""
    draw_in_common(monkeypatch)
    config = small_config(
        training={"num-rounds": 1, "local-steps": 1}, simulation={"engine": engine}, **METHODS[method]
    )
    models = []
    for name, other in (("own", {}), ("one", {"method": "none"})):
        folder = run(config.change(personal=other), out=tmp_path / name).folder
        models.append(flat(load_file(folder / "model.safetensors")))
    np.testing.assert_allclose(*models, atol=1e-6)
    assert np.abs(models[0]).max() > 1e-3


def odd(method: str, **sections: Any) -> Config:
    """Return settings with cohorts, hospitals that drop out, and statistics before round 1."""
    return small_config(
        **{
            "features": {"standardise": "private"},
            "training": {"num-rounds": 4, "fraction-train": 0.7},
            "simulation": {"dropout-rate": 0.2},
        }
        | METHODS[method]
        | sections
    )


@pytest.mark.parametrize("engine", ["inline", "stacked"])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_resumed_between_rounds_ends_in_the_same_bits(
    method: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = odd(method, simulation={"dropout-rate": 0.2, "engine": engine})
    whole = run(config, out=tmp_path / "whole").folder
    with interrupted_before_charging(monkeypatch, 3):
        run(config, out=tmp_path / "parts")
    assert verify_run(tmp_path / "parts")[0] == []
    parts = resume(tmp_path / "parts").folder
    assert results_of(parts) == results_of(whole)
    assert (parts / "personal.safetensors").read_bytes() == (whole / "personal.safetensors").read_bytes()
    assert verify_run(whole)[0] == []


def test_a_round_that_was_cut_short_leaves_no_trace_in_any_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = odd("mr-mtl", training={"num-rounds": 4})
    with interrupted_in_training(monkeypatch, 3):
        run(config, out=tmp_path / "run")
    two = run(config.change(training={"num-rounds": 2}), out=tmp_path / "two")
    assert own_of(tmp_path / "run").keys() == own_of(two.folder).keys()
    assert verify_run(tmp_path / "run")[0] == []
    assert verify_run(resume(tmp_path / "run").folder)[0] == []


def test_the_app_that_flower_loads_has_the_same_models(tmp_path: Path) -> None:
    config = small_config(training={"num-rounds": 2}, **METHODS["mr-mtl"])
    (tmp_path / "settings.toml").write_text(config_to_toml(config))
    run_over(tmp_path / "flower", config, lambda make_app, nodes: FlowersEngine(tmp_path / "settings.toml", nodes))
    here = run(config, out=tmp_path / "inline").folder
    assert results_of(tmp_path / "flower") == results_of(here)
    files = ((folder / "personal.safetensors").read_bytes() for folder in (tmp_path / "flower", here))
    assert next(files) == next(files)


@pytest.mark.parametrize("engine", ["inline", "stacked"])
@pytest.mark.parametrize("method", METHODS)
def test_every_hospital_is_tested_with_its_own_model(method: str, engine: str, tmp_path: Path) -> None:
    config = small_config(simulation={"engine": engine}, **METHODS[method])
    done = wr.run(config, out=tmp_path / "run")
    found = {row["hospital"]: row for row in rows_of(done.folder / "hospitals.csv") if row["round"] == "8"}
    predicted = []
    for hospital in load_federation(config.federation).hospitals:
        with torch.no_grad():
            outputs = done.model(hospital.hospital_id)(torch.tensor(hospital.test_features)).softmax(dim=1)
        values, labels = outputs[:, 1].double().numpy(), hospital.test_labels.astype(np.int64)
        predicted.append(Predictions(values=values, labels=labels))
        row = found[hospital.hospital_id]
        assert float(row["accuracy"]) == pytest.approx(np.mean((values > 0.5) == labels), abs=1e-6)
        assert float(row["auc"]) == pytest.approx(auc_of(predicted[-1]), abs=1e-6)
    assert done.outcome.scores.auc_pooled == pytest.approx(auc_of(together(predicted)), abs=1e-6)
    mean = flat(parameters_of(done.model()))
    assert all(np.abs(flat(parameters_of(done.model(name))) - mean).max() > 1e-3 for name in found)


def test_a_local_head_alone_is_a_hospitals_own(tmp_path: Path) -> None:
    done = wr.run(small_config(**METHODS["local-head"]), out=tmp_path / "run")
    assert {tuple(own) for own in own_of(done.folder).values()} == {("3.bias", "3.weight")}
    mean = parameters_of(done.model())
    for name, own in own_of(done.folder).items():
        model = parameters_of(done.model(name))
        assert all(np.array_equal(model[part], (own if part in own else mean)[part]) for part in mean)


def test_scales_and_shifts_of_norms_alone_are_a_hospitals_own(tmp_path: Path) -> None:
    def build(input_shape: tuple[int, ...], num_outputs: int) -> torch.nn.Module:
        size = input_shape[0]
        return torch.nn.Sequential(torch.nn.LayerNorm(size), torch.nn.Linear(size, num_outputs))

    done = wr.run(small_config(personal={"method": "fedbn"}), model=build, out=tmp_path / "run")
    assert {tuple(own) for own in own_of(done.folder).values()} == {("0.bias", "0.weight")}
    assert verify_run(done.folder)[0] == []


def change_model(folder: Path) -> None:
    arrays = load_file(folder / "personal.safetensors")
    name = next(iter(arrays))
    save_file({**arrays, name: arrays[name] + np.float32(1e-3)}, folder / "personal.safetensors")


@pytest.mark.parametrize(
    ("tamper", "finding"),
    [
        (change_model, "personal.safetensors is not the model of round 8 that was committed"),
        (lambda folder: (folder / "personal.safetensors").unlink(), "personal.safetensors is missing"),
        (lambda folder: (folder / "personal.safetensors").write_bytes(b"?"), "personal.safetensors can't be read"),
    ],
    ids=["changed", "missing", "broken"],
)
def test_models_that_were_not_committed_are_found(tamper: Any, finding: str, tmp_path: Path) -> None:
    folder = run(small_config(**METHODS["mr-mtl"]), out=tmp_path / "run").folder
    tamper(folder)
    (found,) = verify_run(folder)[0]
    assert found.startswith(finding)
    assert verify_run(resume(folder).folder)[0] == []


def test_a_model_that_no_hospital_has_is_refused_by_name(tmp_path: Path) -> None:
    done = wr.run(small_config(training={"num-rounds": 1}), out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"'hospital-01' has no model of its own in .* leave hospital out"):
        done.model("hospital-01")
    with pytest.raises(ConfigError, match="'nowhere' must be one of hospital-01, "):
        done.model("nowhere")
    assert not (done.folder / "personal.safetensors").exists()


def test_plan_summary_and_page_say_whose_models_they_are(tmp_path: Path) -> None:
    config = small_config(**METHODS["mr-mtl"])
    done = wr.run(config, out=tmp_path / "run")
    said = 'every hospital has a model of its own (method = "mr-mtl")'
    assert any(said in note for note in done.summary["notes"])
    assert json.loads((done.folder / "summary.json").read_text())["personal"] == "mr-mtl"
    page = (done.folder / "report.html").read_text()
    assert "the mean model after the last round, or a hospital" in page
