"""Scores against scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from torch import nn

from wardround.clients.evaluation import evaluate, evaluate_together
from wardround.clients.training import HospitalTensors
from wardround.scores import macro_auc, macro_aucs


@given(some.integers(0, 2**31), some.integers(2, 5), some.integers(5, 80), some.booleans())
@settings(max_examples=40, deadline=None)
def test_auc_is_sklearns(seed: int, num_classes: int, num: int, tied: bool) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.ones(num_classes), num)
    if tied:
        scores = np.round(scores, 1)
    labels = generator.integers(num_classes, size=num)
    areas = [
        roc_auc_score(labels == index, scores[:, index])
        for index in range(num_classes)
        if 0 < (labels == index).sum() < num
    ]
    expected = float(np.mean(areas)) if areas else math.nan
    assert macro_auc(scores, labels) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(some.integers(0, 2**31), some.integers(2, 4), some.lists(some.integers(0, 12), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_areas_of_several_hospitals_are_those_of_each(seed: int, num_classes: int, sizes: list[int]) -> None:
    generator = np.random.default_rng(seed)
    scores = np.round(generator.dirichlet(np.ones(num_classes), sum(sizes)), 1)
    labels = generator.integers(num_classes, size=sum(sizes))
    if sizes[0]:
        scores[0, 0] = math.nan
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    alone = [macro_auc(scores[part], labels[part]) for part in parts]
    np.testing.assert_allclose(macro_aucs(scores, labels, sizes), alone, rtol=1e-13)


def test_auc_where_it_is_not_defined() -> None:
    scores = np.array([[0.4, 0.6], [0.9, 0.1]])
    assert math.isnan(macro_auc(scores, np.array([1, 1])))
    assert math.isnan(macro_auc(np.full((2, 2), math.nan), np.array([0, 1])))
    assert macro_auc(scores, np.array([1, 0])) == 1.0
    assert macro_auc(scores, np.array([0, 1])) == 0.0
    assert macro_auc(np.full((4, 2), 0.5), np.array([0, 1, 0, 1])) == 0.5


def _tensors(features: torch.Tensor, labels: torch.Tensor) -> HospitalTensors:
    return HospitalTensors(
        train_features=features[:1], train_labels=labels[:1], test_features=features, test_labels=labels
    )


def test_classification_scores_are_sklearns_beyond_one_batch() -> None:
    torch.manual_seed(0)
    model, features, labels = nn.Linear(4, 3), torch.randn(2500, 4), torch.randint(3, (2500,))
    scores, _ = evaluate(model, _tensors(features, labels), hospital_id="a", task="classification")
    with torch.no_grad():
        shares = model(features).double().softmax(1).numpy()
    assert scores.num_examples == 2500
    assert scores.loss == pytest.approx(log_loss(labels.numpy(), shares), rel=1e-5)
    assert scores.score == pytest.approx((shares.argmax(1) == labels.numpy()).mean(), abs=1e-9)
    assert scores.auc == pytest.approx(roc_auc_score(labels.numpy(), shares, multi_class="ovr"), abs=1e-6)


def test_regression_scores_are_sklearns() -> None:
    torch.manual_seed(0)
    model, features = nn.Linear(4, 1), torch.randn(300, 4)
    labels = features[:, 0] * 2 + 0.1 * torch.randn(300)
    scores, _ = evaluate(model, _tensors(features, labels), hospital_id="a", task="regression")
    with torch.no_grad():
        answers = model(features).squeeze(1).numpy()
    assert scores.score == pytest.approx(r2_score(labels.numpy(), answers), abs=1e-5)
    assert scores.loss == pytest.approx(float(((answers - labels.numpy()) ** 2).mean()), rel=1e-5)
    assert math.isnan(scores.auc)
    constant, _ = evaluate(model, _tensors(features, torch.ones(300)), hospital_id="a", task="regression")
    assert math.isnan(constant.score)


def test_nothing_to_evaluate() -> None:
    tensors = HospitalTensors(
        train_features=torch.zeros(1, 4),
        train_labels=torch.zeros(1, dtype=torch.int64),
        test_features=torch.zeros(0, 4),
        test_labels=torch.zeros(0, dtype=torch.int64),
    )
    scores, _ = evaluate(nn.Linear(4, 2), tensors, hospital_id="a", task="classification")
    assert scores.num_examples == 0
    assert all(math.isnan(value) for value in (scores.loss, scores.score, scores.auc))


def test_a_model_that_is_not_finite_is_scored_as_such() -> None:
    model = nn.Linear(4, 2)
    nn.init.constant_(model.weight, math.nan)
    scores, _ = evaluate(
        model, _tensors(torch.randn(9, 4), torch.tensor([0, 1] * 4 + [0])), hospital_id="a", task="classification"
    )
    assert math.isnan(scores.loss) and math.isnan(scores.auc)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_hospitals_together_have_the_scores_of_each_and_share_a_forward(task: str) -> None:
    torch.manual_seed(0)
    sizes, width = (3, 0, 1, 700, 40, 2100), 3 if task == "classification" else 1
    model, seen = nn.Linear(4, width), list[int]()

    def counted(batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        return model(batch)

    hospitals = []
    for index, size in enumerate(sizes):
        labels = torch.randint(3, (size,)) if task == "classification" else torch.randn(size)
        features, trained = torch.randn(size, 4), torch.zeros(1, dtype=labels.dtype)
        tensors = HospitalTensors(
            train_features=torch.zeros(1, 4), train_labels=trained, test_features=features, test_labels=labels
        )
        hospitals.append((f"hospital-{index}", tensors))
    together = evaluate_together(counted, hospitals, task=task)
    # Whole hospitals in a batch, as many as fit; the largest has batches of its own.
    assert seen == [744, 1024, 1024, 52]
    for (name, tensors), (scores, predictions) in zip(hospitals, together, strict=True):
        expected, right = evaluate(model, tensors, hospital_id=name, task=task)
        assert (scores.hospital_id, scores.num_examples) == (name, len(tensors.test_labels))
        found, wanted = ((one.loss, one.score, one.auc) for one in (scores, expected))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(predictions.values, right.values, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(predictions.labels, right.labels)
        assert predictions.values.dtype == right.values.dtype and predictions.labels.dtype == right.labels.dtype


def test_several_hospitals_without_a_record_have_no_scores() -> None:
    empty = _tensors(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64))
    empty = HospitalTensors(
        train_features=empty.train_features,
        train_labels=empty.train_labels,
        test_features=empty.test_features[:0],
        test_labels=empty.test_labels[:0],
    )
    for scores, predictions in evaluate_together(nn.Linear(4, 2), [("a", empty), ("b", empty)], task="classification"):
        assert math.isnan(scores.loss) and len(predictions.labels) == 0
