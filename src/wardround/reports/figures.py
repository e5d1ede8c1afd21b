"""The figures of a run's page: quality and epsilon over rounds, and hospital by hospital: who pays for privacy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround.reports.drawing import MUTED, NUM_SERIES, Line, draw
from wardround.reports.numbers import count_text, epsilon_text, number_text
from wardround.reports.results import HospitalResult, RunResult

__all__ = ["Key", "Panel", "panels_by_hospital", "panels_by_round"]

_MOST_POINTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One entry of a legend.

    Attributes:
        label: what it stands for.
        series: colour, 0 for the background, else 1 to 8.
        dash: solid, dashed or dotted.
    """

    label: str
    series: int
    dash: str = "solid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One figure of the page.

    Attributes:
        title: what is on the vertical axis.
        caption: what it shows, in a sentence.
        svg: the drawing; empty where there is nothing to draw and the caption says why.
        keys: the legend.
    """

    title: str
    caption: str
    svg: str = ""
    keys: tuple[Key, ...] = ()


def panels_by_round(run: RunResult) -> tuple[Panel, ...]:
    """Return the figures over rounds: quality of the model, and epsilon."""
    baseline = run.scores["majority_accuracy"]
    if run.is_regression:
        quality = (("accuracy", "r2", "always the mean", baseline), ("loss", "Loss", "", math.nan))
    else:
        quality = (("auc", "AUC", "guessing", 0.5), ("accuracy", "Accuracy", "most frequent class", baseline))
    drawn = [_quality_panel(run, *columns) for columns in quality]
    return (*(panel for panel in drawn if panel is not None), _epsilon_panel(run))


def panels_by_hospital(run: RunResult) -> tuple[Panel, ...]:
    """Return the figures by hospital: who pays for privacy, and what each gets."""
    column, title = ("accuracy", "r2") if run.is_regression else ("auc", "AUC")
    if not any(math.isfinite(hospital.auc) for hospital in run.hospitals):
        column, title = "accuracy", "r2" if run.is_regression else "Accuracy"
    keys = _hospital_keys(run.hospitals)
    panels = (
        _hospital_lines(run, keys, "epsilon", "Epsilon by hospital"),
        _hospital_dots(run, keys),
        _hospital_lines(run, keys, column, f"{title} by hospital"),
    )
    return tuple(panel for panel in panels if panel is not None)


def _quality_panel(run: RunResult, column: str, title: str, guess: str, baseline: float) -> Panel | None:
    rounds, values = _points(run.rounds, column)
    if not rounds:
        return None
    lines = [Line(x=rounds, y=values, series=1)]
    keys = [Key(label="the federation's model", series=1)]
    if math.isfinite(baseline):
        lines.append(Line(x=(rounds[0], rounds[-1]), y=(baseline, baseline), series=MUTED, dash="dashed"))
        keys.append(Key(label=f"{guess}: {baseline:.3g}", series=MUTED, dash="dashed"))
    caption = (
        f"{number_text(values[0])} {_after(rounds[0])}, {number_text(values[-1])} {_after(rounds[-1])}, "
        "on the hospitals' test records."
    )
    is_share = title in ("AUC", "Accuracy")
    svg = draw(f"{column}-round", f"{title} by round: {caption}", lines, is_share=is_share)
    return Panel(title=f"{title} by round", caption=caption, svg=svg, keys=tuple(keys))


def _epsilon_panel(run: RunResult) -> Panel:
    title = "Epsilon by round"
    if not run.is_private:
        return Panel(title=title, caption="Trained without privacy: epsilon is infinite from the first round on.")
    largest, total = _points(run.rounds, "epsilon_max"), _points(run.rounds, "epsilon_total")
    if not any(value > 0 for value in largest[1]):
        return Panel(title=title, caption="There is no finite epsilon to draw: without noise it is infinite.")
    lines = [Line(x=largest[0], y=largest[1], series=1)]
    top, name = largest, "largest of the hospitals, and total"
    keys = []
    if total[1] and total[1] != largest[1]:
        top, name = total, "largest of the hospitals"
        lines.append(Line(x=total[0], y=total[1], series=2, dash="dashed"))
        label = f"total, for a patient in up to {count_text(run.summary.patient_overlap, 'hospital')}"
        keys.append(Key(label=label, series=2, dash="dashed"))
    budget = run.setting("privacy", "budget-epsilon", math.nan)
    if math.isfinite(budget):
        lines.append(Line(x=(0, largest[0][-1]), y=(budget, budget), series=MUTED, dash="dotted"))
        keys.append(Key(label=f"budget: {budget:g}", series=MUTED, dash="dotted"))
    caption = f"{epsilon_text(top[1][-1])} {_after(top[0][-1])}, by Renyi divergences, as accounted while running."
    svg = draw("epsilon-round", f"{title}: {caption}", lines, from_zero=True)
    return Panel(title=title, caption=caption, svg=svg, keys=(Key(label=name, series=1), *keys))


def _hospital_lines(run: RunResult, keys: Mapping[str, Key], column: str, title: str) -> Panel | None:
    curves = {hospital.name: _points(hospital.rows, column) for hospital in run.hospitals}
    known = [hospital for hospital in run.hospitals if any(curves[hospital.name][1])]
    if not known:
        return None
    lines = [_coloured(keys.get(hospital.name), *curves[hospital.name]) for hospital in known]
    last = {hospital.name: curves[hospital.name][1][-1] for hospital in known}
    least, most = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
    text = epsilon_text if column == "epsilon" else number_text
    if text(last[least]) == text(last[most]):
        caption = f"At the end {text(last[most])} at every hospital."
    else:
        caption = f"At the end between {text(last[least])} ({least}) and {text(last[most])} ({most})."
    is_score = column in ("auc", "accuracy") and not run.is_regression
    if column == "epsilon":
        caption += " By Renyi divergences, as accounted while running."
    svg = draw(f"{column}-hospital", f"{title}: {caption}", lines, from_zero=column == "epsilon", is_share=is_score)
    return Panel(title=title, caption=caption, svg=svg, keys=_legend(keys, known))


def _hospital_dots(run: RunResult, keys: Mapping[str, Key]) -> Panel | None:
    known = [hospital for hospital in run.hospitals if math.isfinite(hospital.epsilon) and hospital.num_train > 0]
    if len(known) < 2:
        return None
    lines = [_coloured(keys.get(hospital.name), [hospital.num_train], [hospital.epsilon]) for hospital in known]
    noun = run.words.counted
    caption = f"Each mark is a hospital: the epsilon it spent over the training {noun} it has."
    svg = draw("epsilon-size", caption, lines, x_label=f"training {noun}", from_zero=True)
    return Panel(title="Who pays: epsilon by size", caption=caption, svg=svg, keys=_legend(keys, known))


def _hospital_keys(hospitals: Sequence[HospitalResult]) -> dict[str, Key]:
    """Return who gets which colour in every chart: all where there are few, else three by the epsilon they spent."""
    if len(hospitals) <= NUM_SERIES:
        names = {hospital.name: hospital.name for hospital in hospitals}
    else:
        known = [hospital for hospital in hospitals if not math.isnan(hospital.epsilon)] or list(hospitals)
        ordered = sorted(known, key=lambda hospital: (-hospital.epsilon, hospital.name))
        ranks = {"largest": ordered[0], "middle": ordered[len(ordered) // 2], "smallest": ordered[-1]}
        names = {hospital.name: f"{rank} epsilon: {hospital.name}" for rank, hospital in ranks.items()}
    return {
        name: Key(label=label, series=index + 1, dash="dashed" if index % 2 else "solid")
        for index, (name, label) in enumerate(names.items())
    }


def _coloured(key: Key | None, x: Sequence[float], y: Sequence[float]) -> Line:
    if key is None:
        return Line(x=x, y=y, series=MUTED, is_background=True)
    return Line(x=x, y=y, series=key.series, dash=key.dash)


def _legend(keys: Mapping[str, Key], drawn: Sequence[HospitalResult]) -> tuple[Key, ...]:
    own = [keys[hospital.name] for hospital in drawn if hospital.name in keys]
    rest = len(drawn) - len(own)
    return (*own, *([Key(label=count_text(rest, "other hospital"), series=MUTED)] if rest else []))


def _points(rows: Sequence[Mapping[str, float]], column: str) -> tuple[list[float], list[float]]:
    """Return rounds and finite values of a column, thinned to what a small figure can show, ends kept."""
    points = [(row["round"], row[column]) for row in rows if math.isfinite(row.get(column, math.nan))]
    if len(points) > _MOST_POINTS:
        step = (len(points) - 1) / (_MOST_POINTS - 1)
        points = [points[round(index * step)] for index in range(_MOST_POINTS)]
    return [x for x, _ in points], [y for _, y in points]


def _after(round_number: float) -> str:
    return "before training" if round_number == 0 else f"after round {round_number:.0f}"
