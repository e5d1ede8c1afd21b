"""One run of a study, from its settings to its rows; what a worker of `compare` does.

A run with privacy is `wardround.run` with the stacked engine, so its figures are those of the single run, to the bit.
Its rows are kept beside it in result.json, which is how a study knows what is done.
"""

import csv
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wardround.datasets import FederatedData
from wardround.disk import file_text
from wardround.json_records import json_values, read_json_record
from wardround.json_text import json_text
from wardround.parsing import from_json
from wardround.privacy.cells import READERS, cell_of
from wardround.server.record.class_reports import class_report
from wardround.server.record.evaluated import AUC_POOLED, BRIER_INTEGRATED, Evaluated, columns_of
from wardround.server.record.summaries import Summary
from wardround.server.record.tables import mean_over_tests
from wardround.simulations.runs import resume, run
from wardround.simulations.studies.baselines import evaluate_baseline
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_files import write_text
from wardround.simulations.studies.study_records import HospitalRow, ResultRow, RunRows
from wardround.small_counts import shown_count

__all__ = ["finish_run", "read_result"]

_RESULT = "result.json"
_ATTACKER = ("gdp_mu", "coin_toss_accuracy", "tpr_at_fpr_1_percent", "tpr_at_fpr_01_percent")


def read_result(folder: Path) -> RunRows | None:
    """Return the rows of a run that is done; None before."""
    try:
        return read_json_record(RunRows, from_json(file_text(folder / _RESULT)))
    except (OSError, ValueError):
        return None  # made again, from the run's own files where these are whole


def finish_run(study_run: StudyRun, folder: Path, *, data: DataOnce | None = None, is_synced: bool = True) -> RunRows:
    """Run, or go on with, one run of a study in its folder, and return its rows.

    Args:
        study_run: which.
        folder: its own.
        data: of the runs that this process does; None reads this one's alone.
        is_synced: whether each of its files is durable at once, or all of them before there are rows.

    Raises:
        WardroundError: see `errors`; the other runs of the study are not concerned.
    """
    load = (data or DataOnce()).load
    if study_run.baseline in ("", "federated"):
        if (folder / "ledger.sqlite").is_file():
            finished = resume(folder, load=load, is_synced=is_synced)
        else:
            # Killed before there was a ledger: nothing was trained or charged, and `run` wants an empty folder.
            shutil.rmtree(folder, ignore_errors=True)
            finished = run(study_run.config, out=folder, load=load, is_synced=is_synced)
        with (folder / "hospitals.csv").open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        kept = finished.outcome.kept_round
        if kept is not None:
            lines = [line for line in lines if int(line["round"]) <= kept]
        # Of each the last line, with its scores after the last round that it was tested in.
        last_lines = {line["hospital"]: line for line in lines}
        tested = {line["hospital"]: line for line in lines if line["accuracy"]}
        scores = {name: {key: line[key] for key in ("accuracy", "auc")} for name, line in tested.items()}
        rows = [line | scores.get(name, {}) for name, line in last_lines.items()]
        result = _result_of_run(study_run, finished.outcome, rows)
    else:
        started = time.perf_counter()
        federation = load(study_run.config.federation, study_run.config.features)
        evaluated = evaluate_baseline(study_run.config, federation, study_run.baseline)
        result = _result_of_baseline(study_run, federation, evaluated, time.perf_counter() - started)
    write_text(folder / _RESULT, json_text(json_values(result)) + "\n")
    return result


