"""What came of a round's training, as it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wardround.rounds import Execution, TrainingMeasures

__all__ = ["TrainedRound"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRound:
    """What came back from a round's training.

    Attributes:
        executions: by hospital, of those who completed.
        measures: by hospital, of those who measured anything: simulated ones.
        abandoned: why the model stays as it is; "" where it doesn't.
        left_out: by real site, why it is not in the round, or did not help to its end.
    """

    executions: Mapping[str, Execution]
    measures: Mapping[str, TrainingMeasures] = field(default_factory=dict)
    abandoned: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
