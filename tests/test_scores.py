"""Scores over all test records, against scikit-learn's and loops of a few lines."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, r2_score, roc_auc_score

from wardround.scores import NUM_BINS, ClassCounts, Predictions, auc_of, class_counts, macro_auc, r2, together
from wardround.server.record.class_reports import NOT_SHOWN, class_report


def _made(seed: int, num_classes: int, num: int) -> Predictions:
    generator = np.random.default_rng(seed)
    values = generator.dirichlet(np.full(num_classes, 0.3), num)
    labels = generator.integers(num_classes, size=num)
    return Predictions(values=values[:, 1].copy() if num_classes == 2 else values, labels=labels)


@given(some.integers(0, 2**31), some.integers(2, 4), some.integers(2, 300), some.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_area_has_the_bits_of_mean_ranks_however_many_scores_are_equal(
    seed: int, num_classes: int, num: int, num_levels: int
) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(-num_levels, num_levels, (num, num_classes)) / 3
    labels = generator.integers(num_classes, size=num)
    areas = []
    for index in range(num_classes):
        positive = int((labels == index).sum())
        if 0 < positive < num:
            above = rankdata(scores[:, index])[labels == index].sum() - positive * (positive + 1) / 2
            areas.append(above / (positive * (num - positive)))
    assert repr(macro_auc(scores, labels)) == repr(float(np.mean(areas)) if areas else math.nan)


@given(some.integers(0, 2**31), some.integers(2, 5), some.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_precision_recall_and_f1_are_sklearns(seed: int, num_classes: int, num: int) -> None:
    predictions = _made(seed, num_classes, num)
    counts = class_counts(predictions)
    report = class_report(counts, None)
    right, said = predictions.labels, predictions.answers
    assert np.array(counts.confusion).tolist() == confusion_matrix(right, said, labels=range(num_classes)).tolist()
    mean = precision_recall_fscore_support(right, said, average="macro", zero_division=0)[:3]
    each = precision_recall_fscore_support(right, said, labels=range(num_classes), zero_division=0)
    for index, figures in enumerate(report.by_class):
        num_real, num_said = int((right == index).sum()), int((said == index).sum())
        for score, whole, wanted in (
            (figures.precision, num_said, each[0][index]),
            (figures.recall, num_real, each[1][index]),
            (figures.f1, min(num_real, num_said), each[2][index]),
        ):
            assert score == pytest.approx(wanted) if whole >= 10 else score is None
    there = [index for index in range(num_classes) if ((right == index) | (said == index)).any()]
    shown = {name: all(getattr(report.by_class[i], name) is not None for i in there) for name in ("recall", "f1")}
    assert report.recall_macro == (pytest.approx(mean[1]) if shown["recall"] else None)
    assert report.f1_macro == (pytest.approx(mean[2]) if shown["f1"] else None)


def test_of_two_classes_the_second_is_the_positive_one() -> None:
    predictions = _made(3, 2, 400)
    report = class_report(class_counts(predictions), ("alive", "died"))
    assert report.positive_class == "died"
    assert report.f1 == pytest.approx(f1_score(predictions.labels, predictions.answers)) == report.by_class[1].f1
    several = class_report(class_counts(_made(3, 4, 400)), None)
    assert (several.positive_class, several.f1) == ("", several.f1_macro)


@given(some.integers(0, 2**31), some.integers(2, 5), some.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_the_calibration_error_is_that_of_a_loop(seed: int, num_classes: int, num: int) -> None:
    predictions = _made(seed, num_classes, num)
    sure, true = predictions.values, predictions.labels == 1
    if num_classes > 2:
        sure, true = sure.max(axis=1), predictions.values.argmax(axis=1) == predictions.labels
    error = 0.0
    for index in range(NUM_BINS):
        inside = (np.floor(sure * NUM_BINS) == index) | ((index == NUM_BINS - 1) & (sure == 1.0))
        error += abs(true[inside].sum() - sure[inside].sum()) / num
    assert class_report(class_counts(predictions), None).calibration_error == pytest.approx(error, abs=1e-12)


def test_a_model_that_is_certain_and_right_has_no_calibration_error() -> None:
    labels = np.array([0, 1] * 30)
    report = class_report(class_counts(Predictions(values=labels.astype(np.float64), labels=labels)), None)
    assert (report.calibration_error, report.f1) == (0.0, 1.0)


@given(some.integers(0, 2**31), some.integers(2, 4), some.lists(some.integers(0, 60), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_scores_of_hospitals_together_are_those_of_all_their_records(
    seed: int, num_classes: int, sizes: list[int]
) -> None:
    parts = [_made(seed + index, num_classes, size) for index, size in enumerate(sizes)]
    pooled = together(parts)
    if not sum(sizes):
        assert pooled is None
        return
    assert pooled is not None and pooled.num_test == sum(sizes)
    classes = [index for index in range(num_classes) if 0 < (pooled.labels == index).sum() < pooled.num_test]
    shares = np.stack([1 - pooled.values, pooled.values], axis=1) if num_classes == 2 else pooled.values
    areas = [roc_auc_score(pooled.labels == index, shares[:, index]) for index in classes]
    assert auc_of(pooled) == pytest.approx(float(np.mean(areas)) if areas else math.nan, nan_ok=True)


def test_r2_is_sklearns() -> None:
    generator = np.random.default_rng(1)
    labels = generator.normal(size=50)
    values = labels + generator.normal(size=50)
    assert r2(values, labels) == pytest.approx(r2_score(labels, values))
    assert math.isnan(r2(values[:0], labels[:0])) and math.isnan(r2(values, np.ones(50)))
    assert math.isnan(auc_of(Predictions(values=values, labels=labels)))


def test_probabilities_that_are_no_numbers_give_counts_and_no_calibration() -> None:
    values = np.array([math.nan] * 12 + [0.9] * 12)
    report = class_report(class_counts(Predictions(values=values, labels=np.array([0, 1] * 12))), None)
    assert report.calibration_error is None and report.reliability == ()
    assert report.by_class[0].num_test == 12


def _cells(confusion: list[list[int]]) -> tuple[tuple[int | str, ...], ...]:
    none = (0,) * NUM_BINS
    counts = ClassCounts(confusion=tuple(map(tuple, confusion)), bins=none, probabilities=(0.0,) * NUM_BINS, hits=none)
    return class_report(counts, None).confusion_matrix


def test_no_cell_of_fewer_than_ten_is_shown_nor_follows_from_its_row_or_column() -> None:
    assert _cells([[50, 12], [15, 30]]) == ((50, 12), (15, 30))
    assert _cells([[50, 3], [15, 30]]) == ((NOT_SHOWN, "<10"), (NOT_SHOWN, NOT_SHOWN))


@given(some.integers(2, 5), some.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_every_row_and_column_with_a_hidden_cell_has_two(size: int, seed: int) -> None:
    confusion: NDArray[np.int64] = np.random.default_rng(seed).integers(0, 60, size=(size, size))
    cells = _cells(confusion.tolist())
    hidden = np.array([[isinstance(cell, str) for cell in row] for row in cells])
    assert (hidden >= (confusion < 10)).all()
    for lines in (hidden, hidden.T):
        assert all(line.sum() != 1 for line in lines)
    assert all(
        cell in ("<10", NOT_SHOWN) or cell == count
        for row, counts in zip(cells, confusion, strict=True)
        for cell, count in zip(row, counts, strict=True)
    )


@given(some.integers(0, 2**31), some.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_no_bin_tells_of_fewer_than_ten_that_come_true_or_do_not(seed: int, num: int) -> None:
    report = class_report(class_counts(_made(seed, 2, num)), None)
    for item in report.reliability:
        true = round(item.share * item.num_test)
        assert min(true, item.num_test - true) >= 10
    assert [item.probability for item in report.reliability] == sorted(item.probability for item in report.reliability)


def test_a_mean_over_classes_tells_no_score_that_is_not_shown() -> None:
    labels = np.array([0] * 100 + [1] * 3)
    said = np.array([0] * 90 + [1] * 10 + [0] * 2 + [1])
    report = class_report(class_counts(Predictions(values=said.astype(float), labels=labels)), None)
    assert report.by_class[1].recall is None and report.by_class[0].recall == pytest.approx(0.9)
    assert report.recall_macro is None
