"""What does an audit take beside the run, and how near does its lower bound come to the bill?

Every time is of a process of its own; cases alternate. CPU seconds, of user and system, hardly depend on what else the
machine does. The default job is five hospitals of breast cancer data; "heart" is examples/heart-disease.toml at epsilon
3. The share of the bill is that of the reader that got most, over seeds of the twin.

    python benchmarks/audit.py                   writes benchmarks/results/audit.csv
    python benchmarks/audit.py --quick           the default job once, with 100 canaries; writes nothing
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from result_files import versions_of, write_rows

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "audit.csv"
COMMAND = (sys.executable, "-m", "wardround")
HEART = ("examples/heart-disease.toml", "--set", "privacy.target-epsilon=3")
SEEDS = range(10)
FIELDS = ("case", "wall_seconds", "cpu_seconds", "share", "least", "most")


def timed(*arguments: str) -> tuple[float, float]:
    """Return wall and CPU seconds of one command."""
    variables = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True, env=variables, cwd=ROOT)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def shares(run: str, canaries: int) -> list[float]:
    """Return lower bounds as shares of the bill, by seed."""
    import wardround

    found = [wardround.audit(run, canaries=canaries, seed=seed) for seed in SEEDS]
    return [float(each.epsilon_lower or 0.0) / each.epsilon for each in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    settings = parser.parse_args()
    canaries = "100" if settings.quick else "1000"
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        timings: dict[str, list[tuple[float, float]]] = {}
        for repeat in range(1 if settings.quick else settings.repeats):
            run, heart = f"{folder}/run-{repeat}", f"{folder}/heart-{repeat}"
            timings.setdefault("run, default job", []).append(timed("run", "--out", run))
            timings.setdefault("audit, default job", []).append(timed("audit", run, "--canaries", canaries))
            if not settings.quick:
                timings.setdefault("run, heart", []).append(timed("run", *HEART, "--out", heart))
                shadows = timed("audit", heart, "--canaries", canaries, "--shadow-models", "16")
                timings.setdefault("audit with 16 shadow models, heart", []).append(shadows)
        for name, found in timings.items():
            wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
            rows.append({"case": name, "wall_seconds": f"{wall:.2f}", "cpu_seconds": f"{cpu:.2f}"})
        for number in () if settings.quick else (1000, 4000):
            found = shares(f"{folder}/heart-0", number)
            row = {"case": f"lower bound / bill, heart, {number} canaries", "share": f"{statistics.mean(found):.3f}"}
            rows.append(row | {"least": f"{min(found):.3f}", "most": f"{max(found):.3f}"})
    for row in rows:
        print(row)
    if not settings.quick:
        rows = [dict.fromkeys(FIELDS, "") | row for row in rows]
        write_rows(RESULTS, rows, "python benchmarks/audit.py", versions_of("torch", "numpy", "scipy", "flwr"))


if __name__ == "__main__":
    main()
