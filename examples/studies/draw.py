"""Draw some charts of a study's folder into one SVG, as pages under docs/studies/ have them.

python examples/studies/draw.py FOLDER                          the names of its charts
python examples/studies/draw.py FOLDER FILE.svg NAME [NAME ...]
"""

import shutil
import sys
import tempfile
from pathlib import Path

from wardround.reports.study import charts_of
from wardround.reports.study_drawing import write_comparison
from wardround.reports.study_folder import read_study


def main() -> None:
    """Do what the arguments say."""
    folder, *rest = sys.argv[1:]
    charts = {chart.name: chart for chart in charts_of(read_study(Path(folder)))}
    if not rest:
        print("\n".join(f"{name}: {chart.title}" for name, chart in charts.items()))
        return
    with tempfile.TemporaryDirectory() as place:
        drawn, _ = write_comparison([charts[name] for name in rest[1:]], Path(place))
        shutil.copyfile(drawn, rest[0])


if __name__ == "__main__":
    main()
