"""A run folder as the server writes it, with made-up numbers that behave like a run's."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wardround.leaves import fields_sent
from wardround.privacy.cells import cell_in_words

HEART = {"Cleveland": 199, "Hungary": 172, "Long Beach VA": 85, "Switzerland": 30}
MAJORITY = {"Cleveland": 0.54, "Hungary": 0.64, "Long Beach VA": 0.75, "Switzerland": 0.93}
ROUND_COLUMNS = [
    *("round", "num_selected", "num_completed", "loss", "accuracy", "auc"),
    *("epsilon_max", "epsilon_total", "seconds"),
]
HOSPITAL_COLUMNS = [
    *("round", "hospital", "selected", "completed", "num_examples", "num_steps"),
    *("sample_rate", "noise_multiplier", "epsilon", "loss", "accuracy", "auc"),
]

LEAVES = {
    "arrays": "charged",
    "num-train": "public by decision",
    "noise-multiplier": "public by decision",
    "loss": "simulation only",
    "accuracy": "simulation only",
}


def config_text(placement: str, dataset: str, num_rounds: int) -> str:
    noise = "" if placement == "none" else "noise-multiplier = 1.0\n"
    return (
        f'[federation]\ndataset = "{dataset}"\nseed = 42\n\n[model]\nname = "logistic"\n\n'
        f"[training]\nnum-rounds = {num_rounds}\nbatch-size = 16\n\n"
        f'[privacy]\nunit = "record"\nplacement = "{placement}"\n{noise}target-delta = 1e-5\n'
    )


def spent(placement: str, num_examples: int, rounds: int) -> float:
    if placement == "none":
        return math.inf if rounds else 0.0
    return 2.0 * 16 / num_examples * math.sqrt(40 * rounds)


def quality(round_number: int, num_examples: int, is_regression: bool) -> tuple[float, float, float]:
    gain = 1 - math.exp(-round_number / 4)
    wobble = 0.01 * math.sin(round_number * 1.7 + num_examples)
    loss = 0.69 - 0.25 * gain + wobble
    if is_regression:
        return loss, -0.4 + 1.2 * gain + wobble, math.nan
    return loss, 0.5 + 0.31 * gain + wobble, 0.5 + 0.37 * gain + wobble


def write_table(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({key: "" if value != value else value for key, value in row.items()} for row in rows)


def write_run_folder(
    folder: Path,
    *,
    hospitals: dict[str, int] | None = None,
    num_rounds: int = 15,
    placement: str = "local",
    task: str = "classification",
    has_summary: bool = True,
    missed: tuple[str, int] | None = None,
    is_measured: bool = True,
    **facts: Any,
) -> Path:
    """Write a run folder; facts replace keys of summary.json, None removes one. Real sites measure nothing."""
    hospitals = HEART if hospitals is None else hospitals
    is_regression = task == "regression"
    dataset = "synthetic-regression" if is_regression else "heart-disease"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(config_text(placement, dataset, num_rounds), encoding="utf-8")
    (folder / "versions.txt").write_text("wardround 0.1.0\nflwr 1.41.0\n", encoding="utf-8")
    by_round, by_hospital = [], []
    for number in range(num_rounds + 1):
        total = max(spent(placement, size, number) for size in hospitals.values())
        loss, accuracy, auc = quality(number, 0, is_regression)
        trained = len(hospitals) if number else 0
        values = (number, trained, trained, loss, accuracy, auc, total, total, 0.4)
        by_round.append(dict(zip(ROUND_COLUMNS, values, strict=True)))
        for name, size in hospitals.items():
            done = int(bool(number) and (name, number) != missed)
            loss, accuracy, auc = quality(number, size, is_regression)
            rate, noise = (min(1.0, 16 / size), 1.0) if number else (math.nan, math.nan)
            noise = math.nan if placement == "none" else noise
            epsilon = spent(placement, size, number)
            values = (
                number,
                name,
                int(number > 0),
                done,
                size,
                40 * (number > 0),
                rate,
                noise,
                epsilon,
                loss,
                accuracy,
                auc,
            )
            by_hospital.append(dict(zip(HOSPITAL_COLUMNS, values, strict=True)))
    for row in () if is_measured else (*by_round, *by_hospital):
        row |= dict.fromkeys(("loss", "accuracy", "auc"), math.nan)
    write_table(folder / "rounds.csv", ROUND_COLUMNS, by_round)
    write_table(folder / "hospitals.csv", HOSPITAL_COLUMNS, by_hospital)
    if has_summary:
        summary = summary_of(by_round[-1], hospitals, num_rounds, placement, dataset, is_regression)
        hidden = {f"{score}{of}" for score in ("precision", "recall", "f1") for of in ("", "_macro")}
        summary = {key: value for key, value in (summary | facts).items() if value is not None or key in hidden}
        summary |= {} if is_measured else not_measured(summary)
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def not_measured(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a summary that are others in a run between real sites."""
    names = ("loss", "accuracy", "auc", "r2", "majority_accuracy", "majority_r2")
    hospitals = [item | {"num_test": None, "majority_accuracy": None} for item in summary["hospitals"]]
    return {
        "measured": False,
        "task": "regression" if "r2" in summary else "classification",
        "protocol": "secagg+",
        "noise": "system",
        **{name: None for name in names if name in summary},
        "hospitals": hospitals,
        "leaves_hospital": fields_sent(protocol="secagg+", task="classification", failed=False, are_sites=True),
    }


