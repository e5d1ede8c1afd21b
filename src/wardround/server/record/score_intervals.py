"""The intervals of a run's scores, over all test records and by hospital, of what its summary shows anyway.

What is left out on purpose: how an interval is made (see `intervals`), and intervals over seeds, which are a study's.
"""

import math
from collections.abc import Mapping, Sequence

from wardround.scores import NORMAL_95, ClassCounts
from wardround.server.record.intervals import (
    Interval,
    intervals_of,
    share_interval,
    spread_interval,
    widest_auc_interval,
)
from wardround.server.record.records import HospitalFigures, RoundRecord
from wardround.server.record.summaries import HospitalSummary
from wardround.small_counts import FEWEST_SHOWN

__all__ = ["hospital_intervals", "run_intervals"]


def hospital_intervals(
    hospital: HospitalSummary, line: HospitalFigures | None, counts: ClassCounts | None
) -> dict[str, Interval] | None:
    """Return the intervals of a hospital's accuracy and AUC; None where it has none.

    Of two classes it is known how many test records are of the one that is the most frequent in training, and not
    which that is, so that an area's interval is the wider of both. It is shown where that count is.

    Args:
        hospital: as the summary shows it.
        line: of the round whose model was tested; None of none.
        counts: of that model on all test records; None of a regression.
    """
    number = hospital.num_test
    if line is None or line.score is None or counts is None or not isinstance(number, int) or number < FEWEST_SHOWN:
        return None
    found = {"accuracy": share_interval(round(line.score * number), number)}
    if len(counts.confusion) == 2 and hospital.majority_score is not None and line.auc is not None:
        first = round(hospital.majority_score * number)
        if min(first, number - first) >= FEWEST_SHOWN and not math.isnan(line.auc):
            area = widest_auc_interval(line.auc, first, number - first)
            found |= {"auc": area} if area[0] < area[1] else {}  # of an area of 1 the formula tells no spread
    return found


def run_intervals(
    record: RoundRecord, auc_pooled: float | None, hospitals: Sequence[HospitalSummary]
) -> dict[str, Interval] | None:
    """Return the intervals of a run's scores by their names, "r2" of a regression; None where it has none.

    Args:
        record: of the round whose model was tested.
        auc_pooled: over all test records; None or nan where it is not defined.
        hospitals: with their own intervals.
    """
    row, errors = record.round_row, record.standard_errors or {}
    found: dict[str, Interval] = {}
    if record.class_counts is not None:
        found |= intervals_of(record.class_counts, auc_pooled)
    number = _num_test(record, hospitals)
    values = {"loss": row.loss, "r2": row.score}
    for name, error in errors.items():
        if (value := values.get(name)) is not None and number >= FEWEST_SHOWN and not math.isnan(value):
            found[name] = spread_interval(value, error, number)
    of_mean = _error_of_mean_auc(hospitals)
    if row.auc is not None and of_mean is not None and not math.isnan(row.auc):
        half = NORMAL_95 * of_mean
        found["auc"] = max(0.0, row.auc - half), min(1.0, row.auc + half)
    return found or None


def _num_test(record: RoundRecord, hospitals: Sequence[HospitalSummary]) -> int:
    """Return the test records of all hospitals, of a regression at least, where few are not told."""
    if record.class_counts is not None:
        return sum(map(sum, record.class_counts.confusion))
    return sum(hospital.num_test for hospital in hospitals if isinstance(hospital.num_test, int))


def _error_of_mean_auc(hospitals: Sequence[HospitalSummary]) -> float | None:
    """Return the standard error of the mean over hospitals, by test records; None where one's is not known."""
    parts: list[tuple[int, float]] = []
    for hospital in hospitals:
        ends: Mapping[str, Sequence[float]] = hospital.intervals or {}
        if not isinstance(hospital.num_test, int) or (hospital.num_test and "auc" not in ends):
            return None
        if hospital.num_test:
            low, high = ends["auc"]
            parts.append((hospital.num_test, (high - low) / 2 / NORMAL_95))
    total = sum(number for number, _ in parts)
    return math.hypot(*(number * error for number, error in parts)) / total if total else None
