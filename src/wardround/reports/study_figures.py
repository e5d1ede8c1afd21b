"""The charts of a study: utility against epsilon and against noise, noise on the average, and who pays.

Records and hospitals are different units, and their epsilons different promises: every unit has charts of its own.
"""

import math
from collections.abc import Callable, Sequence

from wardround.reports.drawing import MUTED
from wardround.reports.numbers import count_text, number_text
from wardround.reports.study_drawing import Chart, Curve, Level
from wardround.reports.study_folder import NoiseRow, StudyResult
from wardround.reports.study_statistics import (
    HospitalGroup,
    RunGroup,
    Spread,
    groups_of,
    hospital_groups,
    middle_group,
    spread_of,
)

_AXES = {"epsilon": "epsilon spent", "noise": "noise multiplier"}
_APART = 1.035

__all__ = [
    "BASELINE_NAMES",
    "PLACEMENT_STYLES",
    "charts_of_hospitals",
    "charts_of_noise",
    "charts_of_utility",
]

PLACEMENT_STYLES = {"local": (1, "solid"), "distributed": (3, "dotted"), "central": (2, "dashed")}
"""Colour and dash of a placement, the same in every chart."""
BASELINE_NAMES = {
    "majority": "most frequent class",
    "alone": "each hospital alone, no privacy",
    "federated": "federated, no privacy",
    "pooled": "pooled, no privacy",
}
_BASELINE_STYLES = {
    "majority": (MUTED, "dotted"),
    "alone": (5, "dotted"),
    "federated": (4, "dashed"),
    "pooled": (8, "solid"),
}


def charts_of_utility(study: StudyResult) -> tuple[Chart, ...]:
    """Return utility against the epsilon spent, and against the noise multiplier where that is held equal, by unit."""
    column, name = study.metric
    charts = []
    for unit in study.facts["units"]:
        for held in ("epsilon", "noise"):
            charts.append(_utility_chart(study, unit, held, column, name))
            charts.append(_change_chart(study, unit, held, column, name))
        if column == "auc":
            charts.append(_utility_chart(study, unit, "epsilon", "accuracy", "Accuracy"))
    return tuple(chart for chart in charts if chart is not None)


def charts_of_noise(study: StudyResult) -> tuple[Chart, ...]:
    """Return the measured noise on the average against the number of hospitals, with theory, by unit."""
    charts = []
    for unit in study.facts["units"]:
        rows = [row for row in study.noise if row.unit == unit]
        if rows:
            charts.append(_noise_chart(unit, rows))
    return tuple(charts)


def charts_of_hospitals(study: StudyResult) -> tuple[Chart, ...]:
    """Return by unit, at the middle level, what each hospital gets over its size, and what it spends."""
    every = hospital_groups(study)
    charts = []
    for unit in study.facts["units"]:
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


def _utility_chart(study: StudyResult, unit: str, held: str, column: str, name: str) -> Chart | None:
    groups = groups_of(study.rows)
    curves = _curves(study, unit, held, lambda group: group.spread(column))
    if not curves:
        return None
    levels = _levels(groups, column, curves)
    return Chart(
        name=f"{column}-{held}-{unit}",
        title=f"{name} against {_AXES[held]}, unit: {unit}",
        caption=f"{name} on the hospitals' test records (column {column} of results.csv), {_over_seeds(study)}. "
        f"{_axis_sentence(held)}",
        x_label=f"{_AXES[held]}, unit {unit}",
        y_label=name,
        curves=curves,
        levels=levels,
        x_ticks=_ticks(study, held),
        is_share=not study.is_regression,
    )


def _change_chart(study: StudyResult, unit: str, held: str, column: str, name: str) -> Chart | None:
    """Return the change against the same seed without privacy, in which what the seeds do to both cancels."""
    without = {row.seed: getattr(row, column) for row in study.rows if row.baseline == "federated"}
    curves = _curves(
        study,
        unit,
        held,
        lambda group: spread_of(getattr(row, column) - without.get(row.seed, math.nan) for row in group.rows),
    )
    if not curves:
        return None
    return Chart(
        name=f"{column}-change-{held}-{unit}",
        title=f"Change of {name} against {_AXES[held]}, unit: {unit}",
        caption=f"{name} less that of the federated model without privacy of the same seed (column {column} of "
        f"results.csv), {_over_seeds(study)}. {_axis_sentence(held)}",
        x_label=f"{_AXES[held]}, unit {unit}",
        y_label=f"change of {name}",
        curves=curves,
        levels=(Level(label="federated, no privacy", y=0.0, series=4),),
        x_ticks=_ticks(study, held),
    )


