"""How much noise hides a record from whoever receives its gradient? Rows and images, by noise multiplier.

python examples/studies/reconstruction.py OUT
"""

import csv
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import wardround as wr
from wardround.audits.reconstruction import reconstruct
from wardround.audits.records import Reconstruction
from wardround.audits.views import LOCAL, SUMMED, UNPROTECTED
from wardround.reports.drawing import NO_DATE, drawing_in

NOISE = (0.0, 0.01, 0.1, 1.0, 3.0)
JOBS = {
    "rows": {"federation": {"dataset": "breast-cancer", "num_hospitals": 4}},
    "images": {"federation": {"dataset": "digits", "num_hospitals": 4}, "model": {"name": "cnn"}},
}


def write_figures(found: dict[tuple[str, float], Reconstruction], path: Path) -> None:
    """Write one line for each job, noise multiplier and view: how far off, and how often told among a hundred."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = ("error", "error_low", "error_high", "identified", "identified_low", "identified_high", "guessed_error")
        writer.writerow(["records", "noise_multiplier", "seen", *names])
        for (job, noise), each in found.items():
            for seen, view in each.views.items():
                figures = (view.error, *view.error_interval, view.identified, *view.identified_interval)
                writer.writerow([job, noise, seen, *(f"{figure:.4f}" for figure in (*figures, each.guessed_error))])


def draw(found: dict[tuple[str, float], Reconstruction], path: Path) -> None:
    """Draw one made-up image as a server sees it: by noise multiplier from left to right, by view downwards."""
    levels = [noise for job, noise in found if job == "images"]
    first = found["images", levels[0]]
    with drawing_in("#222222", "#666666", "#dddddd", font_size=9.0):
        figure = Figure(figsize=(1.15 * (1 + len(levels)), 2.9))
        grid = figure.subplots(2, 1 + len(levels), squeeze=False)
        for row, seen in enumerate((LOCAL, SUMMED)):
            shown = [first.shown if row == 0 else first.views[UNPROTECTED].shown]
            shown += [found["images", noise].views[seen].shown for noise in levels]
            titles = ["made up" if row == 0 else "unprotected", *(f"noise {noise:g}" for noise in levels)]
            for axes, values, title in zip(grid[row], shown, titles, strict=True):
                axes.imshow(np.reshape(values, first.input_shape)[0], cmap="gray", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[], title=title)
                axes.grid(visible=False)
            grid[row][1].set_ylabel(seen)
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata=NO_DATE)


def main(out: Path, levels: tuple[float, ...] = NOISE, jobs: tuple[str, ...] = tuple(JOBS)) -> None:
    """Leave figures and the picture in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    found = {
        (job, noise): reconstruct(wr.Config.of(JOBS[job]), noise, num_hospitals=4, seed=1)
        for job in jobs
        for noise in levels
    }
    write_figures(found, out / "reconstruction.csv")
    if "images" in jobs:
        draw(found, out / "reconstruction.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
