"""Every score that a run's summary and page show has an interval around it, whatever the task."""

import re

import numpy as np
import pytest

import wardround as wr
from wardround.reports.report import write_report
from wardround.server.record.verify import verify_run

SHARES = {"accuracy", "auc", "auc_pooled", "recall_macro", "precision_macro", "f1_macro", "calibration_error"}
EDGES = (0.0, 100.0, 200.0, 400.0, 800.0)


def rows_of(task: str, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(num, 3)).astype(np.float32)
    if task == "regression":
        return features, features[:, 0] + generator.normal(size=num) * 0.5
    if task == "survival":
        times, censored = generator.exponential(300 * np.exp(-features[:, 0])), generator.uniform(0, 900, num)
        return features, np.stack([np.minimum(times, censored).round(), times <= censored], axis=1)
    num_classes = 2 if task == "classification" else 3
    noisy = features[:, 0] + generator.normal(size=num) * 0.5
    return features, np.digitize(noisy, np.linspace(-2, 2, num_classes + 1)[1:-1])


@pytest.mark.parametrize(
    ("task", "names", "by_hospital"),
    [
        ("classification", SHARES | {"loss", "precision", "recall", "f1"}, {"accuracy", "auc"}),
        ("several classes", SHARES | {"loss"}, {"accuracy", "auc"}),
        ("regression", {"loss", "r2"}, {"r2"}),
        (
            "survival",
            {"loss", "concordance", "concordance_pooled", "brier_integrated", "brier_kaplan_meier"},
            {"concordance"},
        ),
    ],
)
def test_every_score_has_an_interval_around_it(task, names, by_hospital, tmp_path):
    hospitals = {name: rows_of(task, size, size) for name, size in (("north", 300), ("south", 400), ("west", 350))}
    given = {"task": task} if task in ("regression", "survival") else {}
    edges = {"time_edges": EDGES} if task == "survival" else {}
    federation = wr.Federation.from_arrays(hospitals, **given, **edges)
    run = wr.run(
        {"training": {"num_rounds": 20, "learning_rate": 0.5}, "privacy": {"placement": "none"}},
        federation=federation,
        metrics={"f1": lambda predictions, labels: float(np.mean(predictions))},
        out=tmp_path / "run",
    )
    summary = run.summary
    assert set(summary["intervals"]) == names | {"metrics.f1"}
    values = {**summary, "metrics.f1": summary["metrics"]["f1"], "r2": summary.get("r2")}
    for name, (low, high) in summary["intervals"].items():
        assert low < values[name] < high or (values[name], low) == (0, 0)
    assert all(set(hospital["intervals"]) == by_hospital for hospital in summary["hospitals"])
    assert verify_run(tmp_path / "run")[0] == []
    page = write_report(tmp_path / "run").read_text()
    figures = next(part for part in page.split("<caption>") if "in brackets 95 % intervals" in part)
    scores = re.findall(r"<tr>(.*?)</tr>", figures.split("Largest epsilon")[0], re.DOTALL)[1:]
    assert len(scores) >= 3
    assert all("\u2013" in row for row in scores), scores
