"""The rows of rounds.csv and hospitals.csv, made from what was planned, executed and evaluated, and their text.

What is left out on purpose: files (see `run_folder`).
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from wardround.privacy.account import Account
from wardround.rounds import Assignment, Evaluation, Execution
from wardround.server.plan.plans import FederationPlan
from wardround.small_counts import shown_count

__all__ = ["hospital_rows", "mean_over_tests", "round_row", "table_texts"]

_ROUND_COLUMNS = (
    *("round", "num_selected", "num_completed", "loss", "accuracy", "auc"),
    *("epsilon_max", "epsilon_total", "seconds"),
)
_HOSPITAL_COLUMNS = (
    *("round", "hospital", "selected", "completed", "num_examples", "num_steps"),
    *("sample_rate", "noise_multiplier", "epsilon", "loss", "accuracy", "auc"),
)
_SCORES: Mapping[str, Callable[[Evaluation], float]] = MappingProxyType(
    {name: attrgetter(name) for name in ("loss", "accuracy", "auc")}
)


def round_row(
    plan: FederationPlan,
    account: Account,
    round_number: int,
    assignments: Sequence[Assignment],
    executions: Mapping[str, Execution],
    evaluations: Mapping[str, Evaluation],
    seconds: float,
) -> dict[str, Any]:
    """Return one row of rounds.csv; scores are means over hospitals weighted by their test records.

    They are None where nothing is measured.
    """
    scores = {name: mean_over_tests(evaluations, score) for name, score in _SCORES.items()}
    return {
        "round": round_number,
        "num_selected": len(assignments),
        "num_completed": len(executions),
        **(scores if plan.is_measured else dict.fromkeys(scores)),
        "epsilon_max": account.epsilon_max(),
        "epsilon_total": account.epsilon_total(plan.config.privacy.patient_overlap),
        "seconds": round(seconds, 4),
    }


def hospital_rows(
    plan: FederationPlan,
    account: Account,
    round_number: int,
    assignments: Sequence[Assignment],
    executions: Mapping[str, Execution],
    evaluations: Mapping[str, Evaluation],
) -> list[dict[str, Any]]:
    """Return one row of hospitals.csv per hospital; num_steps are those charged, answered or not.

    A score of fewer than ten test records, or a rate that tells fewer than ten training records, is not in it.
    """
    assigned = {assignment.hospital_id: assignment for assignment in assignments}
    epsilons = account.epsilons()
    rows = []
    for hospital in plan.hospitals:
        name = hospital.profile.hospital_id
        assignment, evaluation = assigned.get(name), evaluations.get(name)
        if hospital.measures is None or isinstance(shown_count(hospital.measures.num_test), str):
            evaluation = None
        rows.append(
            {
                "round": round_number,
                "hospital": name,
                "selected": int(assignment is not None),
                "completed": int(name in executions),
                "num_examples": shown_count(hospital.profile.num_train),
                "num_steps": assignment.event.num_steps if assignment else 0,
                "sample_rate": plan.rate_to_show(assignment.event.sample_rate, hospital.profile.num_train)
                if assignment
                else None,
                "noise_multiplier": assignment.event.noise_multiplier if assignment else None,
                "epsilon": epsilons[name],
                "loss": evaluation.loss if evaluation else None,
                "accuracy": evaluation.accuracy if evaluation else None,
                "auc": evaluation.auc if evaluation else None,
            }
        )
    return rows


def mean_over_tests(evaluations: Mapping[str, Evaluation], score: Callable[[Evaluation], float]) -> float:
    """Return the mean of a score weighted by test records, over hospitals where it is defined; nan if nowhere."""
    known = [(e.num_examples, score(e)) for e in evaluations.values() if score(e) == score(e)]
    weight = sum(num for num, _ in known)
    return sum(num * value for num, value in known) / weight if weight else float("nan")


def table_texts(records: Sequence[Mapping[str, Any]], *, header: bool = True) -> dict[str, str]:
    """Return what rounds.csv and hospitals.csv hold of committed round records, with their first lines or without."""
    rows = [row for record in records for row in record["hospital_rows"]]
    return {
        "rounds.csv": _table(_ROUND_COLUMNS, [record["round_row"] for record in records], header),
        "hospitals.csv": _table(_HOSPITAL_COLUMNS, rows, header),
    }


def _table(columns: Iterable[str], rows: Iterable[Mapping[str, Any]], header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    if header:
        writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None or value != value else value for key, value in row.items()})
    return text.getvalue()
