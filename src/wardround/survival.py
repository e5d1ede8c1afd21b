"""Survival times that may be censored: how they are held, cut into intervals, and scored.

A record has one number, as every other task's has: the time of its event, or minus the time at which it was censored,
by the sign bit, so that one censored at time 0 is -0.0. Both are exact, in training and in test records. Intervals are
cut at public edges, 0 = e_0 < e_1 < ... < e_K, and a model tells its survival at each of them but the first.

Scores are scikit-survival's. It is an extra of this package, which is imported to score models and for nothing else.
What is left out on purpose: the loss (see `clients.losses`), truncation from the left, and competing events.
"""

import importlib
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wardround.errors import ConfigError

__all__ = [
    "SURVIVAL",
    "SurvivalReference",
    "brier_by_record",
    "check_scoring_library",
    "check_time_edges",
    "concordance",
    "concordance_without_each",
    "integrated_brier",
    "kaplan_meier",
    "labels_of_times",
    "losses_by_record",
    "times_and_events",
]

SURVIVAL = "survival"
"""The name of the task."""

_MOST_INTERVALS = 1_000
_TIED = 1e-8  # as near as scikit-survival takes two predictions for equal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurvivalReference:
    """What the integrated Brier score is relative to: the training records of all hospitals, for simulations alone.

    Attributes:
        edges: of the intervals, K + 1 of them.
        train: (n,) labels of training records, of which the censoring is estimated.
    """

    edges: tuple[float, ...]
    train: NDArray[Any]


def check_time_edges(edges: Sequence[float], place: str) -> None:
    """Refuse edges that cut time into no intervals.

    Args:
        edges: from 0, ascending, in the unit of the times.
        place: of the setting or argument, for the message.

    Raises:
        ConfigError: they don't begin at 0, don't ascend, or are too few, too many or not finite.
    """
    held = np.asarray(edges, np.float32)  # as records are compared with them
    ascend = held.ndim == 1 and len(held) > 1 and held[0] == 0 and bool((np.diff(held) > 0).all())
    if not (ascend and math.isfinite(held[-1]) and len(held) <= _MOST_INTERVALS + 1):
        raise ConfigError(
            f"time-edges = {list(edges)[:10]} must be 2 to {_MOST_INTERVALS + 1:,} finite numbers that ascend from 0 "
            f"{place}: write time-edges = [0, 365, 730], from public knowledge and in the unit of the times"
        )


def labels_of_times(times: ArrayLike, events: ArrayLike) -> NDArray[np.float64]:
    """Return labels (n,) of times (n,) >= 0, negative where events (n,) say that none was seen.

    >>> labels_of_times([3.0, 5.0, 0.0], [True, False, False])
    array([ 3., -5., -0.])
    """
    given = np.asarray(times, np.float64)
    return np.where(np.asarray(events, np.bool_), given, -given)


