"""Draw charts as inline SVG whose colours are the page's CSS variables, so that it follows light and dark.

The same charts give the same bytes. Left out on purpose: titles and legends, which are HTML and wrap on a phone, and
names of hospitals, which could break a drawing.
"""

import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MUTED",
    "NO_DATE",
    "NUM_SERIES",
    "Chart",
    "Curve",
    "Level",
    "chart_svg",
    "drawing_in",
    "fill",
]

NUM_SERIES = 8
"""How many colours the page has for series 1 to NUM_SERIES."""
MUTED = 0
"""The series number of what stands in the background."""

_SIZE = (5.3, 3.6)  # inches of 72 units: 382 units wide, so that a phone shows it at about full size
_MARKERS = {"solid": "o", "dashed": "s", "dotted": "D"}
_MOST_LETTERS = 50  # of names side by side below an axis; more are written smaller
_INK, _GRID = "#0a0b11", "#0a0b12"
_SERIES_COLOURS = tuple(f"#0a0b{index:02x}" for index in range(NUM_SERIES + 1))
"""Colours by series to draw with: stand-ins, which `chart_svg` replaces by the page's."""
_VARIABLES = {
    _INK: "var(--ink)",
    _GRID: "var(--grid)",
    _SERIES_COLOURS[MUTED]: "var(--muted)",
    **{_SERIES_COLOURS[index]: f"var(--series-{index})" for index in range(1, NUM_SERIES + 1)},
}
NO_DATE: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))
"""Metadata that would make the bytes differ."""
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wardround",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.linewidth": 0.8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Marks with intervals, joined by a line.

    Attributes:
        x: finite numbers.
        y: finite numbers, as many.
        series: colour, MUTED or 1 to NUM_SERIES.
        label: for the legend; "" for none.
        half_width: of each mark's interval, as many, nan for none; or empty.
        dash: solid, dashed or dotted, of the line; it also picks the mark.
        width: of the line; 0 for none.
        mark_size: of the marks; 0 for none.
        is_background: whether it is drawn faint, behind others.
    """

    x: Sequence[float]
    y: Sequence[float]
    series: int
    label: str = ""
    half_width: Sequence[float] = ()
    dash: str = "solid"
    width: float = 2.0
    mark_size: float = 6.0
    is_background: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A horizontal line across a chart, or an entry of its legend alone."""

    label: str
    series: int
    y: float = 0.0
    dash: str = "dashed"
    is_drawn: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart of a page.

    Attributes:
        name: unique on the page, of letters and dashes.
        title: what is on the vertical axis, over what.
        caption: what it shows and where its numbers are, in sentences; or why there is nothing to draw.
        alone: the same for those who do not see it, where title and caption are not it.
        x_label: under the horizontal axis.
        y_label: beside the vertical axis where the chart stands alone; "" where it never does.
        curves: what is drawn; empty for nothing.
        levels: horizontal lines.
        x_scale: of the horizontal axis: "whole" numbers, "linear" or "log".
        x_ticks: where the horizontal axis is marked if it is logarithmic; empty is at every x.
        x_names: what stands at 0, 1, 2... of the horizontal axis where it has words and no numbers.
        is_log_y: whether the vertical axis is logarithmic, with usual ticks.
        y_range: of the vertical axis, where several charts are compared; None fits what is drawn.
        is_share: whether the vertical axis stays within [0, 1].
        from_zero: whether both axes begin at 0.
    """

    name: str
    title: str
    caption: str
    alone: str = ""
    x_label: str = "round"
    y_label: str = ""
    curves: Sequence[Curve] = ()
    levels: tuple[Level, ...] = ()
    x_scale: str = "whole"
    x_ticks: tuple[float, ...] = ()
    x_names: tuple[str, ...] = ()
    is_log_y: bool = False
    y_range: tuple[float, float] | None = None
    is_share: bool = False
    from_zero: bool = False

    @property
    def keys(self) -> list[Curve | Level]:
        """What the legend has."""
        drawn: list[Curve | Level] = [*self.curves, *self.levels]
        return [item for item in drawn if item.label]


def chart_svg(chart: Chart) -> str:
    """Return the chart as an SVG element whose colours are the page's; empty where there is nothing to draw."""
    from matplotlib.figure import Figure

    if not chart.curves:
        return ""
    with drawing_in(_INK, _SERIES_COLOURS[MUTED], _GRID, font_size=11.0):
        figure = Figure(figsize=_SIZE)
        left = 0.14 if chart.y_label else 0.135
        fill(figure.add_axes((left, 0.15, 0.97 - left, 0.815)), chart, _SERIES_COLOURS)
        return _svg_element(figure, chart.name, chart.alone or f"{chart.title}: {chart.caption}")