def _curves(study: StudyResult, unit: str, held: str, value: Callable[[RunGroup], Spread]) -> tuple[Curve, ...]:
    """Return one curve per placement over the levels that were held equal."""
    curves = []
    for index, (placement, (series, dash)) in enumerate(PLACEMENT_STYLES.items()):
        points = [
            (_position(group), value(group))
            for group in groups_of(study.rows)
            if (group.unit, group.placement, group.held) == (unit, placement, held)
        ]
        points = [(x, spread) for x, spread in points if 0 < x < math.inf and math.isfinite(spread.mean)]
        points.sort(key=lambda point: point[0])
        if points:
            curves.append(
                Curve(
                    label=f"{placement} noise",
                    x=[x * _APART ** (index - 1) for x, _ in points],
                    y=[spread.mean for _, spread in points],
                    half_width=[spread.half_width for _, spread in points],
                    series=series,
                    dash=dash,
                )
            )
    return tuple(curves)


def _position(group: RunGroup) -> float:
    return group.spread("epsilon_max").mean if group.held == "epsilon" else group.level


def _ticks(study: StudyResult, held: str) -> tuple[float, ...]:
    return tuple(sorted(study.facts["target_epsilons" if held == "epsilon" else "noise_multipliers"]))


def _over_seeds(study: StudyResult) -> str:
    seeds = len(study.facts["seeds"])
    return "one seed, so there is no interval" if seeds == 1 else f"mean over {seeds} seeds with its 95 % t-interval"


def _axis_sentence(held: str) -> str:
    where = (
        "Epsilon is what was spent, the largest of the hospitals' (column epsilon_max)"
        if held == "epsilon"
        else "All placements have the same noise multiplier (column noise_multiplier)"
    )
    return f"{where}; marks of one level stand a little apart, so that all can be seen."


def _levels(groups: Sequence[RunGroup], column: str, curves: Sequence[Curve]) -> tuple[Level, ...]:
    """Return the baselines as lines; one far below everything would flatten the curves and is named only."""
    lowest = min(
        y - (0.0 if math.isnan(width) else width)
        for curve in curves
        for y, width in zip(curve.y, curve.half_width, strict=True)
    )
    highest = max(y for curve in curves for y in curve.y)
    levels = []
    for group in groups:
        spread = group.spread(column)
        if group.baseline and math.isfinite(spread.mean):
            series, dash = _BASELINE_STYLES[group.baseline]
            is_drawn = spread.mean > lowest - max(highest - lowest, 0.02)
            where = "" if is_drawn else " (below the figure)"
            label = f"{BASELINE_NAMES[group.baseline]}: {number_text(spread.mean)}{where}"
            levels.append(Level(label=label, y=spread.mean, series=series, dash=dash, is_drawn=is_drawn))
    return tuple(levels)


def _noise_chart(unit: str, rows: Sequence[NoiseRow]) -> Chart:
    curves = []
    for placement, (series, dash) in PLACEMENT_STYLES.items():
        mine = sorted((row for row in rows if row.placement == placement), key=lambda row: row.num_hospitals)
        if not mine:
            continue
        x = [float(row.num_hospitals) for row in mine]
        measured = [row.stddev_measured for row in mine]
        curves.append(Curve(label=f"{placement}, drawn", x=x, y=measured, series=series, dash=dash, is_joined=False))
        if placement != "distributed" or not any(row.placement == "central" for row in rows):
            formula = _formula(unit, placement)
            theory = [row.stddev_theory for row in mine]
            curves.append(Curve(label=formula, x=x, y=theory, series=series, dash=dash, has_marks=False))
    worst = max(abs(row.stddev_measured / row.stddev_theory - 1) for row in rows)
    first = rows[0]
    return Chart(
        name=f"noise-{unit}",
        title=f"Noise on the average, unit: {unit}",
        caption=f"Standard deviation of {first.num_coordinates:,} coordinates of noise that was really drawn, with "
        f"noise multiplier z = {first.noise_multiplier:g} and clip C = {first.max_grad_norm:g}: the marks; within "
        f"{math.ceil(worst * 1000) / 10:.1f} % of theory, the lines (columns stddev_measured and stddev_theory of "
        "noise_on_average.csv).",
        x_label="hospitals, n",
        y_label="standard deviation",
        curves=tuple(curves),
        is_log_y=True,
    )


