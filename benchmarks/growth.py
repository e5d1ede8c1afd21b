"""What does a round cost as the federation grows, where its cohort does not?

100, 1,000 and 10,000 simulated hospitals of 20 records and 32 numbers each, of which 100 take part in a round (DP-SGD
at the hospital, logistic model, 5 local steps), on every engine, and on Ray with 1, 2 and 4 workers. Each size is a
fresh process that runs a whole federation: from its start to round 0, which tests the first model at every hospital,
then rounds that nobody tests, and the end, with a last test. Processor seconds are those of the process and of all that
it started, over all rounds but the first and the last. The sizes take turns round by round: a round is dearer on a
busy machine, and Ray's own processes cost by the clock, some 3 % of a processor. Peak memory is the process's own
(VmHWM); that of workers is what they hold in proportion to what they share (PSS), before the last round. Ratios are to
100 hospitals on the same engine.

    python benchmarks/growth.py            about 15 minutes on an idle machine; writes benchmarks/results/growth.csv
    python benchmarks/growth.py --quick    about a minute, for continuous integration; writes nothing
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from processes import processes, processor_seconds
from result_files import versions_of, write_rows
from turns import Contender, Turns

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

STARTED = time.perf_counter()
RESULTS = Path(__file__).parent / "results" / "growth.csv"
COHORT, NUM_RECORDS, NUM_FEATURES = 100, 20, 32
ENGINES = [("stacked", 0), ("inline", 0), ("ray", 1), ("ray", 2), ("ray", 4)]
SIZES, NUM_ROUNDS = [100, 1_000, 10_000], 22
QUICK_ENGINES, QUICK_SIZES, QUICK_ROUNDS = [("stacked", 0)], [100, 1_000], 6
FIGURES = ["start_up_seconds", "start_up_cpu_seconds", "round_seconds", "round_cpu_seconds", "test_of_all_cpu_seconds"]
FIGURES += ["end_cpu_seconds", "peak_mb", "workers_mb"]
MOST_ROUND_RATIO, MOST_MEMORY_RATIO = 1.3, 2.0


def federation(num_hospitals: int):
    """Return hospitals with so many records each, two classes that a plane tells apart."""
    import numpy as np

    from wardround import Federation

    generator = np.random.default_rng(7)
    plane = generator.standard_normal(NUM_FEATURES).astype(np.float32)
    hospitals = {}
    for number in range(num_hospitals):
        features = generator.standard_normal((NUM_RECORDS, NUM_FEATURES)).astype(np.float32) / np.float32(6)
        hospitals[f"hospital-{number:05d}"] = features, (features @ plane > 0).astype(np.int64)
    return Federation.from_arrays(hospitals)


def worker_megabytes() -> float:
    """Return what Ray's workers hold, shared pages in proportion."""
    total = 0
    for number in processes()[1:]:
        try:
            if b"ray::" in Path(f"/proc/{number}/cmdline").read_bytes():
                rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except OSError:
            continue
    return total / 1024


def peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def measure(engine: str, num_workers: int, num_hospitals: int, num_rounds: int) -> dict[str, float]:
    """Run a federation in this process, a round at a time, and return the figures of what is no round."""
    import wardround

    config = wardround.Config().change(
        training={
            "num_rounds": num_rounds,
            "fraction_train": COHORT / num_hospitals,
            "local_steps": 5,
            "sample_rate": 0.25,
            "evaluate_every": 10_000,
        },
        privacy={"noise_multiplier": 1.0, "target_delta": 1e-3},
        simulation={"engine": engine} | ({"num_workers": num_workers} if num_workers else {}),
    )
    # The last round is followed by a test of every hospital.
    turns, found = Turns(num_rounds - 2, processor_seconds), {}

    def on_round(row) -> None:
        if row.round_number == 0:
            found["start_up_seconds"], found["start_up_cpu_seconds"] = (
                time.perf_counter() - STARTED,
                processor_seconds(),
            )
        elif row.round_number < num_rounds - 1:
            turns.ended(row.round_number)
        elif row.round_number == num_rounds - 1:
            found["workers_mb"] = worker_megabytes()
            turns.ended(row.round_number)
            found["test_of_all_cpu_seconds"] = -processor_seconds()
        else:
            found["test_of_all_cpu_seconds"] += processor_seconds()
            found["end_cpu_seconds"] = -time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        wardround.run(config, federation=federation(num_hospitals), on_round=on_round, out=f"{folder}/run")
    found["end_cpu_seconds"] += time.process_time()
    return found | {"peak_mb": peak_megabytes()}


def compare(engine: str, num_workers: int, sizes, num_rounds: int) -> list[dict[str, object]]:
    """Let federations of several sizes take turns on an engine, and return a row each."""
    case = [sys.executable, str(Path(__file__).resolve()), "--case", engine, str(num_workers)]
    running = [Contender(f"{engine}, {size} hospitals", [*case, str(size), str(num_rounds)]) for size in sizes]
    cpus, walls = [[] for _ in sizes], [[] for _ in sizes]
    for _ in range(num_rounds - 2):
        for one, cpu, wall in zip(running, cpus, walls, strict=True):
            started = time.perf_counter()
            cpu.append(one.seconds())
            wall.append(time.perf_counter() - started)
    load, rows = round(os.getloadavg()[0], 1), []
    for size, one, cpu, wall in zip(sizes, running, cpus, walls, strict=True):
        figures = {"round_seconds": statistics.mean(wall), "round_cpu_seconds": statistics.mean(cpu)}
        figures |= json.loads(one.close().splitlines()[-1])
        row = {"engine": engine, "num_workers": num_workers, "num_hospitals": size, "cohort": COHORT}
        row |= {name: round(figures[name], 3) for name in FIGURES} | {"load_average": load}
        row["round_cpu_ratio"] = round(sum(cpu) / sum(cpus[0]), 3)
        row["peak_ratio"] = round(row["peak_mb"] / (rows or [row])[0]["peak_mb"], 3)
        rows.append(row)
        print(row, flush=True)
    return rows


def missed(rows) -> list[str]:
    """Return which aims are missed."""
    found = []
    for row in rows:
        where = f"{row['engine']} {row['num_workers'] or ''}, {row['num_hospitals']} hospitals"
        if row["round_cpu_ratio"] > MOST_ROUND_RATIO:
            found.append(f"{where}: a round costs {row['round_cpu_ratio']} times that of {COHORT} hospitals")
        if row["peak_ratio"] > MOST_MEMORY_RATIO:
            found.append(f"{where}: {row['peak_ratio']} times the memory")
    return found


def main() -> None:
    """Compare, print, write, and exit 1 where an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one engine, two sizes")
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        engine, *numbers = arguments.case
        print(json.dumps(measure(engine, *map(int, numbers))))
        return
    quick = (QUICK_ENGINES, QUICK_SIZES, QUICK_ROUNDS)
    engines, sizes, num_rounds = quick if arguments.quick else (ENGINES, SIZES, NUM_ROUNDS)
    rows = [row for one in engines for row in compare(*one, sizes, num_rounds)]
    if not arguments.quick:
        versions = versions_of("wardround", "flwr", "ray", "torch", "numpy")
        write_rows(RESULTS, rows, "python benchmarks/growth.py", versions)
    sys.exit("\n".join(missed(rows)) or None)


if __name__ == "__main__":
    main()
