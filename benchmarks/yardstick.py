"""What does hospital-level work on a model of 1.6 million parameters cost, beside the bare loop and two peers?

    python benchmarks/yardstick.py --pfl PYTHON    about 25 minutes; writes benchmarks/results/yardstick.csv
    python benchmarks/yardstick.py --quick         about two minutes, all but pfl-research; writes nothing
    python benchmarks/yardstick.py --cuda          on a GPU; writes benchmarks/results/yardstick_gpu.csv
    python benchmarks/yardstick.py --whole         the whole job on a GPU, by ours alone; writes nothing

PYTHON is that of an environment with pfl-research (pip install pfl torch); without it, pfl-research is left out. The
work is that of its CIFAR-10 benchmark (`yardstick_work`): users of 50 records train for five steps on batches of ten,
their updates are clipped and added up, noise is added once, and the model is tested on 1,000 records after every tenth
round. "wardround" runs all of itself: plan, ledger, messages, exact sums, checkpoints, tables; its batches are Poisson
batches of ten expected records, all others' are of ten. "Flower" is its own engine on Ray (`yardstick_flower`), with
one worker of one processor. Each contender is a process with one torch thread. They take turns round by round, so that
all meet the same load, and what is told are their CPU seconds of a round, children's with them, and the ratio to the
bare loop's.

"no training" is a federation that does nothing: hospitals return the model at once, and nobody tests it. The bare loop
is then what plain torch needs for the same arithmetic, all in float32: for each user a copy of the model, the
difference to it, its norm, and the difference times its clip's factor added to a sum; once a round noise as long as the
model, and its step. It keeps no promise beyond that. "bare loop, exact" is that loop with our arithmetic: norms in
double precision, the exact sum that no order of replies changes, NumPy's noise. What ours does beside it is a round's
bookkeeping: messages, digests that key the noise, the ledger charged on disk before, model, tables and checkpoint
written after. It draws one Poisson batch of each user and drops it; only the loop over a user's steps is taken out, on
both engines.

On a GPU there are 1,000 users, seconds are those of the clock, and DP-SGD at every user is ours alone. The
whole job of pfl-research's benchmark there is 1,500 rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import yardstick_work as work
from result_files import versions_of, write_rows
from turns import Contender, Turns

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent
RESULTS, GPU_RESULTS = HERE / "results" / "yardstick.csv", HERE / "results" / "yardstick_gpu.csv"
CASES = [(10, 20, True), (50, 10, True), (10, 20, False), (50, 20, False)]
"""Users a round, timed rounds, and whether anyone trains."""
GPU_CASES = [(50, 20, True)]
QUICK_CASES = [(10, 3, True), (10, 3, False)]
BARE, EXACT, FLOWER, PFL = "bare loop", "bare loop, exact", "Flower", "pfl-research"
Run = Callable[..., None]


def wardround_on(engine: str, privacy: Mapping[str, object] | None = None) -> Run:
    """Return what runs the work as a whole run by one of the engines."""

    def run(cohort: int, num_rounds: int, *, trains: bool) -> None:
        import wardround as wr

        turns = work.turns_of(num_rounds)
        if not trains:
            leave_out_training()
        with tempfile.TemporaryDirectory() as folder:
            # The last round of a run is always tested, and none of those timed.
            job = work.our_job(engine, cohort, num_rounds + 2, trains=trains)
            job["config"] = job["config"].change(privacy=privacy or {})
            wr.run(**job, on_round=lambda row: turns.ended(row.round_number), out=Path(folder) / "run")

    return run


def leave_out_training() -> None:
    """Let hospitals of this process draw their batches, and train on none."""
    from wardround.clients.cells import whole_updates
    from wardround.clients.stacked import steps
    from wardround.clients.steps import Counts, LocalRound

    def drawn(local: LocalRound) -> None:
        for _ in range(local.assignment.schedule.num_steps):
            local.sampler.draw()

    def no_steps(held: object, local: LocalRound) -> Counts:
        drawn(local)
        return Counts(num_scrubbed=0, loss=float("nan"))

    def no_batches(held: object, stack: object, locals_: Sequence[LocalRound], *_: object) -> list[object]:
        for local in locals_:
            drawn(local)
        return []

    whole_updates.plain_steps, steps._batches = no_steps, no_batches


def exact_loop(cohort: int, num_rounds: int, *, trains: bool) -> None:
    """Run the loop without training that clips and sums as ours does, on arrays."""
    from wardround.exact_sums import accumulate, mean
    from wardround.privacy.clipping import clip_update

    model, turns, generator = work.linear(), Turns(num_rounds), np.random.default_rng(0)
    own = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    shared = {name: array.copy() for name, array in own.items()}
    for round_number in range(1, num_rounds + 2):
        total: dict[str, np.ndarray] = {}
        for _ in range(cohort):
            for name, array in own.items():
                np.copyto(array, shared[name])
            clipped, *_ = clip_update({name: own[name] - array for name, array in shared.items()}, work.CLIP)
            accumulate(total, clipped, 1 / cohort)
        for name, array in mean(total, 1.0, shared).items():
            noise = generator.standard_normal(array.shape) * (work.CLIP * work.NOISE / cohort)
            shared[name] += array + noise.astype(np.float32)
        turns.ended(round_number)


def flower(cohort: int, num_rounds: int, *, trains: bool) -> None:
    """Run the work by Flower's own engine."""
    import yardstick_flower

    yardstick_flower.run(cohort, num_rounds)


