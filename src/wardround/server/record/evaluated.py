"""What came of evaluating a model: by hospital, over all test records, and by what a run measures of its own accord.

What is left out on purpose: how it is computed (see `round.evaluating`), and what of it may be shown (see `tables`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wardround.rounds import Evaluation
from wardround.scores import ClassCounts
from wardround.survival import SURVIVAL

__all__ = [
    "AUC_POOLED",
    "BRIER_INTEGRATED",
    "BRIER_KAPLAN_MEIER",
    "CONCORDANCE",
    "PUBLIC_LOSS",
    "SURVIVAL_COLUMNS",
    "Evaluated",
    "columns_of",
    "hospital_columns",
    "metric_key",
    "unevaluated",
]

AUC_POOLED = "auc_pooled"
"""Column of rounds.csv that no hospital has: the AUC over all test records."""

PUBLIC_LOSS = "public_loss"
"""Column of rounds.csv that no hospital has: the mean loss on public records."""

CONCORDANCE = "concordance"
"""Column of rounds.csv, of a survival, that no hospital has: the mean of the hospitals' C by test records."""

BRIER_INTEGRATED = "brier_integrated"
"""Likewise: the model's integrated Brier score over all test records."""

BRIER_KAPLAN_MEIER = "brier_kaplan_meier"
"""Likewise: that of answering with the training records' curve."""

SURVIVAL_COLUMNS = (CONCORDANCE, BRIER_INTEGRATED, BRIER_KAPLAN_MEIER)

Columns = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What is known of a model.

    Attributes:
        evaluations: of simulated hospitals, by name; of none in a round that is not evaluated, or between real sites.
        pooled_score: the r2 or C over all test records; None where classes are told apart, or nothing is measured.
        columns: further scores, in the order of the run's columns, None where one is not measured; None in a run that
            earlier versions began.
        hospital_columns: likewise by hospital, in the order of those that hospitals have.
        num_hospital_columns: how many they have.
        class_counts: over all test records; None where there are no classes, or nothing is measured.
        standard_errors: of scores over all test records, by the names of intervals (see `score_errors`).
        hospital_errors: of hospitals' areas, r2 or C; None where nothing is measured.
    """

    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    pooled_score: float | None = None
    columns: Columns | None = None
    hospital_columns: Mapping[str, Columns] = field(default_factory=dict)
    num_hospital_columns: int = 0
    class_counts: ClassCounts | None = None
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    hospital_errors: Mapping[str, float] | None = None


def unevaluated(columns: Sequence[str] | None) -> Evaluated:
    """Return what is known of a model that is not evaluated, in a run with these columns."""
    if columns is None:
        return Evaluated()
    return Evaluated(columns=(None,) * len(columns), num_hospital_columns=len(hospital_columns(columns)))


def columns_of(*, is_measured: bool, task: str, has_public: bool, metrics: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of rounds.csv after those that every run has.

    Args:
        is_measured: whether loss and scores are.
        task: "classification", "regression" or "survival".
        has_public: whether models are tried on public records.
        metrics: names of a user's.
    """
    pooled = {"classification": (AUC_POOLED,), SURVIVAL: SURVIVAL_COLUMNS}.get(task, ()) if is_measured else ()
    return (*pooled, *[PUBLIC_LOSS] * has_public, *(metrics if is_measured else ()))


def metric_key(name: str) -> str:
    """Return the name of the interval of a user's metric, which no score of a run has."""
    return f"metrics.{name}"


def hospital_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return those of a run's columns that hospitals.csv has, too: a user's metrics."""
    # Metrics of earlier versions' users may have their names, in other places.
    own = columns[len(SURVIVAL_COLUMNS) :] if tuple(columns[: len(SURVIVAL_COLUMNS)]) == SURVIVAL_COLUMNS else columns
    return tuple(name for name in own if name not in (AUC_POOLED, PUBLIC_LOSS))
