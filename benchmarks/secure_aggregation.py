"""What does secure aggregation cost: Flower's SecAgg+ against plain averaging, in time, bytes and accuracy?

A protocol runs on an engine. Flower's engine is its simulation (two Ray workers), which is where its SecAgg+ is meant
to run. The inline engine runs every client in this process, one after the other: there the protocols differ in nothing
but themselves, so their ratio is of protocols, not of engines; and the clients' own time is apart from the server's.

Clients don't train: client i returns the model times 1 + i / 1000, on 100 + i % 7 examples, or raises if it is to drop
out, which with SecAgg+ is after the keys are shared. Every round starts from the same model, every measurement is a
fresh process, protocols alternate, and everything is done three times. Bytes are those of the objects that Flower's
SuperLink and SuperNodes would exchange for the same messages (Flower's own serialisation), the mean over all clients,
counted in a round that is not timed.

    python benchmarks/secure_aggregation.py            about an hour; writes benchmarks/results/secure_aggregation.csv
    python benchmarks/secure_aggregation.py --quick    about a minute, for continuous integration; writes nothing
"""

import argparse
import csv
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from aggregation_protocols import PROTOCOLS, Case, exact_average
from flwr.app import Context, Message

RESULTS = Path(__file__).parent / "results" / "secure_aggregation.csv"
NUM_WORKERS = 2


CASES = [
    Case(num_clients=10, num_parameters=2_500_000, num_dropouts=0, num_shares=10, num_rounds=3),
    Case(num_clients=10, num_parameters=100_000, num_dropouts=0, num_shares=10, num_rounds=3),
    Case(num_clients=50, num_parameters=100_000, num_dropouts=0, num_shares=50, num_rounds=3),
    Case(num_clients=100, num_parameters=100_000, num_dropouts=0, num_shares=100, num_rounds=3),
    Case(num_clients=100, num_parameters=1_000_000, num_dropouts=10, num_shares=100, num_rounds=1),
]
QUICK_CASES = [Case(num_clients=5, num_parameters=10_000, num_dropouts=1, num_shares=5, num_rounds=1)]


class CountingGrid:
    """A Grid that adds up the bytes of what goes through it, both ways."""

    def __init__(self, grid: Any) -> None:
        self.grid = grid
        self.bytes_down = 0
        self.bytes_up = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Iterable[Message], **options: Any) -> list[Message]:
        """Return the replies, after counting both."""
        sent = list(messages)
        self.bytes_down += sum(map(size_bytes, sent))
        received = list(self.grid.send_and_receive(sent, **options))
        self.bytes_up += sum(map(size_bytes, received))
        return received


def size_bytes(message: Message) -> int:
    """Return the bytes of all objects that Flower's deployment engine would send for this message."""
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, no_object_id_recompute

    with no_object_id_recompute():
        return sum(len(part.deflate()) for part in get_all_nested_objects(message).values())


def rounds(grid: Any, protocol: str, case: Case, spent_by_clients: Callable[[], float]) -> dict[str, Any]:
    """Run a first round, the timed ones and one that is counted, and return the figures."""
    expected = exact_average(case)
    counting = CountingGrid(grid)
    start = PROTOCOLS[protocol][1]
    run_round = start(grid, case)
    seconds, processor, clients = [], [], []
    for round_number in range(1, case.num_rounds + 2):
        before, processor_before, clients_before = time.perf_counter(), time.process_time(), spent_by_clients()
        average = run_round(round_number)
        seconds.append(time.perf_counter() - before)
        processor.append(time.process_time() - processor_before)
        clients.append(spent_by_clients() - clients_before)
    start(counting, case)(case.num_rounds + 2)
    return {
        "first_round_seconds": seconds[0],
        "seconds_per_round": statistics.median(seconds[1:]),
        "cpu_seconds_per_round": statistics.median(processor[1:]),
        "cpu_seconds_per_client": statistics.median(clients[1:]) / case.num_clients,
        "bytes_down_per_client": round(counting.bytes_down / case.num_clients),
        "bytes_up_per_client": round(counting.bytes_up / case.num_clients),
        "max_error": float(np.max(np.abs(average - expected))),
    }


def run_inline(protocol: str, case: Case) -> dict[str, Any]:
    """Measure a protocol with every client in this process."""
    from wardround.simulations.inline import InlineGrid
    from wardround.simulations.nodes import Node

    spent = [0.0]

    def make_app() -> Callable[[Message, Context], Message]:
        app = PROTOCOLS[protocol][0](case.num_dropouts)

        def timed(message: Message, context: Context) -> Message:
            before = time.process_time()
            try:
                return app(message, context)
            finally:
                spent[0] += time.process_time() - before

        return timed

    nodes = [Node(node_id=number + 1, node_config={"partition-id": number}) for number in range(case.num_clients)]
    return rounds(InlineGrid(make_app, nodes, {}), protocol, case, lambda: spent[0])


