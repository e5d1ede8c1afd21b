"""What may be watched of a run, round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wardround.server.record.records import RoundRecord
from wardround.survival import SURVIVAL

__all__ = ["RoundRow", "row_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """What may be watched of a committed round.

    Attributes:
        round_number: 0 is before training.
        num_rounds: planned.
        loss: mean test loss; None, as the metric is, where nothing is measured: between real sites, and after rounds
            that are not evaluated ([training] evaluate-every).
        metric_name: auc where it is defined, accuracy elsewhere; r2 for regression, C for survival.
        metric: its value, averaged over hospitals by test records.
        epsilon_max: largest epsilon any hospital has spent so far.
        metrics: all scores that are known, by their columns of rounds.csv, nan where one is not defined; empty where
            the round is not evaluated.
    """

    round_number: int
    num_rounds: int
    loss: float | None
    metric_name: str
    metric: float | None
    epsilon_max: float
    metrics: Mapping[str, float] = field(default_factory=dict)


def row_of(record: RoundRecord, num_rounds: int, task: str | None, columns: Sequence[str] | None = None) -> RoundRow:
    """Return what may be watched of a round."""
    row = record.round_row
    further = zip(columns or (), row.further or (), strict=True)
    scores = {"loss": row.loss, "accuracy": row.score, "auc": row.auc, **dict(further)}
    name = "auc" if row.auc == row.auc is not None else "accuracy"
    name = {"regression": "r2", SURVIVAL: "C"}.get(task or "", name)
    return RoundRow(
        round_number=row.round,
        num_rounds=num_rounds,
        loss=row.loss,
        metric_name=name,
        metric=row.auc if name == "auc" else row.score,
        epsilon_max=row.epsilon_max,
        metrics={name: score for name, score in scores.items() if score is not None},
    )
