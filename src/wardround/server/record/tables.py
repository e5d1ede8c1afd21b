"""The rows of rounds.csv and hospitals.csv, made from what was planned, executed and evaluated, and their text.

What is left out on purpose: files (see `run_folder`).
"""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace

from wardround.json_records import json_keys, json_values
from wardround.privacy.spending import Account
from wardround.rounds import Assignment, Evaluation
from wardround.server.plan.plans import FederationPlan, HospitalPlan
from wardround.server.record.evaluated import Evaluated, hospital_columns
from wardround.server.record.records import HospitalFigures, RoundFigures, RoundRecord
from wardround.small_counts import shown_count
from wardround.step_events import StepEvent

__all__ = ["FOLLOWING_COLUMNS", "hospital_figures", "mean_over_tests", "table_rows", "table_texts"]

_SCORES = ("loss", "score", "auc")
FOLLOWING_COLUMNS = tuple(
    item.name for item in fields(HospitalFigures) if item.name not in {"hospital", "further", *_SCORES}
)
"""Of a hospital's row, what follows from the plan and the ledger's charges."""


def table_rows(
    plan: FederationPlan,
    account: Account,
    round_number: int,
    assignments: Sequence[Assignment],
    completed: Collection[str],
    evaluated: Evaluated,
    seconds: float,
) -> tuple[RoundFigures, tuple[HospitalFigures, ...]]:
    """Return a round's row of rounds.csv, and its rows of hospitals.csv, one per hospital.

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
    epsilons, rows = account.epsilons(), []
    for hospital in plan.hospitals:
        name = hospital.name
        is_scored = hospital.measures is not None and not isinstance(shown_count(hospital.measures.num_test), str)
        figures = hospital_figures(
            plan, hospital, round_number, events.get(name), completed=name in completed, epsilon=epsilons[name]
        )
        evaluation = evaluations.get(name) if is_scored else None
        if evaluation is not None:
            figures = replace(figures, **{score: getattr(evaluation, score) for score in _SCORES})
        further = evaluated.hospital_columns.get(name) if is_scored else None
        rows.append(replace(figures, further=further or (None,) * evaluated.num_hospital_columns or None))
    return row, tuple(rows)


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


def table_texts(records: Sequence[RoundRecord], *, header: bool = True) -> dict[str, str]:
    """Return what rounds.csv and hospitals.csv hold of committed round records, with their first lines or without.

    The first lines are those of the run that round 0, the first of the records, begins.
    """
    rows = [row for record in records for row in record.hospital_rows]
    opening = records[0].opening if records else None
    further = (opening and opening.columns) or ()
    return {
        "rounds.csv": _table(RoundFigures, [record.round_row for record in records], header, further),
        "hospitals.csv": _table(HospitalFigures, rows, header, hospital_columns(further)),
    }


def _table(
    kind: type[RoundFigures | HospitalFigures],
    rows: Sequence[RoundFigures | HospitalFigures],
    header: bool,
    further: Sequence[str],
) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [key for key in json_keys(kind) if key != "further"]
    if header:
        writer.writerow([*columns, *further])
    for row in rows:
        values = json_values(row)
        cells = [*(values[key] for key in columns), *(row.further or ())]
        writer.writerow("" if value is None or value != value else value for value in cells)
    return text.getvalue()
