"""One run of a study, from its settings to its rows; what a worker of `compare` does.

A run with privacy is `wardround.run` with the inline engine, so its figures are those of the single run, to the bit.
Its rows are kept beside it in result.json, which is how a study knows what is done.
"""

import csv
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wardround.disk import file_text
from wardround.json_records import json_values
from wardround.json_text import json_text, plain_values
from wardround.parsing import from_json
from wardround.privacy.cells import cell_of
from wardround.server.record.summaries import Summary
from wardround.server.record.tables import mean_over_tests
from wardround.simulations.runs import resume, run
from wardround.simulations.studies.baselines import Baseline, evaluate_baseline
from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_files import write_text
from wardround.small_counts import shown_count

__all__ = ["HOSPITAL_COLUMNS", "RESULT_COLUMNS", "finish_run", "read_result"]

_ATTACK_FIGURES = ("coin_toss_accuracy", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")
RESULT_COLUMNS = (
    *("placement", "unit", "noise_multiplier", "target_epsilon", "seed", "baseline", "epsilon_max", "epsilon_total"),
    *("accuracy", "auc", "seconds", "run", "status", "num_rounds", "task"),
    *("epsilon_server", "epsilon_hospital", "epsilon_recipient", "relation", "target_delta", "gdp_mu"),
    *_ATTACK_FIGURES,
)
"""accuracy is r2 where the task is regression, as in a run's own tables."""
HOSPITAL_COLUMNS = (
    *("placement", "unit", "noise_multiplier", "target_epsilon", "seed", "baseline", "hospital", "num_examples"),
    *("epsilon", "accuracy", "auc", "run", "num_test", "relation"),
)
_EPSILONS = ("epsilon_max", "epsilon_total", "epsilon_server", "epsilon_hospital", "epsilon_recipient")
_RESULT = "result.json"


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the rows of a run that is done, {"row": ..., "hospitals": [...]}; None before."""
    try:
        result = from_json(file_text(folder / _RESULT))
    except (OSError, ValueError):
        return None  # made again, from the run's own files where these are whole
    return result if isinstance(result, dict) and {"row", "hospitals"} <= result.keys() else None


def finish_run(study_run: StudyRun, folder: Path) -> dict[str, Any]:
    """Run, or go on with, one run of a study in its folder, and return its rows.

    Raises:
        WardroundError: see `errors`; the other runs of the study are not concerned.
    """
    if study_run.baseline in ("", "federated"):
        if (folder / "ledger.sqlite").is_file():
            finished = resume(folder)
        else:
            # Killed before there was a ledger: nothing was trained or charged, and `run` wants an empty folder.
            shutil.rmtree(folder, ignore_errors=True)
            finished = run(study_run.config, out=folder)
        result = _result_of_run(study_run, finished.outcome, _last_rows(folder))
    else:
        started = time.perf_counter()
        baseline = evaluate_baseline(study_run.config, study_run.baseline)
        result = _result_of_baseline(study_run, baseline, time.perf_counter() - started)
    write_text(folder / _RESULT, json_text(result) + "\n")
    return result


def _last_rows(folder: Path) -> list[dict[str, str]]:
    """Return each hospital's row of the last round in hospitals.csv."""
    with (folder / "hospitals.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["round"] == rows[-1]["round"]]


def _result_of_run(study_run: StudyRun, outcome: Summary, last_rows: list[dict[str, str]]) -> dict[str, Any]:
    noise: Mapping[str, float] = {} if study_run.baseline else outcome.noise_multiplier
    num_test = {item.hospital: item.num_test for item in outcome.hospitals}
    epsilon, scores, labels = outcome.epsilon, outcome.scores, _labels(study_run)
    row = labels | {
        "noise_multiplier": max(noise.values(), default=None),
        "epsilon_max": epsilon.max,
        "epsilon_total": epsilon.total,
        "accuracy": scores.score if scores else None,
        "auc": scores.auc if scores else None,
        "seconds": round(outcome.seconds, 4),
        "status": outcome.status,
        "num_rounds": outcome.num_rounds,
        "task": outcome.facts.task,
        **{f"epsilon_{reader}": value for reader, value in epsilon.readers.items()},
    }
    if not study_run.baseline:
        attacker = outcome.attackers and outcome.attackers.attacker
        figures = json_values(attacker) if attacker else {}
        row |= {key: figures.get(key) for key in ("gdp_mu", *_ATTACK_FIGURES)}
        row["target_delta"] = epsilon.target_delta
    hospitals = [
        labels
        | {
            "noise_multiplier": noise.get(line["hospital"]),
            "hospital": line["hospital"],
            "num_examples": line["num_examples"],
            "epsilon": epsilon.hospitals[line["hospital"]],
            "accuracy": float(line["accuracy"] or "nan"),
            "auc": float(line["auc"] or "nan"),
            "num_test": num_test[line["hospital"]],
        }
        for line in last_rows
    ]
    return _result(row, hospitals)


def _result_of_baseline(study_run: StudyRun, baseline: Baseline, seconds: float) -> dict[str, Any]:
    # Whatever was computed from the records without noise has no finite epsilon for whoever gets to see it: a class
    # that is the most frequent by one record is no exception.
    labels = _labels(study_run) | {"noise_multiplier": None}
    row = labels | {
        **dict.fromkeys(_EPSILONS, float("inf")),
        "accuracy": mean_over_tests(baseline.evaluations, lambda evaluation: evaluation.accuracy),
        "auc": mean_over_tests(baseline.evaluations, lambda evaluation: evaluation.auc),
        "seconds": round(seconds, 4),
        "status": "done",
        "num_rounds": 0 if study_run.baseline == "majority" else study_run.config.training.num_rounds,
        "task": baseline.task,
    }
    hospitals = [
        labels
        | {
            "hospital": name,
            "num_examples": shown_count(baseline.num_train[name]),
            "epsilon": float("inf"),
            "accuracy": evaluation.accuracy,
            "auc": evaluation.auc,
            "num_test": shown_count(evaluation.num_examples),
        }
        for name, evaluation in baseline.evaluations.items()
    ]
    return _result(row, hospitals)


def _result(row: Mapping[str, Any], hospitals: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rows with infinite as "inf" and undefined as None, as JSON and CSV have them."""
    result: dict[str, Any] = plain_values({"row": row, "hospitals": hospitals})
    return result


def _labels(study_run: StudyRun) -> dict[str, Any]:
    privacy = study_run.config.privacy
    return {
        "placement": "none" if study_run.baseline else privacy.placement,
        "unit": "" if study_run.baseline else privacy.unit,
        "target_epsilon": None if study_run.baseline else privacy.target_epsilon,
        "seed": study_run.config.federation.seed,
        "baseline": study_run.baseline,
        "run": study_run.name,
        "relation": "" if study_run.baseline else cell_of(privacy).relation,
    }
