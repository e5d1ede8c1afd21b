"""Baselines against computations of their own: counting, and plain torch loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from small_runs import small_config

from wardround.config import FeaturesConfig, config_from_dict
from wardround.datasets import load_federation
from wardround.models import build_model
from wardround.server.record.class_reports import class_report
from wardround.simulations.studies.baselines import evaluate_baseline

CONFIG = small_config(
    training={"num-rounds": 3, "local-steps": 2, "sample-rate": 1.0, "learning-rate": 0.3},
    privacy={"placement": "none", "noise-multiplier": None},
)
FEDERATION = load_federation(CONFIG.federation)


def features(hospital, part):
    return torch.from_numpy(np.array(getattr(hospital, f"{part}_features"), np.float32))


def trained(hospitals):
    """Return a model after full-batch gradient descent on the hospitals' rows together."""
    model, _ = build_model(
        CONFIG.model,
        input_shape=FEDERATION.input_shape,
        num_outputs=FEDERATION.num_classes,
        seed=CONFIG.federation.seed,
        private=False,
    )
    x = torch.cat([features(hospital, "train") for hospital in hospitals])
    y = torch.cat([torch.from_numpy(np.array(hospital.train_labels)).long() for hospital in hospitals])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(3 * 2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def scores_of(model, hospital):
    with torch.no_grad():
        outputs = model(features(hospital, "test")).softmax(dim=1).numpy()
    truth = np.asarray(hospital.test_labels)
    return float((outputs.argmax(axis=1) == truth).mean()), float(roc_auc_score(truth, outputs[:, 1]))


@pytest.mark.parametrize("baseline", ["alone", "pooled"])
def test_trained_baselines_are_gradient_descent_on_what_they_may_see(baseline):
    found = evaluate_baseline(CONFIG, FEDERATION, baseline).evaluations
    together = trained(FEDERATION.hospitals)
    for hospital in FEDERATION.hospitals:
        model = together if baseline == "pooled" else trained([hospital])
        accuracy, auc = scores_of(model, hospital)
        evaluation = found[hospital.hospital_id]
        assert evaluation.score == pytest.approx(accuracy, abs=1e-9)
        assert evaluation.auc == pytest.approx(auc, abs=1e-9)


def test_one_area_is_over_all_test_records():
    (area,) = evaluate_baseline(CONFIG, FEDERATION, "pooled").columns
    model, truth, sure = trained(FEDERATION.hospitals), [], []
    for hospital in FEDERATION.hospitals:
        with torch.no_grad():
            sure.append(model(features(hospital, "test")).softmax(dim=1).numpy()[:, 1])
        truth.append(hospital.test_labels)
    assert area == pytest.approx(roc_auc_score(np.concatenate(truth), np.concatenate(sure)))
    assert evaluate_baseline(CONFIG, FEDERATION, "majority").columns == (0.5,)


def test_majority_counts_training_classes_and_scores_test_records():
    found = evaluate_baseline(CONFIG, FEDERATION, "majority").evaluations
    for hospital in FEDERATION.hospitals:
        classes, counts = np.unique(hospital.train_labels, return_counts=True)
        wanted = float((hospital.test_labels == classes[counts.argmax()]).mean())
        evaluation = found[hospital.hospital_id]
        assert evaluation.score == wanted
        assert evaluation.auc == 0.5


@pytest.mark.parametrize("dataset", ["breast-cancer", "digits"])
def test_the_balanced_accuracy_of_majorities_is_that_of_what_each_hospital_answers(dataset):
    """Hospitals of one class each answer differently, and are as often right in each class as the accuracy says."""
    federation = load_federation(
        small_config(federation={"dataset": dataset, "partition": "shards", "shards-per-hospital": 1}).federation
    )
    answers = [np.full(len(one.test_labels), np.bincount(one.train_labels).argmax()) for one in federation.hospitals]
    truth = np.concatenate([one.test_labels for one in federation.hospitals])
    counts = evaluate_baseline(CONFIG, federation, "majority").class_counts
    assert counts is not None
    wanted = balanced_accuracy_score(truth, np.concatenate(answers))
    assert class_report(counts, None).recall_macro == pytest.approx(wanted)
    assert wanted > 1 / federation.num_classes + 0.1


def test_baselines_need_nobody_else():
    """What asks for several hospitals is for federations: one trainer alone has no cohort and no server."""
    aggregation = replace(CONFIG.aggregation, min_survivors=3, strategy="fedadam")
    # A delta that goes with every hospital, and not with all their records together.
    privacy = replace(CONFIG.privacy, target_delta=1 / 200)
    with_rules = replace(CONFIG, aggregation=aggregation, privacy=privacy)
    assert evaluate_baseline(with_rules, FEDERATION, "pooled") == evaluate_baseline(CONFIG, FEDERATION, "pooled")


def test_regression_has_r2_and_the_mean_alone_has_about_none():
    config = config_from_dict(
        {
            "federation": {"dataset": "synthetic-regression", "num-hospitals": 3, "min-patients": 2},
            "training": {"num-rounds": 1, "local-steps": 2, "sample-rate": 0.01, "learning-rate": 0.05},
            "privacy": {"placement": "none"},
        }
    )
    federation = load_federation(config.federation)
    evaluated = evaluate_baseline(config, federation, "majority")
    found = evaluated.evaluations
    everything = np.concatenate([np.asarray(h.test_labels, np.float64) for h in federation.hospitals])
    answers = [np.full(len(h.test_labels), h.train_labels.mean(dtype=np.float64)) for h in federation.hospitals]
    assert evaluated.pooled_score == pytest.approx(r2_score(everything, np.concatenate(answers)))
    for hospital in federation.hospitals:
        test = np.asarray(hospital.test_labels, np.float64)
        error = ((test - np.mean(hospital.train_labels, dtype=np.float64)) ** 2).sum()
        wanted = 1 - error / ((test - test.mean()) ** 2).sum()
        assert found[hospital.hospital_id].score == pytest.approx(wanted, abs=1e-6)
        assert -0.01 < wanted <= 0


def test_the_caller_keeps_its_threads():
    before = torch.get_num_threads()
    evaluate_baseline(CONFIG, FEDERATION, "pooled")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("baseline", ["alone", "pooled"])
def test_features_whose_statistics_would_be_released_are_standardised_exactly(baseline):
    config = CONFIG.change(features={"standardise": "private"})
    federation = load_federation(config.federation, config.features)
    found = evaluate_baseline(config, federation, baseline).evaluations
    raw = load_federation(config.federation, FeaturesConfig(standardise="none"))
    rows = [np.asarray(hospital.train_features, np.float64) for hospital in raw.hospitals]
    everything = np.concatenate(rows)
    hospitals = []
    for hospital, own in zip(raw.hospitals, rows, strict=True):
        known = own if baseline == "alone" else everything
        mean, spread = known.mean(axis=0), known.std(axis=0)
        parts = {
            part: np.clip((getattr(hospital, part).astype(np.float64) - mean) / spread, -5, 5).astype(np.float32)
            for part in ("train_features", "test_features")
        }
        hospitals.append(replace(hospital, **parts))
    together = trained(hospitals)
    for hospital in hospitals:
        accuracy, auc = scores_of(together if baseline == "pooled" else trained([hospital]), hospital)
        evaluation = found[hospital.hospital_id]
        assert (evaluation.score, evaluation.auc) == (pytest.approx(accuracy, abs=0.04), pytest.approx(auc, abs=0.01))