def _result_of_run(study_run: StudyRun, outcome: Summary, last_lines: list[dict[str, str]]) -> RunRows:
    noise: Mapping[str, float] = {} if study_run.baseline else outcome.noise_multiplier
    num_test = {item.hospital: item.num_test for item in outcome.hospitals}
    epsilon, scores, labels = outcome.epsilon, outcome.scores, _labels(study_run)
    readers: dict[str, Any] = {f"epsilon_{reader}": epsilon.readers[reader] for reader in READERS}
    row = ResultRow(
        **labels,
        **readers,
        noise_multiplier=max(noise.values(), default=math.nan),
        epsilon_max=epsilon.max,
        epsilon_total=epsilon.total,
        score=_number(scores.score if scores else None),
        auc=_number(scores.auc if scores else None),
        seconds=round(outcome.seconds, 4),
        status=outcome.status,
        num_rounds=outcome.num_rounds,
        task=outcome.facts.task or "",
        **({} if study_run.baseline else _attacker(outcome)),
        auc_pooled=_number(getattr(scores, AUC_POOLED, None)),
        brier_integrated=_number(getattr(scores, BRIER_INTEGRATED, None)),
        balanced_accuracy=_number(outcome.class_report.recall_macro if outcome.class_report else None),
    )
    hospitals = tuple(
        HospitalRow(
            **labels,
            noise_multiplier=noise.get(line["hospital"], math.nan),
            hospital=line["hospital"],
            num_train=line["num_examples"],
            epsilon=epsilon.hospitals[line["hospital"]],
            score=_number(line["accuracy"]),
            auc=_number(line["auc"]),
            num_test=num_test[line["hospital"]],
        )
        for line in last_lines
    )
    return RunRows(row=row, hospitals=hospitals)


def _attacker(outcome: Summary) -> dict[str, Any]:
    """Return the columns on what an attacker reaches at most, as far as the run says it."""
    told = {"target_delta": _number(outcome.epsilon.target_delta)}
    if outcome.attackers and (attacker := outcome.attackers.attacker):
        told |= {name: _number(getattr(attacker, name)) for name in _ATTACKER}
    return told


def _result_of_baseline(
    study_run: StudyRun, federation: FederatedData, evaluated: Evaluated, seconds: float
) -> RunRows:
    # Whatever was computed from the records without noise has no finite epsilon for whoever gets to see it: a class
    # that is the most frequent by one record is no exception.
    labels = _labels(study_run) | {"noise_multiplier": math.nan}
    readers: dict[str, Any] = {f"epsilon_{reader}": math.inf for reader in READERS}
    columns = columns_of(is_measured=True, task=federation.task, has_public=False, metrics=())
    further = dict(zip(columns, evaluated.columns or (None,) * len(columns), strict=True))
    pooled, counts = evaluated.pooled_score, evaluated.class_counts
    row = ResultRow(
        **labels,
        **readers,
        epsilon_max=math.inf,
        epsilon_total=math.inf,
        score=mean_over_tests(evaluated.evaluations, "score") if pooled is None else pooled,
        auc=mean_over_tests(evaluated.evaluations, "auc"),
        seconds=round(seconds, 4),
        status="done",
        num_rounds=0 if study_run.baseline == "majority" else study_run.config.training.num_rounds,
        task=federation.task,
        auc_pooled=_number(further.get(AUC_POOLED)),
        brier_integrated=_number(further.get(BRIER_INTEGRATED)),
        balanced_accuracy=_number(class_report(counts, None).recall_macro if counts else None),
    )
    hospitals = tuple(
        HospitalRow(
            **labels,
            hospital=hospital.hospital_id,
            num_train=shown_count(hospital.num_train),
            epsilon=math.inf,
            score=evaluation.score,
            auc=evaluation.auc,
            num_test=shown_count(evaluation.num_examples),
        )
        for hospital, evaluation in zip(federation.hospitals, evaluated.evaluations.values(), strict=True)
    )
    return RunRows(row=row, hospitals=hospitals)


def _number(score: float | str | None) -> float:
    return math.nan if score is None or score == "" else float(score)


def _labels(study_run: StudyRun) -> dict[str, Any]:
    """Return the columns that tell the runs apart, of both tables."""
    privacy = study_run.config.privacy
    return {
        "placement": privacy.placement,
        "unit": "" if study_run.baseline else privacy.unit,
        "target_epsilon": _number(privacy.target_epsilon),
        "seed": study_run.config.federation.seed,
        "baseline": study_run.baseline,
        "run": study_run.name,
        "relation": "" if study_run.baseline else cell_of(privacy).relation,
        "varied": study_run.varied,
    }
