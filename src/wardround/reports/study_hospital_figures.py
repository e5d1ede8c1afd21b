"""The charts of a study by hospital: what each gets over its size, who pays for privacy, and what each spends.

Records and hospitals are different units, and their epsilons different promises: every unit has charts of its own.
"""

import math
from collections.abc import Callable, Sequence

from wardround.reports.numbers import count_text
from wardround.reports.study_drawing import Chart, Curve, Level
from wardround.reports.study_folder import StudyResult
from wardround.reports.study_statistics import HospitalGroup, RunGroup, hospital_groups, middle_group
from wardround.reports.study_styles import noise_style

__all__ = ["charts_of_hospitals"]


def charts_of_hospitals(study: StudyResult) -> tuple[Chart, ...]:
    """Return by unit, at the middle level, what each hospital gets over its size, and what it spends."""
    every = hospital_groups(study)
    charts = []
    for unit in study.facts.units:
        group = middle_group([item.group for item in every if item.group.unit == unit])
        if group is None:
            continue
        chosen = [
            item
            for item in every
            if (item.group.unit, item.group.held, item.group.level) == (unit, group.held, group.level)
        ]
        charts += _hospital_charts(study, unit, group, chosen)
        charts += _epsilon_charts(study, unit, every)
    return tuple(charts)


def _hospital_charts(study: StudyResult, unit: str, group: RunGroup, chosen: Sequence[HospitalGroup]) -> list[Chart]:
    """Return what each hospital gets: less than without privacy where that was run, else its score."""
    column, name = study.metric
    at, missing, noun = _at(group), _unscored(study, chosen), study.noun(unit)
    seeds = count_text(len(study.facts.seeds), "seed")
    if any(item.costs for item in chosen):
        curves = _curves(study, unit, chosen, lambda item: _mean(item.costs))
        chart = Chart(
            name=f"cost-{unit}",
            title=f"Who pays: change of {name} by hospital, unit: {noun}",
            caption=f"Each mark is a hospital at {at}: its {name} less what the federated model without privacy has "
            f"there, mean over {seeds} (column {column} of hospitals.csv). Below zero, privacy costs it.{missing}",
            x_label=f"training {study.counted}",
            y_label=f"change of {name}",
            curves=curves,
            levels=(Level(label="federated, no privacy", y=0.0, series=4),),
            is_log_x=False,
        )
    else:
        curves = _curves(study, unit, chosen, lambda item: item.spread(column).mean)
        chart = Chart(
            name=f"utility-size-{unit}",
            title=f"{name} by hospital, unit: {noun}",
            caption=f"Each mark is a hospital at {at}, mean over {seeds} (column {column} of hospitals.csv).{missing}",
            x_label=f"training {study.counted}",
            y_label=name,
            curves=curves,
            is_log_x=False,
            is_share=not study.is_regression,
        )
    return [chart] if curves else []


def _epsilon_charts(study: StudyResult, unit: str, every: Sequence[HospitalGroup]) -> list[Chart]:
    """Return what each hospital spends, at equal noise where that was run: there sizes make the difference."""
    mine = [item for item in every if item.group.unit == unit]
    at_noise = [item for item in mine if item.group.held == "noise"]
    group = middle_group([item.group for item in at_noise or mine])
    if group is None:
        return []
    chosen = [item for item in mine if (item.group.held, item.group.level) == (group.held, group.level)]
    curves = _curves(study, unit, chosen, lambda item: item.spread("epsilon").mean)
    chart = Chart(
        name=f"epsilon-size-{unit}",
        title=f"Epsilon by hospital, unit: {study.noun(unit)}",
        caption=f"Each mark is a hospital at {_at(group)}: what it spent, mean over "
        f"{count_text(len(study.facts.seeds), 'seed')} (column epsilon of hospitals.csv).",
        x_label=f"training {study.counted}",
        y_label="epsilon",
        curves=curves,
        is_log_x=False,
    )
    return [chart] if curves else []


def _curves(
    study: StudyResult, unit: str, chosen: Sequence[HospitalGroup], value: Callable[[HospitalGroup], float]
) -> tuple[Curve, ...]:
    """Return the marks of each cell: a hospital's value over its size."""
    curves = []
    for placement, words in study.cells_of(unit).items():
        series, dash = noise_style(words)
        mine = (item for item in chosen if item.group.placement == placement)
        points = sorted((item.spread("num_examples").mean, value(item)) for item in mine)
        points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        if points:
            x, y = [x for x, _ in points], [y for _, y in points]
            label = f"{words.kind} noise"
            curves.append(Curve(label=label, x=x, y=y, series=series, dash=dash, is_joined=False))
    return tuple(curves)


def _at(group: RunGroup) -> str:
    return f"{'target epsilon' if group.held == 'epsilon' else 'noise multiplier'} {group.level:g}"


def _unscored(study: StudyResult, chosen: Sequence[HospitalGroup]) -> str:
    """Return a sentence about hospitals that have no score, such as an AUC where all test records are of one class."""
    column, name = study.metric
    names = sorted({item.hospital for item in chosen if not item.spread(column).num_values})
    if not names:
        return ""
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f" Without a mark: {listed}, whose test records are fewer than ten, or give no {name}."


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
