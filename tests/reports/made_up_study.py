"""A study's folder as `compare` writes it, with made-up numbers that behave like a study's."""

import csv
import json
import math
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

from wardround.json_records import json_keys
from wardround.privacy.cells import cell_in_words
from wardround.simulations.studies.study_records import HospitalRow, NoiseRow, ResultRow

RESULT_COLUMNS, HOSPITAL_COLUMNS, NOISE_COLUMNS = (
    tuple(key for key in json_keys(kind) if key != "varied") for kind in (ResultRow, HospitalRow, NoiseRow)
)
SIZES = {"Cleveland": 199, "Hungary": 172, "Long Beach VA": 85, "Switzerland": 9}
BASELINE_SCORES = {"majority": 0.5, "alone": 0.80, "federated": 0.85, "pooled": 0.86}
LOSS = {"local": 0.08, "distributed": 0.04, "central": 0.035}


def score_of(placement: str, level: float, held: str) -> float:
    """Return the mean score: it falls as epsilon falls, or as noise grows, and falls most with local noise."""
    strength = 1 / level if held == "epsilon" else level / 4
    return 0.85 - LOSS[placement] * strength


def write_study(
    folder: Path,
    *,
    units: tuple[str, ...] = ("record",),
    placements: tuple[str, ...] = ("local", "distributed", "central"),
    target_epsilons: tuple[float, ...] = (0.5, 1.0, 4.0),
    noise_multipliers: tuple[float, ...] = (2.0,),
    seeds: tuple[int, ...] = (1, 2, 3),
    baselines: tuple[str, ...] = ("majority", "alone", "federated", "pooled"),
    sizes: dict[str, int] = SIZES,
    task: str = "classification",
    failures: dict[str, str] | None = None,
    stopped: str = "",
    record_is: str = "row",
    vary: dict[str, tuple[str, ...]] | None = None,
) -> Path:
    """Write the folder and return it; of the varied settings each later value costs a little."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for baseline in baselines:
        rows += [_row(baseline, "", "none", "", 0.0, seed, task) for seed in seeds]
    levels = [*(("epsilon", value) for value in target_epsilons), *(("noise", value) for value in noise_multipliers)]
    for unit in units:
        for placement in placements:
            for held, level in levels:
                rows += [_row("", unit, placement, held, level, seed, task) for seed in seeds]
    if vary:
        rows = [_varied(row, dict(zip(vary, texts, strict=True))) for row in rows for texts in product(*vary.values())]
        rows = list({row["run"]: row for row in rows}.values())
    for row in rows:
        if row["run"] == stopped:
            row |= {"status": "stopped-at-budget", "num_rounds": 3}
    failures = failures or {}
    names = [row["run"] for row in rows]
    rows = [row for row in rows if row["run"] not in failures]
    lines = [line for row in rows for line in _hospitals(row, sizes, vary or {})]
    _write(folder / "results.csv", (*RESULT_COLUMNS, *(vary or ())), rows)
    _write(folder / "hospitals.csv", (*HOSPITAL_COLUMNS, *(vary or ())), lines)
    _write(folder / "failures.csv", ("run", "reason"), [{"run": run, "reason": why} for run, why in failures.items()])
    _write(folder / "noise_on_average.csv", NOISE_COLUMNS, _noise(units, placements))
    facts = {
        "name": "heart-disease",
        "units": units,
        "placements": placements,
        "noise_multipliers": noise_multipliers,
        "target_epsilons": target_epsilons,
        "seeds": seeds,
        "baselines": baselines,
        "base": '[federation]\ndataset = "heart-disease"\n',
        "versions": {"wardround": "0.1.0", "torch": "2.13.0"},
        "runs": dict.fromkeys(names, ""),
    }
    (folder / "study.json").write_text(json.dumps(facts | ({"vary": vary} if vary else {})))
    for row in rows:
        if not row["baseline"]:
            _write_summary(folder / "runs" / row["run"], row, sizes, record_is)
    return folder


def _row(baseline: str, unit: str, placement: str, held: str, level: float, seed: int, task: str) -> dict[str, Any]:
    wobble = 0.01 * math.sin(seed)
    score = (BASELINE_SCORES[baseline] if baseline else score_of(placement, level, held)) + wobble
    spent = math.inf if baseline else 0.95 * level if held == "epsilon" else 8 / level
    word = f"{unit}-{placement}-{held}-{level:g}"
    return {
        "placement": placement,
        "unit": unit,
        "noise_multiplier": "" if baseline else 4 / level if held == "epsilon" else level,
        "target_epsilon": level if held == "epsilon" else "",
        "seed": seed,
        "baseline": baseline,
        "epsilon_max": spent,
        "epsilon_total": spent,
        "accuracy": score - 0.05,
        "auc": score if task == "classification" else "",
        "seconds": 1.25,
        "run": f"{baseline or word}-seed-{seed}",
        "status": "done",
        "num_rounds": 40,
        "task": task,
        "epsilon_server": math.inf if placement == "central" else spent,
        "epsilon_hospital": spent * (1.2 if placement == "distributed" else 1.0),
        "epsilon_recipient": spent,
        "target_delta": "" if baseline else 1e-5,
        # In a study of real runs the seeds differ a little, since they split the records.
        "coin_toss_accuracy": "" if baseline else 0.52 + seed / 1000,
        "tpr_at_fpr_0.01": "" if baseline else 0.015,
        "tpr_at_fpr_0.001": "" if baseline else 0.0018,
    }


def _varied(row: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """Return a row with the values of varied settings: those of [training] alone change a baseline, but majority."""
    values = {
        name: "" if row["baseline"] and (row["baseline"] == "majority" or "training." not in name) else value
        for name, value in values.items()
    }
    cost = 0.01 * sum(map(len, values.values()))
    scores = {key: row[key] - cost for key in ("accuracy", "auc") if row[key] != ""}
    return row | scores | values | {"run": "-".join([row["run"], *filter(None, values.values())])}


def _hospitals(row: dict[str, Any], sizes: dict[str, int], vary: Iterable[str]) -> list[dict[str, Any]]:
    lines = []
    for index, (name, size) in enumerate(sizes.items()):
        is_one_class = name == "Switzerland"
        lines.append(
            {key: row[key] for key in (*HOSPITAL_COLUMNS, *vary) if key in row}
            | {
                "hospital": name,
                "num_examples": size if size >= 10 else "<10",
                "num_test": 100,
                "epsilon": row["epsilon_max"],
                "accuracy": row["accuracy"] - 0.02 * index,
                "auc": "" if is_one_class or row["auc"] == "" else row["auc"] - 0.02 * index,
            }
        )
    return lines


def _noise(units: tuple[str, ...], placements: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for unit in units:
        for placement in placements:
            for n in (4, 10, 20, 100):
                theory = (2.0 if unit == "hospital" else 1.0) / math.sqrt(n) if placement == "local" else 1.0 / n
                values = (unit, placement, n, 1.0, 1.0, 20000, theory * 1.01, theory)
                rows.append(dict(zip(NOISE_COLUMNS, values, strict=True)))
    return rows


def _write_summary(folder: Path, row: dict[str, Any], sizes: dict[str, int], record_is: str) -> None:
    cell = cell_in_words(row["unit"], row["placement"])
    folder.mkdir(parents=True)
    summary = {
        "dataset": "heart-disease",
        "num_hospitals": len(sizes),
        "num_rounds": row["num_rounds"],
        "num_rounds_planned": 40,
        "status": row["status"],
        "unit": row["unit"],
        "record_is": record_is,
        "placement": row["placement"],
        "relation": cell.relation,
        "mechanism": cell.mechanism,
        "target_delta": 1e-5,
        "epsilon": {"max": row["epsilon_max"], "total": row["epsilon_total"], "hospitals": {}, "readers": {}},
        "attacker": {"by": "pld"},
        "patient_overlap": 1,
        "loss": 0.5,
        "seconds": row["seconds"],
        "seed": row["seed"],
        "model": "logistic",
        "left_out": [],
        "hospitals": [],
        "leaves_hospital": {},
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def _write(path: Path, columns: Any, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(columns), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
