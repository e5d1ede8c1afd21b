"""The charts of a study: utility against epsilon and against noise, and the noise on the average.

Records and hospitals are different units, and their epsilons different promises: every unit has charts of its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from wardround.reports.drawing import Chart, Curve, Level
from wardround.reports.numbers import number_text
from wardround.reports.study_folder import ACCURACY, Metric, StudyResult
from wardround.reports.study_panels import Panel, groups_in, panels
from wardround.reports.study_statistics import RunGroup, Spread, groups_of, spread_of, without_privacy
from wardround.reports.study_styles import BELOW, NO_PRIVACY, baselines_of, noise_style
from wardround.simulations.studies.study_records import NoiseRow

__all__ = ["baseline_level", "charts_of_noise", "charts_of_utility"]

_APART = 1.035


def charts_of_utility(study: StudyResult) -> tuple[Chart, ...]:
    """Return utility against the epsilon spent, and against the noise multiplier where that is held equal, by unit.

    Where settings are varied there is a panel for each combination.
    """
    charts = []
    for unit in study.facts.units:
        for held in ("epsilon", "noise"):
            charts += panels(study, partial(_utility_chart, study, unit, held, study.metric))
            charts += panels(study, partial(_change_chart, study, unit, held, study.metric))
        if study.metric.field == "auc":
            charts += panels(study, partial(_utility_chart, study, unit, "epsilon", ACCURACY))
    return tuple(charts)


def charts_of_noise(study: StudyResult) -> tuple[Chart, ...]:
    """Return the measured noise on the average against the number of hospitals, with theory, by unit."""
    by_unit = {unit: [row for row in study.noise if row.unit == unit] for unit in study.facts.units}
    return tuple(_noise_chart(study, unit, rows) for unit, rows in by_unit.items() if rows)


def _utility_chart(study: StudyResult, unit: str, held: str, metric: Metric, panel: Panel) -> Chart:
    groups = groups_in(groups_of(study.rows), panel.setting)
    curves = _curves(study, groups, unit, held, lambda group: group.spread(metric.field))
    return _chart(
        study,
        unit,
        held,
        panel,
        name=metric.column,
        title=metric.name,
        caption=f"{metric.name} on the hospitals' test records (column {metric.column} of results.csv)",
        y_label=metric.name,
        curves=curves,
        levels=_levels(study, groups, metric.field, curves),
        is_share=study.score_words.is_share,
    )


def _change_chart(study: StudyResult, unit: str, held: str, metric: Metric, panel: Panel) -> Chart:
    """Return the change against the same seed without privacy, in which what the seeds do to both cancels."""

    def change(group: RunGroup) -> Spread:
        pairs = ((row, without_privacy(study, row)) for row in group.rows)
        return spread_of(
            getattr(row, metric.field) - (getattr(same, metric.field) if same else math.nan) for row, same in pairs
        )

    return _chart(
        study,
        unit,
        held,
        panel,
        name=f"{metric.column}-change",
        title=f"Change of {metric.name}",
        caption=f"{metric.name} less that of the federated model without privacy of the same seed (column "
        f"{metric.column} of results.csv)",
        y_label=f"change of {metric.name}",
        curves=_curves(study, groups_in(groups_of(study.rows), panel.setting), unit, held, change),
        levels=(NO_PRIVACY,),
    )


def _chart(
    study: StudyResult, unit: str, held: str, panel: Panel, *, name: str, title: str, caption: str, **more: Any
) -> Chart:
    """Return a chart over the levels of what was held equal; name, title and caption go on with what that is."""
    seeds = len(study.facts.seeds)
    mean = "one seed, so there is no interval" if seeds == 1 else f"mean over {seeds} seeds with its 95 % t-interval"
    if held == "epsilon":
        axis, ticks = "epsilon spent", study.facts.target_epsilons
        where = "Epsilon is what was spent, the largest of the hospitals' (column epsilon_max)"
    else:
        axis, ticks = "noise multiplier", study.facts.noise_multipliers
        where = "All placements have the same noise multiplier (column noise_multiplier)"
    return Chart(
        name=f"{name}-{held}-{unit}{panel.name}",
        title=f"{title} against {axis}, unit: {study.noun(unit)}{panel.title}",
        caption=f"{caption}, {mean}. {where}; marks of one level stand a little apart, so that all can be seen."
        f"{panel.caption}",
        x_label=f"{axis}, unit {study.noun(unit)}",
        x_scale="log",
        x_ticks=tuple(sorted(ticks)),
        **more,
    )


def _curves(
    study: StudyResult, groups: Sequence[RunGroup], unit: str, held: str, value: Callable[[RunGroup], Spread]
) -> tuple[Curve, ...]:
    """Return one curve per cell over the levels that were held equal."""
    curves = []
    for placement, words in study.cells_of(unit).items():
        series, dash = noise_style(words)
        points = [
            (_position(group), value(group))
            for group in groups
            if (group.unit, group.placement, group.held) == (unit, placement, held)
        ]
        points = [(x, spread) for x, spread in points if 0 < x < math.inf and math.isfinite(spread.mean)]
        points.sort(key=lambda point: point[0])
        if points:
            curves.append(
                Curve(
                    label=f"{words.kind} noise",
                    x=[x * _APART ** (words.chart_order - 1) for x, _ in points],
                    y=[spread.mean for _, spread in points],
                    half_width=[spread.half_width for _, spread in points],
                    series=series,
                    dash=dash,
                )
            )
    return tuple(curves)


def _position(group: RunGroup) -> float:
    return group.spread("epsilon_max").mean if group.held == "epsilon" else group.level


def _levels(study: StudyResult, groups: Sequence[RunGroup], field: str, curves: Sequence[Curve]) -> tuple[Level, ...]:
    """Return the baselines as lines; one far below everything would flatten the curves and is named only."""
    marks = [mark for curve in curves for mark in zip(curve.y, curve.half_width, strict=True)]
    lowest = min((y - (0.0 if math.isnan(width) else width) for y, width in marks), default=0.0)
    highest = max((y for y, _ in marks), default=0.0)
    levels = []
    for group in groups:
        spread = group.spread(field)
        if group.baseline and math.isfinite(spread.mean):
            is_drawn = spread.mean > lowest - max(highest - lowest, 0.02)
            levels.append(baseline_level(study, group.baseline, spread.mean, is_drawn=is_drawn))
    return tuple(levels)


def baseline_level(study: StudyResult, baseline: str, mean: float, *, is_drawn: bool = True) -> Level:
    """Return the line of a baseline at its mean, which its entry in the legend has too."""
    level, where = baselines_of(study.score_words)[baseline], "" if is_drawn else BELOW
    return replace(level, label=f"{level.label}: {number_text(mean)}{where}", y=mean, is_drawn=is_drawn)


def _noise_chart(study: StudyResult, unit: str, rows: Sequence[NoiseRow]) -> Chart:
    curves = []
    cells = {placement: study.words_of_noise(unit, placement) for placement in study.cells_of(unit)}
    # Cells whose noise on the average has one formula share its line, which the last of them lends its look.
    last = {
        words.formula: placement for placement, words in cells.items() if any(r.placement == placement for r in rows)
    }
    for placement, words in cells.items():
        series, dash = noise_style(words)
        mine = sorted((row for row in rows if row.placement == placement), key=lambda row: row.num_hospitals)
        if not mine:
            continue
        x = [float(row.num_hospitals) for row in mine]
        measured = [row.stddev_measured for row in mine]
        drawn = f"{words.kind}, drawn"
        curves.append(Curve(label=drawn, x=x, y=measured, series=series, dash=dash, width=0))
        if last[words.formula] == placement:
            theory = [row.stddev_theory for row in mine]
            curves.append(Curve(label=words.formula, x=x, y=theory, series=series, dash=dash, width=1.2, mark_size=0))
    worst = max(abs(row.stddev_measured / row.stddev_theory - 1) for row in rows)
    first = rows[0]
    return Chart(
        name=f"noise-{unit}",
        title=f"Noise on the average, unit: {study.noun(unit)}",
        caption=f"Standard deviation of {first.num_coordinates:,} coordinates of noise that was really drawn, with "
        f"noise multiplier z = {first.noise_multiplier:g} and clip C = {first.max_grad_norm:g}: the marks; within "
        f"{math.ceil(worst * 1000) / 10:.1f} % of theory, the lines (columns stddev_measured and stddev_theory of "
        "noise_on_average.csv).",
        x_label="hospitals, n",
        y_label="standard deviation",
        curves=tuple(curves),
        x_scale="log",
        is_log_y=True,
    )
