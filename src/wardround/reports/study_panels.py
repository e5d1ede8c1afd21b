"""Charts of one kind side by side, one for each combination of varied settings, with one vertical axis.

Where noise is in one place, the combinations are curves of one chart instead. What is left out on purpose: what is in
a chart.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from string import ascii_lowercase
from typing import NamedTuple

from wardround.reports.drawing import Chart, Level
from wardround.reports.study_folder import Setting, StudyResult, setting_text
from wardround.reports.study_statistics import RunGroup, fits
from wardround.reports.study_styles import BELOW

__all__ = ["MOST_PANELS", "Panel", "groups_in", "panels"]

MOST_PANELS = 6
"""Charts of one kind, of so many combinations of varied settings; tables have all."""
_MOST_CURVES = 8
"""In one chart, of as many colours."""
_DASHES = ("solid", "dashed", "dotted")
_APART = 1.02


class Panel(NamedTuple):
    """Which combination of varied settings a chart is of.

    Attributes:
        setting: the combination; empty where nothing is varied.
        name: the end of the chart's name.
        title: the end of its title.
        caption: the end of its caption.
    """

    setting: Setting
    name: str = ""
    title: str = ""
    caption: str = ""


def panels(study: StudyResult, draw: Callable[[Panel], Chart]) -> list[Chart]:
    """Return a chart for each combination of varied settings, all with the vertical range that holds them all.

    Where noise is in one place, so that each would have one curve, all of them are in one chart.
    """
    if len(study.facts.placements) == 1 and 1 < len(study.settings) <= _MOST_CURVES:
        alone = {setting: draw(Panel(setting)) for setting in study.settings}
        drawn = {setting: chart for setting, chart in alone.items() if chart.curves}
        return [_in_one(drawn)] if drawn else []
    charts = [chart for chart in map(draw, _panels_of(study)) if chart.curves]
    low, high = _range_of(charts)
    if len(charts) < 2 or not low < high:
        return charts
    margin = 0.05 * (high - low)
    span = (low - margin, high + margin)
    return [
        replace(chart, y_range=span, levels=tuple(_shown_in(span, level) for level in chart.levels)) for chart in charts
    ]


def _in_one(charts: Mapping[Setting, Chart]) -> Chart:
    """Return the one curve of each chart in one chart, with the lines that all of them have."""
    first = next(iter(charts.values()))
    curves = []
    for index, (setting, chart) in enumerate(charts.items()):
        (curve,), place = chart.curves, index - (len(charts) - 1) / 2
        x = [value * _APART**place for value in curve.x] if first.x_scale == "log" else curve.x
        dash = _DASHES[index % len(_DASHES)]
        curves.append(replace(curve, label=setting_text(setting), x=x, series=index + 1, dash=dash))
    shared = tuple(level for level in first.levels if all(level in chart.levels for chart in charts.values()))
    caption = f"{first.caption} Lines that differ between these settings are in the tables."
    return replace(first, caption=caption, curves=tuple(curves), levels=shared)


def _shown_in(span: tuple[float, float], level: Level) -> Level:
    """Return a line as it is in a figure of the range: one that would flatten its own may have room in another's."""
    if level.is_drawn or not span[0] <= level.y <= span[1]:
        return level
    return replace(level, is_drawn=True, label=level.label.removesuffix(BELOW))


def groups_in(groups: Sequence[RunGroup], setting: Setting) -> list[RunGroup]:
    """Return the groups of a combination of varied settings, with the baselines beside it."""
    return [g for g in groups if (fits(g.setting, setting) if g.baseline else g.setting == setting)]


def _panels_of(study: StudyResult) -> Iterator[Panel]:
    settings = study.settings
    if len(settings) == 1:
        yield Panel(settings[0])
        return
    rest = f" The first {MOST_PANELS} of {len(settings)} combinations have a figure." if settings[MOST_PANELS:] else ""
    for letter, setting in zip(ascii_lowercase[:MOST_PANELS], settings, strict=False):
        text = setting_text(setting)
        caption = f" Here {text}; the figures of other values have the same vertical axis.{rest}"
        yield Panel(setting, f"-{letter}", f"; {text}", caption)


def _range_of(charts: Sequence[Chart]) -> tuple[float, float]:
    found = [level.y for chart in charts for level in chart.levels if level.is_drawn]
    for chart in charts:
        for curve in chart.curves:
            for y, half in zip(curve.y, curve.half_width or [0.0] * len(curve.y), strict=True):
                width = 0.0 if math.isnan(half) else half
                found += [y - width, y + width]
    return min(found, default=0.0), max(found, default=0.0)
