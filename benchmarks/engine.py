"""How fast is the Ray engine against Flower's own, for hospitals that do nothing?

Both run the same ClientApp (it sends the model back) under the same FedAvg with two Ray workers of one processor each.
Flower's engine moves every reply to the driver and averages there; ours sums in the workers and hands FedAvg the sum.
Every measurement is a fresh process; engines alternate, and everything is done three times.

    python benchmarks/engine.py            about 10 minutes on an idle machine; writes benchmarks/results/engine.csv
    python benchmarks/engine.py --quick    about 1 minute, for continuous integration; writes nothing
"""

import argparse
import csv
import json
import logging
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

STARTED = time.perf_counter()
RESULTS = Path(__file__).parent / "results" / "engine.csv"
NUM_WORKERS = 2
# hospitals, bytes of the model, timed rounds after the first
CASES = [(10, 10_000, 10), (100, 10_000, 10), (10, 10_000_000, 5), (100, 10_000_000, 5)]
QUICK_CASES = [(10, 10_000, 3), (20, 1_000_000, 2)]
# figure, hospitals, bytes, what of it, largest ratio
TARGETS = [
    (100, 10_000, "seconds_per_round", 1 / 4),
    (100, 10_000_000, "seconds_per_round", 1 / 3),
    (100, 10_000_000, "peak_driver_mb", 1 / 3),
    (100, 10_000, "start_up_seconds", 1 / 2),
    (100, 10_000_000, "start_up_seconds", 1 / 2),
]
FIELDS = ["seconds_per_round", "start_up_seconds", "peak_driver_mb"]


def make_app():
    """Return a ClientApp that sends the model back as it came."""
    from flwr.app import Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()
    def train(message, context):
        metrics = MetricRecord({"num-examples": 10})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    return app


def initial_model(num_bytes: int):
    import numpy as np

    return {"weights": np.random.default_rng(7).standard_normal(num_bytes // 4).astype(np.float32)}


def rounds(grid, strategy, arrays, num_rounds: int, exchange: Callable) -> dict[str, object]:
    """Run a strategy, and return how long the first round took since the process began, and each later one."""
    from flwr.app import ConfigRecord

    seconds = []
    before = STARTED
    for round_number in range(1, num_rounds + 2):
        messages = list(strategy.configure_train(round_number, arrays, ConfigRecord(), grid))
        arrays, _ = strategy.aggregate_train(round_number, exchange(grid, messages, arrays))
        now = time.perf_counter()
        seconds.append(now - before)
        before = now
    checksum = float(arrays["weights"].numpy().astype("f8").sum())
    return {"start_up_seconds": seconds[0], "seconds": seconds[1:], "checksum": checksum}


def run_flower(num_hospitals: int, num_bytes: int, num_rounds: int) -> dict[str, object]:
    """Measure Flower's own engine."""
    from flwr.app import ArrayRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    logging.getLogger("flwr").setLevel(logging.ERROR)
    measured: dict[str, object] = {}
    server = ServerApp()

    @server.main()
    def main(grid, context):
        from flwr.app import Array

        arrays = ArrayRecord({name: Array(array) for name, array in initial_model(num_bytes).items()})
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=num_hospitals, min_available_nodes=num_hospitals)
        exchange = lambda grid, messages, arrays: grid.send_and_receive(messages)  # noqa: E731
        measured.update(rounds(grid, strategy, arrays, num_rounds, exchange))

    run_simulation(
        server_app=server,
        client_app=make_app(),
        num_supernodes=num_hospitals,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": NUM_WORKERS}},
    )
    return measured


def run_wardround(num_hospitals: int, num_bytes: int, num_rounds: int) -> dict[str, object]:
    """Measure our engine: Ray starts while everything else is imported."""
    from wardround.simulations.engines.start import early_ray

    with early_ray(NUM_WORKERS):
        return rounds_on_ray(num_hospitals, num_bytes, num_rounds)


def rounds_on_ray(num_hospitals: int, num_bytes: int, num_rounds: int) -> dict[str, object]:
    """Measure our engine on a Ray that starts already: FedAvg gets one reply, which is the sum."""
    from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp.strategy import FedAvg

    from wardround.exact_sums import mean
    from wardround.simulations.engines.nodes import Node
    from wardround.simulations.engines.ray_grid import RayGrid
    from wardround.wire import SUM_WEIGHT, array_record, arrays_of

    logging.getLogger("flwr").setLevel(logging.ERROR)

    def exchange(grid, messages, arrays):
        weight = 1 / len(messages)
        for message in messages:
            content = dict(message.content.items())
            content["config"] = ConfigRecord({**content["config"], SUM_WEIGHT: weight})
            message.content = RecordDict(content)
        replies, total = grid.send_and_sum(messages)
        average = mean(total, weight * len(replies), arrays_of(arrays))
        examples = sum(reply.content["metrics"]["num-examples"] for reply in replies)
        content = RecordDict({"arrays": array_record(average), "metrics": MetricRecord({"num-examples": examples})})
        return [Message(content, reply_to=messages[0])]

    nodes = [Node(node_id=index + 1, node_config={"partition-id": index}) for index in range(num_hospitals)]
    with RayGrid(make_app, nodes, num_workers=NUM_WORKERS) as grid:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=num_hospitals, min_available_nodes=num_hospitals)
        return rounds(grid, strategy, array_record(initial_model(num_bytes)), num_rounds, exchange)


