"""The charts of a study by hospital: what each gets over its size, who pays for privacy, and what each spends.

Records and hospitals are different units, and their epsilons different promises: every unit has charts of its own.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from wardround.reports.drawing import Chart, Curve
from wardround.reports.numbers import count_text
from wardround.reports.study_folder import StudyResult
from wardround.reports.study_panels import Panel, panels
from wardround.reports.study_statistics import HospitalGroup, RunGroup, hospital_groups, middle_group
from wardround.reports.study_styles import NO_PRIVACY, noise_style

__all__ = ["charts_of_hospitals"]


def charts_of_hospitals(study: StudyResult) -> tuple[Chart, ...]:
    """Return by unit, at the middle level, what each hospital gets over its size, and what it spends."""
    every = hospital_groups(study)
    charts = []
    for unit in study.facts.units:
        mine = [item for item in every if item.group.unit == unit]
        group = middle_group([item.group for item in mine])
        if group is not None:
            charts += panels(study, partial(_utility_chart, study, group, mine))
            # At equal noise where that was run: there sizes make the difference.
            at_noise = middle_group([item.group for item in mine if item.group.held == "noise"])
            charts += panels(study, partial(_epsilon_chart, study, at_noise or group, mine))
    return tuple(charts)


def _utility_chart(study: StudyResult, group: RunGroup, mine: Sequence[HospitalGroup], panel: Panel) -> Chart:
    """Return what each hospital gets: less than without privacy where that was run, else its score."""
    field, column, name = study.metric
    chosen = _at_level(group, mine, panel)
    if any(item.costs for item in chosen):
        return _chart(
            study,
            group,
            panel,
            _curves(study, group, chosen, lambda item: _mean(item.costs)),
            name="cost",
            title=f"Who pays: change of {name}",
            what=f": its {name} less what the federated model without privacy has there",
            column=column,
            more=f" Below zero, privacy costs it.{_unscored(study, chosen)}",
            y_label=f"change of {name}",
            levels=(NO_PRIVACY,),
        )
    return _chart(
        study,
        group,
        panel,
        _curves(study, group, chosen, lambda item: item.spread(field).mean),
        name="utility-size",
        title=name,
        column=column,
        more=_unscored(study, chosen),
        y_label=name,
        is_share=study.score_words.is_share,
    )


def _epsilon_chart(study: StudyResult, group: RunGroup, mine: Sequence[HospitalGroup], panel: Panel) -> Chart:
    """Return what each hospital spends."""
    curves = _curves(study, group, _at_level(group, mine, panel), lambda item: item.spread("epsilon").mean)
    texts = {"name": "epsilon-size", "title": "Epsilon", "what": ": what it spent", "column": "epsilon"}
    return _chart(study, group, panel, curves, **texts, y_label="epsilon")


def _chart(
    study: StudyResult,
    group: RunGroup,
    panel: Panel,
    curves: tuple[Curve, ...],
    *,
    name: str,
    title: str,
    column: str,
    what: str = "",
    more: str = "",
    **axes: Any,
) -> Chart:
    """Return a chart of marks by hospital over its size; its caption says what they are, and then more."""
    at = f"{'target epsilon' if group.held == 'epsilon' else 'noise multiplier'} {group.level:g}"
    return Chart(
        name=f"{name}-{group.unit}{panel.name}",
        title=f"{title} by hospital, unit: {study.noun(group.unit)}{panel.title}",
        caption=f"Each mark is a hospital at {at}{what}, mean over {count_text(len(study.facts.seeds), 'seed')} "
        f"(column {column} of hospitals.csv).{more}{panel.caption}",
        x_label=f"training {study.counted}",
        x_scale="linear",
        curves=curves,
        **axes,
    )


def _at_level(group: RunGroup, mine: Sequence[HospitalGroup], panel: Panel) -> list[HospitalGroup]:
    wanted = (group.held, group.level, panel.setting)
    return [item for item in mine if (item.group.held, item.group.level, item.group.setting) == wanted]


def _curves(
    study: StudyResult, group: RunGroup, chosen: Sequence[HospitalGroup], value: Callable[[HospitalGroup], float]
) -> tuple[Curve, ...]:
    """Return the marks of each cell: a hospital's value over its size."""
    curves = []
    for placement, words in study.cells_of(group.unit).items():
        series, dash = noise_style(words)
        mine = (item for item in chosen if item.group.placement == placement)
        points = sorted((item.spread("num_train").mean, value(item)) for item in mine)
        points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        if points:
            x, y = [x for x, _ in points], [y for _, y in points]
            label = f"{words.kind} noise"
            curves.append(Curve(label=label, x=x, y=y, series=series, dash=dash, width=0))
    return tuple(curves)


def _unscored(study: StudyResult, chosen: Sequence[HospitalGroup]) -> str:
    """Return a sentence about hospitals that have no score, such as an AUC where all test records are of one class."""
    field, _, name = study.metric
    names = sorted({item.hospital for item in chosen if not item.spread(field).num_values})
    if not names:
        return ""
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f" Without a mark: {listed}, whose test records are fewer than ten, or give no {name}."


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
