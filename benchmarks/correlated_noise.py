"""How much less noise is in a model whose rounds take a part of earlier rounds' noise back, at the same epsilon?

    python benchmarks/correlated_noise.py [--seeds N]

For several numbers of rounds and of turns: the root mean squared error of all prefix sums relative to independent
noise, computed and drawn, how much larger a single round's noise is, and the seconds that the factorisation takes.
"spread" 2 has groups whose noise differs by up to a factor of 2. Then a small job (breast cancer at 12 hospitals in 4
turns, 16 rounds, whole hospitals protected, central noise), with each kind of noise at one noise multiplier and so at
one epsilon: the test loss averaged over all rounds, and loss and AUC after the last, mean and standard error over
seeds. Both kinds of noise have the same split, initial model and turns for a seed. Writes
benchmarks/results/correlated_noise.csv.
"""

import argparse
import csv
import math
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import wardround
from wardround.config import config_from_dict
from wardround.privacy.banded import Factorisation, factorise, prefix_error
from wardround.simulations.runs import run

RESULTS = Path(__file__).parent / "results" / "correlated_noise.csv"
SHAPES = ((20, 4), (50, 5), (100, 10), (200, 10), (1000, 10), (1000, 50))
WIDTH = 2_000
NOISES = (1.0, 2.0)


def scales_of(num_turns: int, spread: float) -> tuple[float, ...]:
    """Return the turns' scales, evenly spaced on a logarithmic axis in an order that is mixed up."""
    order = np.random.default_rng(1).permutation(num_turns)
    return tuple(spread ** (order[turn] / (num_turns - 1)) for turn in range(num_turns))


def drawn_error(factorisation: Factorisation) -> tuple[float, float]:
    """Return the error of prefix sums of noise that is drawn, and the largest single round's stddev, both relative."""
    generator, scales = np.random.default_rng(7), factorisation.scales
    earlier: list[np.ndarray] = []
    total, plain = np.zeros(WIDTH), np.zeros(WIDTH)
    squares = plain_squares = largest = 0.0
    for t in range(factorisation.num_rounds):
        noise = factorisation.noise(t, {"w": generator.standard_normal(WIDTH)}, {"w": earlier})["w"]
        earlier = [noise, *earlier][: factorisation.band - 1]
        scale = float(scales[t % len(scales)])
        total += scale * noise
        plain += scale * generator.standard_normal(WIDTH)
        squares += float(np.mean(total**2))
        plain_squares += float(np.mean(plain**2))
        largest = max(largest, float(noise.std()))
    return math.sqrt(squares / plain_squares), largest


def error_rows() -> list[list[str]]:
    rows = []
    for spread in (1.0, 2.0):
        for num_rounds, num_turns in SHAPES:
            if spread > 1 and num_turns > 32:
                continue
            started = time.perf_counter()
            factorisation = factorise(num_rounds, num_turns, scales_of(num_turns, spread))
            seconds = time.perf_counter() - started
            drawn, largest = drawn_error(factorisation)
            figures = (prefix_error(factorisation), drawn, largest)
            rows.append(
                [str(num_rounds), str(num_turns), f"{spread:g}", *(f"{x:.3f}" for x in figures), f"{seconds:.2f}"]
            )
    return rows


def trained(noise_multiplier: float, correlation: str, seed: int) -> tuple[float, float, float, float]:
    """Return epsilon, the mean loss over rounds, the last loss, and the last AUC of one run."""
    tables = {
        "federation": {"dataset": "breast-cancer", "num-hospitals": 12, "seed": seed},
        "training": {
            "num-rounds": 16,
            "cohorts": "round-robin",
            "fraction-train": 0.25,
            "local-steps": 3,
            "sample-rate": 1.0,
            "learning-rate": 0.3,
        },
        "privacy": {
            "unit": "hospital",
            "placement": "central",
            "noise-correlation": correlation,
            "noise-multiplier": noise_multiplier,
            "max-grad-norm": 0.5,
            "target-delta": 0.01,
        },
        "simulation": {"engine": "inline"},
    }
    with tempfile.TemporaryDirectory() as folder:
        done = run(config_from_dict(tables), out=Path(folder) / "run")
        with (done.folder / "rounds.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))[1:]
    losses = [float(row["loss"]) for row in rows]
    return float(done.summary["epsilon"]["max"]), statistics.mean(losses), losses[-1], float(rows[-1]["auc"])


def quality_rows(num_seeds: int) -> list[list[str]]:
    rows = []
    for noise_multiplier in NOISES:
        for correlation in ("none", "banded"):
            runs = [trained(noise_multiplier, correlation, seed) for seed in range(1, num_seeds + 1)]
            (epsilon, *_), *figures = zip(*runs, strict=True)
            cells = [
                f"{statistics.mean(each):.3f} +- {statistics.stdev(each) / math.sqrt(num_seeds):.3f}"
                for each in figures
            ]
            rows.append([f"{noise_multiplier:g}", correlation, f"{epsilon:.2f}", *cells])
            print(rows[-1], file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of the small job, at least 2")
    seeds = parser.parse_args().seeds
    machine = f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
    with RESULTS.open("w", newline="") as file:
        file.write(
            f"# python benchmarks/correlated_noise.py --seeds {seeds}; wardround {wardround.__version__}; {machine}\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["num_rounds", "num_turns", "spread", "error", "error_drawn", "largest_round", "seconds"])
        writer.writerows(error_rows())
        writer.writerow(["noise_multiplier", "noise_correlation", "epsilon", "mean_loss", "last_loss", "last_auc"])
        writer.writerows(quality_rows(seeds))
    sys.stdout.write(RESULTS.read_text())


if __name__ == "__main__":
    main()