def times_and_events(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the times (n,) of labels (n,), and whether each is of an event."""
    return np.abs(labels), ~np.signbit(labels)


def concordance(survival: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """Return Harrell's C: of pairs whose order is known, the share that a model has in that order.

    Known is the order of an event and of whoever was followed longer, or as long without one. Who has the smaller area
    under the predicted survival, over the edges, is predicted to have the event earlier; a tie is half a pair.

    Args:
        survival: (n, K), predicted at the edges but the first.
        labels: (n,), as this module has them.

    Returns:
        A number in [0, 1], 0.5 without skill; nan where no pair is known, or a prediction is not finite.

    Source: Harrell, Califf, Pryor, Lee and Rosati 1982, JAMA 247; scikit-survival's concordance_index_censored.
    """
    times, events = times_and_events(labels)
    first = times[events].min(initial=math.inf)
    if not ((times > first) | (~events & (times == first))).any() or not np.isfinite(survival).all():
        return math.nan
    return float(_library("metrics").concordance_index_censored(events, times, -survival.sum(axis=1))[0])


def concordance_without_each(survival: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return Harrell's C (see `concordance`) without each of the records (n,) in turn; nan where no pair is left.

    With what each record has of the pairs in the right order and of all, it takes one pass over the pairs.
    """
    times, events = times_and_events(labels)
    risks = -survival.sum(axis=1)
    right, pairs = np.zeros(len(times)), np.zeros(len(times))
    for first in np.array_split(np.flatnonzero(events), len(times) // 500 + 1):
        later = (times > times[first, None]) | ((times == times[first, None]) & ~events)
        apart = risks[first, None] - risks
        points = later * np.where(np.abs(apart) <= _TIED, 0.5, apart > 0)
        for totals, found in ((right, points), (pairs, later)):
            totals += found.sum(axis=0)
            totals[first] += found.sum(axis=1)
    left = pairs.sum() / 2 - pairs  # a pair has two records
    ratios = np.full(len(times), np.nan)
    np.divide(right.sum() / 2 - right, left, out=ratios, where=left > 0)
    return ratios if np.isfinite(risks).all() else np.full(len(times), np.nan)


def integrated_brier(survival: NDArray[np.float64], labels: NDArray[Any], reference: SurvivalReference) -> float:
    """Return the mean over time of the squared error of a predicted survival.

    At a time the error is of whether a record's event is still to come. Who was censored before is left out, and others
    weigh more for them: by one over the Kaplan-Meier estimate of not being censored so long, over the training records
    of all hospitals, which no real site tells. So censoring is taken to hang on no feature and no hospital. The mean is
    over the edges but the first, as far as somebody was followed beyond them in training and in test, by trapezoids.

    Args:
        survival: (n, K), predicted at the edges but the first.
        labels: (n,), as this module has them.
        reference: edges and training records.

    Returns:
        A number >= 0, the smaller the better; nan where fewer than two edges are left, or a prediction is not finite.

    Source: Graf, Schmoor, Sauerbrei and Schumacher 1999, Statistics in Medicine 18; scikit-survival's
    integrated_brier_score.
    """
    edges, is_seen = _seen_edges(labels, reference)
    (times, events), train = times_and_events(labels), times_and_events(reference.train)
    if is_seen.sum() < 2 or not np.isfinite(survival).all():
        return math.nan
    # Whatever comes after the last edge makes no difference: it is only known to come after it.
    beyond = float(np.nextafter(edges[is_seen][-1], np.inf))
    pairs = [_pairs(*train), _pairs(np.minimum(times, beyond), events & (times < beyond))]
    return float(_library("metrics").integrated_brier_score(*pairs, survival[:, is_seen], edges[is_seen]))


def brier_by_record(
    survival: NDArray[np.float64], labels: NDArray[Any], reference: SurvivalReference
) -> NDArray[np.float64]:
    """Return what each record (n,) brings to `integrated_brier`, which is their mean; nan where that is not defined."""
    edges, is_seen = _seen_edges(labels, reference)
    if is_seen.sum() < 2 or not np.isfinite(survival).all():
        return np.full(len(labels), np.nan)
    edges, predicted = edges[is_seen], survival[:, is_seen]
    times, events = times_and_events(labels)
    censoring = (
        _library("nonparametric").CensoringDistributionEstimator().fit(_pairs(*times_and_events(reference.train)))
    )
    uncensored = np.ones(len(times))
    is_case = (times[:, None] <= edges) & events[:, None]
    uncensored[is_case.any(axis=1)] = censoring.predict_proba(times[is_case.any(axis=1)])
    at_edges = censoring.predict_proba(edges)
    errors = np.zeros(predicted.shape)
    # Of whom the estimate says that nobody is followed so long, the library counts nothing.
    np.divide(predicted**2 * is_case, uncensored[:, None], out=errors, where=is_case & (uncensored[:, None] > 0))
    still = times[:, None] > edges
    np.divide((1 - predicted) ** 2, at_edges, out=errors, where=still & (at_edges > 0))
    return np.asarray(np.trapezoid(errors, edges, axis=1) / (edges[-1] - edges[0]), np.float64)


def losses_by_record(
    survival: NDArray[np.float64], labels: NDArray[Any], edges: Sequence[float]
) -> NDArray[np.float64]:
    """Return the loss of each record (n,), that of its hazards (see `clients.losses`), by its predicted survival.

    The hazards' likelihood is that of the survival: S(j) - S(j + 1) of an event in interval j, S(j) of whoever
    survived j intervals and was seen no longer.
    """
    bounds = np.asarray(edges, np.float32)
    times, events = times_and_events(np.asarray(labels, np.float32))
    ends = np.where(events[:, None], bounds[1:], (bounds[:-1] + bounds[1:]) / 2)
    survived = (times[:, None] >= ends).sum(axis=1)
    curve = np.concatenate([np.ones((len(survival), 1)), survival], axis=1)
    rows = np.arange(len(times))
    after = np.where(events & (times < bounds[-1]), curve[rows, np.minimum(survived + 1, len(bounds) - 1)], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-np.log(curve[rows, survived] - after), np.float64)


def _seen_edges(labels: NDArray[Any], reference: SurvivalReference) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the edges (K,) but the first, and which of them lie within what was followed, in training and in test."""
    edges = np.asarray(reference.edges[1:], np.float32).astype(np.float64)
    times, train = np.abs(labels), np.abs(reference.train)
    last = min(times.max(initial=0.0), train.max(initial=0.0))
    return edges, (edges < last) & (edges >= times.min(initial=math.inf))


def kaplan_meier(reference: SurvivalReference) -> NDArray[np.float64]:
    """Return the survival (K,) at the edges but the first that the training records have, whatever their features.

    Source: Kaplan and Meier 1958; scikit-survival's kaplan_meier_estimator.
    """
    times, events = times_and_events(reference.train)
    at, share = _library("nonparametric").kaplan_meier_estimator(events, times)
    return np.asarray(np.r_[1.0, share][np.searchsorted(at, reference.edges[1:], side="right")], np.float64)


def check_scoring_library(task: str, name: str = "sksurv") -> None:
    """Refuse to go on with a survival where what scores it is not installed; it is not imported to know.

    Raises:
        ConfigError: naming the next step.
    """
    if task == SURVIVAL and importlib.util.find_spec(name) is None:
        raise ConfigError(
            'task = "survival" is scored by scikit-survival, which is not installed: pip install "wardround[survival]"'
        )


def _library(module: str) -> Any:
    check_scoring_library(SURVIVAL)
    return importlib.import_module(f"sksurv.{module}")


def _pairs(times: NDArray[Any], events: NDArray[np.bool_]) -> NDArray[Any]:
    found = np.empty(len(times), dtype=[("event", np.bool_), ("time", np.float64)])
    found["event"], found["time"] = events, times
    return found
