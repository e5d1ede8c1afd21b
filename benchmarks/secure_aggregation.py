"""What does secure aggregation cost: ours, Flower's SecAgg+ and plain averaging, in time, bytes and accuracy?

A protocol runs on an engine. The inline engine runs every client in this process, one after the other: there the
protocols differ in nothing but themselves, so their ratio is of protocols, not of engines; and the clients' own time is
apart from the server's. Flower's engine is its simulation (two Ray workers), which is where its SecAgg+ is meant to
run. Our Ray engine has two workers as well; there a round is summed in the workers, as `wardround run` does.

Clients don't train: client i returns the model times 1 + i / 1000, on 100 + i % 7 examples, or raises if it is to drop
out: with Flower's SecAgg+ after the keys are shared, which is all that it survives, with ours at stage i % 5 of five.
Our clients share nothing for being in one process: each checks all signatures itself, and reads its key and the roster
from files at every message, as on a SuperNode. Every round starts from the same model, every measurement is a fresh
process, protocols alternate, and everything is done three times. Bytes are those of the objects that Flower's
SuperLink and SuperNodes would exchange for the same messages (Flower's own serialisation), the mean over all clients,
counted in a round that is not timed; down is from the server to the client, and much of it the model, which no protocol
of these changes. Flower's SecAgg+ takes over a minute for a round of 50 clients and 100,000 parameters, and several for
one of 100 clients, where it is left out.

    python benchmarks/secure_aggregation.py            25 minutes; writes benchmarks/results/secure_aggregation.csv
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
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from aggregation_cases import ALL, CASES, FLOWER, INLINE, QUICK, RAY, report, verdicts
from aggregation_ours import ON_OUR_ENGINE, OURS, PROTOCOLS, write_sites
from aggregation_protocols import Case, Protocol, exact_average
from flwr.app import Context, Message

RESULTS = Path(__file__).parent / "results" / "secure_aggregation.csv"
NUM_WORKERS = 2


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


def rounds(
    grid: Any, protocol: Protocol, case: Case, folder: Path, spent_by_clients: Callable[[], float]
) -> dict[str, Any]:
    """Run a first round and the timed ones, and return the figures."""
    expected = exact_average(case, protocol.drop_stage)
    run_round = protocol.rounds(grid, case, folder)
    seconds, processor, clients = [], [], []
    for round_number in range(1, case.num_rounds + 2):
        before, processor_before, clients_before = time.perf_counter(), time.process_time(), spent_by_clients()
        average = run_round(round_number)
        seconds.append(time.perf_counter() - before)
        processor.append(time.process_time() - processor_before)
        clients.append(spent_by_clients() - clients_before)
    return {
        "first_round_seconds": seconds[0],
        "seconds_per_round": statistics.median(seconds[1:]),
        "cpu_seconds_per_round": statistics.median(processor[1:]),
        "cpu_seconds_per_client": statistics.median(clients[1:]) / case.num_clients,
        "max_error": float(np.max(np.abs(average - expected))),
    }


def counted(grid: Any, protocol: Protocol, case: Case, folder: Path) -> dict[str, Any]:
    """Run a round of a strategy that is not timed, and return its bytes."""
    counting = CountingGrid(grid)
    protocol.rounds(counting, case, folder)(case.num_rounds + 2)
    return {
        "bytes_down_per_client": round(counting.bytes_down / case.num_clients),
        "bytes_up_per_client": round(counting.bytes_up / case.num_clients),
        "bytes_per_client": round((counting.bytes_down + counting.bytes_up) / case.num_clients),
    }


def run_inline(protocol: str, case: Case, folder: Path) -> dict[str, Any]:
    """Measure a protocol with every client in this process."""
    from wardround.simulations.engines.inline import InlineGrid

    spent = [0.0]

    def make_app() -> Callable[[Message, Context], Message]:
        app = PROTOCOLS[protocol].app(case, folder)

        def timed(message: Message, context: Context) -> Message:
            before = time.process_time()
            try:
                return app(message, context)
            finally:
                spent[0] += time.process_time() - before

        return timed

    grid = InlineGrid(make_app, nodes_of(case))
    measured = rounds(grid, PROTOCOLS[protocol], case, folder, lambda: spent[0])
    return measured | counted(grid, PROTOCOLS[protocol], case, folder)


def run_ray(protocol: str, case: Case, folder: Path) -> dict[str, Any]:
    """Measure a protocol on our Ray engine."""
    from wardround.simulations.engines.ray_grid import RayGrid

    chosen = ON_OUR_ENGINE[protocol]
    with RayGrid(partial(chosen.app, case, folder), nodes_of(case), num_workers=NUM_WORKERS) as grid:
        return rounds(grid, chosen, case, folder, lambda: 0.0) | ELSEWHERE | NOT_COUNTED


def run_flower(protocol: str, case: Case, folder: Path) -> dict[str, Any]:
    """Measure a protocol on Flower's simulation engine."""
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    chosen = PROTOCOLS[protocol]
    measured: dict[str, Any] = {}
    server = ServerApp()

    @server.main()
    def main(grid: Any, context: Context) -> None:
        measured.update(rounds(grid, chosen, case, folder, lambda: 0.0) | ELSEWHERE | NOT_COUNTED)

    run_simulation(
        server_app=server,
        client_app=chosen.app(case, folder),
        num_supernodes=case.num_clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": NUM_WORKERS}},
    )
    return measured


# The clients run in other processes; bytes are those that were counted inline.
ELSEWHERE = {"cpu_seconds_per_round": "", "cpu_seconds_per_client": ""}
NOT_COUNTED = {"bytes_down_per_client": "", "bytes_up_per_client": "", "bytes_per_client": ""}
ENGINES = {INLINE: run_inline, FLOWER: run_flower, RAY: run_ray}


def nodes_of(case: Case) -> list[Any]:
    from wardround.simulations.engines.nodes import Node

    return [Node(node_id=number + 1, node_config={"partition-id": number}) for number in range(case.num_clients)]


def measure(engine: str, protocol: str, case: Case) -> dict[str, Any]:
    """Run one measurement in a fresh process, and return its figures."""
    arguments = ["--engine", engine, "--protocol", protocol, "--case", json.dumps(asdict(case))]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{protocol} on {engine} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def only_one(engine: str, protocol: str, case: Case) -> None:
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    with no_warnings_of_old_flower(), TemporaryDirectory() as folder:
        if protocol == OURS:
            write_sites(Path(folder), case)
        measured = ENGINES[engine](protocol, case, Path(folder))
    print(json.dumps(measured))


@contextmanager
def no_warnings_of_old_flower() -> Iterator[None]:
    """Silence the warnings that a NumPyClient is deprecated: SecAgg+ has nothing newer."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def compare(cases: list[tuple[Case, list[tuple[str, str]]]], repeats: int) -> list[dict[str, Any]]:
    """Measure everything in alternation, and return one row per measurement."""
    rows = []
    for repeat in range(1, repeats + 1):
        for case, runs in cases:
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
    rows = compare([(QUICK, ALL)] if options.quick else CASES, 1 if options.quick else 3)
    report(rows)
    if not options.quick:
        write(rows, "python benchmarks/secure_aggregation.py")
        verdicts(rows)


if __name__ == "__main__":
    main()
