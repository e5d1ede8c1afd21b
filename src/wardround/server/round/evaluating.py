"""How good a model is: at every hospital, over all test records, by a user's metrics, and on public records.

Predictions of test records come from simulated hospitals alone. What is left out on purpose: what is kept of the
scores, and shown (see `record`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.constants import NO_CONSTANTS, Constants
from wardround.errors import ConfigError, WardroundError
from wardround.exact_sums import Arrays
from wardround.json_records import json_keys
from wardround.names import check_name, shown_name
from wardround.privacy.ledger import Ledger
from wardround.scores import ClassCounts, Predictions, auc_of, class_counts, r2, together
from wardround.server.plan.plans import FederationPlan
from wardround.server.record.beginnings import opening_in
from wardround.server.record.commits import KeptRun
from wardround.server.record.evaluated import (
    AUC_POOLED,
    BRIER_INTEGRATED,
    BRIER_KAPLAN_MEIER,
    CONCORDANCE,
    PUBLIC_LOSS,
    Evaluated,
    columns_of,
    hospital_columns,
    metric_key,
)
from wardround.server.record.records import HospitalFigures, RoundFigures
from wardround.server.record.score_errors import errors_by_hospital, left_out_error, mean_errors, standard_errors
from wardround.server.record.tables import mean_over_tests
from wardround.server.round.hospitals import HospitalLink
from wardround.server.round.strategy_steps import evaluate
from wardround.small_counts import FEWEST_SHOWN
from wardround.survival import SurvivalReference, concordance, integrated_brier, kaplan_meier

__all__ = [
    "Measuring",
    "Metric",
    "check_metrics",
    "columns_in",
    "evaluate_model",
    "pooled_columns",
    "pooled_counts",
    "pooled_score",
]

Metric = Callable[[NDArray[Any], NDArray[Any]], float]
"""A user's: (predictions, labels) -> score, of arrays as `scores.Predictions` has them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measuring:
    """What models are measured by, beside the scores that every run has.

    Attributes:
        metrics: a user's, by the name of its column.
        public_loss: of a model's parameters, on public records; None where there are none.
        public: digest of these records.
        reference: of a survival, where the hospitals are simulated here; None leaves its Brier score out.
    """

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    public_loss: Callable[[Arrays], float] | None = None
    public: str | None = None
    reference: SurvivalReference | None = None


def check_metrics(metrics: Mapping[str, Metric]) -> None:
    """Refuse a metric whose name can't be a column of its own, or that can't be called.

    Raises:
        ConfigError: naming it.
    """
    if not isinstance(metrics, Mapping):
        raise ConfigError(f'metrics = {shown_name(metrics)} must be a mapping such as {{"brier": brier}}')
    taken = {*json_keys(RoundFigures), *json_keys(HospitalFigures), AUC_POOLED, PUBLIC_LOSS}
    taken |= {CONCORDANCE, BRIER_INTEGRATED, BRIER_KAPLAN_MEIER}
    for name, metric in metrics.items():
        check_name(name, "metric", error=ConfigError)
        if name.lower() in taken:
            raise ConfigError(f'metric "{name}" has the name of a column that every run has (metrics): rename it')
        if not callable(metric):
            raise ConfigError(
                f'metric "{name}" is a {type(metric).__name__}, and must be a function of predictions and labels '
                "(metrics)"
            )
    if len({name.lower() for name in metrics}) < len(metrics):
        raise ConfigError(f"metrics {', '.join(metrics)} differ in capital letters alone (metrics): rename one")


def columns_in(ledger: Ledger, plan: FederationPlan, task: str | None, measuring: Measuring) -> tuple[str, ...] | None:
    """Return the further columns of a run's rounds: those that it began with, or that it begins with now.

    Raises:
        ConfigError: rounds are left, and it began with other metrics or other public records.
    """
    columns = columns_of(
        is_measured=plan.is_measured,
        task=task or "classification",
        has_public=measuring.public_loss is not None,
        metrics=tuple(measuring.metrics),
    )
    opening = opening_in(ledger)
    if opening is None:
        return columns
    before, rounds_left = opening.columns, len(ledger.rounds()) <= plan.config.training.num_rounds
    if rounds_left and hospital_columns(before or ()) != tuple(measuring.metrics):
        raise ConfigError(
            f"the run began with {_listed(hospital_columns(before or ()))}, and is taken up with "
            f"{_listed(tuple(measuring.metrics))}: its tables have a column for each; give the same ones, in the same "
            "order (metrics)"
        )
    if rounds_left and opening.public != measuring.public:
        raise ConfigError(
            "the public records are not those that the run began with ([evaluation] public): which model is the best "
            "would hang on both; give the same ones, or begin a new run"
        )
    return before


def _listed(names: tuple[str, ...]) -> str:
    return f"the metrics {', '.join(names)}" if names else "no metrics"


