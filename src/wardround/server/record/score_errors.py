"""Errors of scores that no counts tell, by test records, and of hospitals' own, by which their intervals are made.

Each is a standard error, those of areas and Cs as much larger as their intervals need to be: of the mean of what single
records bring to a score, to first order (delta method; the influence of a record), or by leaving records out. They are
recorded with a round, since its predictions are not kept. What is left out on purpose: intervals (see
`score_intervals`), and scores that follow from counts (see `intervals`).
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wardround.scores import NORMAL_95, Predictions, auc_parts, class_scores, macro_aucs, r2, together
from wardround.server.record.evaluated import CONCORDANCE
from wardround.server.record.intervals import area_error, error_of_few, share_interval
from wardround.small_counts import FEWEST_SHOWN
from wardround.survival import (
    SurvivalReference,
    brier_by_record,
    concordance,
    concordance_without_each,
    kaplan_meier,
    losses_by_record,
    times_and_events,
)

__all__ = ["NUM_PARTS", "errors_by_hospital", "left_out_error", "mean_errors", "standard_errors"]

NUM_PARTS = 10
"""Of test records, each of which is left out once, where nothing is known of a score but its values."""

Floats = NDArray[np.float64]


def standard_errors(predictions: Predictions, reference: SurvivalReference | None = None) -> dict[str, float]:
    """Return the standard errors of scores over test records, of ten or more, by the names of their intervals.

    "loss" is the mean of the records' losses: cross-entropy, squared error, or, where there is a reference, that of a
    survival's hazards. "r2" is 1 - E / V for the mean squared error E and the variance V; to first order its error is
    that of the mean of (e_i - E / V v_i) / V (the mean of the labels moves V to second order alone). "auc_pooled" is
    the mean of the classes' areas (see `scores.auc_parts`), "concordance_pooled" Harrell's C, each record left out in
    turn, both as wide as their intervals are to be (see `intervals.area_error`). "brier_integrated" and
    "brier_kaplan_meier" are means over records, with the censoring taken as known.

    Args:
        predictions: of all test records.
        reference: of a survival; None leaves out what asks for it.

    Source: DeLong, DeLong and Clarke-Pearson 1988 for areas; Tukey 1958 for leaving out.
    """
    if predictions.num_test < FEWEST_SHOWN:
        return {}
    if predictions.is_survival:
        found = _of_survival(predictions, reference)
    elif predictions.is_regression:
        found = {"loss": _error_of_mean((predictions.values - predictions.labels) ** 2), "r2": _r2_error(predictions)}
    else:
        found = {"loss": _error_of_mean(_cross_entropies(predictions)), "auc_pooled": _auc_errors(predictions)[0]}
    return {name: error for name, error in found.items() if math.isfinite(error)}


def errors_by_hospital(predictions: Mapping[str, Predictions]) -> dict[str, float]:
    """Return the standard error of each hospital's area, r2 or C, of those where it is known and not 0.

    That of an area is known where every class that is there has ten records or more on either side, that of a C where
    there are ten events.

    Args:
        predictions: by hospital, all of one task.
    """
    pooled = together(predictions.values())
    if pooled is None:
        return {}
    parts = {name: part for name, part in predictions.items() if part.num_test}
    if pooled.is_survival:
        errors = [_concordance_error(part) for part in parts.values()]
    elif pooled.is_regression:
        errors = [_r2_error(part) for part in parts.values()]
    else:
        errors = _auc_errors(pooled, [part.num_test for part in parts.values()])
    return {name: error for name, error in zip(parts, errors, strict=True) if math.isfinite(error) and error > 0}


def mean_errors(predictions: Mapping[str, Predictions], errors: Mapping[str, float]) -> dict[str, float]:
    """Return the standard error of the hospitals' mean area, "auc", or mean C, "concordance", by test records.

    A hospital whose own error is not known counts with the largest there can be. An area A with m records on the
    smaller side varies no more than a share of m records, by A (1 - A) / m (Birnbaum and Klose 1957). That is concave
    in A: the mean of such hospitals' areas, with weights w, varies no more than a share of
    M = (sum w)^2 / sum (w^2 / m) records does, at their mean area by the weights w^2 / m. It counts with the longer
    side of Wilson's interval of that share. Of several classes a hospital's area is the mean of theirs, whose standard
    deviation is the mean of theirs at most. Of a C nothing better than a variance of 1 / 4 is known.

    Args:
        predictions: by hospital, all of one task.
        errors: see `errors_by_hospital`.

    Returns:
        Nothing of a regression, where no hospital has a score, and of Cs where no hospital's error is known.
    """
    parts = {name: part for name, part in predictions.items() if part.num_test}
    pooled = together(parts.values())
    if pooled is None or pooled.is_regression:
        return {}
    sizes = np.array([part.num_test for part in parts.values()])
    own = np.array([errors.get(name, math.nan) for name in parts])
    if pooled.is_survival:
        areas = np.array([concordance(part.values, part.labels) for part in parts.values()])
        own = np.where(np.isnan(own), 0.5, own) if np.isfinite(own).any() else own
    else:
        areas = macro_aucs(class_scores(pooled), pooled.labels, sizes)
    weights = np.where(np.isfinite(areas), sizes, 0) / max(sizes[np.isfinite(areas)].sum(), 1)
    is_lost = np.isnan(own) & (weights > 0)
    if not weights.any() or (pooled.is_survival and is_lost.any()):
        return {}
    known = math.hypot(*(weights * own)[~is_lost & (weights > 0)])
    if not is_lost.any():
        return {CONCORDANCE if pooled.is_survival else "auc": known}
    counting = _counting_records([part for part, lost in zip(parts.values(), is_lost, strict=True) if lost])
    return {"auc": math.hypot(known, _error_of_lost(weights[is_lost], areas[is_lost], counting))}


def _counting_records(parts: Sequence[Predictions]) -> Floats:
    """Return (n,) by hospital the m of its area; of a mean of classes' areas (mean of 1 / sqrt(m))^-2."""
    found = []
    for part in parts:
        inside = np.bincount(part.labels)
        smaller = np.minimum(inside, len(part.labels) - inside)
        found.append(float(np.mean(1 / np.sqrt(smaller[smaller > 0]))) ** -2)
    return np.array(found)