def measure(engine: str, num_hospitals: int, num_bytes: int, num_rounds: int) -> dict[str, object]:
    """Run one engine in a fresh process, and return its figures."""
    arguments = ["--engine", engine, "--case", f"{num_hospitals},{num_bytes},{num_rounds}"]
    result = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{engine} failed:\n{result.stdout}\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def only_one(engine: str, case: str) -> None:
    num_hospitals, num_bytes, num_rounds = map(int, case.split(","))
    run = {"flower": run_flower, "wardround": run_wardround}[engine]
    measured = run(num_hospitals, num_bytes, num_rounds)
    seconds = measured.pop("seconds")
    measured["seconds_per_round"] = statistics.median(seconds)
    measured["peak_driver_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(measured))


def compare(cases: list[tuple[int, int, int]], repeats: int) -> list[dict[str, object]]:
    """Measure both engines in alternation, and return one row per case and repeat."""
    rows = []
    for repeat in range(1, repeats + 1):
        for num_hospitals, num_bytes, num_rounds in cases:
            ours, flowers = (
                measure(engine, num_hospitals, num_bytes, num_rounds) for engine in ("wardround", "flower")
            )
            if abs(ours["checksum"] - flowers["checksum"]) > 1e-3 * num_bytes**0.5:
                raise SystemExit(f"the engines disagree: {ours['checksum']} and {flowers['checksum']}")
            row = {"repeat": repeat, "num_hospitals": num_hospitals, "model_bytes": num_bytes, "num_rounds": num_rounds}
            row["load_average"] = round(os.getloadavg()[0], 2)
            for field in FIELDS:
                row |= {f"flower_{field}": round(flowers[field], 4), f"wardround_{field}": round(ours[field], 4)}
                row[f"{field}_ratio"] = round(ours[field] / flowers[field], 4)
            rows.append(row)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def write(rows: list[dict[str, object]]) -> None:
    """Write the rows under the command, the machine and the versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("wardround", "flwr", "ray", "numpy"))
    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        file.write("# python benchmarks/engine.py\n")
        file.write(f"# {model}, {os.cpu_count()} processors, {platform.system()}, {date.today()}\n")
        file.write(f"# Python {platform.python_version()}, {versions}; {NUM_WORKERS} Ray workers\n")
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small cases, once")
    parser.add_argument("--engine", choices=["flower", "wardround"], help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        only_one(options.engine, options.case)
        return
    if options.quick:
        compare(QUICK_CASES, 1)
        return
    rows = compare(CASES, 3)
    write(rows)
    for num_hospitals, num_bytes, field, target in TARGETS:
        same = [r for r in rows if (r["num_hospitals"], r["model_bytes"]) == (num_hospitals, num_bytes)]
        ratio = statistics.median(row[f"{field}_ratio"] for row in same)
        verdict = "reached" if ratio <= target else "MISSED"
        print(
            f"{num_hospitals} x {num_bytes} bytes: {field} {ratio:.3f} of Flower's (median), "
            f"at most {target:.2f}: {verdict}"
        )


if __name__ == "__main__":
    main()
