"""The rows of rounds.csv and hospitals.csv, made from what was planned, executed and evaluated, and their text.

hospitals.csv has a line for each hospital and round. What is made and kept of a round is the rows of those to whom
something happened: the line of another says what the one before did, and that nothing was asked. So a round costs what
its cohort does, and not what the federation does. What is left out on purpose: files (see `run_folder`).
"""

import csv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wardround.json_records import json_keys
from wardround.privacy.spending import Account
from wardround.rounds import Assignment, Evaluation
from wardround.server.plan.plans import FederationPlan, HospitalPlan
from wardround.server.record.evaluated import Evaluated, hospital_columns
from wardround.server.record.records import HospitalFigures, RoundFigures, RoundRecord, further_columns
from wardround.small_counts import shown_count
from wardround.step_events import StepEvent

if TYPE_CHECKING:
    import pandas

__all__ = [
    "FOLLOWING_COLUMNS",
    "TABLES",
    "HospitalLines",
    "hospital_figures",
    "lines_after",
    "mean_over_tests",
    "next_lines",
    "quiet_row",
    "read_table",
    "table_rows",
    "table_text",
    "table_texts",
]

_SCORES = ("loss", "score", "auc")
FOLLOWING_COLUMNS = tuple(
    item.name for item in fields(HospitalFigures) if item.name not in {"hospital", "further", *_SCORES}
)
"""Of a hospital's row, what follows from the plan and the ledger's charges."""

TABLES = ("rounds.csv", "hospitals.csv")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HospitalLines:
    """A round's lines of hospitals.csv, and what those of the next are made of.

    Attributes:
        texts: by hospital, in name order: what follows the round's number in its line. Texts alone: Python's collector
            then does not look through the lines of all hospitals.
        rows: of those to whom something happened in the round; a line that says that nothing did is made of it where
            nothing happens next.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, HospitalFigures] = field(default_factory=dict)


def table_rows(
    plan: FederationPlan,
    account: Account,
    round_number: int,
    assignments: Sequence[Assignment],
    completed: Collection[str],
    evaluated: Evaluated,
    seconds: float,
    *,
    attempt: int = 1,
) -> tuple[RoundFigures, tuple[HospitalFigures, ...]]:
    """Return a round's row of rounds.csv, and its rows of hospitals.csv, of those to whom something happened.

    That is all hospitals before training and in a round that is done again (attempt > 1), which may have charged others
    before, whoever is asked now; else those that were asked, and those that have a score.

    Loss and accuracy of the round are over all test records, as are r2 and C; AUC is the mean over hospitals, weighted
    by their test records; None where nothing is measured, or the model was not evaluated after the round. A score of
    fewer than ten test records, or a rate that tells fewer than ten training records, is in no hospital's row.
    """
    evaluations = evaluated.evaluations
    scores = {name: mean_over_tests(evaluations, name) for name in _SCORES}
    scores |= {} if evaluated.pooled_score is None else {"score": evaluated.pooled_score}
    row = RoundFigures(
        round=round_number,
        num_selected=len(assignments),
        num_completed=len(completed),
        **(scores if plan.is_measured and evaluations else dict.fromkeys(scores)),
        epsilon_max=account.epsilon_total(1),
        epsilon_total=account.epsilon_total(plan.config.privacy.patient_overlap),
        seconds=round(seconds, 4),
        further=evaluated.columns,
    )
    events = {assignment.hospital_id: assignment.event for assignment in assignments}
    is_whole = round_number == 0 or attempt > 1
    concerned = plan.names if is_whole else sorted({*events, *evaluations} & plan.by_name.keys())
    rows = []
    for name in concerned:
        hospital, event, epsilon = plan.by_name[name], events.get(name), account.epsilon_of(name)
        own = hospital_figures(plan, hospital, round_number, event, completed=name in completed, epsilon=epsilon)
        own = _with_scores(own, hospital, evaluated)
        if is_whole or event is not None or own != quiet_row(own):
            rows.append(own)
    return row, tuple(rows)


def _with_scores(row: HospitalFigures, hospital: HospitalPlan, evaluated: Evaluated) -> HospitalFigures:
    """Return a hospital's row with its scores, none of which is of fewer than ten test records."""
    is_scored = hospital.measures is not None and not isinstance(shown_count(hospital.measures.num_test), str)
    evaluation = evaluated.evaluations.get(row.hospital) if is_scored else None
    if evaluation is not None:
        row = replace(row, **{score: getattr(evaluation, score) for score in _SCORES})
    further = evaluated.hospital_columns.get(row.hospital) if is_scored else None
    return replace(row, further=further or (None,) * evaluated.num_hospital_columns or None)


