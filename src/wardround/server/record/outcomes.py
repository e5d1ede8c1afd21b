"""What came of a round's training, as it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from wardround.rounds import Execution, TrainingMeasures

__all__ = ["TrainedRound"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedRound:
    """What came back from a round's training.

    Attributes:
        arrays: the next model, by the strategy; None where fewer than min-survivors hospitals completed.
        executions: by hospital, of those who completed.
        measures: by hospital, of those who measured anything: simulated ones.
        quantile: see `privacy.cells.ReleasedSum`.
        abandoned: why the model stays as it is; "" where it doesn't.
        left_out: by real site, why it is not in the round, or did not help to its end.
    """

    arrays: Arrays | None
    executions: Mapping[str, Execution]
    measures: Mapping[str, TrainingMeasures] = field(default_factory=dict)
    quantile: float | None = None
    abandoned: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
