"""What a tune chooses by its scores, and the files that say so: tuning.csv, chosen.toml and summary.json.

What is left out on purpose: where scores come from (see `tuning`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from wardround.config import config_to_toml
from wardround.disk import write_whole
from wardround.errors import WardroundError
from wardround.json_records import json_keys, json_values
from wardround.json_text import json_text, plain_values
from wardround.privacy.cells import cell_of
from wardround.server.record.run_folder import MODEL, PERSONAL, writing
from wardround.server.record.summaries import EpsilonSummary
from wardround.simulations.studies.study_files import csv_text, write_text
from wardround.simulations.studies.tune import Candidate, Tune
from wardround.simulations.studies.tune_records import CandidateRow, TuneSummary
from wardround.simulations.studies.tune_words import head_of_chosen

__all__ = ["Scored", "write_choice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What the runs of the candidates came to.

    Attributes:
        scores: by candidate, of its runs that have one, by the run's name.
        name: of the score.
        failures: why runs have none, by run.
        epsilon: that was spent of the job's data.
        epsilon_each: of each repetition, about; None on a stand-in.
        training_epsilon: target of each repetition's run; None on a stand-in.
        score_stddev: of the noise on a score; nan where there is none.
        larger_is_better: whether it is.
        num_wanted: scores that a candidate must have on a stand-in: one of every seed.
    """

    scores: Sequence[Mapping[str, float]]
    name: str
    failures: Mapping[str, str]
    epsilon: EpsilonSummary
    epsilon_each: float | None = None
    training_epsilon: float | None = None
    score_stddev: float = math.nan
    larger_is_better: bool = True
    num_wanted: int = 1


def write_choice(tune: Tune, folder: Path, scored: Scored) -> TuneSummary:
    """Choose, write what was chosen and why, and return it.

    Raises:
        WardroundError: no candidate has a score, or a file can't be written.
    """
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
        trained = folder / "runs" / run
        for name in (MODEL, PERSONAL):
            if name == MODEL or (trained / name).is_file():
                with writing(folder / name, "repeat the command with the same --out"):
                    write_whole(folder / name, (trained / name).read_bytes())
        chosen = replace(chosen, privacy=replace(chosen.privacy, target_epsilon=scored.training_epsilon))
    head = "".join(f"# {line}\n" for line in head_of_chosen(summary))
    write_text(folder / "chosen.toml", f"{head}\n{config_to_toml(chosen)}")
    write_text(folder / "summary.json", json_text(json_values(summary)) + "\n")
    return summary


def _best(scored: Scored) -> tuple[int, str] | None:
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


def _row(tune: Tune, scored: Scored, candidate: Candidate, place: int, *, chosen: int) -> CandidateRow:
    scores = scored.scores[place]
    values, run = list(scores.values()), ""
    score = fmean(values) if values else math.nan
    stddev = stdev(values) if len(values) > 1 else math.nan
    if tune.is_private:
        stddev = scored.score_stddev if scores else math.nan
        run = min(scores, key=lambda name: scores[name], default="")
        score = scores.get(run, math.nan)
    data = tune.study.base.federation.dataset
    return CandidateRow(
        candidate=candidate.name,
        num_runs=len(values),
        score=score,
        score_stddev=stddev,
        score_name=scored.name,
        trained_on=f"{tune.on} {data}",
        scored_on=_scored_on(tune, data),
        is_chosen=place == chosen,
        run=run,
        varied=candidate.varied,
    )


def _scored_on(tune: Tune, data: str) -> str:
    if not tune.is_private:
        return f"test records of the stand-in {data}"
    return "public records" if tune.score_share is None else "training records, with noise"


def _write_rows(folder: Path, rows: Sequence[CandidateRow], varied: Sequence[str]) -> None:
    columns: list[str] = [key for key in json_keys(CandidateRow) if key != "varied"]
    lines: list[dict[str, Any]] = []
    for row in rows:
        values = json_values(row)
        cells = dict(values.pop("varied", None) or ())
        lines.append(plain_values(values | cells))
    write_text(folder / "tuning.csv", csv_text([*columns, *varied], lines))


def _summary(tune: Tune, scored: Scored, row: CandidateRow, run: str) -> TuneSummary:
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
        score_share=tune.score_share,
        repetitions=tune.repetitions,
        mean_repetitions=tune.mean_repetitions,
        most_repetitions=len(tune.law) if tune.is_private else None,
        status="above-target" if scored.epsilon.total > target else "done",
        failures=scored.failures,
    )
