"""The figures of a run's page: quality and epsilon over rounds, and hospital by hospital: who pays for privacy."""

import math
from collections.abc import Mapping, Sequence

from wardround.reports.drawing import MUTED, NUM_SERIES, Chart, Curve
from wardround.reports.numbers import count_text, epsilon_text, number_text
from wardround.reports.results import MOST_DRAWN, HospitalResult, RunResult

__all__ = ["panels_by_hospital", "panels_by_round"]

_MOST_POINTS = 200
_Look = tuple[str, int, str]
"""Label, series and dash."""


def panels_by_round(run: RunResult) -> tuple[Chart, ...]:
    """Return the figures over rounds: quality of the model, and epsilon."""
    baseline = run.scores["majority_score"]
    words = run.score_words
    score = ("accuracy", words.name, words.baseline, baseline)
    brier = ("brier_integrated", "Integrated Brier score", "Kaplan-Meier", run.scores["brier_kaplan_meier"])
    others = (score, brier, ("loss", "Loss", "", math.nan))
    quality = (("auc", "AUC", "guessing", 0.5), score) if words.has_auc else others
    drawn = [_quality_chart(run, *columns) for columns in quality]
    return (*(chart for chart in drawn if chart is not None), _epsilon_chart(run))


def panels_by_hospital(run: RunResult) -> tuple[Chart, ...]:
    """Return the figures by hospital: who pays for privacy, and what each gets."""
    column, title = "auc", "AUC"
    if not any(math.isfinite(hospital.auc) for hospital in run.hospitals):
        column, title = "accuracy", run.score_words.name
    looks = _looks(run.hospitals)
    charts = (
        _hospital_lines(run, looks, "epsilon", "Epsilon by hospital"),
        _hospital_dots(run, looks),
        _hospital_lines(run, looks, column, f"{title} by hospital"),
    )
    return tuple(chart for chart in charts if chart is not None)


def _quality_chart(run: RunResult, column: str, title: str, guess: str, baseline: float) -> Chart | None:
    rounds, values = _points(run.rounds, column)
    if not rounds:
        return None
    curves = [_curve(rounds, values, "the federation's model", 1)]
    if math.isfinite(baseline):
        ends = (rounds[0], rounds[-1])
        curves.append(_curve(ends, (baseline, baseline), f"{guess}: {baseline:.3g}", MUTED, "dashed"))
    return Chart(
        name=f"{column}-round",
        title=f"{title} by round",
        caption=f"{number_text(values[0])} {_after(rounds[0])}, {number_text(values[-1])} {_after(rounds[-1])}, "
        "on the hospitals' test records.",
        curves=curves,
        is_share=column in ("auc", "accuracy") and run.score_words.is_share,
    )


def _epsilon_chart(run: RunResult) -> Chart:
    name, title = "epsilon-round", "Epsilon by round"
    if not run.is_private:
        caption = "Trained without privacy: epsilon is infinite from the first round on."
        return Chart(name=name, title=title, caption=caption)
    largest, total = _points(run.rounds, "epsilon_max"), _points(run.rounds, "epsilon_total")
    if not any(value > 0 for value in largest[1]):
        caption = "There is no finite epsilon to draw: without noise it is infinite."
        return Chart(name=name, title=title, caption=caption)
    top = largest
    curves = [_curve(*largest, "largest of the hospitals, and total", 1)]
    if total[1] and total[1] != largest[1]:
        top = total
        label = f"total, for a patient in up to {count_text(run.summary.patient_overlap, 'hospital')}"
        curves = [_curve(*largest, "largest of the hospitals", 1), _curve(*total, label, 2, "dashed")]
    budget = run.setting("privacy", "budget-epsilon", math.nan)
    if math.isfinite(budget):
        curves.append(_curve((0, largest[0][-1]), (budget, budget), f"budget: {budget:g}", MUTED, "dotted"))
    caption = f"{epsilon_text(top[1][-1])} {_after(top[0][-1])}. {_of_the_curves(run)}"
    return Chart(name=name, title=title, caption=caption, curves=curves, from_zero=True)


def _hospital_lines(run: RunResult, looks: Mapping[str, _Look], column: str, title: str) -> Chart | None:
    points = {hospital.name: _points(hospital.rows, column) for hospital in run.hospitals}
    known = {name: (x, y) for name, (x, y) in points.items() if any(y)}
    if not known:
        return None
    last = {name: y[-1] for name, (_, y) in known.items()}
    least, most = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
    text = epsilon_text if column == "epsilon" else number_text
    if text(last[least]) == text(last[most]):
        caption = f"At the end {text(last[most])} at every hospital."
    else:
        caption = f"At the end between {text(last[least])} ({least}) and {text(last[most])} ({most})."
    if column == "epsilon":
        idle = count_text(len(points) - len(known), "hospital")
        caption += f" {idle} never trained, and spent nothing." if len(known) < len(points) else ""
        caption += f" {_of_the_curves(run)}"
    return Chart(
        name=f"{column}-hospital",
        title=title,
        caption=caption,
        curves=_hospital_curves(looks, known),
        from_zero=column == "epsilon",
        is_share=column in ("auc", "accuracy") and run.score_words.is_share,
    )


