"""How long does it take to be told who would pay what, before any training?

    python benchmarks/plan.py [--repeats N]

The whole command `wardround plan examples/stroke-trial.toml`, 118 hospitals, each time in a process of its own: with
the file's target epsilon, with one given by --target-epsilon, and with one noise multiplier for all. Wall seconds
depend on what else the machine does (see load_average); CPU seconds, of user and system, hardly. Needs the data
(WARDROUND_DATA). Writes benchmarks/results/plan.csv.
"""

import argparse
import csv
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy

import wardround

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "plan.csv"
COMMAND = (sys.executable, "-c", "from wardround.cli import main; main()", "plan", "examples/stroke-trial.toml")
VARIANTS = ((), ("--target-epsilon", "2"), ("--set", "privacy.noise-multiplier=5"))


def timed(arguments: tuple[str, ...]) -> tuple[float, float, float]:
    """Return wall, user and system seconds of one command, started and ended."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="of each variant, in alternation")
    repeats = parser.parse_args().repeats
    for arguments in VARIANTS:
        timed(arguments)  # the first one reads the files from the disk
    timings = [[timed(arguments) for arguments in VARIANTS] for _ in range(repeats)]
    machine = f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    with RESULTS.open("w", newline="") as file:
        file.write(
            f"# python benchmarks/plan.py --repeats {repeats}; wardround {wardround.__version__}; NumPy "
            f"{np.__version__}; SciPy {scipy.__version__}; {machine}; medians of {repeats}\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["command", "wall_seconds", "least_wall_seconds", "user_seconds", "system_seconds", "load_average"]
        )
        for arguments, runs in zip(VARIANTS, zip(*timings, strict=True), strict=True):
            wall, user, system = zip(*runs, strict=True)
            figures = (statistics.median(wall), min(wall), statistics.median(user), statistics.median(system))
            command = " ".join(("wardround plan examples/stroke-trial.toml", *arguments))
            writer.writerow([command, *(f"{seconds:.2f}" for seconds in figures), f"{os.getloadavg()[0]:.2f}"])
    sys.stdout.write(RESULTS.read_text())


if __name__ == "__main__":
    main()
