"""The charts of a study's varied settings: utility against each of them, at the middle level of privacy.

What is left out on purpose: choosing a value by them. The scores are measured on the hospitals' data, and a choice made
by looking at them is not covered by any epsilon.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from string import ascii_lowercase

from wardround.reports.drawing import Chart, Curve, Level
from wardround.reports.study_figures import baseline_level
from wardround.reports.study_folder import Setting, StudyResult, setting_text
from wardround.reports.study_panels import MOST_PANELS
from wardround.reports.study_statistics import RunGroup, Spread, fits, groups_of, middle_group
from wardround.reports.study_styles import baselines_of, noise_style

__all__ = ["charts_of_settings"]

_MOST_LETTERS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """The values of a setting along the horizontal axis.

    Attributes:
        name: "section.key".
        places: where each value stands, by its text.
        names: of the places, where the values are no numbers.
    """

    name: str
    places: dict[str, float]
    names: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def scale(self) -> str:
        """Logarithmic where the values are apart by factors."""
        low, high = min(self.places.values()), max(self.places.values())
        return "log" if not self.names and low > 0 and high / low >= 4 else "linear"


def charts_of_settings(study: StudyResult) -> tuple[Chart, ...]:
    """Return utility against each varied setting by unit; others that are varied have a chart for each combination."""
    groups = groups_of(study.rows)
    charts = []
    for unit in study.facts.units if study.facts.placements else ("",):
        middle = middle_group([group for group in groups if group.unit == unit and not group.baseline])
        wanted = (unit, middle.held, middle.level) if middle else None
        chosen = [g for g in groups if g.baseline or (g.unit, g.held, g.level) == wanted]
        for number, (name, texts) in enumerate((study.facts.vary or {}).items()):
            if len(texts) > 1:
                axis = _axis(name, texts)
                for place, others in enumerate(_others(study, name)):
                    letters = f"{ascii_lowercase[number % 26]}-{ascii_lowercase[place]}"
                    charts.append(_chart(study, unit, middle, chosen, axis, others, letters))
    return tuple(chart for chart in charts if chart.curves)


def _axis(name: str, texts: Sequence[str]) -> _Axis:
    with suppress(ValueError):
        numbers = {text: float(text) for text in texts}
        if all(map(math.isfinite, numbers.values())):
            return _Axis(name=name, places=numbers)
    shown = tuple(text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 3]}..." for text in texts)
    return _Axis(name=name, places={text: float(place) for place, text in enumerate(texts)}, names=shown)


def _others(study: StudyResult, name: str) -> list[Setting]:
    """Return the combinations of the other varied settings, as many as have a figure."""
    found = (tuple(pair for pair in setting if pair[0] != name) for setting in study.settings)
    return list(dict.fromkeys(found))[:MOST_PANELS]


def _chart(
    study: StudyResult,
    unit: str,
    middle: RunGroup | None,
    groups: Sequence[RunGroup],
    axis: _Axis,
    others: Setting,
    letters: str,
) -> Chart:
    beside = [group for group in groups if fits(_without(group.setting, axis), others)]
    curves = [*_with_privacy(study, unit, beside, axis), *_baselines(study, beside, axis)]
    of_unit = f", unit: {study.noun(unit)}" if unit else ""
    at = ""
    if middle:
        at = f", at {'target epsilon' if middle.held == 'epsilon' else 'noise multiplier'} {middle.level:g}"
    rest = setting_text(others)
    all_others = len({_without(setting, axis) for setting in study.settings})
    cut = f" The first {MOST_PANELS} of {all_others} combinations have a figure." if all_others > MOST_PANELS else ""
    seeds = len(study.facts.seeds)
    mean = "One seed, so there is no interval" if seeds == 1 else f"Mean over {seeds} seeds with its 95 % t-interval"
    return Chart(
        name=f"by-{letters}-{unit or 'none'}",
        title=f"{study.metric.name} against {axis.key}{of_unit}{f'; {rest}' if rest else ''}",
        caption=f"{study.metric.name} on the hospitals' test records (column {study.metric.column} of results.csv) "
        f"over {axis.name}{at}. {mean}. Whoever picks a value by such a figure learns more than one epsilon says.{cut}",
        x_label=axis.key,
        y_label=study.metric.name,
        x_scale=axis.scale,
        x_ticks=tuple(sorted(axis.places.values())) if axis.scale == "log" else (),
        x_names=axis.names,
        curves=tuple(_apart(curves, axis)),
        levels=tuple(_levels(study, beside, axis)),
        is_share=study.score_words.is_share,
    )


def _apart(curves: Sequence[Curve], axis: _Axis) -> Iterator[Curve]:
    """Yield the curves a little apart, so that all intervals can be seen."""
    places = axis.places.values()
    step = 0.012 * (max(places) - min(places))
    for number, curve in enumerate(curves):
        offset = number - (len(curves) - 1) / 2
        yield replace(curve, x=[x * 1.02**offset if axis.scale == "log" else x + step * offset for x in curve.x])


def _without(setting: Setting, axis: _Axis) -> Setting:
    return tuple(pair for pair in setting if pair[0] != axis.name)


def _value(group: RunGroup, axis: _Axis) -> str:
    return next((value for name, value in group.setting if name == axis.name), "")


def _with_privacy(study: StudyResult, unit: str, groups: Sequence[RunGroup], axis: _Axis) -> Iterator[Curve]:
    for placement, words in study.cells_of(unit).items() if unit else ():
        mine = [group for group in groups if not group.baseline and group.placement == placement]
        series, dash = noise_style(words)
        yield from _curve(study, mine, axis, label=f"{words.kind} noise", series=series, dash=dash)


def _baselines(study: StudyResult, groups: Sequence[RunGroup], axis: _Axis) -> Iterator[Curve]:
    """Yield those that the setting makes a difference to."""
    for baseline in study.facts.baselines:
        style = baselines_of(study.score_words)[baseline]
        mine = [group for group in groups if group.baseline == baseline and _value(group, axis)]
        yield from _curve(study, mine, axis, label=style.label, series=style.series, dash=style.dash)


def _levels(study: StudyResult, groups: Sequence[RunGroup], axis: _Axis) -> Iterator[Level]:
    """Yield the others, which are the same whatever the setting is."""
    for group in groups:
        mean = group.spread(study.metric.field).mean
        if group.baseline and not _value(group, axis) and math.isfinite(mean):
            yield baseline_level(study, group.baseline, mean)


def _curve(
    study: StudyResult, groups: Sequence[RunGroup], axis: _Axis, *, label: str, series: int, dash: str
) -> Iterator[Curve]:
    points: list[tuple[float, Spread]] = [
        (axis.places[_value(group, axis)], group.spread(study.metric.field))
        for group in groups
        if _value(group, axis) in axis.places
    ]
    points = sorted((point for point in points if math.isfinite(point[1].mean)), key=lambda point: point[0])
    if points:
        yield Curve(
            label=label,
            x=[x for x, _ in points],
            y=[spread.mean for _, spread in points],
            half_width=[spread.half_width for _, spread in points],
            series=series,
            dash=dash,
            width=0 if axis.names else 2.0,
        )
