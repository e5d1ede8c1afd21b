"""A survival from settings to run folder: in every cell, on every engine, with the bill of any other task."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import PRIVATE
from small_runs import rows_of

import wardround as wr
from wardround.config import Config
from wardround.reports.folder import read_run
from wardround.reports.report import write_report
from wardround.reports.terminal import print_summary
from wardround.reports.words import quality_sentence
from wardround.server.record.verify import verify_run
from wardround.simulations.private_description import describe_privately

EDGES = (0.0, 100.0, 200.0, 400.0, 800.0)
DELTA = 1e-3
CELLS = [*PRIVATE, ("record", "none")]


def _rows(num: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return features of which the first tells the hazard, and times and events of exponential survival."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num, 3)).astype(np.float32)
    times = rng.exponential(300 * np.exp(-features[:, 0])).round()
    censored = rng.uniform(0, 900, num).round()
    return features, np.stack([np.minimum(times, censored), times <= censored], axis=1)


HOSPITALS = {"north": _rows(70, 0), "south": _rows(110, 1), "west": _rows(90, 2)}
FEDERATION = wr.Federation.from_arrays(HOSPITALS, task="survival", time_edges=EDGES)
# As many classes as intervals: a model of as many parameters.
CLASSES = wr.Federation.from_arrays({name: (x, np.arange(len(y)) % 4) for name, (x, y) in HOSPITALS.items()})


def settings(unit: str = "record", placement: str = "none", **sections: dict[str, Any]) -> Config:
    tables: dict[str, dict[str, Any]] = {
        "training": {"num_rounds": 3, "local_steps": 1, "sample_rate": 0.5, "learning_rate": 1.0},
        "privacy": {"placement": placement},
        "simulation": {"engine": "inline"},
    }
    if placement != "none":
        tables["privacy"] |= {"unit": unit, "target_epsilon": 8.0, "target_delta": DELTA}
    if placement == "distributed":
        tables["aggregation"] = {"protocol": "secure-sum", "min_survivors": 3}
    return Config(**{name: tables.get(name, {}) | sections.get(name, {}) for name in tables | sections})


@pytest.mark.parametrize("engine", ["inline", "stacked"])
@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_a_run_has_scores_a_page_and_the_bill_of_any_other_task(
    unit: str, placement: str, engine: str, tmp_path: Path
) -> None:
    config = settings(unit, placement, simulation={"engine": engine})
    done = wr.run(config, federation=FEDERATION, out=tmp_path / "run")
    summary = done.summary
    # A whole hospital's update hides in noise that three of them don't see through.
    least = 0.55 if unit == "record" else 0.0
    assert least < summary["concordance_pooled"] <= 1 and least < summary["concordance"] <= 1
    assert 0 < summary["brier_integrated"] < 0.5 and 0 < summary["brier_kaplan_meier"] < 0.5
    assert summary["majority_concordance"] == 0.5
    assert not {"accuracy", "auc", "r2", "confusion_matrix"} & summary.keys()
    assert not {"auc", "test-mean"} & summary["leaves_hospital"].keys()
    assert done.summary["epsilon"] == wr.run(config, federation=CLASSES, out=tmp_path / "classes").summary["epsilon"]
    assert verify_run(tmp_path / "run")[0] == []
    last = rows_of(tmp_path / "run" / "rounds.csv")[-1]
    assert float(last["accuracy"]) == summary["concordance_pooled"] and last["auc"] == ""
    for name in ("concordance", "brier_integrated", "brier_kaplan_meier"):
        assert float(last[name]) == summary[name]
    scores = {row["hospital"]: float(row["accuracy"]) for row in rows_of(tmp_path / "run" / "hospitals.csv")}
    sizes = {hospital["hospital"]: hospital["num_test"] for hospital in summary["hospitals"]}
    mean = sum(sizes[name] * score for name, score in scores.items()) / sum(sizes.values())
    assert summary["concordance"] == pytest.approx(mean, rel=1e-12)
    page = write_report(tmp_path / "run").read_text()
    assert "Integrated Brier score" in page and "Concordance, mean over hospitals" in page
    assert "class" not in quality_sentence(read_run(tmp_path / "run"))


def test_the_last_model_gives_the_scores_that_the_run_says(tmp_path: Path) -> None:
    """By NumPy alone, from the model's file and the rows."""
    from sksurv.metrics import concordance_index_censored

    from wardround.datasets import build_federation

    config = settings()
    done = wr.run(config, federation=FEDERATION, out=tmp_path / "run")
    weight, bias = (parameter.detach().numpy() for parameter in done.model().parameters())
    made = build_federation(FEDERATION.dataset, FEDERATION.of(config).federation)
    features = np.concatenate([hospital.test_features for hospital in made.hospitals])
    labels = np.concatenate([hospital.test_labels for hospital in made.hospitals])
    hazards = 1 / (1 + np.exp(-(features @ weight.T + bias)))
    survival = np.cumprod(1 - hazards, axis=1)
    found = concordance_index_censored(~np.signbit(labels), np.abs(labels), -survival.sum(axis=1))[0]
    assert done.summary["concordance_pooled"] == pytest.approx(found, abs=1e-12)


