"""How long does a study take, against running `wardround run` as many times?

    python benchmarks/study.py [--singles N]

The study is benchmarks/study.toml, heart disease at equal epsilon: 3 placements x 5 epsilons x 5 seeds and 20
baselines, by `wardround compare` in one process. Of its 75 runs with privacy, a sample is also run one by one, each by
`wardround run` in a process of its own with the study's engine, half of them before the study and half after it; what
75 of them take is extrapolated from their mean. The models of the sample must be the study's, byte for byte.
Needs the data (WARDROUND_DATA or a download). Writes benchmarks/results/study.csv.
"""

import argparse
import csv
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import wardround
from wardround.config import config_to_toml
from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_toml import load_study

STUDY = Path(__file__).parent / "study.toml"
RESULTS = Path(__file__).parent / "results" / "study.csv"
COMMAND = (sys.executable, "-c", "from wardround.cli import main; main()")


def timed(*arguments: str | Path) -> float:
    """Return the seconds of one command, started and ended."""
    started = time.perf_counter()
    subprocess.run([*COMMAND, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def time_single(item: StudyRun, folder: Path) -> float:
    """Return the seconds of `wardround run` with one run's settings."""
    path = folder / f"{item.name}.toml"
    path.write_text(config_to_toml(item.config))
    return timed("run", path, "--out", folder / item.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--singles", type=int, default=6, help="size of the sample")
    num_singles = parser.parse_args().singles
    private = [item for item in load_study(STUDY).runs() if not item.baseline]
    # Spread over placements and levels.
    sample = [private[round((index + 0.5) * len(private) / num_singles)] for index in range(num_singles)]
    rows: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        half = len(sample) // 2
        singles = []
        for item in sample[:half]:
            singles.append(time_single(item, folder))
            rows.append((f"wardround run: {item.name}", singles[-1], os.getloadavg()[0]))
        study_seconds = timed("compare", STUDY, "--out", folder / "study")
        rows.append((f"wardround compare: {len(private)} runs and 20 baselines", study_seconds, os.getloadavg()[0]))
        for item in sample[half:]:
            singles.append(time_single(item, folder))
            rows.append((f"wardround run: {item.name}", singles[-1], os.getloadavg()[0]))
        for item in sample:
            paths = [place / item.name / "model.safetensors" for place in (folder, folder / "study" / "runs")]
            if paths[0].read_bytes() != paths[1].read_bytes():
                raise SystemExit(f"{item.name}: the study's model is not the single run's")
    mean = statistics.fmean(singles)
    extrapolated = mean * len(private)
    machine = f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    with RESULTS.open("w", newline="") as file:
        file.write(
            f"# python benchmarks/study.py --singles {num_singles}; wardround {wardround.__version__}; torch "
            f"{torch.__version__}; {machine}\n# {len(private)} single runs are extrapolated from the mean of "
            f"{num_singles}; the models of these are byte for byte the study's\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "seconds", "load_average"])
        writer.writerows((what, f"{seconds:.2f}", f"{load:.2f}") for what, seconds, load in rows)
        writer.writerow([f"{len(private)} single runs, extrapolated", f"{extrapolated:.2f}", ""])
        writer.writerow(["ratio: study / single runs", f"{study_seconds / extrapolated:.4f}", ""])
        by_median = study_seconds / (statistics.median(singles) * len(private))
        writer.writerow(["ratio, extrapolated from the median instead", f"{by_median:.4f}", ""])
    sys.stdout.write(RESULTS.read_text())


if __name__ == "__main__":
    main()
