"""How long do a ledger of 100 hospitals x 1000 rounds and its epsilons take?

    python benchmarks/ledger.py

Every hospital has a noise multiplier and a sample rate of its own. Epsilon of all hospitals is computed after every
round, the first computation of every pair included, in a fresh process; what a durable disk costs is timed apart.
Writes benchmarks/results/ledger.csv.
"""

import csv
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import wardround
from wardround.privacy.entries import Entry
from wardround.privacy.ledger import open_ledger
from wardround.privacy.renyi import rdp
from wardround.privacy.spending import account_from_ledger, open_account
from wardround.step_events import StepEvent

NUM_HOSPITALS, NUM_ROUNDS, TARGET_DELTA, SEED = 100, 1000, 1e-5, 1
RESULTS = Path(__file__).parent / "results" / "ledger.csv"


def planned_rounds() -> list[list[Entry]]:
    """Return the entries of every round: 100 distinct (noise multiplier, sample rate), ten steps a round."""
    generator = np.random.default_rng(SEED)
    noise, rates = generator.uniform(0.7, 4.0, NUM_HOSPITALS), 10 ** generator.uniform(-3, -0.5, NUM_HOSPITALS)
    return [
        [
            Entry(
                charge_id=f"run/{round_number}/{hospital}",
                fingerprint="0" * 64,
                hospital_id=f"hospital-{hospital}",
                run_id="run",
                round_number=round_number,
                event=StepEvent(noise_multiplier=noise[hospital], sample_rate=rates[hospital], num_steps=10),
                sensitivity=1.0,
            )
            for hospital in range(NUM_HOSPITALS)
        ]
        for round_number in range(1, NUM_ROUNDS + 1)
    ]


def time_epsilons(rounds: list[list[Entry]]) -> float:
    """Return the seconds to charge an account with every round and derive all epsilons after each."""
    started = time.perf_counter()
    account = open_account(dict.fromkeys((entry.hospital_id for entry in rounds[0]), TARGET_DELTA))
    for entries in rounds:
        account = account.charged(entries)
        account.epsilons()
    return time.perf_counter() - started


def main() -> None:
    rounds = planned_rounds()
    rows = [("epsilon of all hospitals after every round", time_epsilons(rounds))]
    started = time.perf_counter()
    for entry in rounds[0]:
        rdp.__wrapped__(entry.event.noise_multiplier, entry.event.sample_rate)
    rows.append(("of which 100 distinct pairs for the first time", time.perf_counter() - started))
    with tempfile.TemporaryDirectory() as folder, open_ledger(Path(folder) / "ledger.sqlite") as ledger:
        started = time.perf_counter()
        for entries in rounds:
            ledger.charge(entries)
            ledger.commit_round("run", entries[0].round_number, [entry.charge_id for entry in entries], "{}")
        rows.append(("durable charge and commit of every round", time.perf_counter() - started))
        started = time.perf_counter()
        account_from_ledger(ledger, dict.fromkeys((e.hospital_id for e in rounds[0]), TARGET_DELTA)).epsilons()
        rows.append(("epsilons from the finished ledger", time.perf_counter() - started))
        started = time.perf_counter()
        if ledger.verify():
            raise SystemExit("the ledger does not verify")
        rows.append(("verify of the finished ledger", time.perf_counter() - started))
        size = ledger.path.stat().st_size
    RESULTS.parent.mkdir(exist_ok=True)
    machine = f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
    heading = (
        f"# python benchmarks/ledger.py; wardround {wardround.__version__}; {machine}; seed {SEED}; "
        f"{NUM_HOSPITALS} hospitals x {NUM_ROUNDS} rounds; file {size / 1e6:.1f} MB\n"
    )
    with RESULTS.open("w", newline="") as file:
        file.write(heading)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "seconds"])
        writer.writerows((what, f"{seconds:.3f}") for what, seconds in rows)
    sys.stdout.write(RESULTS.read_text())


if __name__ == "__main__":
    main()
