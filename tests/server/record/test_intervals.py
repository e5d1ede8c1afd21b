"""Intervals of scores, against SciPy's and against how often they hold."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from wardround.scores import ClassCounts
from wardround.server.record.intervals import auc_interval, intervals_of, share_interval


def counts_of(*confusion: tuple[int, ...]) -> ClassCounts:
    return ClassCounts(confusion=confusion, bins=(), probabilities=(), hits=())


@pytest.mark.parametrize(("right", "number"), [(0, 10), (10, 10), (3, 12), (911, 1000), (1, 1)])
def test_a_share_s_interval_is_wilson_s(right: int, number: int) -> None:
    expected = binomtest(right, number).proportion_ci(method="wilson")
    assert share_interval(right, number) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("distance", [0.5, 1.2, 2.5])
def test_an_auc_s_interval_holds_as_often_as_it_says(distance: float) -> None:
    generator, held = np.random.default_rng(3), 0
    true = 0.5 * (1 + math.erf(distance / 2))
    labels = np.repeat([0, 1], [200, 60])
    for _ in range(400):
        scores = generator.normal(labels * distance)
        low, high = auc_interval(float(roc_auc_score(labels, scores)), num_positive=60, num_negative=200)
        held += low <= true <= high
    assert 0.92 <= held / 400 <= 0.99


def test_balanced_accuracy_s_interval_holds_as_often_as_it_says() -> None:
    generator, held, numbers, shares = np.random.default_rng(4), 0, (150, 40, 30), (0.9, 0.6, 0.3)
    for _ in range(500):
        right = [int(generator.binomial(number, share)) for number, share in zip(numbers, shares, strict=True)]
        confusion = np.diag(right)
        confusion[:, 0] += np.array(numbers) - right
        confusion[0, 0], confusion[0, 1] = right[0], numbers[0] - right[0]
        low, high = intervals_of(counts_of(*map(tuple, confusion.tolist())), math.nan)["recall_macro"]
        held += low <= np.mean(shares) <= high
    assert 0.92 <= held / 500 <= 0.98


def test_what_has_too_few_records_has_no_interval() -> None:
    assert intervals_of(counts_of((3, 1), (2, 3)), 0.7) == {}
    assert set(intervals_of(counts_of((30, 1), (2, 3)), 0.7)) == {"accuracy"}
    assert set(intervals_of(counts_of((30, 1), (2, 13)), 0.7)) == {"accuracy", "recall_macro", "auc_pooled"}
    assert set(intervals_of(counts_of((30, 1), (2, 13)), math.nan)) == {"accuracy", "recall_macro"}


def test_scores_at_the_ends_have_intervals_within() -> None:
    assert auc_interval(1.0, num_positive=20, num_negative=20) == (1.0, 1.0)
    for low, high in intervals_of(counts_of((30, 0), (0, 15)), 1.0).values():
        assert 0 <= low <= high <= 1
