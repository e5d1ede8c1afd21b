"""ROC curves of an audit as figures of a page: what attackers found, and what the bill allows at most.

The drawing is plain SVG, made of texts and rounded coordinates, so that a dossier's page is the same bytes wherever it
is made again. Left out on purpose: bands about a curve; intervals are told at 1 % and 0.1 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround.audits.records import FoundRates, HospitalAudit
from wardround.privacy.cells import READER_NAMES
from wardround.reports.drawing import MUTED
from wardround.reports.numbers import percent_text

__all__ = ["ATTACKS", "RocFigure", "RocLine", "member_curves", "reader_curves"]

ATTACKS = {"lira": "LiRA", "rmia": "RMIA", "mislabelled": "wrong labels"}
"""On real records, by name."""

_LEAST = 5e-4
"""Of both axes, which end at 1: the threshold for 0.1 % accuses as few, as scores are whole numbers of people."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 374.0, 8.0, 222.0
"""Where the axes stand, in a drawing as wide as other charts."""
_TICKS = ((0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1.0, "100 %"))
_TOLD = (0.001, 0.01, 0.1)
"""False-positive rates near which the caption tells points."""
_NEAR = 1.5
_SEEN, _ALLOWED = (1, 3, 4), 2
"""Series of colours."""

_READING = (
    "Both axes are logarithmic. A curve is of one audit, by thresholds that the same scores chose: chance can carry it "
    "above what is allowed, most where few are accused."
)

_Points = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RocLine:
    """A line of a figure.

    Attributes:
        label: for the legend.
        series: colour, as of other charts.
        dash: solid, dashed or dotted.
        points: "x,y" of the drawing, between blanks.
        marks: (x, y) of the drawing, of what was measured.
    """

    label: str
    series: int
    dash: str
    points: str
    marks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RocFigure:
    """A figure: shares that are found over shares that are falsely accused, both axes logarithmic.

    Attributes:
        title: what is on the vertical axis, over what.
        keys: the lines, which are the legend too.
        caption: whose curve it is and some of its points; it stands for the drawing where that can't be seen.
        x_ticks: (x, label) of the drawing.
        y_ticks: (y, label).
    """

    title: str
    keys: tuple[RocLine, ...]
    caption: str
    x_ticks: tuple[tuple[str, str], ...]
    y_ticks: tuple[tuple[str, str], ...]


def reader_curves(hospitals: Mapping[str, HospitalAudit], units: str, file: str) -> tuple[RocFigure, ...]:
    """Return the curve of the hospital and the reader that most was seen of; none of an audit that has no curves.

    Args:
        hospitals: of an audit.
        units: the noun for many of what is protected.
        file: in which the intervals are.
    """
    told = [
        (each.epsilon_lower or 0.0, name, reader, each)
        for name, hospital in hospitals.items()
        for reader, each in hospital.readers.items()
        if each.roc
    ]
    if not told:
        return ()
    _, name, reader, each = max(told, key=lambda line: line[0])
    roc, most = each.roc or (), each.roc_most or ()
    caption = [
        f"{name} against {READER_NAMES[reader]}, where most was seen.",
        *_points_told(roc, most, units),
        _READING,
        _interval_told(each.found, file),
    ]
    return (_figure("Found canaries, over falsely accused", {"seen": roc}, most, caption),)


def member_curves(hospitals: Mapping[str, HospitalAudit], file: str) -> tuple[RocFigure, ...]:
    """Return the curves of attacks on real records of the hospital that most was seen of; none where there are none.

    Args:
        hospitals: of an audit.
        file: in which the intervals are.
    """
    told = {
        name: hospital.membership.attacks
        for name, hospital in hospitals.items()
        if hospital.membership
        and hospital.membership.attacks
        and all(each.roc for each in hospital.membership.attacks.values())
    }
    if not told:
        return ()
    _, _, name, attack = max(
        (each.epsilon_lower or 0.0, each.auc, name, attack)
        for name, attacks in told.items()
        for attack, each in attacks.items()
    )
    curves = {attack: told[name][attack].roc or (), **{key: each.roc or () for key, each in told[name].items()}}
    most = told[name][attack].roc_most or ()
    caption = [
        f"{name} by {ATTACKS.get(attack, attack)}, where most was seen.",
        *_points_told(curves[attack], most, "real records"),
        _READING,
        _interval_told(told[name][attack].found, file),
    ]
    return (_figure("Found real records, over falsely accused", curves, most, caption),)


def _interval_told(found: FoundRates, file: str) -> str:
    """Return where the intervals are of shares whose thresholds others chose."""
    if found.tpr_at_fpr_1_percent is None:
        return "So few scores have no share at 1 % by a threshold that others chose, and no interval."
    return f"The table has shares by thresholds that others chose, and {file} their 95 % intervals."


def _points_told(roc: _Points, most: Sequence[float], units: str) -> list[str]:
    """Return a sentence on points near those rates that are told of, where the curve has them."""
    above_zero = [place for place, (accused, _) in enumerate(roc) if accused > 0]
    near = [min(above_zero, key=lambda place: abs(math.log(roc[place][0] / rate))) for rate in _TOLD]
    places = [
        place
        for place, rate in zip(near, _TOLD, strict=True)
        if max(roc[place][0] / rate, rate / roc[place][0]) < _NEAR
    ]
    texts = [
        f"where {percent_text(roc[place][0])} are falsely accused, {percent_text(roc[place][1])} are found"
        + (f" (allowed: {percent_text(most[place])})" if most else "")
        for place in dict.fromkeys(places)
    ]
    return [f"Of {units} that were used, {'; '.join(texts)}."] if texts else []


def _figure(title: str, curves: Mapping[str, _Points], most: Sequence[float], caption: Sequence[str]) -> RocFigure:
    """Return a figure; the bill's curve is at the rates of the first of the others."""
    first = next(iter(curves.values()))
    allowed = [(accused, found) for (accused, _), found in zip(first, most, strict=False)]
    lines = [
        _line(ATTACKS.get(name, name), series, "solid", points, is_marked=True)
        for series, (name, points) in zip(_SEEN, curves.items(), strict=False)
    ]
    lines += [_line("what the bill allows", _ALLOWED, "dashed", allowed)] * bool(allowed)
    return RocFigure(
        title=title,
        keys=(*lines, _line("guessing", MUTED, "dotted", ((_LEAST, _LEAST), (1.0, 1.0)))),
        caption=" ".join(caption),
        x_ticks=tuple((_x(rate), label) for rate, label in _TICKS),
        y_ticks=tuple((_y(rate), label) for rate, label in _TICKS),
    )


def _line(label: str, series: int, dash: str, points: _Points, *, is_marked: bool = False) -> RocLine:
    drawn = tuple((_x(point[0]), _y(point[1])) for point in points if min(point) >= _LEAST)
    return RocLine(
        label=label,
        series=series,
        dash=dash,
        points=" ".join(f"{x},{y}" for x, y in drawn),
        marks=drawn if is_marked else (),
    )


def _x(rate: float) -> str:
    return f"{_RIGHT + (_RIGHT - _LEFT) * math.log(rate) / -math.log(_LEAST):.1f}"


def _y(rate: float) -> str:
    return f"{_TOP + (_BOTTOM - _TOP) * math.log(rate) / math.log(_LEAST):.1f}"
