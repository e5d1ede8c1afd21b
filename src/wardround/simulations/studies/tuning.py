"""Run a tune: candidates on a stand-in as a study, or on private data as repetitions that are billed; then choose.

Its folder has the runs, tuning.csv, summary.json and chosen.toml; on private data the released model too. It is taken
up where it was interrupted. What is left out on purpose: the candidates (see `tune`), and anything printed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardround.config import Config, config_to_toml
from wardround.disk import file_text
from wardround.errors import WardroundError
from wardround.json_records import json_values, read_json_record
from wardround.parsing import from_json
from wardround.privacy.cells import READERS
from wardround.server.record.summaries import EpsilonSummary, Summary
from wardround.simulations.prepared import silent
from wardround.simulations.studies.choosing import Scored, write_choice
from wardround.simulations.studies.comparison import compare
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.noisy_scores import Load, release_score
from wardround.simulations.studies.repetitions import draw_repetitions, repetition_runs
from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_files import begin_or_check, versions_of
from wardround.simulations.studies.study_records import ResultRow, RunRows
from wardround.simulations.studies.study_run import read_result
from wardround.simulations.studies.tune import Candidate, Tune
from wardround.simulations.studies.tune_bill import (
    bill,
    charged,
    planning_with,
    shares_of,
    size_repetitions,
    together,
)
from wardround.simulations.studies.tune_records import TuneFacts, TuneSummary
from wardround.simulations.studies.workers import place_of, run_all

__all__ = ["Tuning", "run_tune"]

_Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """A tune that came to its end: its folder, and its summary."""

    folder: Path
    summary: TuneSummary


def run_tune(
    tune: Tune,
    folder: Path,
    *,
    num_workers: int | None = None,
    progress: _Progress | None = None,
    say: Callable[[str], None] = silent,
) -> Tuning:
    """Run what is left of a tune, choose, and write its tables.

    Args:
        tune: what is chosen, and on what.
        folder: new, empty, or of the same tune before.
        num_workers: processes (>= 1); None is [simulation] num-workers of the base, or one per processor.
        progress: called after every run with how many are done, how many there are, and the run's name.
        say: called with a few words whenever something that takes a while begins.

    Raises:
        ConfigError: a candidate does not fit, or the folder holds something else.
        BudgetError: the repetitions can't be kept within the target.
        WardroundError: no candidate has a score.
    """
    scored = (
        _on_private(tune, folder, num_workers, progress, say)
        if tune.is_private
        else _on_stand_in(tune, folder, num_workers, progress)
    )
    return Tuning(folder=folder, summary=write_choice(tune, folder, scored))


def _on_stand_in(tune: Tune, folder: Path, num_workers: int | None, progress: _Progress | None) -> Scored:
    """Return the scores on the stand-in; what is loaded there is the stand-in's, and the job's data have no place."""
    done = compare(tune.study, folder, num_workers=num_workers, progress=progress)
    runs = tune.study.runs()
    results = {item.name: read_result(place_of(folder, item)) for item in runs}
    of_score, name = _stand_in_score(tune, [found.row for found in results.values() if found])
    scores = []
    for candidate in tune.candidates():
        mine = [item for item in runs if item.varied == candidate.varied]
        found = {item.name: of_score(rows.row) for item in mine if (rows := results[item.name])}
        scores.append({run: score for run, score in found.items() if not math.isnan(score)})
    nothing = EpsilonSummary(max=0.0, total=0.0, hospitals={}, target_delta=None, readers=dict.fromkeys(READERS, 0.0))
    return Scored(scores=scores, name=name, failures=done.failures, epsilon=nothing, num_wanted=len(tune.study.seeds))


def _stand_in_score(tune: Tune, rows: Sequence[ResultRow]) -> tuple[Callable[[ResultRow], float], str]:
    wanted = tune.score
    if wanted == "auto":
        wanted = "auc" if any(not math.isnan(row.auc) for row in rows) else "accuracy"
    field = {"auc": "auc", "auc-pooled": "auc_pooled", "accuracy": "score"}[str(wanted)]
    is_regression = any(row.task == "regression" for row in rows)
    name = "r2" if field == "score" and is_regression else {"auc": "AUC", "auc_pooled": "AUC, pooled"}.get(field)
    return lambda row: float(getattr(row, field)), name or "accuracy"


def _on_private(
    tune: Tune, folder: Path, num_workers: int | None, progress: _Progress | None, say: Callable[[str], None]
) -> Scored:
    """Return the scores of the repetitions, which are public or billed, and the whole bill."""
    candidates, load = tune.candidates(), DataOnce().load
    say("sizing the noise of all repetitions")
    sizing = size_repetitions(tune, planning_with(tune, load))
    facts = _facts(tune, folder, candidates, sizing.shares.whole)
    shares = shares_of(tune, facts.epsilon_each)
    items = repetition_runs(candidates, facts.drawn, epsilon_each=shares.training)
    failures = _train(items, folder, tune.job, num_workers, progress)
    scores: list[dict[str, float]] = [{} for _ in candidates]
    accounts = []
    for item, place in zip(items, facts.drawn, strict=True):
        folders = place_of(folder, item), folder / "scores" / item.name
        if item.name not in failures:
            try:
                score = _score_of(item, *folders, shares.score, load)
            except WardroundError as error:
                score, failures[item.name] = math.nan, str(error)
            scores[place] |= {item.name: score} if math.isfinite(score) else {}
        accounts.append(together([charged(each, sizing.planned[0]) for each in folders]))
    return Scored(
        scores=scores,
        name="loss on public records" if shares.score is None else "Brier score of training records, with noise",
        failures=failures,
        epsilon=bill(tune, sizing.planned, accounts),
        epsilon_each=facts.epsilon_each,
        training_epsilon=shares.training,
        score_stddev=sizing.score_stddev,
        larger_is_better=False,
    )


def _train(
    items: Sequence[StudyRun], folder: Path, job: Config, num_workers: int | None, progress: _Progress | None
) -> dict[str, str]:
    """Train the repetitions that are not done, and return why some failed, by name."""
    failures: dict[str, str] = {}
    todo = [item for item in items if read_result(place_of(folder, item)) is None]
    num_done = len(items) - len(todo)

    def done(item: StudyRun, result: RunRows | None, reason: str) -> None:
        nonlocal num_done
        num_done += 1
        if result is None:
            failures[item.name] = reason
        if progress is not None:
            progress(num_done, len(items), item.name)

    if progress is not None and num_done:
        progress(num_done, len(items), "found done")
    if todo:
        run_all(todo, folder, job, done, num_workers=num_workers)
    return failures


def _score_of(item: StudyRun, trained: Path, folder: Path, epsilon: float | None, load: Load) -> float:
    """Return the loss of a repetition's model: on public records, or released with noise for so much epsilon."""
    if epsilon is not None:
        return release_score(item.config, trained, folder, epsilon, load)
    summary = read_json_record(Summary, from_json(file_text(trained / "summary.json")))
    return math.nan if summary.public_loss is None else summary.public_loss


def _facts(tune: Tune, folder: Path, candidates: Sequence[Candidate], epsilon_each: float) -> TuneFacts:
    """Return what the tune was begun with; where it begins now, its repetitions are drawn and kept first of all."""
    wanted = TuneFacts(
        name=tune.study.name,
        runs={one.name: config_to_toml(one.config) for one in candidates},
        versions=versions_of(tune.job),
        law=tune.law,
        score=str(tune.score),
        score_share=tune.score_share,
        drawn=draw_repetitions(tune),
        epsilon_each=epsilon_each,
    )
    same = ("runs", "law", "score", "score_share", "epsilon_each")
    kept = begin_or_check(folder, "tune.json", json_values(wanted), same=same)
    return read_json_record(TuneFacts, kept, "tune.json")
