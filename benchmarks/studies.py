"""What do whole studies cost in processor seconds, and what did they cost at an earlier commit?

    python benchmarks/studies.py [--before CHECKOUT] [--every N] [--quick] [--whole]

The studies are examples/studies/heart-disease.toml and benchmarks/stroke-trial.toml. Of each a sample is taken, spread
evenly over every placement and baseline, and done by two processes that take turns run by run: one with the package of
CHECKOUT (a worktree of an earlier commit), one with this one; each does its runs as a worker of `wardround compare`
does. A first run, which imports, is apart. What a whole study costs is the mean of each placement and baseline times
how many runs it has, and the first run once for every worker; two processors share that. With --whole `wardround
compare` is run from start to end as well, with this package, and timed by the clock. Needs the data (WARDROUND_DATA or
a download). Writes benchmarks/results/studies.csv.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import torch

import wardround
from wardround.simulations.studies.study_toml import load_study

ROOT = Path(__file__).parents[1]
STUDIES = {"heart-disease": "examples/studies/heart-disease.toml", "stroke-trial": "benchmarks/stroke-trial.toml"}
RESULTS = ROOT / "benchmarks" / "results" / "studies.csv"
NUM_WORKERS = 2
WORKER = """
import json, sys, time
from pathlib import Path
from wardround.simulations.studies.workers import _StudyWorker
from wardround.simulations.studies.study_toml import load_study

runs = {item.name: item for item in load_study(Path(sys.argv[1])).runs()}
folder, worker = Path(sys.argv[2]), _StudyWorker(sys.path, 0.0)
for line in sys.stdin:
    started = time.process_time()
    result, reason = worker.finish(runs[line.strip()], folder / line.strip())
    if result is None:
        raise SystemExit(reason)
    print(json.dumps([time.process_time() - started, time.process_time()]), flush=True)
"""


class Side:
    """A process that does runs with the package of one checkout."""

    def __init__(self, checkout: Path, study: Path, folder: Path) -> None:
        env = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
        folder.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(study), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def seconds(self, name: str) -> tuple[float, float]:
        """Do a run; return its processor seconds, and those of the process so far."""
        asked, answered = self._process.stdin, self._process.stdout
        if asked is None or answered is None:
            raise SystemExit("the process has no pipes")
        asked.write(f"{name}\n")
        asked.flush()
        run, so_far = json.loads(answered.readline())
        return run, so_far

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()


def measure(name: str, sides: dict[str, Path], every: int) -> list[list[str]]:
    """Return the rows of one study."""
    study = ROOT / STUDIES[name]
    kinds: dict[str, list[str]] = defaultdict(list)
    for item in load_study(study).runs():
        kinds[item.baseline or item.config.privacy.placement].append(item.name)
    first = kinds["local"][-1]
    sample = {kind: names[:: min(every, len(names))] for kind, names in kinds.items()}
    found: dict[str, dict[str, list[float]]] = {side: defaultdict(list) for side in sides}
    rows, starts = [], {}
    with tempfile.TemporaryDirectory() as place:
        workers = {side: Side(checkout, study, Path(place) / side) for side, checkout in sides.items()}
        for side, worker in workers.items():
            starts[side] = worker.seconds(first)[1]
        for kind, names in sample.items():
            for run in names:
                for side, worker in workers.items():
                    found[side][kind].append(worker.seconds(run)[0])
        for worker in workers.values():
            worker.close()
    totals = {side: NUM_WORKERS * starts[side] for side in sides}
    for kind, names in kinds.items():
        means = {side: fmean(found[side][kind]) for side in sides}
        for side in sides:
            totals[side] += means[side] * len(names)
        rows.append(_row(name, f"a run: {kind}", len(names), len(sample[kind]), means))
    rows.append(_row(name, "a worker's start and first run", NUM_WORKERS, 1, starts))
    rows.append(_row(name, "the whole study", sum(map(len, kinds.values())), sum(map(len, sample.values())), totals))
    return rows


def _row(study: str, what: str, number: int, sampled: int, seconds: dict[str, float]) -> list[str]:
    before, now = seconds.get("before"), seconds["now"]
    told = [f"{before:.3f}", f"{now:.3f}", f"{now / before:.3f}"] if before is not None else ["", f"{now:.3f}", ""]
    return [study, what, str(number), str(sampled), *told]


def whole(name: str) -> list[str]:
    """Return the row of `wardround compare`, from start to end."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-c", "from wardround.cli import main; main()", "compare"]
        started = time.perf_counter()
        subprocess.run(
            [*command, STUDIES[name], "--out", f"{place}/out"],
            check=True,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - started
    load = os.getloadavg()[0]
    return [name, f"wall seconds of wardround compare, load average {load:.1f}", "1", "1", "", f"{seconds:.1f}", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--every", type=int, default=20, help="one run of so many is in the sample")
    parser.add_argument("--quick", action="store_true", help="a run of each kind, and no file")
    parser.add_argument("--whole", action="store_true", help="also the command itself")
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=STUDIES)
    options = parser.parse_args()
    sides = ({"before": options.before.absolute()} if options.before else {}) | {"now": ROOT}
    rows = []
    for name in options.studies:
        rows += measure(name, sides, 10**6 if options.quick else options.every)
        rows += [whole(name)] if options.whole else []
    head = ["study", "processor seconds of", "number", "measured", "before", "now", "now / before"]
    commit = ""
    if options.before:
        told = subprocess.run(
            ["git", "-C", str(options.before), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
        commit = f" ({told.stdout.strip()})"
    machine = f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    said = " ".join(sys.argv[1:]).replace(str(options.before), f"CHECKOUT{commit}") if options.before else ""
    text = (
        f"# python benchmarks/studies.py {said}; wardround {wardround.__version__}; torch {torch.__version__}; "
        f"{machine}; {time.strftime('%Y-%m-%d')}; load average {os.getloadavg()[0]:.1f}\n"
    )
    if options.quick:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        sys.stdout.write(text)
        writer.writerows([head, *rows])
        return
    with RESULTS.open("w", newline="") as file:
        file.write(text)
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    sys.stdout.write(RESULTS.read_text())


if __name__ == "__main__":
    main()
