"""Predictions of test records, and scores that are computed over all of them, whichever hospitals they are of.

A ratio that is averaged over hospitals says little where some are tiny: two test records decide an r2. What is left out
on purpose: how predictions are made and travel (see `clients.evaluation`, `wire`), and what of them may be shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NORMAL_95",
    "NUM_BINS",
    "ClassCounts",
    "Predictions",
    "auc_of",
    "auc_parts",
    "class_counts",
    "class_scores",
    "macro_auc",
    "macro_aucs",
    "r2",
    "together",
]

NORMAL_95 = 1.959963984540054
"""Standard deviations on either side of a normal distribution's mean that hold 95 % of it."""
NUM_BINS = 10
"""Of equal width, over the probabilities from 0 to 1, by which calibration is measured."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a model predicts of test records, and what is right: what a user's metric is called with.

    Attributes:
        values: float64; (n,) the probability of the second class of two, (n, k) those of more classes, or for
            regression (n,) the predicted numbers, or for survival (n, K) its probabilities at the edges but the first.
        labels: (n,); int64 class indices, or float64: numbers of a regression, or times (see `survival`).
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
        return self.labels.dtype.kind == "f" and self.values.ndim == 1

    @property
    def is_survival(self) -> bool:
        """Whether it is predicted how long events are still to come."""
        return self.labels.dtype.kind == "f" and self.values.ndim == 2

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
    """Return the area under the ROC curve (see `macro_auc`); nan where there are no classes."""
    if predictions.labels.dtype.kind == "f":
        return float("nan")
    return macro_auc(class_scores(predictions), predictions.labels)


def class_scores(predictions: Predictions) -> NDArray[np.float64]:
    """Return (n, num_classes), larger for more likely; of two classes one column is the other's negative."""
    values = predictions.values
    return values if values.ndim == 2 else np.stack([-values, values], axis=1)


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
    return float(macro_aucs(scores, labels, [len(labels)])[0])


def macro_aucs(
    scores: NDArray[np.float64], labels: NDArray[np.int64], sizes: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the area under the ROC curve (see `macro_auc`) of each of several hospitals, whose records follow.

    >>> macro_aucs(np.array([[0.4, 0.6], [0.9, 0.1], [0.5, 0.5]]), np.array([1, 0, 1]), [2, 1])
    array([ 1., nan])

    Args:
        scores: (n, num_classes), larger for more likely.
        labels: (n,) class indices.
        sizes: how many records each hospital has (>= 0); n together.

    Returns:
        (num_hospitals,) numbers in [0, 1], nan where it is not defined.
    """
    num_hospitals = len(sizes)
    owners = np.repeat(np.arange(num_hospitals), sizes)
    first = np.cumsum(sizes) - sizes
    areas = np.full((scores.shape[1], num_hospitals), np.nan)
    for index, column in enumerate(scores.T):
        positive = labels == index
        num_positive = np.bincount(owners, weights=positive, minlength=num_hospitals)
        rank_sums = np.bincount(owners, weights=positive * _ranks(column, owners), minlength=num_hospitals)
        # Ranks go on from hospital to hospital; those of each begin after the records before it.
        wins = rank_sums - num_positive * first - num_positive * (num_positive + 1) / 2
        pairs = num_positive * (sizes - num_positive)
        np.divide(wins, pairs, out=areas[index], where=pairs > 0)
    areas[:, np.unique(owners[~np.isfinite(scores).all(axis=1)])] = np.nan
    is_defined = ~np.isnan(areas)
    num_defined = is_defined.sum(axis=0)
    means = np.full(num_hospitals, np.nan)
    np.divide(areas.sum(axis=0, where=is_defined), num_defined, out=means, where=num_defined > 0)
    return means


def auc_parts(
    scores: NDArray[np.float64], labels: NDArray[np.int64], sizes: Sequence[int] | NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return each hospital's area (see `macro_auc`), what each record brings to it, and the fewest records of a side.

    Of a class a record in it brings n / n_in (its share of the records outside that it is above, minus the area), and
    one outside likewise; these add up to 0. The square root of the sum of squares, over n, is the standard error, with
    sqrt(m / (m - 1)) on each of a side's m records. Of several classes they are averaged, as the areas are.

    Args:
        scores: (n, num_classes), larger for more likely.
        labels: (n,) class indices.
        sizes: how many records each hospital has (>= 0); n together.

    Returns:
        (num_hospitals,) areas, nan where no class has both sides; (n,) parts; both nan where a score of the hospital is
        not finite; and (num_hospitals,) over the classes that have both sides, the fewest records on one; 0 where no
        class has.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44, the structural components.
    """
    owners, sizes = np.repeat(np.arange(len(sizes)), sizes), np.asarray(sizes, np.int64)
    parts, areas, num_classes = np.zeros(len(labels)), np.zeros(len(sizes)), np.zeros(len(sizes))
    fewest = np.full(len(sizes), np.iinfo(np.int64).max)
    for index, column in enumerate(scores.T):
        inside = labels == index
        numbers = np.stack([np.bincount(owners[side], minlength=len(sizes)) for side in (inside, ~inside)])
        has_both = numbers.min(axis=0) > 0
        fewest = np.where(has_both, np.minimum(fewest, numbers.min(axis=0)), fewest)
        num_classes += has_both
        ranks = _ranks(column, owners) - (np.cumsum(sizes) - sizes)[owners]
        for side, own, other, sign in ((~inside, *numbers[::-1], -1.0), (inside, *numbers, 1.0)):
            of = owners[side]
            among = _ranks(column[side], of) - (np.cumsum(own) - own)[of]
            above = sign * (ranks[side] - among) / np.maximum(other[of], 1)
            middles = np.bincount(of, above, len(sizes)) / np.maximum(own, 1)  # of those inside, the last, the area
            apart = above - middles[of]
            enough = sizes[of] / np.sqrt(np.maximum(own * (own - 1.0), 1.0))[of]
            parts[side] += np.where(has_both[of], apart * enough, 0.0)
        areas += np.where(has_both, middles, 0.0)
    areas[num_classes == 0] = np.nan
    areas[np.unique(owners[~np.isfinite(scores).all(axis=1)])] = np.nan
    parts = np.where(np.isnan(areas)[owners] & (num_classes > 0)[owners], np.nan, parts)
    each = np.maximum(num_classes, 1)
    return areas / each, parts / each[owners], np.where(num_classes > 0, fewest, 0)


def _ranks(values: NDArray[np.float64], owners: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the ranks (n,) of values from 1, in the order of their owners, equal ones of an owner in the middle."""
    order = np.lexsort((values, owners))
    ranked, of = values[order], owners[order]
    begins = np.flatnonzero(np.r_[True, (ranked[1:] != ranked[:-1]) | (of[1:] != of[:-1])][: len(values)])
    lengths = np.diff(np.r_[begins, len(values)])
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(begins + (lengths + 1) / 2, lengths)
    return ranks


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