def run_flower(protocol: str, case: Case) -> dict[str, Any]:
    """Measure a protocol on Flower's simulation engine."""
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    measured: dict[str, Any] = {}
    server = ServerApp()

    @server.main()
    def main(grid: Any, context: Context) -> None:
        measured.update(rounds(grid, protocol, case, lambda: 0.0))
        # The clients run in other processes.
        measured.update(cpu_seconds_per_round="", cpu_seconds_per_client="")

    run_simulation(
        server_app=server,
        client_app=PROTOCOLS[protocol][0](case.num_dropouts),
        num_supernodes=case.num_clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": NUM_WORKERS}},
    )
    return measured


ENGINES = {"inline": run_inline, "flower": run_flower}
RUNS = [(engine, protocol) for engine in ENGINES for protocol in PROTOCOLS]


def measure(engine: str, protocol: str, case: Case) -> dict[str, Any]:
    """Run one measurement in a fresh process, and return its figures."""
    arguments = ["--engine", engine, "--protocol", protocol, "--case", json.dumps(asdict(case))]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{protocol} on {engine} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def only_one(engine: str, protocol: str, case: Case) -> None:
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    with no_warnings_of_old_flower():
        measured = ENGINES[engine](protocol, case)
    print(json.dumps(measured))


@contextmanager
def no_warnings_of_old_flower() -> Iterator[None]:
    """Silence the warnings that a NumPyClient is deprecated: SecAgg+ has nothing newer."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def compare(cases: list[Case], runs: list[tuple[str, str]], repeats: int) -> list[dict[str, Any]]:
    """Measure everything in alternation, and return one row per measurement."""
    rows = []
    for repeat in range(1, repeats + 1):
        for case in cases:
            for engine, protocol in runs:
                measured = measure(engine, protocol, case)
                row = {"repeat": repeat, "engine": engine, "protocol": protocol, **asdict(case)}
                row["load_average"] = round(os.getloadavg()[0], 2)
                row |= {key: float(f"{x:.4g}") if isinstance(x, float) else x for key, x in measured.items()}
                rows.append(row)
                print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def write(rows: list[dict[str, Any]], command: str) -> None:
    """Write the rows under the command, the machine and the versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("wardround", "flwr", "ray", "numpy", "cryptography"))
    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        file.write(f"# {command}\n")
        file.write(f"# {model}, {os.cpu_count()} processors, {platform.system()}, {date.today()}\n")
        file.write(f"# Python {platform.python_version()}, {versions}; {NUM_WORKERS} Ray workers\n")
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def report(rows: list[dict[str, Any]]) -> None:
    """Print what each protocol costs beyond plain averaging on the same engine, medians over the repeats."""

    def median(engine: str, protocol: str, case: tuple, field: str) -> float:
        same = (row for row in rows if (row["engine"], row["protocol"], case_of(row)) == (engine, protocol, case))
        return statistics.median(row[field] for row in same)

    for case in dict.fromkeys(map(case_of, rows)):
        for engine, protocol in dict.fromkeys((row["engine"], row["protocol"]) for row in rows):
            if protocol == "plain":
                continue
            fields = ["seconds_per_round", "bytes_up_per_client"]
            # Other work on the machine changes a time, but hardly the processor's seconds.
            fields += ["cpu_seconds_per_round", "cpu_seconds_per_client"] if engine == "inline" else []
            for field in fields:
                figure, plain = (median(engine, name, case, field) for name in (protocol, "plain"))
                print(
                    f"{case[0]} x {case[1]}, {case[2]} drop out, {engine}: {field} {figure:.4g} with {protocol}, "
                    f"{plain:.4g} plain, {figure / plain:.2f} times"
                )


def case_of(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["num_clients"], row["num_parameters"], row["num_dropouts"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small case, once")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--protocol", choices=PROTOCOLS, help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        only_one(options.engine, options.protocol, Case(**json.loads(options.case)))
        return
    rows = compare(QUICK_CASES if options.quick else CASES, RUNS, 1 if options.quick else 3)
    if not options.quick:
        write(rows, "python benchmarks/secure_aggregation.py")
    report(rows)


if __name__ == "__main__":
    main()