def quiet_row(row: HospitalFigures, round_number: int | None = None) -> HospitalFigures:
    """Return the row of the same hospital in a round that it is not asked in, and not tested after; None is its own."""
    return HospitalFigures(
        round=row.round if round_number is None else round_number,
        hospital=row.hospital,
        selected=0,
        completed=0,
        num_train=row.num_train,
        num_steps=0,
        sample_rate=None,
        noise_multiplier=None,
        epsilon=row.epsilon,
        further=row.further and (None,) * len(row.further),
    )


def hospital_figures(
    plan: FederationPlan,
    hospital: HospitalPlan,
    round_number: int,
    event: StepEvent | None,
    *,
    completed: bool,
    epsilon: float,
) -> HospitalFigures:
    """Return a hospital's row, except for its scores: all that follows from the plan and the ledger's charges.

    The event is what was charged, None where the hospital was not asked; epsilon is spent so far, at its own delta.
    """
    size = hospital.num_train
    return HospitalFigures(
        round=round_number,
        hospital=hospital.name,
        selected=int(event is not None),
        completed=int(completed),
        num_train=shown_count(size),
        num_steps=event.num_steps if event else 0,
        sample_rate=plan.rate_to_show(event.sample_rate, size) if event else None,
        noise_multiplier=event.noise_multiplier if event else None,
        epsilon=epsilon,
    )


def mean_over_tests(evaluations: Mapping[str, Evaluation], score: str) -> float:
    """Return the mean of a named score weighted by test records, over hospitals where it is defined; nan if nowhere."""
    values = [(evaluation.num_examples, getattr(evaluation, score)) for evaluation in evaluations.values()]
    known = [(num, value) for num, value in values if value == value]
    weight = sum(num for num, _ in known)
    return sum(num * value for num, value in known) / weight if weight else float("nan")


def table_texts(records: Sequence[RoundRecord], name: str) -> Iterator[str]:
    """Yield rounds.csv or hospitals.csv, the first line and then round by round: the second may be large.

    The first line is that of the run that round 0, the first of the records, begins.
    """
    further = further_columns(records)
    if name == "rounds.csv":
        yield _line([*_columns(RoundFigures), *further])
    else:
        yield _line([*_columns(HospitalFigures), *hospital_columns(further)])
    lines = HospitalLines()
    for record in records:
        if name == "hospitals.csv":
            lines = next_lines(record, lines)
        yield table_text(record, name, lines)


def table_text(record: RoundRecord, name: str, lines: HospitalLines) -> str:
    """Return the lines of a round; those of hospitals.csv are given."""
    if name == "rounds.csv":
        return _line(_cells(record.round_row))
    start = f"{record.round_row.round},"
    return start + start.join(lines.texts.values()) if lines.texts else ""


def next_lines(record: RoundRecord, before: HospitalLines) -> HospitalLines:
    """Return a round's lines of hospitals.csv, from those of the round before; none before round 0."""
    rows = {row.hospital: row for row in record.hospital_rows}
    texts = {name: _line(_cells(quiet_row(row))[1:]) for name, row in before.rows.items() if name not in rows}
    texts |= {name: _line(_cells(row)[1:]) for name, row in rows.items()}
    return HospitalLines(texts={**before.texts, **texts}, rows=rows)


def lines_after(records: Sequence[RoundRecord]) -> HospitalLines:
    """Return what the lines of the round after these are made of: the last row of each hospital, and no lines yet."""
    rows = {row.hospital: row for record in records for row in record.hospital_rows}
    return HospitalLines(texts=dict.fromkeys(rows, ""), rows=rows)


def read_table(path: Path) -> "pandas.DataFrame":
    """Return a table of a run or a study as it was written: a hospital called NA is none that is missing."""
    import pandas

    return pandas.read_csv(path, dtype={"hospital": str}, keep_default_na=False, na_values=["", "nan"])


def _columns(kind: type[RoundFigures | HospitalFigures]) -> list[str]:
    """Return the columns that every run has, a round's number first."""
    return [key for key in json_keys(kind) if key != "further"]


def _cells(row: RoundFigures | HospitalFigures) -> list[Any]:
    kind: Any = type(row)
    values = (*_values_of(kind)(row), *(row.further or ()))
    return ["" if value is None or value != value else value for value in values]


@lru_cache(maxsize=2)
def _values_of(kind: Any) -> Callable[[object], tuple[Any, ...]]:
    """Return what reads the values of `_columns` off a row."""
    return attrgetter(*(item.name for item in fields(kind) if item.name != "further"))


class _Text:
    """Where csv writes a line that it then returns."""

    def write(self, text: str) -> str:
        return text


def _line(cells: Sequence[Any]) -> str:
    return cast(str, csv.writer(_Text(), lineterminator="\n").writerow(cells))
