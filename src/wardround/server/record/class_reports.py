"""Precision, recall, F1, confusion matrix and calibration of a model, from the counts that a round was committed with.

A score is shown where it is of ten test records or more, and a mean over classes where all of theirs are; a cell of
the confusion matrix where it counts ten or more (see `small_counts`). Made here in NumPy, since importing scikit-learn
takes longer than all rounds of a small run do. What is left out on purpose: counting (see `scores`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.json_records import json_field
from wardround.scores import NUM_BINS, ClassCounts
from wardround.server.record.intervals import class_intervals
from wardround.small_counts import FEWEST_SHOWN, shown_count, shown_share

__all__ = ["NOT_SHOWN", "ClassFigures", "ClassReport", "ReliabilityBin", "class_report"]

NOT_SHOWN = "not shown"
"""A cell of the confusion matrix that another, of fewer than ten, would follow from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """How one class is told from the others; a score is None where it is not shown.

    Attributes:
        name: of the class.
        num_test: its test records, as they may be shown.
        precision: share of the records so answered that are of it; of ten or more.
        recall: share of its records that are so answered; of ten or more.
        f1: harmonic mean of the two; where both are shown.
        intervals: 95 % intervals of these, by name, as far as they are shown; None where the run did not say.
    """

    name: str = json_field(key="class")
    num_test: int | str
    precision: float | None
    recall: float | None
    f1: float | None
    intervals: Mapping[str, tuple[float, ...]] | None = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Test records of neighbouring probabilities: their mean, how many there are, and the share that comes true."""

    probability: float
    share: float
    num_test: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport:
    """How a model tells classes, over all test records; a score is None where it is not shown, or there is none.

    Attributes:
        positive_class: name of the second class of two; "" of more, where the next three are means over classes.
        precision: of that class.
        recall: likewise.
        f1: likewise.
        precision_macro: mean over the classes that have a record or an answer.
        recall_macro: likewise.
        f1_macro: likewise.
        by_class: each class.
        confusion_matrix: records by right class, and within it by answered class, as they may be shown.
        calibration_error: expected calibration error in [0, 1], of the probability of the positive class, or of the
            answer where there are more than two.
        reliability: where the probabilities are, and what came true of them; bins of fewer than ten records that come
            true or of fewer than ten that don't are joined with their neighbours, and what is left is not shown.
    """

    positive_class: str
    precision: float | None
    recall: float | None
    f1: float | None
    precision_macro: float | None
    recall_macro: float | None
    f1_macro: float | None
    by_class: tuple[ClassFigures, ...]
    confusion_matrix: tuple[tuple[int | str, ...], ...]
    calibration_error: float | None
    reliability: tuple[ReliabilityBin, ...]


def class_report(counts: ClassCounts, class_names: Sequence[str] | None) -> ClassReport:
    """Return what follows from counts over all test records.

    Source: van Rijsbergen 1979 for F1; Naeini, Cooper and Hauskrecht 2015 for the expected calibration error.

    Args:
        counts: of one model.
        class_names: in the order of the classes; None numbers them.
    """
    confusion = np.array(counts.confusion, dtype=np.int64)
    right, real, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    scores = np.stack([_ratio(right, said), _ratio(right, real), _ratio(2 * right, said + real)])
    names = tuple(class_names or map(str, range(len(real))))
    is_shown = np.stack([said, real, np.minimum(said, real)]) >= FEWEST_SHOWN
    by_class = [_told(*column) for column in zip(scores.T, is_shown.T, strict=True)]
    is_there = real + said > 0
    macro = (
        _told(scores[:, is_there].mean(axis=1), np.all(is_shown[:, is_there], axis=1)) if is_there.any() else [None] * 3
    )
    headline = by_class[1] if len(real) == 2 else macro
    return ClassReport(
        positive_class=names[1] if len(real) == 2 else "",
        **dict(zip(("precision", "recall", "f1"), headline, strict=True)),
        **dict(zip(("precision_macro", "recall_macro", "f1_macro"), macro, strict=True)),
        by_class=tuple(
            ClassFigures(
                name=name,
                num_test=shown_count(int(real[index])),
                precision=p,
                recall=r,
                f1=f,
                intervals=class_intervals(int(right[index]), int(said[index]), int(real[index])),
            )
            for index, (name, (p, r, f)) in enumerate(zip(names, by_class, strict=True))
        ),
        confusion_matrix=_shown_cells(confusion),
        calibration_error=_calibration_error(counts),
        reliability=tuple(_reliability(counts)),
    )


def _told(scores: NDArray[np.float64], is_shown: NDArray[np.bool_]) -> list[float | None]:
    return [score if shown else None for score, shown in zip(scores.tolist(), is_shown.tolist(), strict=True)]


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the shares, 0 where there is nothing to divide by, as scikit-learn has it."""
    return part / np.maximum(whole, 1)


def _shown_cells(confusion: NDArray[np.int64]) -> tuple[tuple[int | str, ...], ...]:
    """Return the cells as they may be shown: with a small one at least one more of its row and column is hidden.

    Rows add up to the classes' records, so that one hidden cell would follow from the others.
    """
    hidden = confusion < FEWEST_SHOWN
    changes = True
    while changes:
        changes = False
        for cells, marks in ((confusion, hidden), (confusion.T, hidden.T)):
            for row, marked in zip(cells, marks, strict=True):
                if marked.sum() == 1:
                    marked[np.where(marked, np.iinfo(np.int64).max, row).argmin()] = changes = True
    return tuple(
        tuple(NOT_SHOWN if is_hidden and count >= FEWEST_SHOWN else shown_count(count) for count, is_hidden in cells)
        for cells in (
            zip(row.tolist(), marked.tolist(), strict=True) for row, marked in zip(confusion, hidden, strict=True)
        )
    )


def _calibration_error(counts: ClassCounts) -> float | None:
    total = sum(counts.bins)
    gaps = (abs(hits - sure) for hits, sure in zip(counts.hits, counts.probabilities, strict=True))
    return sum(gaps) / total if total else None


def _reliability(counts: ClassCounts) -> list[ReliabilityBin]:
    joined: list[ReliabilityBin] = []
    num, sure, hits = 0, 0.0, 0
    for index in range(NUM_BINS):
        num += counts.bins[index]
        sure += counts.probabilities[index]
        hits += counts.hits[index]
        if num and shown_share(hits / num, num) is not None:
            joined.append(ReliabilityBin(probability=sure / num, share=hits / num, num_test=num))
            num, sure, hits = 0, 0.0, 0
    return joined