def evaluate_model(
    link: HospitalLink,
    run: KeptRun,
    measuring: Measuring,
    round_number: int,
    arrays: Arrays,
    constants: Constants = NO_CONSTANTS,
) -> Evaluated:
    """Return what is known of a round's model, by the run's columns.

    Hospitals are told what was released before round 1.

    Raises:
        ProtocolError: see `strategy_steps.evaluate`.
        WardroundError: a hospital's app, the strategy's own code or a user's metric fails.
    """
    evaluations, predictions = (
        evaluate(link, run.strategy, round_number, arrays, constants) if run.plan.is_measured else ({}, {})
    )
    if run.columns is None:
        return Evaluated(evaluations=evaluations)
    pooled = together(predictions.values())
    scores = _scores_of(measuring, pooled, f"round {round_number}")
    if pooled is not None:
        scores |= pooled_columns(pooled, mean_over_tests(evaluations, "score"), measuring.reference)
    if measuring.public_loss is not None:
        scores[PUBLIC_LOSS] = measuring.public_loss(arrays)
    own, by_hospital = hospital_columns(run.columns), errors_by_hospital(predictions)
    errors = {} if pooled is None else _errors_of(measuring, pooled, scores, round_number)
    return Evaluated(
        evaluations=evaluations,
        pooled_score=None if pooled is None else pooled_score(pooled),
        columns=tuple(scores.get(name, math.nan) for name in run.columns),
        hospital_columns=_by_hospital(measuring, predictions, own, round_number) if own else {},
        num_hospital_columns=len(own),
        class_counts=None if pooled is None else pooled_counts(pooled),
        standard_errors=errors | mean_errors(predictions, by_hospital),
        hospital_errors=by_hospital,
    )


def _errors_of(
    measuring: Measuring, pooled: Predictions, scores: Mapping[str, float], round_number: int
) -> dict[str, float]:
    """Return standard errors by the names of intervals; of a user's metric by leaving out parts of the records."""

    def left_out(name: str, metric: Metric) -> float:
        try:
            return left_out_error(lambda part: _score(name, metric, part, f"round {round_number}"), pooled)
        except WardroundError:  # it is not defined of fewer records
            return math.nan

    defined = {name: metric for name, metric in measuring.metrics.items() if math.isfinite(scores[name])}
    own = {metric_key(name): left_out(name, metric) for name, metric in defined.items()}
    known = {name: error for name, error in own.items() if math.isfinite(error)}
    return standard_errors(pooled, measuring.reference) | known


def pooled_counts(pooled: Predictions) -> ClassCounts | None:
    """Return what became of every class over all test records; None where there are no classes."""
    return None if pooled.labels.dtype.kind == "f" else class_counts(pooled)


def pooled_score(pooled: Predictions) -> float | None:
    """Return what stands for the score over all test records, r2 or C; None of classes, whose shares right add up."""
    if pooled.is_survival:
        return concordance(pooled.values, pooled.labels)
    return r2(pooled.values, pooled.labels) if pooled.is_regression else None


def pooled_columns(
    pooled: Predictions, mean_score: float, reference: SurvivalReference | None = None
) -> dict[str, float]:
    """Return the further columns that every run of a task has, except for a loss on public records.

    Args:
        pooled: predictions of all test records.
        mean_score: mean of the hospitals' scores by test records.
        reference: of a survival; None leaves its Brier scores out, which are then nan.
    """
    if pooled.is_regression:
        return {}
    if not pooled.is_survival:
        return {AUC_POOLED: auc_of(pooled)}
    scores = {CONCORDANCE: mean_score}
    if reference is not None:
        answer = np.tile(kaplan_meier(reference), (pooled.num_test, 1))
        for name, survival in ((BRIER_INTEGRATED, pooled.values), (BRIER_KAPLAN_MEIER, answer)):
            scores[name] = integrated_brier(survival, pooled.labels, reference)
    return scores


def _by_hospital(
    measuring: Measuring, predictions: Mapping[str, Predictions], columns: tuple[str, ...], round_number: int
) -> dict[str, tuple[float | None, ...]]:
    """Return a user's metrics of the hospitals with enough test records; ratios over fewer say nothing."""
    found: dict[str, tuple[float | None, ...]] = {}
    for name, part in predictions.items():
        if part.num_test >= FEWEST_SHOWN:
            scores = _scores_of(measuring, part, f"round {round_number}, on the test records of {name}")
            found[name] = tuple(scores[column] for column in columns)
    return found


def _scores_of(measuring: Measuring, predictions: Predictions | None, where: str) -> dict[str, float]:
    """Return a user's metrics by name; of no test records none is defined."""
    if predictions is None:
        return dict.fromkeys(measuring.metrics, math.nan)
    return {name: _score(name, metric, predictions, where) for name, metric in measuring.metrics.items()}


def _score(name: str, metric: Metric, predictions: Predictions, where: str) -> float:
    step = "mend it and resume with the metrics as they were named; it may return nan where it is not defined"
    try:
        # Copies: what a metric does to its arguments is no other metric's affair.
        score = metric(predictions.values.copy(), predictions.labels.copy())
    except Exception as error:
        raise WardroundError(f'metric "{name}" failed in {where}: {type(error).__name__}: {error}: {step}') from error
    try:
        if not isinstance(score, str | bytes):
            return float(score)
    except (TypeError, ValueError, OverflowError):
        pass
    raise WardroundError(
        f'metric "{name}" returned a {type(score).__name__} in {where}, and must return a number: {step}'
    )
