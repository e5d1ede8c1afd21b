"""Which of a run's models is its model: that of the last committed round, or the best by the run's criterion.

A pure function of the committed rounds, so that a run that is taken up again, and whoever verifies it, finds the same.
"""

from collections.abc import Sequence

from wardround.config import Config
from wardround.server.plan.best import Best, best_after
from wardround.server.record.evaluated import PUBLIC_LOSS
from wardround.server.record.records import RoundRecord

__all__ = ["best_with", "best_of", "criterion_of", "kept_record"]


def criterion_of(record: RoundRecord, columns: Sequence[str] | None) -> float | None:
    """Return a round's mean loss on public records, or the mean test loss where there are none; None where unknown."""
    further = record.round_row.further
    if columns and PUBLIC_LOSS in columns and further is not None:
        return further[columns.index(PUBLIC_LOSS)]
    return record.round_row.loss


def best_with(config: Config, best: Best | None, record: RoundRecord, columns: Sequence[str] | None) -> Best | None:
    """Return the best model once a round's record is known; None where nothing hangs on it."""
    if not config.evaluation.chooses:
        return None
    return best_after(best, record.round_row.round, criterion_of(record, columns))


def best_of(config: Config, records: Sequence[RoundRecord]) -> Best | None:
    """Return the best model of committed rounds, round 0 first; None where nothing hangs on it, or none is known."""
    best: Best | None = None
    columns = records[0].opening.columns if records and records[0].opening else None
    for record in records:
        best = best_with(config, best, record, columns)
    return best


def kept_record(config: Config, records: Sequence[RoundRecord]) -> RoundRecord:
    """Return the record of the round whose model is the run's."""
    best = best_of(config, records) if config.evaluation.keep == "best" else None
    return records[-1] if best is None else records[best.round_number]
