"""The intervals of a run's scores, over all test records and by hospital, of what its summary shows anyway.

What is left out on purpose: how an interval is made (see `intervals`), standard errors (see `score_errors`), and
intervals over seeds, which are a study's.
"""

import math
from collections.abc import Mapping, Sequence

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

_POOLED = frozenset({"auc_pooled", "concordance_pooled"})
"""Names of scores whose errors are made for the logit."""
_BOUNDS = {
    **dict.fromkeys(("auc", CONCORDANCE), (0.0, 1.0)),
    **dict.fromkeys(("loss", BRIER_INTEGRATED, BRIER_KAPLAN_MEIER), (0.0, math.inf)),
    "r2": (-math.inf, 1.0),
}
"""What other scores can be, by name; of one's own metrics nothing is known."""


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
        pooled = name if name == "r2" else f"{name}_pooled"
        found[name] = _around(pooled, value, error, number)
    return found or None


def run_intervals(
    record: RoundRecord, further: Mapping[str, float | None], hospitals: Sequence[HospitalSummary], task: str
) -> dict[str, Interval] | None:
    """Return the intervals of a run's scores by their names; None where it has none.

    "auc" and "concordance" are of the means over hospitals (see `score_errors.mean_errors`).

    Args:
        record: of the round whose model was tested.
        further: its scores by further columns.
        hospitals: with their numbers of test records.
        task: classification, regression or survival.
    """
    row, errors = record.round_row, record.standard_errors or {}
    counts = record.class_counts
    found = dict(intervals_of(counts)) if counts is not None else {}
    number = max(_num_test(record, hospitals), FEWEST_SHOWN)  # errors are of so many at least
    score = {"regression": "r2", SURVIVAL: "concordance_pooled"}.get(task, "accuracy")
    values = {**further, **{metric_key(name): value for name, value in further.items()}, "loss": row.loss}
    values |= {score: row.score, "auc": row.auc}
    is_told = counts is None or min(map(sum, counts.confusion)) >= FEWEST_SHOWN
    for name, error in errors.items():
        value = values.get(name)
        if value is None or not math.isfinite(value) or error <= 0:
            continue
        if name != "auc_pooled" or is_told:
            found[name] = _around(name, value, error, NUM_PARTS if name.startswith(metric_key("")) else number)
    return found or None


def _around(name: str, value: float, error: float, number: int) -> Interval:
    if name in _POOLED:
        return share_spread_interval(value, error, number)
    (low, high), (least, most) = spread_interval(value, error, number), _BOUNDS.get(name, (-math.inf, math.inf))
    return max(least, low), min(most, high)


def _num_test(record: RoundRecord, hospitals: Sequence[HospitalSummary]) -> int:
    """Return the test records of all hospitals, of a regression at least, where few are not told."""
    if record.class_counts is not None:
        return sum(map(sum, record.class_counts.confusion))
    return sum(hospital.num_test for hospital in hospitals if isinstance(hospital.num_test, int))
