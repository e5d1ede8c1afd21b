"""Draw a study's charts together as comparison.svg and .png, for paper: the same charts give the same bytes."""

import math
from collections.abc import Sequence
from pathlib import Path

from wardround.disk import open_private
from wardround.errors import WardroundError
from wardround.reports.drawing import MUTED, NO_DATE, Chart, drawing_in, fill

__all__ = ["write_comparison"]

_PAPER = ("#626b70", "#0b5c8a", "#c2571a", "#1f7a5a", "#8a4f9e", "#8f6a00", "#3b8fc4", "#b03060", "#4d5b2b")
_INK, _GRID = "#1b2023", "#e2e6e8"


def write_comparison(charts: Sequence[Chart], folder: Path) -> tuple[Path, Path]:
    """Return the paths of comparison.svg and comparison.png: all charts side by side, with titles and legends.

    Args:
        charts: at least one.
        folder: where they are written.

    Raises:
        WardroundError: they can't be written.
    """
    from matplotlib.figure import Figure

    columns = min(2, len(charts))
    num_rows = math.ceil(len(charts) / columns)
    with drawing_in(_INK, _PAPER[MUTED], _GRID, font_size=10.0):
        figure = Figure(figsize=(6.2 * columns, 4.6 * num_rows), layout="constrained")
        for index, chart in enumerate(charts):
            axes = figure.add_subplot(num_rows, columns, index + 1)
            fill(axes, chart, _PAPER)
            axes.set_title(chart.title, loc="left", fontsize=11, fontweight="bold")
            axes.set_ylabel(chart.y_label)
            axes.legend(fontsize=8.5, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
        # The layout is the slow part: found once, for both files.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        paths = folder / "comparison.svg", folder / "comparison.png"
        try:
            for path, metadata in zip(paths, (NO_DATE, {"Software": None}), strict=True):
                with open(path, "wb", opener=open_private) as file:
                    figure.savefig(file, format=path.suffix[1:], metadata=metadata, dpi=150, facecolor="white")
        except OSError as error:
            raise WardroundError(f"cannot write {folder}: {error}; free space there, or make it writable") from None
    return paths
