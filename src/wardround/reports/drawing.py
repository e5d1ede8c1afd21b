"""Draw lines and dots as inline SVG whose colours are the page's CSS variables, so that it follows light and dark.

The same lines give the same bytes. Left out on purpose: titles and legends, which are HTML and wrap on a phone, and
names of hospitals, which could break a drawing.
"""

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MUTED",
    "NUM_SERIES",
    "SERIES_COLOURS",
    "SETTINGS",
    "Line",
    "draw",
    "svg_element",
    "widened",
    "within_shares",
]

NUM_SERIES = 8
"""How many colours the page has for series 1 to NUM_SERIES."""
MUTED = 0
"""The series number of what stands in the background."""

_SIZE = (5.3, 3.6)  # inches of 72 units: 382 units wide, so that a phone shows it at about full size
_AREA = (0.135, 0.15, 0.835, 0.815)
_INK, _GRID = "#0a0b11", "#0a0b12"
SERIES_COLOURS = tuple(f"#0a0b{index:02x}" for index in range(NUM_SERIES + 1))
"""Colours by series to draw with: stand-ins, which `svg_element` replaces by the page's."""
_VARIABLES = {
    _INK: "var(--ink)",
    _GRID: "var(--grid)",
    SERIES_COLOURS[MUTED]: "var(--muted)",
    **{SERIES_COLOURS[index]: f"var(--series-{index})" for index in range(1, NUM_SERIES + 1)},
}
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wardround",
    "font.size": 11.0,
    "axes.edgecolor": SERIES_COLOURS[MUTED],
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "text.color": _INK,
    "xtick.color": SERIES_COLOURS[MUTED],
    "ytick.color": SERIES_COLOURS[MUTED],
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A curve, or a dot where there is one point.

    Attributes:
        x: finite numbers, increasing.
        y: finite numbers, as many.
        series: colour, MUTED or 1 to NUM_SERIES.
        dash: solid, dashed or dotted; a dot that is not solid is a square.
        is_background: drawn thin and faint.
    """

    x: Sequence[float]
    y: Sequence[float]
    series: int
    dash: str = "solid"
    is_background: bool = False


def widened(axes: "Axes") -> None:
    """Give values that differ in their last digits only a vertical axis with room, so that they look equal."""
    low, high = axes.get_ylim()
    middle = (low + high) / 2
    if high - low < 0.02 * abs(middle):
        axes.set_ylim(middle - 0.05 * abs(middle), middle + 0.05 * abs(middle))


def within_shares(axes: "Axes") -> None:
    """Keep the vertical axis within [0, 1], where a share lies, whatever margins and intervals reach."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), min(high, 1.0))


def draw(
    name: str,
    label: str,
    lines: Sequence[Line],
    *,
    x_label: str = "round",
    from_zero: bool = False,
    is_share: bool = False,
) -> str:
    """Return an SVG element with the lines over a vertical scale of their own.

    Args:
        name: unique on the page; every id in the element starts with it.
        label: what the figure shows, for those who do not see it.
        lines: at least one.
        x_label: under the horizontal axis.
        from_zero: whether both scales begin at 0.
        is_share: whether the vertical scale stays within [0, 1].
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the page
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=_SIZE)
        axes = figure.add_axes(_AREA)
        for line in lines:
            _add(axes, line)
        axes.set_xlabel(x_label)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        widened(axes)
        if from_zero:
            axes.set_xlim(left=0)
            axes.set_ylim(bottom=0)
        if is_share:
            within_shares(axes)
        return svg_element(figure, name, label)


def _add(axes: "Axes", line: Line) -> None:
    is_dot = len(line.x) == 1
    axes.plot(
        line.x,
        line.y,
        color=SERIES_COLOURS[line.series],
        linestyle="none" if is_dot else line.dash,
        linewidth=0.8 if line.is_background else 1.4 if line.series == MUTED else 2.0,
        alpha=0.5 if line.is_background else 1.0,
        marker="" if not is_dot else "o" if line.dash == "solid" else "s",
        markersize=4 if line.is_background else 8,
        markeredgewidth=0,
        zorder=2 if line.is_background or line.series == MUTED else 3,
    )


def svg_element(figure: "Figure", name: str, label: str) -> str:
    """Return a figure for the page: no fixed size, ids of its own, the page's colours and font.

    Args:
        figure: drawn with SETTINGS and SERIES_COLOURS.
        name: unique on the page; every id in the element starts with it.
        label: what it shows, for those who do not see it.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
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
