"""What does one private step cost, by the way gradients by record are made, and by model?

    python benchmarks/steps.py            some minutes; writes benchmarks/results/steps.csv
    python benchmarks/steps.py --quick    seconds, for continuous integration; writes nothing

The clipped sum of one batch of 32 records (16 for resnet18), one thread, CPU milliseconds of this process, the least of
several; modes take turns. "plain" is the gradient of the same batch without privacy, by the framework, and "over_plain"
what a mode costs of it. fastDP (Bu et al. 2023) can't be compared with: `pip install fastDP` and `pip install
fast-differential-privacy` find no distribution.
"""

import argparse
import copy
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from result_files import versions_of, write_rows
from torch import nn

from wardround.clients.gradients import ClippedSum, per_record_module, quiet_hooks, trained_parameters
from wardround.clients.losses import loss_per_record
from wardround.clients.programs import record_program
from wardround.config import ModelConfig
from wardround.errors import WardroundError
from wardround.models import build_model

RESULTS = Path(__file__).parent / "results" / "steps.csv"
LOSS = loss_per_record("classification")
MODES = ("closed-form", "per-record", "hooks", "functorch", "ew", "ghost")
# name, shape of a record, sizes, records
CASES = [
    ("logistic", (26,), {}, 32),
    ("mlp", (26,), {}, 32),
    ("cnn", (1, 28, 28), {}, 32),
    ("resnet18", (3, 32, 32), {"width": 16}, 16),
    ("lstm", (8, 4), {"width": 16}, 32),
    ("transformer", (8, 4), {"width": 16}, 32),
]
KNOWN = ("logistic", "mlp", "cnn", "resnet18")


def plain_step(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """Return what leaves the gradient of a batch without privacy."""

    def run() -> None:
        model.zero_grad(set_to_none=True)
        LOSS(model(features), labels).sum().backward()

    return run


def private_step(
    model: nn.Module, mode: str, features: torch.Tensor, labels: torch.Tensor
) -> Callable[[], list[torch.Tensor]]:
    """Return what makes the clipped sum of a batch in a mode.

    Raises:
        ConfigError: the mode can't serve the model.
    """
    copied = copy.deepcopy(model)
    if mode == "per-record":
        module = record_program(copied, tuple(features.shape[1:]), labels.dtype, LOSS)
    else:
        module = per_record_module(copied, mode, 1.0).train()
    parameters = trained_parameters(copied)

    def run() -> list[torch.Tensor]:
        summed = ClippedSum(parameters, 1.0)
        summed.add_batch(module, features, labels, LOSS)
        return summed.values()

    return run


def milliseconds(run: Callable[[], object]) -> float:
    """Return the CPU milliseconds of a call."""
    started = time.process_time()
    run()
    return (time.process_time() - started) * 1e3


def measure(case: tuple, repeats: int) -> list[dict[str, object]]:
    """Return a row for every mode that serves the model."""
    name, shape, sizes, num = case
    model, _ = build_model(ModelConfig(name=name, **sizes), input_shape=shape, num_outputs=10, seed=1)
    torch.manual_seed(1)
    features, labels = torch.randn(num, *shape), torch.randint(0, 10, (num,))
    ways: dict[str, Callable[[], object]] = {"plain": plain_step(copy.deepcopy(model), features, labels)}
    for mode in MODES if name in KNOWN else ("per-record",):
        try:
            ways[mode] = private_step(model, mode, features, labels)
            ways[mode]()
        except (WardroundError, RuntimeError) as error:
            print(f"{name}, {mode}: {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
            ways.pop(mode, None)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            taken[way].append(milliseconds(run))
    plain = min(taken["plain"])
    return [
        {
            "model": name,
            "num_records": num,
            "mode": way,
            "milliseconds": f"{min(values):.2f}",
            "over_plain": f"{min(values) / plain:.2f}",
        }
        for way, values in taken.items()
    ]


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small case, once; nothing is written")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    rows = []
    with quiet_hooks():
        for case in CASES[:1] if options.quick else CASES:
            rows += (found := measure(case, 1 if options.quick else options.repeats))
            print("\n".join(", ".join(f"{key} {value}" for key, value in row.items()) for row in found), flush=True)
    if options.quick:
        return
    command = f"python benchmarks/steps.py; least CPU milliseconds of {options.repeats}; one thread"
    versions = versions_of("wardround", "torch", "opacus")
    write_rows(RESULTS, rows, command, versions, "fastDP: no distribution found")


if __name__ == "__main__":
    main()
