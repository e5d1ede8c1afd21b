"""Predictions of test records, and scores that are computed over all of them, whichever hospitals they are of.

A ratio that is averaged over hospitals says little where some are tiny: two test records decide an r2. What is left out
on purpose: how predictions are made and travel (see `clients.evaluation`, `wire`), and what of them may be shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NUM_BINS", "ClassCounts", "Predictions", "auc_of", "class_counts", "macro_auc", "r2", "together"]

NUM_BINS = 10
"""Of equal width, over the probabilities from 0 to 1, by which calibration is measured."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a model predicts of test records, and what is right: what a user's metric is called with.

    Attributes:
        values: float64; (n,) the probability of the second class of two, (n, k) those of more classes, or for
            regression (n,) the predicted numbers.
        labels: (n,); int64 class indices, or for regression float64 numbers.
    """

    values: NDArray[np.float64]
    labels: NDArray[Any]

    @property
    def num_test(self) -> int:
        """How many records there are."""
        return len(self.labels)

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted, not classes."""
        return self.labels.dtype.kind == "f"

    @property
    def answers(self) -> NDArray[np.int64]:
        """(n,) The most probable class of each record, the first of those that are equally so."""
        if self.values.ndim == 1:
            return (self.values > 0.5).astype(np.int64)
        return np.asarray(self.values.argmax(axis=1), dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """Counts of test records that precision, recall and calibration follow from.

    Attributes:
        confusion: records by right class, and within it by answered class.
        bins: records by probability, in bins of equal width over [0, 1]: of the second class of two, else of the
            answer; all 0 where a probability is not a number.
        probabilities: sums of these probabilities by bin.
        hits: by bin, how many are of the second class of two; else how many are answered right.
    """

    confusion: tuple[tuple[int, ...], ...]
    bins: tuple[int, ...]
    probabilities: tuple[float, ...]
    hits: tuple[int, ...]


def together(parts: Iterable[Predictions]) -> Predictions | None:
    """Return the predictions of several hospitals as those of one; None where there is no record."""
    listed = [part for part in parts if part.num_test]
    if not listed:
        return None
    return Predictions(
        values=np.concatenate([part.values for part in listed]), labels=np.concatenate([part.labels for part in listed])
    )


def r2(predictions: Any, labels: NDArray[Any]) -> float:
    """Return the coefficient of determination of predictions (n,), or one for all; nan where labels (n,) don't vary."""
    if len(labels) == 0:
        return float("nan")
    spread = float(((labels - labels.mean(dtype=np.float64)) ** 2).sum())
    error = float(((np.asarray(predictions, np.float64) - labels) ** 2).sum())
    return 1.0 - error / spread if spread > 0 else float("nan")


def auc_of(predictions: Predictions) -> float:
    """Return the area under the ROC curve (see `macro_auc`); nan for regression."""
    if predictions.is_regression:
        return float("nan")
    values = predictions.values
    # Of two classes either gives the same area.
    return macro_auc(values if values.ndim == 2 else np.stack([-values, values], axis=1), predictions.labels)


def macro_auc(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the one-vs-rest area under the ROC curve, averaged over the classes that have both kinds of record.

    Args:
        scores: (n, num_classes), larger for more likely.
        labels: (n,) class indices.

    Returns:
        A number in [0, 1]; nan where no class has both kinds or a score is not finite. With two classes, both give
        the same area.

    Source: Hanley and McNeil 1982, the area as the Mann-Whitney statistic.
    """
    if not np.isfinite(scores).all():
        return float("nan")
    areas = []
    for index in range(scores.shape[1]):
        positive = labels == index
        num_positive, num_negative = int(positive.sum()), int((~positive).sum())
        if num_positive and num_negative:
            rank_sum = _rank_sum(scores[:, index], positive)
            areas.append((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))
    return float(np.mean(areas)) if areas else float("nan")


def _rank_sum(scores: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    """Return the sum of the chosen scores' ranks from 1, equal ones at their mean rank: a multiple of 1/2, exact."""
    ordered, own = np.sort(scores), scores[chosen]
    return float(ordered.searchsorted(own, "left").sum() + ordered.searchsorted(own, "right").sum() + len(own)) / 2


def class_counts(predictions: Predictions) -> ClassCounts:
    """Return the confusion matrix of class predictions, and the counts that their calibration follows from."""
    values, labels, answers = predictions.values, predictions.labels, predictions.answers
    num_classes = 2 if values.ndim == 1 else values.shape[1]
    confusion = np.bincount(labels * num_classes + answers, minlength=num_classes**2).reshape(num_classes, num_classes)
    certain, hit = (values, labels == 1) if values.ndim == 1 else (values.max(axis=1), answers == labels)
    if not np.isfinite(certain).all():
        certain, hit = certain[:0], hit[:0]
    bins = np.minimum((certain * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    return ClassCounts(
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        bins=tuple(np.bincount(bins, minlength=NUM_BINS).tolist()),
        probabilities=tuple(np.bincount(bins, weights=certain, minlength=NUM_BINS).tolist()),
        hits=tuple(np.bincount(bins[hit], minlength=NUM_BINS).tolist()),
    )
