"""Intervals of scores, against SciPy's and against how often they hold."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from wardround.scores import ClassCounts, Predictions, class_counts
from wardround.server.record.class_reports import class_report
from wardround.server.record.intervals import calibration_interval, f1_interval, intervals_of, share_interval


def counts_of(*confusion: tuple[int, ...]) -> ClassCounts:
    return ClassCounts(confusion=confusion, bins=(), probabilities=(), hits=())


@pytest.mark.parametrize(("right", "number"), [(0, 10), (10, 10), (3, 12), (911, 1000), (1, 1)])
def test_a_share_s_interval_is_wilson_s(right: int, number: int) -> None:
    expected = binomtest(right, number).proportion_ci(method="wilson")
    assert share_interval(right, number) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_balanced_accuracy_s_interval_holds_as_often_as_it_says() -> None:
    generator, held, numbers, shares = np.random.default_rng(4), 0, (150, 40, 30), (0.9, 0.6, 0.3)
    for _ in range(500):
        right = [int(generator.binomial(number, share)) for number, share in zip(numbers, shares, strict=True)]
        confusion = np.diag(right)
        confusion[:, 0] += np.array(numbers) - right
        confusion[0, 0], confusion[0, 1] = right[0], numbers[0] - right[0]
        low, high = intervals_of(counts_of(*map(tuple, confusion.tolist())))["recall_macro"]
        held += low <= np.mean(shares) <= high
    assert 0.92 <= held / 500 <= 0.98


def test_what_has_too_few_records_has_no_interval() -> None:
    assert intervals_of(counts_of((3, 1), (2, 3))) == {}
    assert set(intervals_of(counts_of((30, 1), (2, 3)))) == {"accuracy"}
    of_classes = {"accuracy", "recall_macro", "precision_macro", "f1_macro", "precision", "recall", "f1"}
    assert set(intervals_of(counts_of((30, 1), (2, 13)))) == of_classes
    assert set(intervals_of(counts_of((30, 1), (9, 5)))) == {"accuracy", "recall_macro", "recall"}


def test_scores_at_the_ends_have_intervals_within() -> None:
    found = intervals_of(counts_of((30, 0), (0, 15)))
    assert "f1_macro" not in found  # of which the formula tells no spread
    assert all(0 <= low <= high <= 1 for low, high in found.values())


def test_an_f1_s_interval_holds_as_often_as_it_says() -> None:
    generator, held = np.random.default_rng(5), 0
    chances = np.array([0.6, 0.1, 0.08, 0.22])  # neither, said, real, both
    true = 2 * 0.22 / (2 * 0.22 + 0.18)
    for _ in range(500):
        _, said, real, both = generator.multinomial(300, chances).tolist()
        low, high = f1_interval(both, said + both, real + both)
        assert low <= 2 * both / (2 * both + said + real) <= high
        held += low <= true <= high
    assert 0.92 <= held / 500 <= 0.98


def test_a_mean_f1_s_interval_holds_as_often_as_it_says() -> None:
    generator, held = np.random.default_rng(8), 0
    chances = np.array([[0.4, 0.05, 0.05], [0.04, 0.2, 0.06], [0.05, 0.05, 0.1]])
    true = (2 * chances.diagonal() / (chances.sum(axis=0) + chances.sum(axis=1))).mean()
    for _ in range(500):
        confusion = generator.multinomial(300, chances.ravel()).reshape(3, 3)
        low, high = intervals_of(counts_of(*map(tuple, confusion.tolist())))["f1_macro"]
        mean = f1_score(*np.repeat(np.indices((3, 3)).reshape(2, 9), confusion.ravel(), axis=1), average="macro")
        assert (low + high) / 2 == pytest.approx(mean)
        held += low <= true <= high
    assert 0.92 <= held / 500 <= 0.98


MISCALIBRATED = {"sure": (0.95, 0.05), "half sure": (0.75, 0.09)}


@pytest.mark.parametrize("number", [50, 100, 400])
@pytest.mark.parametrize("kind", MISCALIBRATED)
def test_a_calibration_error_s_interval_holds_where_half_of_the_records_are_far_off(kind: str, number: int) -> None:
    said, right = MISCALIBRATED[kind]
    generator, held = np.random.default_rng(10), 0
    for _ in range(400):
        is_off = generator.random(number) < 0.5
        labels = (generator.random(number) < np.where(is_off, right, 0.02)).astype(np.int64)
        counts = class_counts(Predictions(values=np.where(is_off, said, 0.02), labels=labels))
        low, high = calibration_interval(counts)
        held += low <= (said - right) / 2 <= high
    assert held / 400 >= 0.95


@pytest.mark.parametrize("number", [40, 400])
@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_a_calibration_error_s_interval_holds_at_least_as_often_as_it_says(shift: float, number: int) -> None:
    """The truth is computed of very many records, the estimate of few is too large, and the interval allows for it."""
    generator, held = np.random.default_rng(9), 0

    def draw(size: int) -> ClassCounts:
        values = generator.uniform(0, 1, size)
        labels = (generator.random(size) < np.clip(values - shift, 0, 1)).astype(np.int64)
        return class_counts(Predictions(values=values, labels=labels))

    many = draw(1_000_000)
    true = class_report(many, None).calibration_error
    for _ in range(300):
        low, high = calibration_interval(draw(number))
        held += low <= true <= high
    assert held / 300 >= 0.95
    assert high - low < 6 / math.sqrt(number)