def _of_the_curves(run: RunResult) -> str:
    """Return which bound a curve of epsilon is of, and why it may end above the figure of the tables."""
    if run.summary.accountant != "pld":
        return "This bound is computed while the run goes on (Renyi)."
    return (
        "This bound is computed while the run goes on (Renyi). Headline and tables give the smaller of it and one that "
        "is computed at the end."
    )


def _hospital_dots(run: RunResult, looks: Mapping[str, _Look]) -> Chart | None:
    known = [hospital for hospital in run.hospitals if math.isfinite(hospital.epsilon) and hospital.num_train > 0]
    if len(known) < 2:
        return None
    noun = run.words.counted
    caption = f"Each mark is a hospital: the epsilon it spent over the training {noun} it has."
    return Chart(
        name="epsilon-size",
        title="Who pays: epsilon by size",
        caption=caption,
        alone=caption,
        x_label=f"training {noun}",
        curves=_hospital_curves(looks, {item.name: ([item.num_train], [item.epsilon]) for item in known}),
        from_zero=True,
    )


def _looks(hospitals: Sequence[HospitalResult]) -> dict[str, _Look]:
    """Return who gets which colour in every chart: all where there are few, else three by the epsilon they spent."""
    if len(hospitals) <= NUM_SERIES:
        names = {hospital.name: hospital.name for hospital in hospitals}
    else:
        known = [hospital for hospital in hospitals if not math.isnan(hospital.epsilon)] or list(hospitals)
        ordered = sorted(known, key=lambda hospital: (-hospital.epsilon, hospital.name))
        ranks = {"largest": ordered[0], "middle": ordered[len(ordered) // 2], "smallest": ordered[-1]}
        names = {hospital.name: f"{rank} epsilon: {hospital.name}" for rank, hospital in ranks.items()}
    return {
        name: (label, index + 1, "dashed" if index % 2 else "solid")
        for index, (name, label) in enumerate(names.items())
    }


def _hospital_curves(
    looks: Mapping[str, _Look], points: Mapping[str, tuple[Sequence[float], Sequence[float]]]
) -> list[Curve]:
    """Return the curves of hospitals that have a look of their own, and all others behind them."""
    own = [_curve(x, y, *looks[name]) for name, (x, y) in points.items() if name in looks]
    rest = [(x, y) for name, (x, y) in points.items() if name not in looks]
    label = count_text(len(rest), "other hospital")
    if len(rest) > MOST_DRAWN:
        label = f"{MOST_DRAWN} of {label}, from the least to the most at the end"
        ranked = sorted(rest, key=lambda point: point[1][-1])
        rest = [ranked[round(place * (len(ranked) - 1) / (MOST_DRAWN - 1))] for place in range(MOST_DRAWN)]
    labels = [label, *[""] * len(rest)]  # one entry of the legend for all
    others = (_curve(x, y, label, MUTED, is_background=True) for (x, y), label in zip(rest, labels, strict=False))
    return [*own, *others]


def _curve(
    x: Sequence[float],
    y: Sequence[float],
    label: str,
    series: int,
    dash: str = "solid",
    *,
    is_background: bool = False,
) -> Curve:
    """Return a line, or a dot where there is one point."""
    if len(x) == 1:
        width, mark_size = 0.0, 4.0 if is_background else 8.0
    else:
        width, mark_size = 0.8 if is_background else 1.4 if series == MUTED else 2.0, 0.0
    return Curve(
        x=x, y=y, series=series, label=label, dash=dash, width=width, mark_size=mark_size, is_background=is_background
    )


def _points(rows: Sequence[Mapping[str, float]], column: str) -> tuple[list[float], list[float]]:
    """Return rounds and finite values of a column, thinned to what a small figure can show, ends kept."""
    points = [(row["round"], row[column]) for row in rows if math.isfinite(row.get(column, math.nan))]
    if len(points) > _MOST_POINTS:
        step = (len(points) - 1) / (_MOST_POINTS - 1)
        points = [points[round(index * step)] for index in range(_MOST_POINTS)]
    return [x for x, _ in points], [y for _, y in points]


def _after(round_number: float) -> str:
    return "before training" if round_number == 0 else f"after round {round_number:.0f}"
