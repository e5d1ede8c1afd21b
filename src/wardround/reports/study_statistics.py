"""Means and intervals over the seeds of a study: what a figure or a table shows of several runs.

Left out on purpose: anything about one run alone, and tests of significance: a few seeds do not carry them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from wardround.privacy.attackers import AttackerFigures
from wardround.reports.files import read_number
from wardround.reports.numbers import number_text, size_text
from wardround.reports.study_folder import Setting, StudyResult
from wardround.simulations.studies.study_records import HospitalRow, ResultRow

__all__ = [
    "HospitalGroup",
    "RunGroup",
    "Spread",
    "fits",
    "groups_of",
    "hospital_groups",
    "middle_group",
    "middle_groups",
    "over_settings",
    "place_of_level",
    "spread_of",
    "spread_text",
    "without_privacy",
]

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
        setting: varied values; empty where nothing is varied.
        rows: of results.csv.
    """

    baseline: str
    unit: str
    placement: str
    held: str
    level: float
    setting: Setting
    rows: tuple[ResultRow, ...]

    def spread(self, column: str) -> Spread:
        """Return mean and interval of a column of results.csv."""
        return spread_of(getattr(row, column) for row in self.rows)

    def attacker(self, by: str) -> AttackerFigures:
        """Return how often an attacker is right at most, the worst of the runs; nan where one did not say.

        Args:
            by: what proves it.
        """
        columns = ("coin_toss_accuracy", "tpr_at_fpr_1_percent", "tpr_at_fpr_01_percent")
        stated = {column: [getattr(row, column) for row in self.rows] for column in columns}
        worst = {column: math.nan if any(map(math.isnan, rates)) else max(rates) for column, rates in stated.items()}
        return AttackerFigures(**worst, gdp_mu=None, gdp_mu_error=math.nan, by=by)


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
    rows: tuple[HospitalRow, ...]
    costs: tuple[float, ...]

    @property
    def size(self) -> str:
        """Training records as they may be shown: a number, the range over seeds, or "<10"."""
        counts = sorted((row.num_train for row in self.rows), key=read_number)
        return " to ".join(dict.fromkeys(map(size_text, counts)))

    def spread(self, column: str) -> Spread:
        """Return mean and interval of a column of hospitals.csv; a count that is not shown is not in it."""
        return spread_of(read_number(getattr(row, column)) for row in self.rows)


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


def groups_of(rows: Sequence[ResultRow]) -> tuple[RunGroup, ...]:
    """Return the rows by everything but the seed, in the order of their first appearance."""
    found: dict[tuple[str, str, str, str, float, Setting], list[ResultRow]] = {}
    for row in rows:
        found.setdefault((row.baseline, row.unit, row.placement, *_level(row), row.varied or ()), []).append(row)
    return tuple(
        RunGroup(
            baseline=baseline,
            unit=unit,
            placement=placement,
            held=held,
            level=level,
            setting=setting,
            rows=tuple(members),
        )
        for (baseline, unit, placement, held, level, setting), members in found.items()
    )


def fits(baseline: Setting, setting: Setting) -> bool:
    """Return whether a baseline's varied values are a setting's, as far as they make a difference to it."""
    return all(pair in setting for pair in baseline if pair[1])


def without_privacy(study: StudyResult, row: ResultRow) -> ResultRow | None:
    """Return the run that is as another, of the same seed and setting, without privacy; None where there is none."""
    found = (
        other
        for other in study.rows
        if other.baseline == "federated" and other.seed == row.seed and fits(other.varied or (), row.varied or ())
    )
    return next(found, None)


def over_settings(groups: Sequence[RunGroup], group: RunGroup) -> RunGroup:
    """Return a group with the runs of all settings that are varied."""
    key = (group.baseline, group.unit, group.placement, group.held, group.level)
    same = [item for item in groups if (item.baseline, item.unit, item.placement, item.held, item.level) == key]
    return replace(group, setting=(), rows=tuple(row for item in same for row in item.rows))


def _level(row: ResultRow) -> tuple[str, float]:
    """Return what was held equal, and at which value: ("epsilon", 2.0) or ("noise", 1.0); of a baseline ("", 0.0)."""
    if row.baseline:
        return ("", 0.0)
    return ("noise", row.noise_multiplier) if math.isnan(row.target_epsilon) else ("epsilon", row.target_epsilon)


def hospital_groups(study: StudyResult) -> tuple[HospitalGroup, ...]:
    """Return every hospital in every group of runs, in the order of the tables."""
    field = study.metric.field
    without: dict[tuple[str, str], float] = {}
    for row in study.rows:
        same = without_privacy(study, row)
        for line in study.hospitals.get(same.run, ()) if same else ():
            without[row.run, line.hospital] = getattr(line, field)
    result = []
    for group in groups_of(study.rows):
        lines: dict[str, list[HospitalRow]] = {}
        for row in group.rows:
            for line in study.hospitals.get(row.run, ()):
                lines.setdefault(line.hospital, []).append(line)
        for hospital, members in lines.items():
            costs = (getattr(line, field) - without.get((line.run, hospital), math.nan) for line in members)
            known = tuple(cost for cost in costs if not math.isnan(cost))
            result.append(HospitalGroup(hospital=hospital, group=group, rows=tuple(members), costs=known))
    return tuple(result)


def middle_group(groups: Sequence[RunGroup]) -> RunGroup | None:
    """Return a group at the middle target epsilon, or the middle noise multiplier where there is no epsilon.

    Of an even number of levels it is the stricter of the two in the middle.
    """
    for held in ("epsilon", "noise"):
        levels = _levels_from_strict(groups, held)
        if levels:
            wanted = levels[(len(levels) - 1) // 2]
            return next(group for group in groups if group.held == held and group.level == wanted)
    return None


def middle_groups(study: StudyResult) -> list[RunGroup]:
    """Return the `middle_group` of each unit that has one."""
    groups = groups_of(study.rows)
    of_units = (middle_group([group for group in groups if group.unit == unit]) for unit in study.facts.units)
    return [group for group in of_units if group is not None]


def place_of_level(groups: Sequence[RunGroup], held: str) -> str:
    """Return which of the levels `middle_group` takes, in words."""
    number = len(_levels_from_strict(groups, held))
    if number == 1:
        return "the only level"
    return "the middle level" if number % 2 else f"the stricter of the two {'' if number == 2 else 'middle '}levels"


def _levels_from_strict(groups: Sequence[RunGroup], held: str) -> list[float]:
    return sorted({group.level for group in groups if group.held == held}, reverse=held == "noise")


def spread_text(spread: Spread) -> str:
    """Return a mean with the half width of its interval, three digits after the point.

    >>> spread_text(Spread(num_values=2, mean=0.6, half_width=0.0127))
    '0.600 ± 0.013'
    """
    if math.isnan(spread.half_width):
        return number_text(spread.mean)
    return f"{number_text(spread.mean)} ± {number_text(spread.half_width)}"
