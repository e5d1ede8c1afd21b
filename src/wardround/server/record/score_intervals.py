"""The intervals of a run's scores, over all test records and by hospital, of what its summary shows anyway.

What is left out on purpose: how an interval is made (see `intervals`), standard errors (see `score_errors`), and
intervals over seeds, which are a study's.
"""

import math
from collections.abc import Mapping, Sequence

from wardround.scores import NORMAL_95
from wardround.server.record.evaluated import BRIER_INTEGRATED, BRIER_KAPLAN_MEIER, CONCORDANCE, metric_key
from wardround.server.record.intervals import (
    Interval,
    intervals_of,
    share_interval,
    share_spread_interval,
    spread_interval,
)
from wardround.server.record.records import HospitalFigures, RoundRecord
from wardround.server.record.score_errors import NUM_PARTS
from wardround.server.record.summaries import HospitalSummary
from wardround.small_counts import FEWEST_SHOWN
from wardround.survival import SURVIVAL

__all__ = ["hospital_intervals", "run_intervals"]

_SHARES = frozenset({"auc", "auc_pooled", CONCORDANCE, "concordance_pooled"})
"""Names of scores that are from 0 to 1."""
_AT_LEAST_0 = frozenset({"loss", BRIER_INTEGRATED, BRIER_KAPLAN_MEIER})
"""Names of scores that are never below 0."""
_LARGEST_ERROR = 0.5
"""No number in [0, 1] has a larger standard deviation."""


def hospital_intervals(
    hospital: HospitalSummary, line: HospitalFigures | None, error: float | None, task: str
) -> dict[str, Interval] | None:
    """Return the intervals of a hospital's scores by their names, "accuracy" and "auc", "r2", or "concordance".

    Args:
        hospital: as the summary shows it.
        line: of the round whose model was tested; None of none.
        error: of its area, r2 or C (see `score_errors.errors_by_hospital`); None where it is not known.
        task: classification, regression or survival.

    Returns:
        None of fewer than ten test records, and where there is none.
    """
    number = hospital.num_test
    if line is None or line.score is None or not isinstance(number, int) or number < FEWEST_SHOWN:
        return None
    found: dict[str, Interval] = {}
    name, value = {"regression": "r2", SURVIVAL: CONCORDANCE}.get(task, "auc"), line.score
    if name == "auc":
        found["accuracy"] = share_interval(round(line.score * number), number)
        value = math.nan if line.auc is None else line.auc
    if error is not None and not math.isnan(value):
        found[name] = _around(name, value, error, number)
    return found or None


def run_intervals(
    record: RoundRecord, further: Mapping[str, float | None], hospitals: Sequence[HospitalSummary], task: str
) -> dict[str, Interval] | None:
    """Return the intervals of a run's scores by their names; None where it has none.

    Of a mean over hospitals, "auc" and "concordance", a hospital without an interval counts with the largest error that
    there is, so that the interval is too wide and not too narrow.

    Args:
        record: of the round whose model was tested.
        further: its scores by further columns.
        hospitals: with their own intervals.
        task: classification, regression or survival.
    """
    row, errors = record.round_row, record.standard_errors or {}
    counts = record.class_counts
    found = dict(intervals_of(counts)) if counts is not None else {}
    number = _num_test(record, hospitals)
    score = {"regression": "r2", SURVIVAL: "concordance_pooled"}.get(task, "accuracy")
    values = {**further, **{metric_key(name): value for name, value in further.items()}, "loss": row.loss}
    values |= {score: row.score}
    is_told = counts is None or min(map(sum, counts.confusion)) >= FEWEST_SHOWN
    for name, error in errors.items():
        value = values.get(name)
        if value is None or not math.isfinite(value) or error <= 0 or number < FEWEST_SHOWN:
            continue
        if name != "auc_pooled" or is_told:
            found[name] = _around(name, value, error, NUM_PARTS if name.startswith(metric_key("")) else number)
    mean = CONCORDANCE if task == SURVIVAL else "auc"
    value, of_mean = further.get(CONCORDANCE) if task == SURVIVAL else row.auc, _error_of_mean(record, hospitals, mean)
    if value is not None and of_mean is not None and not math.isnan(value):
        found[mean] = max(0.0, value - NORMAL_95 * of_mean), min(1.0, value + NORMAL_95 * of_mean)
    return found or None


def _around(name: str, value: float, error: float, number: int) -> Interval:
    if name in _SHARES:
        return share_spread_interval(value, error, number)
    low, high = spread_interval(value, error, number)
    if name == "r2":
        return low, min(1.0, high)
    return (max(0.0, low), high) if name in _AT_LEAST_0 else (low, high)


def _num_test(record: RoundRecord, hospitals: Sequence[HospitalSummary]) -> int:
    """Return the test records of all hospitals, of a regression at least, where few are not told."""
    if record.class_counts is not None:
        return sum(map(sum, record.class_counts.confusion))
    return sum(hospital.num_test for hospital in hospitals if isinstance(hospital.num_test, int))


def _error_of_mean(record: RoundRecord, hospitals: Sequence[HospitalSummary], name: str) -> float | None:
    """Return the standard error of a mean over hospitals by test records; None where no hospital's is known.

    A hospital with so few test records that their number is not told has some part in the mean, or none: its error
    counts with as many records as there can be, and the mean is taken over those that are told, so that the error is
    rather too large.
    """
    scores = {line.hospital: line.auc if name == "auc" else line.score for line in record.hospital_rows}
    errors = record.hospital_errors or {}
    parts: list[tuple[int, float]] = []
    total = 0
    for hospital in hospitals:
        if math.isnan(scores.get(hospital.hospital) or 0.0):
            continue  # it has no score, and no part in the mean
        told = hospital.num_test if isinstance(hospital.num_test, int) else 0
        total += told
        is_known = name in (hospital.intervals or {})
        parts.append((told or FEWEST_SHOWN - 1, errors[hospital.hospital] if is_known else _LARGEST_ERROR))
    if not total or all(error == _LARGEST_ERROR for _, error in parts):
        return None
    return math.hypot(*(number * error for number, error in parts)) / total
