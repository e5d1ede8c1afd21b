"""Run a tune: candidates on a stand-in as a study, or on private data as repetitions that are billed; then choose.

Its folder has the runs, tuning.csv, summary.json and chosen.toml; on private data the released model too. It is taken
up where it was interrupted. What is left out on purpose: the candidates (see `tune`), and anything printed.
"""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from wardround.config import config_to_toml
from wardround.disk import file_text
from wardround.errors import WardroundError
from wardround.json_records import json_keys, json_values, read_json_record
from wardround.json_text import json_text, plain_values
from wardround.parsing import from_json
from wardround.privacy.cells import READERS, cell_of
from wardround.server.record.run_folder import writing
from wardround.server.record.summaries import EpsilonSummary, Summary
from wardround.simulations.prepared import silent
from wardround.simulations.studies.comparison import compare
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.repetitions import draw_repetitions, repetition_runs
from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_files import begin_or_check, csv_text, versions_of, write_text
from wardround.simulations.studies.study_records import ResultRow, RunRows
from wardround.simulations.studies.study_run import read_result
from wardround.simulations.studies.tune import Candidate, Tune
from wardround.simulations.studies.tune_bill import bill, charged, size_repetitions
from wardround.simulations.studies.tune_records import CandidateRow, TuneFacts, TuneSummary
from wardround.simulations.studies.tune_words import head_of_chosen
from wardround.simulations.studies.workers import place_of, run_all

__all__ = ["Tuning", "run_tune"]

_Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """A tune that came to its end: its folder, and its summary."""

    folder: Path
    summary: TuneSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """Scores of each candidate's runs, by its place, each with the run's name; what they are of, and what was spent."""

    scores: Sequence[Mapping[str, float]]
    name: str
    failures: Mapping[str, str]
    epsilon: EpsilonSummary
    epsilon_each: float | None = None
    larger_is_better: bool = True
    num_wanted: int = 1


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
    candidates = tune.candidates()
    best = _best(scored)
    if best is None:
        why = next(iter(scored.failures.items()), ("", "every score is undefined"))
        raise WardroundError(f"no candidate has a score to choose by; {': '.join(filter(None, why))}")
    place, run = best
    rows = [_row(tune, scored, candidates[n], n, chosen=place) for n in range(len(candidates))]
    _write_rows(folder, rows, list(tune.study.vary.values))
    summary = _summary(tune, scored, rows[place], run)
    chosen = candidates[place].config
    if tune.is_private:
        with writing(folder / "model.safetensors", "repeat the command with the same --out"):
            shutil.copyfile(folder / "runs" / run / "model.safetensors", folder / "model.safetensors")
        chosen = replace(chosen, privacy=replace(chosen.privacy, target_epsilon=scored.epsilon_each))
    head = "".join(f"# {line}\n" for line in head_of_chosen(summary))
    write_text(folder / "chosen.toml", f"{head}\n{config_to_toml(chosen)}")
    write_text(folder / "summary.json", json_text(json_values(summary)) + "\n")
    return Tuning(folder=folder, summary=summary)


def _on_stand_in(tune: Tune, folder: Path, num_workers: int | None, progress: _Progress | None) -> _Scored:
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
    return _Scored(scores=scores, name=name, failures=done.failures, epsilon=nothing, num_wanted=len(tune.study.seeds))


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
) -> _Scored:
    """Return the scores of the repetitions on public records, and the whole bill."""
    candidates = tune.candidates()
    data = DataOnce()
    say("sizing the noise of all repetitions")
    sizing = size_repetitions(tune, data.load)
    facts = _facts(tune, folder, candidates, sizing.epsilon)
    items = repetition_runs(candidates, facts.drawn, epsilon_each=facts.epsilon_each)
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
        run_all(todo, folder, tune.job, done, num_workers=num_workers)
    scores: list[dict[str, float]] = [{} for _ in candidates]
    for item, place in zip(items, facts.drawn, strict=True):
        score = _public_loss(place_of(folder, item))
        if score is not None and math.isfinite(score) and item.name not in failures:
            scores[place][item.name] = score
    accounts = [charged(place_of(folder, item), sizing.planned[0]) for item in items]
    return _Scored(
        scores=scores,
        name="loss on public records",
        failures=failures,
        epsilon=bill(tune, sizing.planned, accounts),
        epsilon_each=facts.epsilon_each,
        larger_is_better=False,
    )


