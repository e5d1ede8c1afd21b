"""How much memory and time does one private step take, by the way gradients by record are made?

    python benchmarks/step_memory.py            some minutes; writes benchmarks/results/step_memory.csv
    python benchmarks/step_memory.py --quick    one small case; for continuous integration; writes nothing

The clipped sum of one batch for a perceptron on six features, as `synthetic-regression` has them; one thread. Each case
is a process of its own: what it peaks above what it held before the step (Linux' /proc), the largest of several, after
a step of 8 records that brings in what is loaded once; and the least processor milliseconds. Small steps fit in what
the allocator holds already. Ghost clipping (Li et al. 2022) makes norms without gradients by record, and so does
`closed-form`.
"""

import argparse
import json
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from result_files import versions_of, write_rows
from steps import milliseconds, private_step

from wardround.clients.gradients import quiet_hooks
from wardround.config import ModelConfig
from wardround.models import build_model

RESULTS = Path(__file__).parent / "results" / "step_memory.csv"
MODES = ("closed-form", "ghost", "hooks")
# hidden sizes, records
CASES = [((64,), 512), ((64,), 8192), ((256, 256), 512), ((256, 256), 2048), ((1024, 1024), 128)]


def kilobytes(name: str) -> int:
    """Return what this process holds now (VmRSS), or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measure(hidden: tuple[int, ...], num: int, mode: str, repeats: int) -> dict[str, object]:
    """Return the row of one case, of a process that has done nothing else."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    torch.manual_seed(1)
    model, _ = build_model(ModelConfig(name="mlp", hidden_sizes=hidden), input_shape=(6,), num_outputs=10, seed=1)
    features, labels = torch.randn(num, 6), torch.randint(0, 10, (num,))
    peaks, taken = [], []
    with quiet_hooks():
        private_step(model, mode, features[:8], labels[:8])()
        step = private_step(model, mode, features, labels)
        for _ in range(repeats):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before = kilobytes("VmRSS")
            taken.append(milliseconds(step))
            peaks.append(kilobytes("VmHWM") - before)
    return {
        "hidden_sizes": "x".join(map(str, hidden)),
        "num_records": num,
        "mode": mode,
        "milliseconds": f"{min(taken):.2f}",
        "peak_mib": f"{max(peaks) / 1024:.1f}",
    }


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small case, once; nothing is written")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        hidden, num, mode = json.loads(options.one)
        print(json.dumps(measure(tuple(hidden), num, mode, options.repeats)))
        return
    rows = []
    for hidden, num in CASES[:1] if options.quick else CASES:
        for mode in MODES[:2] if options.quick else MODES:
            case = json.dumps([hidden, num, mode])
            repeats = "1" if options.quick else str(options.repeats)
            arguments = [sys.executable, __file__, "--one", case, "--repeats", repeats]
            done = subprocess.run(arguments, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if not options.quick:
        command = f"python benchmarks/step_memory.py; least of {options.repeats} steps, largest peak; one thread"
        write_rows(RESULTS, rows, command, versions_of("wardround", "torch", "opacus"))


if __name__ == "__main__":
    main()
