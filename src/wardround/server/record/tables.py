"""The rows of rounds.csv and hospitals.csv, made from what was planned, executed and evaluated, and their text.

hospitals.csv has a line for each hospital and round. What is made and kept of a round is the rows of those to whom
something happened: the line of another says what the one before did, and that nothing was asked. So a round costs what
its cohort does, and not what the federation does. What is left out on purpose: files (see `run_folder`).
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.json_records import json_keys, json_values
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
    "Quiet",
    "hospital_figures",
    "mean_over_tests",
    "quiet_after",
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

Quiet = dict[str, HospitalFigures | str]
"""By hospital, in name order: what follows a round's number in its line of hospitals.csv where nothing happens; of one
to whom something happened in the last round its row: of that a line is made where nothing happens next."""


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

    Loss and accuracy of the round are over all test records, as is r2; AUC is the mean over hospitals, weighted by
    their test records; None where nothing is measured, or the model was not evaluated after the round. A score of fewer
    than ten test records, or a rate that tells fewer than ten training records, is in no hospital's row.
    """
    evaluations = evaluated.evaluations
    scores = {name: mean_over_tests(evaluations, name) for name in _SCORES}
    scores |= {} if evaluated.r2 is None else {"score": evaluated.r2}
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
    quiet = Quiet()
    for record in records:
        yield table_text(record, name, quiet)
        quiet = quiet_after(record, quiet)


def table_text(record: RoundRecord, name: str, quiet: Quiet) -> str:
    """Return the lines of a round, where these are the quiet lines after the round before; none before round 0."""
    if name == "rounds.csv":
        return _line(_cells(record.round_row))
    number, own = record.round_row.round, {row.hospital: _line(_cells(row)[1:]) for row in record.hospital_rows}
    return "".join(f"{number},{_quiet_line(line)}" for line in (quiet | own).values())


def quiet_after(record: RoundRecord, quiet: Quiet) -> Quiet:
    """Return the quiet lines after a round, from those after the round before."""
    own = {row.hospital: row for row in record.hospital_rows}
    made = {name: _quiet_line(line) for name, line in quiet.items() if name not in own and not isinstance(line, str)}
    return quiet | made | own


def _quiet_line(line: HospitalFigures | str) -> str:
    return line if isinstance(line, str) else _line(_cells(quiet_row(line))[1:])


def read_table(path: Path) -> "pandas.DataFrame":
    """Return a table of a run or a study as it was written: a hospital called NA is none that is missing."""
    import pandas

    return pandas.read_csv(path, dtype={"hospital": str}, keep_default_na=False, na_values=["", "nan"])


def _columns(kind: type[RoundFigures | HospitalFigures]) -> list[str]:
    """Return the columns that every run has, a round's number first."""
    return [key for key in json_keys(kind) if key != "further"]


def _cells(row: RoundFigures | HospitalFigures) -> list[Any]:
    values = json_values(row)
    cells = [*(values[key] for key in _columns(type(row))), *(row.further or ())]
    return ["" if value is None or value != value else value for value in cells]


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
