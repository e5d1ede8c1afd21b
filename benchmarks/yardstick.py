"""What does hospital-level work on a model of 1.6 million parameters cost, beside the bare loop and two peers?

    python benchmarks/yardstick.py --pfl PYTHON    about 20 minutes; writes benchmarks/results/yardstick.csv
    python benchmarks/yardstick.py --quick         about a minute: the bare loop and ours, a few rounds; writes nothing

PYTHON is that of an environment with pfl-research (pip install pfl torch); without it, pfl-research is left out. The
work is that of its CIFAR-10 benchmark (`yardstick_work`): users of 50 records train for five steps on batches of ten,
their updates are clipped and added up, noise is added once, and the model is tested on 1,000 records after every tenth
round. "wardround" runs all of itself: plan, ledger, messages, exact sums, checkpoints, tables; its batches are Poisson
batches of ten expected records, all others' are of ten. Each contender is a process with one torch thread. They take
turns round by round, so that all meet the same load, and what is told are their CPU seconds of a round, and the ratio
to the bare loop's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import yardstick_work as work
from result_files import versions_of, write_rows

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "yardstick.csv"
CASES = [(10, 20), (50, 10)]
"""Users a round, and timed rounds."""
QUICK_CASES = [(10, 4)]
BARE, PFL = "bare loop", "pfl-research"


def wardround_on(engine: str) -> Callable[[int, int], None]:
    """Return what runs the work as a whole run by one of the engines."""

    def run(cohort: int, num_rounds: int) -> None:
        import wardround as wr

        turns = work.Turns(num_rounds)
        with tempfile.TemporaryDirectory() as folder:
            # The last round of a run is always tested, and none of those timed.
            job = work.our_job(engine, cohort, num_rounds + 2)
            wr.run(**job, on_round=lambda row: turns.ended(row.round_number), out=Path(folder) / "run")

    return run


OURS = {f"wardround {engine}": wardround_on(engine) for engine in ("inline", "stacked")}


class Contender:
    """A process that does a round whenever it is asked."""

    def __init__(self, name: str, command: list[str]) -> None:
        """Start it, and wait for the end of its first round."""
        self.name = name
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=HERE)
        self._told()

    def seconds(self) -> float:
        """Let it do one round, and return the CPU seconds that it took."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._told()

    def close(self) -> None:
        """Let it go."""
        self._process.kill()
        self._process.communicate()

    def _told(self) -> float:
        for line in self._process.stdout:
            if line.startswith(work.TOLD):
                return float(line.removeprefix(work.TOLD))
        raise SystemExit(f"{self.name} ended: {self._process.communicate()[1][-3000:]}")


def compare(case: tuple[int, int], commands: Mapping[str, list[str]]) -> list[dict[str, object]]:
    """Return one row for each contender."""
    cohort, num_rounds = case
    contenders = [Contender(name, [*command, str(cohort), str(num_rounds)]) for name, command in commands.items()]
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    try:
        for _ in range(num_rounds):
            for contender in contenders:
                seconds[contender.name].append(contender.seconds())
    finally:
        for contender in contenders:
            contender.close()
    rows = []
    for name, taken in seconds.items():
        ratios = sorted(own / bare for own, bare in zip(taken, seconds[BARE], strict=True))
        row = {
            "users_a_round": cohort,
            "rounds": num_rounds,
            "what": name,
            "cpu_seconds_a_round": f"{statistics.mean(taken):.4f}",
            "ratio": f"{sum(taken) / sum(seconds[BARE]):.3f}",
            "median_ratio_of_rounds": f"{statistics.median(ratios):.3f}",
            "quarters": f"{ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f}",
        }
        rows.append(row)
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def main() -> None:
    """Let the contenders take turns, and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pfl", help="Python of an environment with pfl-research")
    parser.add_argument("--contender", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        import torch

        torch.set_num_threads(1)
        name, cohort, num_rounds = options.contender
        ({BARE: work.bare} | OURS)[name](int(cohort), int(num_rounds))
        return
    commands = {name: [sys.executable, __file__, "--contender", name] for name in (BARE, *OURS)}
    versions = versions_of("wardround", "torch", "flwr", "numpy")
    if options.pfl:
        commands[PFL] = [options.pfl, str(HERE / "yardstick_pfl.py")]
        asked = "from importlib.metadata import version; print(version('pfl'), version('torch'))"
        told = subprocess.run([options.pfl, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
        versions += f"; pfl {told[0]} on torch {told[1]}"
    rows = [row for case in (QUICK_CASES if options.quick else CASES) for row in compare(case, commands)]
    if not options.quick:
        command = "python benchmarks/yardstick.py" + (" --pfl PYTHON" if options.pfl else "")
        write_rows(RESULTS, rows, command, versions, "one thread each")


if __name__ == "__main__":
    main()
