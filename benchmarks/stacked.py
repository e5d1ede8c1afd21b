"""What do hospitals cost that train in one program, against Opacus one by one?

    python benchmarks/stacked.py            some minutes; writes benchmarks/results/stacked.csv
    python benchmarks/stacked.py --quick    seconds, for continuous integration; writes nothing
    python benchmarks/stacked.py --cuda     on a GPU, seconds of the clock; writes benchmarks/results/stacked_gpu.csv

Record-level DP-SGD with noise at the hospitals, Poisson batches of 32 expected records, one thread, CPU seconds of this
process. Three ways to train the same hospitals for the same steps from the same model, in alternation:

- "opacus": one hospital after the other, gradients by record from Opacus' hooks (`grad-sample-mode = "hooks"`);
- "alone": one after the other as `grad-sample-mode = "auto"` has it, in closed form or by a program of one record;
- "stacked": what `engine = "stacked"` does: in one program, or one by one where `apart_because` has a reason.

Opacus' hooks can't serve the models of sequences, so that there "alone" is what is compared with.
"""

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from result_files import versions_of, write_rows

import wardround
from wardround.clients.stacked.together import Asked, apart_because, train_together
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.models import build_model, parameters_of
from wardround.privacy.cells import cell_named
from wardround.rounds import Assignment, Schedule
from wardround.step_events import StepEvent
from wardround.streams import SeededSource

RESULTS = Path(__file__).parent / "results" / "stacked.csv"
GPU_RESULTS = RESULTS.with_name("stacked_gpu.csv")
CELL = cell_named("record-local")
BATCH, NUM_CLASSES = 32.0, 10
# name, shape of a record, sizes, steps, numbers of hospitals
CASES = [
    ("logistic", (26,), {}, 10, (4, 20, 118, 500)),
    ("mlp", (26,), {}, 10, (4, 20, 118, 500)),
    ("cnn", (1, 28, 28), {}, 2, (4, 10, 20, 118)),
    ("lstm", (8, 4), {"width": 16}, 3, (4, 20, 118)),
    ("transformer", (8, 4), {"width": 16}, 3, (4, 20, 118)),
]
GPU_CASES = [
    ("logistic", (26,), {}, 10, (4, 118)),
    ("mlp", (26,), {}, 10, (4, 118)),
    ("cnn", (1, 28, 28), {}, 2, (4, 100)),
    ("cnn", (3, 32, 32), {}, 2, (100,)),
]
QUICK = [("logistic", (26,), {}, 2, (4,)), ("cnn", (1, 8, 8), {}, 1, (2,))]
# model, hospitals, at least so many times as fast as Opacus one by one
TARGETS = [("logistic", 118, 20.0), ("mlp", 118, 10.0), ("cnn", 10, 1.5)]


def hospitals(shape: tuple[int, ...], num: int, steps: int, num_parameters: int, device: str) -> list[Asked]:
    """Return hospitals of 60 to 400 made-up records, and what each is asked."""
    sizes = np.random.default_rng(1).integers(60, 400, num)
    found = []
    for index, size in enumerate(sizes.tolist()):
        generator = np.random.default_rng((2, index))
        features = torch.tensor(generator.standard_normal((size, *shape)).astype(np.float32)).to(device)
        labels = torch.tensor(generator.integers(0, NUM_CLASSES, size)).to(device)
        tensors = HospitalTensors(
            train_features=features, train_labels=labels, test_features=features[:0], test_labels=labels[:0]
        )
        schedule = Schedule(sample_rate=BATCH / size, expected_batch_size=BATCH, num_steps=steps)
        billed_steps, billed_rate = CELL.billed(schedule)
        event = StepEvent(noise_multiplier=1.0, sample_rate=billed_rate, num_steps=billed_steps, cell=CELL.name)
        assignment = Assignment(
            hospital_id=f"hospital-{index:03d}",
            round_number=1,
            schedule=schedule,
            event=event,
            weight=1.0,
            max_grad_norm=1.0,
            sensitivity=CELL.sensitivity(1.0),
            contribution=CELL.contribution(size, size),
        )
        found.append(Asked(tensors=tensors, assignment=assignment))
    return found


