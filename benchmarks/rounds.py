"""Where does the time of a round go?

    python benchmarks/rounds.py                  writes benchmarks/results/rounds.csv
    python benchmarks/rounds.py --quick          two rounds of each case, and writes nothing
    python benchmarks/rounds.py --before FOLDER  beside what another source did, such as that of an earlier commit:
                                                 FOLDER is its src

Two jobs: the stroke trial (118 hospitals, a logistic model, local noise), and hospital-level work on a model of 1.6
million parameters (`yardstick_work`: 10 of 100 users a round). Every function of a phase is wrapped, and the
process's CPU seconds go to the phase that was entered last, so that they add up; "rest" is in none of them. Each
measurement is a process of its own with one torch thread; the two sources take turns.
"""

import argparse
import functools
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from result_files import versions_of, write_rows

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "rounds.csv"
CASES = {("stroke trial", "inline"): 6, ("stroke trial", "stacked"): 20, ("large model", "inline"): 5}
"""Timed rounds by job and engine."""
PHASES = {
    "steps of training": "clients.steps:plain_steps clients.steps:private_steps clients.steps:add_batch "
    "clients.stacked.together:train_together",
    "parameters into the model": "models.building:load_parameters",
    "keys of noise and batches": "clients.release_keys:ReleaseKeys.key streams:SeededKey.about "
    "streams:SeededKey.generator",
    "difference, clip, noise of a hospital": "clients.cells.whole_updates:WholeUpdates.release "
    "clients.cells.half:TorchHalf.leave",
    "exact sum": "exact_sums:accumulate",
    "assignments and what was executed": "clients.assignments:check_assignment privacy.executions:check_execution "
    "wire:assignment_of wire:read_metrics wire:read_measures",
    "messages": "simulations.engines.grid:SimulatedGrid.send_and_sum server.round.sums:add_up",
    "noise of the server": "server.round.released:release",
    "strategy": "server.round.strategy_steps:ask server.round.strategy_steps:step",
    "testing the model": "clients.evaluation:evaluate clients.evaluation:evaluate_together "
    "server.round.evaluating:evaluate_model",
    "plan and charges": "server.plan.budget:within_budget server.plan.budget:entries_of privacy.ledger:Ledger.charge",
    "commit": "server.record.commits:commit server.record.run_folder:RunFolder.append_tables",
}
REST = "rest"


class Watch:
    """CPU seconds by phase."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*PHASES, REST], 0.0)
        self._inside, self._since = [REST], time.process_time()

    def turn(self, phase: str | None) -> None:
        """Enter a phase, or leave the last one."""
        now = time.process_time()
        self.seconds[self._inside[-1]] += now - self._since
        self._since = now
        if phase is None:
            self._inside.pop()
        else:
            self._inside.append(phase)

    def wrapped(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose time goes to the phase."""

        @functools.wraps(function)
        def timed(*given: Any, **named: Any) -> Any:
            self.turn(phase)
            try:
                return function(*given, **named)
            finally:
                self.turn(None)

        return timed

    def watch(self) -> None:
        """Wrap all functions of the phases that this source has, wherever they are known by name."""
        for phase, names in PHASES.items():
            for name in names.split():
                module, _, path = name.partition(":")
                try:
                    owner: Any = importlib.import_module(f"wardround.{module}")
                    *inside, last = path.split(".")
                    for part in inside:
                        owner = getattr(owner, part)
                    function = getattr(owner, last)
                except (ImportError, AttributeError):
                    continue
                timed = self.wrapped(phase, function)
                setattr(owner, last, timed)
                for known in [m for key, m in sys.modules.items() if key.startswith("wardround")]:
                    for key, value in list(vars(known).items()):
                        if value is function:
                            setattr(known, key, timed)
                        elif isinstance(value, dict):
                            value.update({k: timed for k, v in value.items() if v is function})


def job(name: str, engine: str, num_rounds: int) -> dict[str, Any]:
    """Return what `wardround.run` is given for a job."""
    import yardstick_work as work

    import wardround as wr

    if name == "stroke trial":
        config = wr.Config.load(HERE.parent / "examples" / "stroke-trial.toml")
        return {"config": config.change(training={"num_rounds": num_rounds}, simulation={"engine": engine})}
    return work.our_job(engine, 10, num_rounds)


def measure(name: str, engine: str, num_rounds: int) -> None:
    """Print the CPU seconds of a round by phase, as JSON; the first round and the last are not among them."""
    import torch

    import wardround as wr

    torch.set_num_threads(1)
    given = job(name, engine, num_rounds + 2)
    for module in (
        "clients.training",
        "clients.stacked.together",
        "server.round.loop",
        "simulations.engines.stacked_grid",
    ):
        with suppress(ModuleNotFoundError):  # of an earlier source
            importlib.import_module(f"wardround.{module}")
    watch, told = Watch(), []
    watch.watch()

    def ended(row: Any) -> None:
        watch.turn(REST)
        watch.turn(None)
        told.append(dict(watch.seconds))

    with tempfile.TemporaryDirectory() as folder:
        wr.run(**given, on_round=ended, out=Path(folder) / "run")
    first, last = told[1], told[num_rounds + 1]
    print(json.dumps({phase: (last[phase] - first[phase]) / num_rounds for phase in first}))


def measured(source: Path, *case: Any) -> dict[str, float] | None:
    """Return what `measure` prints with a source; None where that has no such engine."""
    command = [sys.executable, __file__, "--measure", *map(str, case)]
    environment = os.environ | {"PYTHONPATH": str(source.resolve())}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=HERE)
    if "ConfigError" in done.stderr:
        return None
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure all cases, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, engine, num_rounds = options.measure
        measure(name, engine, int(num_rounds))
        return
    now = HERE.parent / "src"
    sources = {"before": options.before, "now": now} if options.before else {"now": now}
    rows = []
    for (name, engine), num_rounds in CASES.items():
        taken: dict[str, list[dict[str, float] | None]] = {which: [] for which in sources}
        for _ in range(1 if options.quick else options.turns):
            for which, source in sources.items():
                taken[which].append(measured(source, name, engine, 2 if options.quick else num_rounds))
        for phase in [*PHASES, REST, "all"]:
            row = {"job": name, "engine": engine, "phase": phase}
            for which, runs in taken.items():
                values = [sum(run.values()) if phase == "all" else run[phase] for run in runs if run]
                row[f"{which}_milliseconds"] = f"{statistics.median(values) * 1000:.2f}" if values else ""
            rows.append(row)
            print(", ".join(row.values()), flush=True)
    if not options.quick:
        command = f"python benchmarks/rounds.py{' --before FOLDER' if options.before else ''}"
        versions = versions_of("wardround", "torch", "flwr", "numpy")
        write_rows(RESULTS, rows, command, versions, "CPU milliseconds of a round, one thread")


if __name__ == "__main__":
    main()
