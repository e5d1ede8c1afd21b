"""Means and intervals over the seeds of a study: what a figure or a table shows of several runs.

Left out on purpose: anything about one run alone, and tests of significance: a few seeds do not carry them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wardround.reports.study_folder import StudyHospital, StudyResult, StudyRow

__all__ = ["HospitalGroup", "RunGroup", "Spread", "groups_of", "hospital_groups", "spread_of"]

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The mean of some values and how sure it is.

    Attributes:
        num_values: how many are known.
        mean: nan where none is known.
        half_width: of the 95 % interval of the mean, from Student's t; nan below two values.
    """

    num_values: int
    mean: float
    half_width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGroup:
    """The runs that differ by their seed alone.

    Attributes:
        baseline: its name, or "".
        unit: what is protected; "" for a baseline.
        placement: where the noise is added.
        held: what is held equal, "epsilon" or "noise"; "" for a baseline.
        level: its value.
        rows: of results.csv.
    """

    baseline: str
    unit: str
    placement: str
    held: str
    level: float
    rows: tuple[StudyRow, ...]

    def spread(self, column: str) -> Spread:
        """Return mean and interval of a column of results.csv."""
        return spread_of(getattr(row, column) for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalGroup:
    """One hospital in the runs that differ by their seed alone.

    Attributes:
        hospital: its name.
        group: the runs.
        rows: of hospitals.csv, one a run.
        costs: utility less that of the federated baseline of the same seed, one a seed; empty without that baseline.
    """

    hospital: str
    group: RunGroup
    rows: tuple[StudyHospital, ...]
    costs: tuple[float, ...]

    def spread(self, column: str) -> Spread:
        """Return mean and interval of a column of hospitals.csv."""
        return spread_of(getattr(row, column) for row in self.rows)


def spread_of(values: Iterable[float]) -> Spread:
    """Return mean and t-interval of the values that are known.

    >>> round(spread_of([0.5, 0.7]).half_width, 6)
    1.27062

    Source: Student 1908; the interval is mean +- t(0.975, n - 1) s / sqrt(n).
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Spread(num_values=0, mean=math.nan, half_width=math.nan)
    mean = math.fsum(known) / len(known)
    if len(known) < 2 or math.isinf(mean):
        return Spread(num_values=len(known), mean=mean, half_width=math.nan)
    from scipy.special import stdtrit

    stddev = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1))
    quantile = float(stdtrit(len(known) - 1, 0.5 + CONFIDENCE / 2))
    return Spread(num_values=len(known), mean=mean, half_width=quantile * stddev / math.sqrt(len(known)))


def groups_of(rows: Sequence[StudyRow]) -> tuple[RunGroup, ...]:
    """Return the rows by everything but the seed, in the order of their first appearance."""
    found: dict[tuple[str, str, str, str, float], list[StudyRow]] = {}
    for row in rows:
        found.setdefault((row.baseline, row.unit, row.placement, *row.level), []).append(row)
    return tuple(
        RunGroup(baseline=baseline, unit=unit, placement=placement, held=held, level=level, rows=tuple(members))
        for (baseline, unit, placement, held, level), members in found.items()
    )


def hospital_groups(study: StudyResult) -> tuple[HospitalGroup, ...]:
    """Return every hospital in every group of runs, in the order of the tables."""
    column = study.metric[0]
    without = {
        (row.seed, line.hospital): getattr(line, column)
        for row in study.rows
        if row.baseline == "federated"
        for line in study.hospitals.get(row.run, ())
    }
    result = []
    for group in groups_of(study.rows):
        lines: dict[str, list[tuple[int, StudyHospital]]] = {}
        for row in group.rows:
            for line in study.hospitals.get(row.run, ()):
                lines.setdefault(line.hospital, []).append((row.seed, line))
        for hospital, members in lines.items():
            costs = [
                getattr(line, column) - without[seed, hospital] for seed, line in members if (seed, hospital) in without
            ]
            rows = tuple(line for _, line in members)
            known = tuple(cost for cost in costs if not math.isnan(cost))
            result.append(HospitalGroup(hospital=hospital, group=group, rows=rows, costs=known))
    return tuple(result)