def _formula(unit: str, placement: str) -> str:
    if placement == "local":
        return "2zC / sqrt(n)" if unit == "hospital" else "zC / sqrt(n)"
    return "zC / n"


def _hospital_charts(study: StudyResult, unit: str, group: RunGroup, chosen: Sequence[HospitalGroup]) -> list[Chart]:
    column, name = study.metric
    at, missing = _at(group), _unscored(study, chosen)
    seeds = count_text(len(study.facts["seeds"]), "seed")
    charts = []
    if any(item.costs for item in chosen):
        mean_cost: Callable[[HospitalGroup], float] = lambda item: _mean(item.costs)  # noqa: E731
        charts.append(
            _by_size(
                f"cost-{unit}",
                f"Who pays: change of {name} by hospital, unit: {unit}",
                f"Each mark is a hospital at {at}: its {name} less what the federated model without privacy has there, "
                f"mean over {seeds} (column {column} of hospitals.csv). Below zero, privacy costs it.{missing}",
                f"change of {name}",
                chosen,
                mean_cost,
                levels=(Level(label="federated, no privacy", y=0.0, series=4),),
            )
        )
    else:
        charts.append(
            _by_size(
                f"utility-size-{unit}",
                f"{name} by hospital, unit: {unit}",
                f"Each mark is a hospital at {at}, mean over {seeds} (column {column} of hospitals.csv).{missing}",
                name,
                chosen,
                lambda item: item.spread(column).mean,
                is_share=not study.is_regression,
            )
        )
    return [chart for chart in charts if chart is not None]


def _epsilon_charts(study: StudyResult, unit: str, every: Sequence[HospitalGroup]) -> list[Chart]:
    """Return what each hospital spends, at equal noise where that was run: there sizes make the difference."""
    mine = [item for item in every if item.group.unit == unit]
    at_noise = [item for item in mine if item.group.held == "noise"]
    group = middle_group([item.group for item in at_noise or mine])
    if group is None:
        return []
    chosen = [item for item in mine if (item.group.held, item.group.level) == (group.held, group.level)]
    chart = _by_size(
        f"epsilon-size-{unit}",
        f"Epsilon by hospital, unit: {unit}",
        f"Each mark is a hospital at {_at(group)}: what it spent, mean over "
        f"{count_text(len(study.facts['seeds']), 'seed')} (column epsilon of hospitals.csv).",
        "epsilon",
        chosen,
        lambda item: item.spread("epsilon").mean,
    )
    return [] if chart is None else [chart]


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


def _by_size(
    name: str,
    title: str,
    caption: str,
    y_label: str,
    chosen: Sequence[HospitalGroup],
    value: Callable[[HospitalGroup], float],
    levels: tuple[Level, ...] = (),
    is_share: bool = False,
) -> Chart | None:
    curves = []
    for placement, (series, dash) in PLACEMENT_STYLES.items():
        points = sorted(
            (item.spread("num_examples").mean, value(item)) for item in chosen if item.group.placement == placement
        )
        points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        if points:
            x, y = [x for x, _ in points], [y for _, y in points]
            curves.append(Curve(label=f"{placement} noise", x=x, y=y, series=series, dash=dash, is_joined=False))
    if not curves:
        return None
    return Chart(
        name=name,
        title=title,
        caption=caption,
        x_label="training records",
        y_label=y_label,
        curves=tuple(curves),
        levels=levels,
        is_log_x=False,
        is_share=is_share,
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