def _error_of_lost(weights: Floats, areas: Floats, counting: Floats) -> float:
    squares = weights**2 / counting
    number, share = float(weights.sum() ** 2 / squares.sum()), float(np.average(areas, weights=squares))
    low, high = share_interval(share * number, number)
    return float(weights.sum()) * max(share - low, high - share) / NORMAL_95


def left_out_error(score: Callable[[Predictions], float], predictions: Predictions) -> float:
    """Return the standard error of any score, by leaving out each of `NUM_PARTS` random parts of the test records.

    sqrt((g - 1) / g sum_j (s_j - mean s)^2) for the scores s_j without the j-th of g parts. Parts are drawn by a seed
    that hangs on the predictions, so that records in some order are not spread evenly. It has g - 1 degrees of freedom.

    Args:
        score: of predictions; may return nan where it is not defined.
        predictions: of all test records.

    Returns:
        nan of fewer than ten records, and where the score is not defined without a part.

    Source: Shao and Tu 1995, The jackknife and bootstrap, section 2.3.
    """
    if predictions.num_test < max(NUM_PARTS, FEWEST_SHOWN):
        return math.nan
    seed = zlib.crc32(np.ascontiguousarray(predictions.values).tobytes())
    part = np.random.default_rng(seed).permutation(predictions.num_test) % NUM_PARTS
    rest = (part != index for index in range(NUM_PARTS))
    scores = np.array(
        [score(Predictions(values=predictions.values[kept], labels=predictions.labels[kept])) for kept in rest]
    )
    return _left_out_spread(scores)


def _of_survival(predictions: Predictions, reference: SurvivalReference | None) -> dict[str, float]:
    found = {"concordance_pooled": _concordance_error(predictions)}
    if reference is None:
        return found
    values, labels = predictions.values, predictions.labels
    curve = np.tile(kaplan_meier(reference), (len(labels), 1))
    return found | {
        "loss": _error_of_mean(losses_by_record(values, labels, reference.edges)),
        "brier_integrated": _error_of_mean(brier_by_record(values, labels, reference)),
        "brier_kaplan_meier": _error_of_mean(brier_by_record(curve, labels, reference)),
    }


def _cross_entropies(predictions: Predictions) -> Floats:
    values, labels = predictions.values, predictions.labels
    if values.ndim == 1:
        values = np.stack([1 - values, values], axis=1)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(values[np.arange(len(labels)), labels]), np.float64)


def _r2_error(predictions: Predictions) -> float:
    if predictions.num_test < FEWEST_SHOWN or math.isnan(score := r2(predictions.values, predictions.labels)):
        return math.nan
    errors = (predictions.values - predictions.labels) ** 2
    apart = (predictions.labels - predictions.labels.mean()) ** 2
    return _error_of_mean((errors - (1 - score) * apart) / apart.mean())


def _concordance_error(predictions: Predictions) -> float:
    num_events = int(times_and_events(predictions.labels)[1].sum())
    if num_events < FEWEST_SHOWN:
        return math.nan
    error = _left_out_spread(concordance_without_each(predictions.values, predictions.labels))
    if error == 0:  # as of a C of 1: it has the error of an area of 1
        return area_error(1.0, 0.0, min(num_events, predictions.num_test // 2), predictions.num_test)
    return error_of_few(error, num_events, predictions.num_test)


def _auc_errors(predictions: Predictions, sizes: list[int] | None = None) -> list[float]:
    """Return the error of each hospital's area; nan where a class that is there has too few in it or not.

    Averaged areas of several classes have DeLong's interval alone, as long as it has a width.
    """
    numbers, scores = np.array(sizes or [predictions.num_test]), class_scores(predictions)
    areas, parts, fewest = auc_parts(scores, predictions.labels, numbers)
    squares = np.bincount(np.repeat(np.arange(len(numbers)), numbers), weights=parts**2, minlength=len(numbers))
    errors = np.sqrt(squares) / np.maximum(numbers, 1)
    found = []
    for area, error, few, number in zip(*(of.tolist() for of in (areas, errors, fewest, numbers)), strict=True):
        if few < FEWEST_SHOWN or not math.isfinite(error):
            found.append(math.nan)
            continue
        wider = error_of_few(error, few, number)
        found.append(wider if error and scores.shape[1] > 2 else area_error(area, wider, few, number))
    return found


def _left_out_spread(scores: Floats) -> float:
    if not np.isfinite(scores).all():
        return math.nan
    return math.sqrt((len(scores) - 1) * float(scores.var()))


def _error_of_mean(values: Floats) -> float:
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    return float(values.std(ddof=1)) / math.sqrt(len(values))