def trainer(name: str, shape: tuple[int, ...], sizes: dict[str, int], mode: str, device: str) -> LocalTrainer:
    """Return a trainer of a built-in model."""
    model, _ = build_model(ModelConfig(name=name, **sizes), input_shape=shape, num_outputs=NUM_CLASSES, seed=1)
    training = TrainingConfig(grad_sample_mode=mode, learning_rate=0.1, device=device)
    return LocalTrainer(model, training, task="classification", source=SeededSource(seed=1, job=b"benchmark"))


def one_by_one(trains: LocalTrainer, asked: list[Asked]) -> None:
    """Train one hospital after the other."""
    start = parameters_of(trains.model)
    for each in asked:
        trains.train(start, each.tensors, each.assignment)
    wardround.models.load_parameters(trains.model, start)


def together(trains: LocalTrainer, asked: list[Asked]) -> None:
    """Train as the stacked engine does."""
    start = parameters_of(trains.model)
    joined, apart = [], []
    for each in asked:
        (apart if apart_because(trains, each.tensors, each.assignment, None) else joined).append(each)
    if joined:
        train_together(trains, start, joined)
    for each in apart:
        trains.train(start, each.tensors, each.assignment)
    wardround.models.load_parameters(trains.model, start)


def seconds_of(run: Callable[[], None], device: str) -> float:
    """Return the CPU seconds of a call; on a GPU those of the clock until its work is done."""
    if device == "cpu":
        started = time.process_time()
        run()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(case: tuple, num: int, repeats: int, device: str = "cpu") -> dict[str, object]:
    """Return one row: least seconds of each way, and the medians of ratios within a repeat."""
    name, shape, sizes, steps, _ = case
    ways: dict[str, Callable[[], None]] = {}
    alone = trainer(name, shape, sizes, "auto", device)
    asked = hospitals(shape, num, steps, alone.num_parameters, device)
    if name not in ("lstm", "transformer"):
        hooked = trainer(name, shape, sizes, "hooks", device)
        ways["opacus"] = lambda: one_by_one(hooked, asked)
        one_by_one(hooked, asked[:2])  # which imports Opacus
    ways["alone"] = lambda: one_by_one(alone, asked)
    stacked = trainer(name, shape, sizes, "auto", device)
    ways["stacked"] = lambda: together(stacked, asked)
    one_by_one(alone, asked[:2])
    together(stacked, asked[:2])
    taken: dict[str, list[float]] = {way: [] for way in ("opacus", "alone", "stacked")}
    for _ in range(repeats):
        for way, run in ways.items():
            taken[way].append(seconds_of(run, device))
    row: dict[str, object] = {
        "model": name,
        "record": "x".join(map(str, shape)),
        "num_hospitals": num,
        "num_steps": steps,
    }
    reason = apart_because(stacked, asked[0].tensors, asked[0].assignment, None)
    row["mode"] = alone.mode_for(shape).name
    row["together"] = "no" if reason else "yes"
    for way, values in taken.items():
        row[f"{way}_seconds"] = f"{min(values):.4f}" if values else ""
    for way in ("opacus", "alone"):
        ratios = [one / other for one, other in zip(taken[way], taken["stacked"], strict=False)]
        row[f"{way}_over_stacked"] = f"{statistics.median(ratios):.2f}" if ratios else ""
    return row


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small cases, once; nothing is written")
    parser.add_argument("--cuda", action="store_true", help="on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    rows = []
    device = "cuda" if options.cuda else "cpu"
    for case in QUICK if options.quick else GPU_CASES if options.cuda else CASES:
        for num in case[4]:
            rows.append(measure(case, num, 1 if options.quick else options.repeats, device))
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if options.quick:
        return
    if options.cuda:
        command = f"python benchmarks/stacked.py --cuda; least seconds of {options.repeats}, medians of ratios"
        versions = versions_of("wardround", "torch", "opacus")
        write_rows(GPU_RESULTS, rows, command, versions, torch.cuda.get_device_name())
        return
    command = f"python benchmarks/stacked.py; least CPU seconds of {options.repeats}, medians of ratios; one thread"
    write_rows(RESULTS, rows, command, versions_of("wardround", "torch", "opacus"))
    for name, num, target in TARGETS:
        (row,) = (row for row in rows if (row["model"], row["num_hospitals"]) == (name, num))
        ratio = float(str(row["opacus_over_stacked"]) or math.nan)
        print(f"{name} x {num}: {ratio:.1f}, at least {target}: {'reached' if ratio >= target else 'MISSED'}")


if __name__ == "__main__":
    main()