def summary_of(
    last: dict[str, Any], hospitals: dict[str, int], num_rounds: int, placement: str, dataset: str, is_regression: bool
) -> dict[str, Any]:
    each = {name: 0.97 * spent(placement, size, num_rounds) for name, size in hospitals.items()}
    written = {name: "inf" if math.isinf(value) else value for name, value in each.items()}
    most: float | str = "inf" if placement == "none" else max(each.values())
    server = "inf" if placement == "central" else most
    scores = (
        {"r2": last["accuracy"], "majority_r2": -0.01}
        if is_regression
        else {"accuracy": last["accuracy"], "auc": last["auc"], "majority_accuracy": 0.66}
    )
    return {
        "dataset": dataset,
        "num_hospitals": len(hospitals),
        "num_rounds": num_rounds,
        "num_rounds_planned": num_rounds,
        "status": "done",
        "unit": "record",
        "placement": placement,
        "relation": "zero-out-one-record",
        "mechanism": "none" if placement == "none" else cell_in_words("record", placement).mechanism,
        "target_delta": 1e-5,
        "epsilon": {
            "max": most,
            "total": most,
            "hospitals": written,
            "readers": {"server": server, "hospital": most, "recipient": most},
        },
        "accountant": "pld",
        "patient_overlap": 1,
        "loss": last["loss"],
        **scores,
        "seconds": 6.3,
        "engine": "ray",
        "num_workers": 2,
        "device": "cpu",
        "seed": 42,
        "notes": ["Rows with a missing value were dropped: 303, 261, 46 and 130 are left."],
        "excluded": [],
        "left_out": [],
        "hospitals": [
            {"hospital": name, "num_train": size, "num_test": size // 2, "majority_accuracy": MAJORITY.get(name, 0.8)}
            for name, size in hospitals.items()
        ],
        "leaves_hospital": LEAVES,
        "strategy": "fedavg",
        "model": "logistic",
        "num_parameters": 14,
        "versions": {"wardround": "0.1.0", "flwr": "1.41.0"},
    }


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a run folder of its own name under tmp_path."""

    def write(name: str = "run", **changes: Any) -> Path:
        return write_run_folder(tmp_path / name, **changes)

    return write


@pytest.fixture(scope="session")
def write_run_at() -> Callable[..., Path]:
    """Return the function that writes a run folder wherever it is told."""
    return write_run_folder