def _facts(tune: Tune, folder: Path, candidates: Sequence[Candidate], epsilon_each: float) -> TuneFacts:
    """Return what the tune was begun with; where it begins now, its repetitions are drawn and kept first of all."""
    wanted = TuneFacts(
        name=tune.study.name,
        runs={one.name: config_to_toml(one.config) for one in candidates},
        versions=versions_of(tune.job),
        law=tune.law,
        drawn=draw_repetitions(tune),
        epsilon_each=epsilon_each,
    )
    kept = begin_or_check(folder, "tune.json", json_values(wanted), same=("runs", "law"))
    return read_json_record(TuneFacts, kept, "tune.json")


def _public_loss(folder: Path) -> float | None:
    try:
        return read_json_record(Summary, from_json(file_text(folder / "summary.json"))).public_loss
    except (OSError, ValueError):
        return None


def _best(scored: _Scored) -> tuple[int, str] | None:
    """Return the place of the best candidate and, of repetitions, the best run; the first of equal ones."""
    sign = 1.0 if scored.larger_is_better else -1.0
    found: list[tuple[float, int, str]] = []
    for place, scores in enumerate(scored.scores):
        if scored.epsilon_each is not None:
            found += [(sign * score, place, run) for run, score in scores.items()]
        elif len(scores) == scored.num_wanted:
            found.append((sign * fmean(scores.values()), place, ""))
    if not found:
        return None
    _, place, run = max(found, key=lambda item: item[0])
    return place, run


def _row(tune: Tune, scored: _Scored, candidate: Candidate, place: int, *, chosen: int) -> CandidateRow:
    scores = scored.scores[place]
    values, run = list(scores.values()), ""
    score = fmean(values) if values else math.nan
    if tune.is_private and scores:
        run = min(scores, key=lambda name: scores[name])
        score = scores[run]
    data = tune.study.base.federation.dataset
    return CandidateRow(
        candidate=candidate.name,
        num_runs=len(values),
        score=score,
        score_stddev=stdev(values) if len(values) > 1 and not tune.is_private else math.nan,
        score_name=scored.name,
        trained_on=f"{tune.on} {data}",
        scored_on="public records" if tune.is_private else f"test records of the stand-in {data}",
        is_chosen=place == chosen,
        run=run,
        varied=candidate.varied,
    )


def _write_rows(folder: Path, rows: Sequence[CandidateRow], varied: Sequence[str]) -> None:
    columns: list[str] = [key for key in json_keys(CandidateRow) if key != "varied"]
    lines: list[dict[str, Any]] = []
    for row in rows:
        values = json_values(row)
        cells = dict(values.pop("varied", None) or ())
        lines.append(plain_values(values | cells))
    write_text(folder / "tuning.csv", csv_text([*columns, *varied], lines))


def _summary(tune: Tune, scored: _Scored, row: CandidateRow, run: str) -> TuneSummary:
    privacy = tune.job.privacy
    target = float(privacy.target_epsilon or 0.0)
    return TuneSummary(
        name=tune.study.name,
        on=tune.on,
        dataset=tune.job.federation.dataset,
        stand_in=None if tune.is_private else tune.study.base.federation.dataset,
        score_name=scored.name,
        larger_is_better=scored.larger_is_better,
        num_candidates=len(scored.scores),
        num_runs=sum(map(len, scored.scores)),
        chosen={pair[0]: pair[1] for pair in row.varied or ()},
        candidate=row.candidate,
        score=row.score,
        run=run,
        target_epsilon=target,
        unit=privacy.unit,
        relation=cell_of(privacy).relation,
        placement=privacy.placement,
        epsilon=scored.epsilon,
        epsilon_each=scored.epsilon_each,
        repetitions=tune.repetitions,
        mean_repetitions=tune.mean_repetitions,
        most_repetitions=len(tune.law) if tune.is_private else None,
        status="above-target" if scored.epsilon.total > target else "done",
        failures=scored.failures,
    )