OURS = {f"wardround {engine}": wardround_on(engine) for engine in ("inline", "stacked")}
RUNS: dict[str, Run] = {BARE: work.bare, EXACT: exact_loop} | OURS | {FLOWER: flower}
DP_SGD = {"unit": "record", "placement": "local", "max_grad_norm": 1.0, "noise_multiplier": 1.0}
ON_GPU: dict[str, Run] = {BARE: work.bare} | OURS | {"wardround stacked, DP-SGD": wardround_on("stacked", DP_SGD)}
ABSENT = {True: (EXACT,), False: (FLOWER, PFL)}
"""Who is not there where users train, and where they don't."""


def compare(case: tuple[int, int, bool], commands: Mapping[str, list[str]]) -> list[dict[str, object]]:
    """Return one row for each contender."""
    cohort, num_rounds, trains = case
    asked = [str(cohort), str(num_rounds), *(() if trains else ["no training"])]
    contenders = [
        Contender(name, [*command, *asked]) for name, command in commands.items() if name not in ABSENT[trains]
    ]
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
            "work": "training" if trains else "no training",
            "users_a_round": cohort,
            "rounds": num_rounds,
            "what": name,
            ("cpu_" if work.DEVICE == "cpu" else "") + "seconds_a_round": f"{statistics.mean(taken):.4f}",
            "ratio": f"{sum(taken) / sum(seconds[BARE]):.3f}",
            "median_ratio_of_rounds": f"{statistics.median(ratios):.3f}",
            "quarters": f"{ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f}",
        }
        rows.append(row)
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def note() -> str:
    """Return on what seconds were taken."""
    if work.DEVICE == "cpu":
        return "one thread each"
    import torch

    return f"{torch.cuda.get_device_name()}, seconds of the clock"


def whole_job() -> None:
    """Run 1,500 rounds of 50 users, and say how long that took."""
    import time

    import wardround as wr

    job, started = work.our_job("stacked", 50, 1500), time.perf_counter()

    def told(row: object) -> None:
        if row.round_number % 250 == 0:
            print(f"{row.round_number} rounds: {time.perf_counter() - started:.1f} s", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        wr.run(**job, on_round=told, out=Path(folder) / "run")
    print(f"1,500 rounds of 50 users on stacked: {time.perf_counter() - started:.1f} s", flush=True)


def main() -> None:
    """Let the contenders take turns, and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cuda", action="store_true", help="on a GPU")
    parser.add_argument("--whole", action="store_true", help="the whole job on a GPU alone; writes nothing")
    parser.add_argument("--pfl", help="Python of an environment with pfl-research")
    parser.add_argument("--contender", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        import torch

        torch.set_num_threads(1)
        name, cohort, num_rounds, *without = options.contender
        (RUNS | ON_GPU)[name](int(cohort), int(num_rounds), trains=not without)
        return
    if (options.cuda or options.whole) and work.DEVICE == "cpu":
        # Whoever is started then is on it.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"YARDSTICK_DEVICE": "cuda"})
    if options.whole:
        whole_job()
        return
    commands = {name: [sys.executable, __file__, "--contender", name] for name in (ON_GPU if options.cuda else RUNS)}
    versions = versions_of("wardround", "torch", "flwr", "ray", "numpy")
    if options.pfl:
        commands[PFL] = [options.pfl, str(HERE / "yardstick_pfl.py")]
        asked = "from importlib.metadata import version; print(version('pfl'), version('torch'))"
        told = subprocess.run([options.pfl, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
        versions += f"; pfl {told[0]} on torch {told[1]}"
    cases = QUICK_CASES if options.quick else GPU_CASES if options.cuda else CASES
    rows = [row for case in cases for row in compare(case, commands)]
    if not options.quick:
        command = "python benchmarks/yardstick.py" + (" --cuda" if options.cuda else "")
        command += " --pfl PYTHON" if options.pfl else ""
        write_rows(GPU_RESULTS if options.cuda else RESULTS, rows, command, versions, note())


if __name__ == "__main__":
    main()
