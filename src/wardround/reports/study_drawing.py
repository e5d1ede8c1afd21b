"""Draw a study's charts twice from the same record: as SVG for the page, and together as comparison.svg and .png.

The same charts give the same bytes. Left out on purpose: what is in them (see `study_figures`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.disk import open_private
from wardround.errors import WardroundError
from wardround.reports.drawing import MUTED, SERIES_COLOURS, SETTINGS, svg_element, widened, within_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Chart", "Curve", "Level", "chart_svg", "write_comparison"]

_SIZE, _AREA = (5.3, 3.6), (0.14, 0.15, 0.83, 0.815)
_PAPER = ("#626b70", "#0b5c8a", "#c2571a", "#1f7a5a", "#8a4f9e", "#8f6a00", "#3b8fc4", "#b03060", "#4d5b2b")
_INK, _GRID = "#1b2023", "#e2e6e8"
_MARKERS = {"solid": "o", "dashed": "s", "dotted": "D"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Marks with intervals, joined by a line.

    Attributes:
        label: for the legend.
        x: finite numbers.
        y: finite numbers, as many.
        half_width: of each mark's interval, as many, nan for none; or empty.
        series: colour.
        dash: solid, dashed or dotted, of the line; it also picks the mark.
        is_joined: whether there is a line.
        has_marks: whether there are marks.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    series: int
    half_width: Sequence[float] = ()
    dash: str = "solid"
    is_joined: bool = True
    has_marks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A horizontal line across a chart, or an entry of its legend alone."""

    label: str
    y: float
    series: int
    dash: str = "dashed"
    is_drawn: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart.

    Attributes:
        name: unique on the page, of letters and dashes.
        title: what is on the vertical axis, over what.
        caption: what it shows and where its numbers are, in sentences.
        x_label: under the horizontal axis.
        y_label: beside the vertical axis where the chart stands alone.
        curves: at least one.
        levels: horizontal lines.
        x_ticks: where the horizontal axis is marked if it is logarithmic; empty is at every x.
        is_log_x: whether the horizontal axis is logarithmic.
        is_log_y: likewise for the vertical axis, with usual ticks.
        is_share: whether the vertical axis stays within [0, 1].
    """

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...] = ()
    x_ticks: tuple[float, ...] = ()
    is_log_x: bool = True
    is_log_y: bool = False
    is_share: bool = False


def chart_svg(chart: Chart) -> str:
    """Return the chart as an SVG element whose colours are the page's."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the page
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=_SIZE)
        _fill(figure.add_axes(_AREA), chart, SERIES_COLOURS)
        return svg_element(figure, chart.name, f"{chart.title}: {chart.caption}")


def write_comparison(charts: Sequence[Chart], folder: Path) -> tuple[Path, Path]:
    """Return the paths of comparison.svg and comparison.png: all charts side by side, with titles and legends.

    Args:
        charts: at least one.
        folder: where they are written.

    Raises:
        WardroundError: they can't be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    plain: dict[str, Any] = {"axes.edgecolor": _PAPER[MUTED], "axes.labelcolor": _INK, "text.color": _INK}
    plain |= {"grid.color": _GRID, "xtick.color": _PAPER[MUTED], "ytick.color": _PAPER[MUTED]}
    plain |= {"xtick.labelcolor": _INK, "ytick.labelcolor": _INK, "font.size": 10.0}
    columns = min(2, len(charts))
    num_rows = math.ceil(len(charts) / columns)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS | plain)
        figure = Figure(figsize=(6.2 * columns, 4.6 * num_rows), layout="constrained")
        for index, chart in enumerate(charts):
            axes = figure.add_subplot(num_rows, columns, index + 1)
            _fill(axes, chart, _PAPER)
            axes.set_title(chart.title, loc="left", fontsize=11, fontweight="bold")
            axes.set_ylabel(chart.y_label)
            axes.legend(fontsize=8.5, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
        # The layout is the slow part: found once, for both files.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        paths = folder / "comparison.svg", folder / "comparison.png"
        try:
            for path, metadata in zip(paths, (_NO_DATE, {"Software": None}), strict=True):
                with open(path, "wb", opener=open_private) as file:
                    figure.savefig(file, format=path.suffix[1:], metadata=metadata, dpi=150, facecolor="white")
        except OSError as error:
            raise WardroundError(f"cannot write {folder}: {error}; free space there, or make it writable") from None
    return paths


_NO_DATE: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def _fill(axes: "Axes", chart: Chart, colours: Sequence[str]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator

    for level in chart.levels:
        style: dict[str, Any] = {
            "color": colours[level.series],
            "linestyle": level.dash,
            "linewidth": 1.3,
            "label": level.label,
        }
        if level.is_drawn:
            axes.axhline(level.y, **style)
        else:
            axes.plot([], [], **style)
    for curve in chart.curves:
        _add(axes, curve, colours)
    axes.set_xlabel(chart.x_label)
    if chart.is_log_x:
        axes.set_xscale("log")
        _tick_marks(axes, chart.x_ticks or sorted({x for curve in chart.curves for x in curve.x}))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    if chart.is_log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        widened(axes)
    if chart.is_share:
        within_shares(axes)


def _add(axes: "Axes", curve: Curve, colours: Sequence[str]) -> None:
    axes.errorbar(
        curve.x,
        curve.y,
        yerr=curve.half_width or None,
        color=colours[curve.series],
        linestyle=curve.dash if curve.is_joined else "none",
        linewidth=2.0 if curve.has_marks else 1.2,
        marker=_MARKERS[curve.dash] if curve.has_marks else "",
        markersize=6,
        markeredgewidth=0,
        elinewidth=1.3,
        capsize=3,
        label=curve.label,
        zorder=3,
    )


def _tick_marks(axes: "Axes", values: Sequence[float]) -> None:
    """Mark the values themselves, as many as fit, where the axis is logarithmic."""
    from matplotlib.ticker import FixedLocator, NullLocator

    span = math.log(values[-1] / values[0]) if values[-1] > values[0] else 1.0
    shown: list[float] = []  # the first, and whatever is far enough from the one before
    for value in values:
        if not shown or math.log(value / shown[-1]) > span / 9:
            shown.append(value)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{value:.3g}" for value in shown])