def test_no_two_runs_that_differ_in_their_edges_alone_share_noise(tmp_path: Path) -> None:
    """A third interval beyond all times changes no loss of the first two, whose noise must be other noise."""
    config = settings("record", "local", training={"num_rounds": 1})
    models = []
    for edges in (EDGES, (*EDGES[:-1], 801.0)):
        federation = wr.Federation.from_arrays(HOSPITALS, task="survival", time_edges=edges)
        run = wr.run(config, federation=federation, out=tmp_path / str(edges[-1]))
        models.append([parameter.detach().numpy()[:3] for parameter in run.model().parameters()])
    assert not any(np.any(one == other) for one, other in zip(*models, strict=True))


def test_a_users_metric_gets_curves_and_times(tmp_path: Path) -> None:
    seen = []

    def late(curves: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
        seen.append((curves.shape[1], labels.dtype, bool((np.diff(curves, axis=1) <= 0).all())))
        return float((np.abs(labels) > 400).mean())

    done = wr.run(settings(), federation=FEDERATION, metrics={"late": late}, out=tmp_path / "run")
    assert {*seen} == {(4, np.dtype(np.float64), True)}
    assert 0 < done.summary["metrics"]["late"] < 1
    with pytest.raises(wr.ConfigError, match='metric "concordance" has the name of a column'):
        wr.run(settings(), federation=FEDERATION, metrics={"concordance": late}, out=tmp_path / "other")


@pytest.mark.parametrize("method", ["mr-mtl", "local-head"])
def test_personal_models_are_scored_as_any(method: str, tmp_path: Path) -> None:
    personal = {"method": method} | ({"strength": 0.1} if method == "mr-mtl" else {})
    config = settings("record", "local", personal=personal, model={"name": "mlp"})
    assert 0 <= wr.run(config, federation=FEDERATION, out=tmp_path / "run").summary["concordance"] <= 1


@pytest.mark.parametrize("placement", ["local", "distributed"])
def test_released_statistics_and_a_private_description_are_of_features_alone(placement: str, tmp_path: Path) -> None:
    parts = [
        pd.DataFrame(x, columns=["a", "b", "c"]).assign(days=y[:, 0], died=y[:, 1] == 1, site=name)
        for name, (x, y) in HOSPITALS.items()
    ]
    framed = wr.Federation.from_frame(
        pd.concat(parts), target="days", event="died", hospital="site", time_edges=list(EDGES)
    )
    features = {"standardise": "private", "bounds": dict.fromkeys("abc", (-5.0, 5.0))}
    config = settings("record", placement, features=features)
    summary = wr.run(config, federation=framed, out=tmp_path / "run").summary
    assert summary["epsilon"]["max"] <= 8.0 and 0 <= summary["concordance_pooled"] <= 1
    told = describe_privately(framed.of(config), out=tmp_path / "told")
    assert [column.name for column in told.columns] == ["a", "b", "c"]


@pytest.mark.usefixtures("ray_session")
def test_a_study_has_concordance_and_brier_of_every_row_and_of_no_skill(tmp_path: Path) -> None:
    study = {
        "base": settings("record", "local"),
        "placements": ["local"],
        "target_epsilons": [8.0],
        "seeds": [1, 2],
        "baselines": ["majority", "alone", "federated", "pooled"],
    }
    wr.compare(study, federation=FEDERATION, out=tmp_path / "study")
    rows = rows_of(tmp_path / "study" / "results.csv")
    found = {name: [row for row in rows if row["baseline"] == name] for name in ("", *study["baselines"])}
    assert {len(some) for some in found.values()} == {2}
    for some in found.values():
        assert all(row["task"] == "survival" and row["auc"] == row["auc_pooled"] == "" for row in some)
        assert all(0 < float(row["brier_integrated"]) < 0.5 and 0 <= float(row["accuracy"]) <= 1 for row in some)
    assert [row["accuracy"] for row in found["majority"]] == ["0.5", "0.5"]
    summary = json.loads((tmp_path / "study" / "runs" / found["federated"][0]["run"] / "summary.json").read_text())
    assert summary["brier_kaplan_meier"] == float(found["majority"][0]["brier_integrated"])
    assert min(float(row["accuracy"]) for row in found["pooled"]) > 0.55
    page = (tmp_path / "study" / "report.html").read_text()
    assert "Concordance" in page and ">AUC<" not in page


def test_the_terminal_and_the_sentence_call_it_concordance(tmp_path: Path) -> None:
    from rich.console import Console

    wr.run(settings(), federation=FEDERATION, out=tmp_path / "run")
    console = Console(record=True, width=100)
    print_summary(tmp_path / "run", console)
    text = console.export_text()
    assert "Concordance over all test records is" in text and "same" in text and "AUC" not in text
    assert not math.isnan(read_run(tmp_path / "run").scores["brier_integrated"])