@contextmanager
def drawing_in(ink: str, muted: str, grid: str, *, font_size: float) -> Iterator[None]:
    """Let matplotlib draw as all charts are drawn, in these colours and this size of text, while this is entered.

    Args:
        ink: of texts.
        muted: of axes and their marks.
        grid: of the lines behind.
        font_size: in points.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the page
        matplotlib.rcParams.update(_SETTINGS | {"font.size": font_size, "grid.color": grid})
        matplotlib.rcParams.update(dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), muted))
        texts: Any = ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")
        matplotlib.rcParams.update(dict.fromkeys(texts, ink))
        yield


def fill(axes: "Axes", chart: Chart, colours: Sequence[str]) -> None:
    """Draw a chart's curves, levels and axes.

    Args:
        axes: empty.
        chart: what is drawn.
        colours: by series.
    """
    for level in chart.levels:
        style: dict[str, Any] = {"color": colours[level.series], "linestyle": level.dash, "linewidth": 1.3}
        if level.is_drawn:
            axes.axhline(level.y, label=level.label, **style)
        else:
            axes.plot([], [], label=level.label, **style)
    for curve in chart.curves:
        _add(axes, curve, colours[curve.series])
    _set_x(axes, chart)
    _set_y(axes, chart)
    if chart.from_zero:
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    if chart.is_share:  # whatever margins and intervals reach
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0.0), min(high, 1.0))


def _set_x(axes: "Axes", chart: Chart) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(chart.x_label)
    if chart.x_names:
        axes.set_xticks(range(len(chart.x_names)), chart.x_names)
        if sum(map(len, chart.x_names)) > _MOST_LETTERS:
            axes.tick_params(axis="x", labelsize=6.5)
        axes.set_xlim(-0.4, len(chart.x_names) - 0.6)
    elif chart.x_scale == "log":
        axes.set_xscale("log")
        _tick_marks(axes, chart.x_ticks or sorted({x for curve in chart.curves for x in curve.x}))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=chart.x_scale == "whole"))


def _set_y(axes: "Axes", chart: Chart) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator

    if chart.is_log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        return
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    if chart.y_range:
        axes.set_ylim(*chart.y_range)
    _widen(axes)


def _add(axes: "Axes", curve: Curve, colour: str) -> None:
    axes.errorbar(
        curve.x,
        curve.y,
        yerr=curve.half_width or None,
        color=colour,
        linestyle=curve.dash if curve.width else "none",
        linewidth=curve.width,
        alpha=0.5 if curve.is_background else 1.0,
        marker=_MARKERS[curve.dash] if curve.mark_size else "",
        markersize=curve.mark_size,
        markeredgewidth=0,
        elinewidth=1.3,
        capsize=3,
        label=curve.label,
        zorder=2 if curve.is_background or curve.series == MUTED else 3,
    )


def _widen(axes: "Axes") -> None:
    """Give values that differ in their last digits only a vertical axis with room, so that they look equal."""
    low, high = axes.get_ylim()
    middle = (low + high) / 2
    if high - low < 0.02 * abs(middle):
        axes.set_ylim(middle - 0.05 * abs(middle), middle + 0.05 * abs(middle))


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


def _svg_element(figure: "Figure", name: str, label: str) -> str:
    """Return a figure for the page: no fixed size, ids that begin with the name, the page's colours and font."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=NO_DATE)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    width, height = (72 * side for side in figure.get_size_inches())
    head = f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(label)}">'
    text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\bfont: ([0-9.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return text.strip()
