"""How long until the first round of a run is committed, and until a command has said what it has to say?

Every measurement is a process of its own; cases alternate. "to_round_1" ends when the first round is committed,
"to_end" when the process has ended, its children (Ray's) included. Wall seconds depend on what else the machine does;
CPU seconds, of user and system and all children, hardly. The default job is five hospitals of breast cancer data.

    python benchmarks/start_up.py                   writes benchmarks/results/start_up.csv
    python benchmarks/start_up.py --quick           one repeat of two cases; writes nothing
    python benchmarks/start_up.py --source DIR      also times the sources of DIR, another checkout's src
"""

import argparse
import csv
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "start_up.csv"
RUN = """
import resource, sys, time
import wardround as wr

def on_round(row):
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(time.monotonic(), sum(usage.ru_utime + usage.ru_stime for usage in used), file=sys.stderr)

config = wr.Config().change(simulation={"engine": sys.argv[1]}, training={"num_rounds": 1})
wr.run(config, out=sys.argv[2], on_round=on_round)
"""
COMMAND = ("-m", "wardround")
CASES: dict[str, tuple[str, ...]] = {
    "--version": (*COMMAND, "--version"),
    "plan": (*COMMAND, "plan"),
    "run, stacked": ("-c", RUN, "stacked"),
    "run, inline": ("-c", RUN, "inline"),
    "run, ray": ("-c", RUN, "ray"),
}
FIELDS = ["to_round_1_wall", "to_round_1_cpu", "to_end_wall", "to_end_cpu"]


def timed(arguments: tuple[str, ...], source: Path) -> dict[str, float]:
    """Return the seconds of one process, those to round 1 nan where it has none."""
    variables = os.environ | {"PYTHONPATH": str(source), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = (f"{folder}/run",) if "-c" in arguments else ()
        done = subprocess.run(
            [sys.executable, *arguments, *out], check=True, capture_output=True, text=True, env=variables, cwd=folder
        )
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    first = [float("nan")] * 2
    if out:
        reached, cpu = (float(text) for text in done.stderr.splitlines()[-1].split())
        first = [reached - started, cpu]
    return dict(zip(FIELDS, [*first, wall, used], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--source", type=Path, help="src folder of another checkout")
    settings = parser.parse_args()
    sources = {"this": ROOT / "src"} | ({"other": settings.source.resolve()} if settings.source else {})
    cases = [
        (name, where) for name in CASES for where in sources if not settings.quick or name in ("plan", "run, stacked")
    ]
    cases = [(name, where) for name, where in cases if where == "this" or name != "run, stacked"]
    timings: dict[tuple[str, str], list[dict[str, float]]] = {case: [] for case in cases}
    for repeat in range(1 if settings.quick else settings.repeats):
        for name, where in cases:
            timings[name, where].append(timed(CASES[name], sources[where]))
            print(f"repeat {repeat}: {name} ({where}): {timings[name, where][-1]}", file=sys.stderr)
    rows = [
        [name, where, *(f"{statistics.median(run[field] for run in runs):.2f}" for field in FIELDS)]
        for (name, where), runs in timings.items()
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in ("wardround", "flwr", "ray", "torch", "opacus"))
    machine = f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    head = (
        f"# python benchmarks/start_up.py; {date.today()}; {versions}; {machine}; medians of {settings.repeats}; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    if settings.quick:
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
        return
    with RESULTS.open("w", newline="") as file:
        file.write(f"{head}\n")
        csv.writer(file, lineterminator="\n").writerows([["command", "source", *FIELDS], *rows])
    sys.stdout.write(RESULTS.read_text())


if __name__ == "__main__":
    main()
