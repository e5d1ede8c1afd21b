"""What a simulated run measures of its models: over all test records, by a user's metrics, for whoever watches."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import r2_score, roc_auc_score
from small_runs import interrupted_before_charging, results_of, rows_of, small_config

from wardround.config import load_config
from wardround.errors import ConfigError, WardroundError
from wardround.server.record.verify import verify_run
from wardround.server.round.progress import RoundRow
from wardround.simulations.runs import resume, run

FEW = {"num-rounds": 2}
LOS = Path(__file__).parents[1] / "data" / "los.csv"


def brier(predictions: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return float(((predictions - labels) ** 2).mean())


def test_the_pooled_auc_and_accuracy_are_sklearns_over_all_hospitals_test_records(tmp_path: Path) -> None:
    seen: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def watch(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
        seen.append((predictions, labels))
        return math.nan

    done = run(small_config(training=FEW), out=tmp_path / "run", metrics={"watch": watch})
    probabilities, labels = max(seen[-4:], key=lambda pair: len(pair[1]))  # three hospitals, and all of them
    assert len(labels) == sum(len(own) for _, own in seen[-3:])
    assert done.summary["auc_pooled"] == pytest.approx(roc_auc_score(labels, probabilities))
    assert done.summary["accuracy"] == pytest.approx(float(((probabilities > 0.5) == labels).mean()))
    assert done.rounds["auc_pooled"].iloc[-1] == pytest.approx(done.summary["auc_pooled"])
    means = [roc_auc_score(own, shares) * len(own) for shares, own in seen[-3:]]
    assert done.summary["auc"] == pytest.approx(sum(means) / len(labels))
    assert verify_run(done.folder)[0] == []


def test_r2_is_that_of_all_test_records_and_none_is_shown_of_a_tiny_hospital(tmp_path: Path) -> None:
    """Two hospitals that are predicted well, and one of ten patients whose stay hardly varies."""
    seen: list[float] = []

    def own_r2(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
        seen.append(float(r2_score(labels, predictions)))
        return seen[-1]

    config = load_config(
        None,
        [
            *("federation.dataset=csv", f"federation.path={LOS}", 'federation.task="regression"'),
            *("federation.target=los", "federation.hospital-column=hospital", "federation.patient-column=patient"),
            *("privacy.placement=none", "training.num-rounds=15", "training.learning-rate=0.1"),
            "simulation.engine=inline",
        ],
    )
    done = run(config, out=tmp_path / "run", metrics={"own r2": own_r2})
    assert done.summary["r2"] > 0.8
    assert done.summary["metrics"] == {"own r2": pytest.approx(done.summary["r2"])}
    assert -0.2 < done.summary["majority_r2"] < 0.1
    tiny = [row for row in rows_of(done.folder / "hospitals.csv") if row["hospital"] == "west"]
    assert {row[name] for row in tiny for name in ("accuracy", "loss", "auc", "own r2")} == {""}


def test_a_users_metrics_are_the_last_columns_and_are_told_to_whoever_watches(tmp_path: Path) -> None:
    rows: list[RoundRow] = []
    metrics = {"brier": brier, "one": lambda *_: 1}
    done = run(small_config(training=FEW), out=tmp_path / "run", metrics=metrics, progress=rows.append)
    assert list(done.rounds.columns)[-4:] == ["seconds", "auc_pooled", "brier", "one"]
    assert list(done.hospitals.columns)[-3:] == ["auc", "brier", "one"]
    assert set(done.hospitals["one"]) == {1.0} == set(done.rounds["one"])
    assert [row.metrics["brier"] for row in rows] == done.rounds["brier"].tolist()
    assert set(rows[-1].metrics) == {"loss", "accuracy", "auc", "auc_pooled", "brier", "one"}
    assert done.summary["metrics"] == {"brier": done.rounds["brier"].iloc[-1], "one": 1.0}


@pytest.mark.parametrize(
    ("name", "metric", "reason"),
    [
        ("accuracy", brier, "has the name of a column that every run has"),
        ("AUC_pooled", brier, "has the name of a column that every run has"),
        ("hospital", brier, "has the name of a column that every run has"),
        ("=1+1", brier, "must begin with a letter or a digit"),
        ("brier\n", brier, "may have letters, digits"),
        ("", brier, "must have 1 to 100 characters"),
        ("brier", 3.0, 'metric "brier" is a float, and must be a function'),
    ],
)
def test_a_metric_without_a_column_of_its_own_is_refused_before_anything(
    tmp_path: Path, name: str, metric: Any, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        run(small_config(), out=tmp_path / "run", metrics={name: metric})
    assert not (tmp_path / "run").exists()


def test_a_metric_that_fails_is_named_with_its_round_and_the_run_goes_on_once_it_is_mended(tmp_path: Path) -> None:
    asked: list[int] = []

    def failing(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
        asked.append(1)
        if len(asked) > 28:  # fourteen a round: of all, of each hospital, and of all but a tenth
            raise ValueError("no such bin")
        return brier(predictions, labels)

    config = small_config(training={"num-rounds": 4})
    with pytest.raises(WardroundError, match='metric "brier" failed in round 2: ValueError: no such bin'):
        run(config, out=tmp_path / "run", metrics={"brier": failing})
    done = resume(tmp_path / "run", metrics={"brier": brier})
    assert done.outcome.num_rounds == 4 and verify_run(done.folder)[0] == []


@pytest.mark.parametrize("returned", ["0.5", None, [0.5, 0.5]])
def test_a_metric_that_returns_no_number_is_named(tmp_path: Path, returned: Any) -> None:
    with pytest.raises(WardroundError, match=r'metric "wrong" returned a .* in round 0, and must return a number'):
        run(small_config(), out=tmp_path / "run", metrics={"wrong": lambda *_: returned})


def test_what_a_metric_does_to_its_arguments_is_no_other_ones_affair(tmp_path: Path) -> None:
    def clearing(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
        predictions[:] = labels[:] = 0
        return 0.0

    metrics = {"clearing": clearing, "brier": brier}
    one = run(small_config(training=FEW), out=tmp_path / "one", metrics=metrics)
    other = run(small_config(training=FEW), out=tmp_path / "other", metrics={"brier": brier})
    assert one.rounds["brier"].tolist() == other.rounds["brier"].tolist()
    assert one.rounds["auc_pooled"].tolist() == other.rounds["auc_pooled"].tolist()


def test_metrics_change_no_bit_of_a_run_and_are_the_same_where_it_was_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, metrics = small_config(training={"num-rounds": 4}), {"brier": brier}
    whole = run(config, out=tmp_path / "whole", metrics=metrics)
    plain = run(config, out=tmp_path / "plain")
    assert results_of(whole.folder)[0] == results_of(plain.folder)[0]
    with interrupted_before_charging(monkeypatch, 3):
        run(config, out=tmp_path / "parts", metrics=metrics)
    for given, told in (({}, "no metrics"), ({"brier": brier, "b": brier}, "brier, b"), ({"b": brier}, "metrics b")):
        with pytest.raises(ConfigError, match=rf"began with the metrics brier, and is taken up with .*{told}"):
            resume(tmp_path / "parts", metrics=given)
    resume(tmp_path / "parts", metrics=metrics)
    assert results_of(tmp_path / "parts") == results_of(whole.folder)
    assert resume(whole.folder).summary["metrics"] == whole.summary["metrics"]  # it has no round left


def test_a_run_that_began_without_metrics_gets_none_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with interrupted_before_charging(monkeypatch, 2):
        run(small_config(training=FEW), out=tmp_path / "run")
    with pytest.raises(ConfigError, match="began with no metrics, and is taken up with the metrics brier"):
        resume(tmp_path / "run", metrics={"brier": brier})


def test_rounds_that_are_not_evaluated_have_no_metrics(tmp_path: Path) -> None:
    rows: list[RoundRow] = []
    config = small_config(training={"num-rounds": 4, "evaluate-every": 3})
    done = run(config, out=tmp_path / "run", metrics={"brier": brier}, progress=rows.append)
    assert [bool(row.metrics) for row in rows] == [True, False, False, True, True]
    assert [value == value for value in done.rounds["brier"]] == [True, False, False, True, True]
    assert verify_run(done.folder)[0] == []
