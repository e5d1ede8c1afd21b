"""The records that travel through a round, from what is asked of a hospital to what came of it.

What a real site sends and what is measured for research are different records: the fields of `HospitalProfile` and
`Execution` are public, those of `ProfileMeasures`, `TrainingMeasures` and `Evaluation` are of simulated hospitals only,
and a real site's reply is made of the first two (see `wire`).
Nothing here knows Flower, torch or files: the wire form is in `wire`, the ledger in `privacy`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wardround.errors import ProtocolError
from wardround.json_records import json_field
from wardround.names import check_name
from wardround.step_events import StepEvent

__all__ = [
    "Assignment",
    "Evaluation",
    "Execution",
    "HospitalProfile",
    "ProfileMeasures",
    "Schedule",
    "TrainingMeasures",
    "hold",
]

_MOST_RECORDS = 2**40
"""As [federation] max-records has it."""
_TASKS = ("classification", "regression", "survival")


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalProfile:
    """What the server knows of any hospital before the first round: all of it public by decision.

    Attributes:
        hospital_id: name, unique in the federation.
        num_train: training records (>= 1).
        task: classification, regression or survival.
        input_shape: shape of one record's features, (d,), (steps, features) or (channels, height, width).
        num_outputs: classes, 1 for regression, or intervals of a survival.
        hospitals_per_patient: most hospitals of the federation that hold the same patient, as far as is known (>= 1).
        record_is: "patient" where a record is all rows of one patient as far as the data tells, "row" elsewhere.
        own_statistics: whether features were standardised by the hospital's own means and deviations, which no noise
            covers.
        num_scored: test records of a real site, where the run releases sums over them; None elsewhere.
    """

    hospital_id: str
    num_train: int
    task: str
    input_shape: tuple[int, ...]
    num_outputs: int
    hospitals_per_patient: int = 1
    record_is: str = "row"
    own_statistics: bool = False
    num_scored: int | None = json_field(default=None, is_left_out=True)

    def __post_init__(self) -> None:
        check_name(self.hospital_id, "hospital", error=ProtocolError)
        hold(
            self,
            {
                f"num_train must be >= 1 and <= {_MOST_RECORDS}": 1 <= self.num_train <= _MOST_RECORDS,
                "task must be classification, regression or survival": self.task in _TASKS,
                "input_shape must be numbers >= 1": bool(self.input_shape) and min(self.input_shape) >= 1,
                "num_outputs must be >= 1": self.num_outputs >= 1,
                "hospitals_per_patient must be >= 1": self.hospitals_per_patient >= 1,
                "record_is must be row or patient": self.record_is in ("row", "patient"),
                f"num_scored must be >= 0 and <= {_MOST_RECORDS}": 0 <= (self.num_scored or 0) <= _MOST_RECORDS,
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileMeasures:
    """What is measured of a simulated hospital before the first round; no real site sends it.

    Attributes:
        num_test: test records (>= 0).
        fingerprint: sha256 hex digest of the training data, which ties ledger entries to it.
        majority_score: share right of the test records when always answering the training majority class, in [0, 1];
            for regression the r2 of always answering the training mean; 0.5 of a survival; nan without test records.
        test_mean: of a regression's test labels; None of another task, without test records, and of earlier versions,
            as are the next two.
        test_spread: sum of the squared distances of the test labels from their mean (>= 0).
        majority_error: the same from the mean of the training labels.
    """

    num_test: int
    fingerprint: str
    majority_score: float = json_field(key="majority_accuracy")
    test_mean: float | None = json_field(default=None, is_left_out=True)
    test_spread: float | None = json_field(default=None, is_left_out=True)
    majority_error: float | None = json_field(default=None, is_left_out=True)

    def __post_init__(self) -> None:
        rule = f"num_test must be >= 0 and <= {_MOST_RECORDS}"
        hold(self, {rule: 0 <= self.num_test <= _MOST_RECORDS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What the optimizer does at a hospital in a round.

    Attributes:
        sample_rate: probability that a record is in a step's Poisson batch, in (0, 1].
        expected_batch_size: sample_rate times the number of training records, or of groups that are clipped as one;
            divides the summed gradient.
        num_steps: optimizer steps, empty batches included (>= 1).
    """

    sample_rate: float
    expected_batch_size: float
    num_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What one hospital is asked to do in one round; the ledger is charged from this same record.

    Attributes:
        hospital_id: who.
        round_number: from 1.
        schedule: what the optimizer does.
        event: what is billed for the round; it names the cell, which says what is sent, and who adds the noise.
        weight: share of the hospital in the average over this round's cohort, in (0, 1].
        max_grad_norm: L2 clip of a record's gradient, or of the hospital's update (> 0); None trains without clipping
            and without privacy.
        sensitivity: most that neighbours differ by in what is released, L2 (> 0), which the event's noise multiplier is
            relative to. None is max_grad_norm.
        contribution: what the clipped update is multiplied with before a sum of integers, in (0, 1].
        adaptive_clipping: whether the update travels with a coordinate that says whether it was within the clip.
        attempt: at this round, from 1: a round that was charged and then interrupted is charged again as the next, with
            noise of its own.
    """

    hospital_id: str
    round_number: int
    schedule: Schedule
    event: StepEvent
    weight: float
    max_grad_norm: float | None
    sensitivity: float | None = None
    contribution: float = 1.0
    adaptive_clipping: bool = False
    attempt: int = 1

    @property
    def distance(self) -> float:
        """How far apart neighbours are in what is released, L2; inf where nothing is clipped."""
        if self.max_grad_norm is None:
            return math.inf
        return self.max_grad_norm if self.sensitivity is None else self.sensitivity


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What one hospital really did in one round, counted by the sampler, the noise source and the optimizer.

    Every value is that of the assignment, or the reply is refused: it tells nothing of the data.

    Attributes:
        hospital_id: who.
        round_number: from 1.
        sample_rate: rate the sampler drew with.
        num_steps: optimizer steps taken.
        num_noise_draws: how often it drew noise (see `privacy.cells`).
        noise_multiplier: stddev of the noise drawn / sensitivity, of all shares together where it drew one of several;
            0 where it draws none.
    """

    hospital_id: str
    round_number: int
    sample_rate: float
    num_steps: int
    num_noise_draws: int
    noise_multiplier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMeasures:
    """What is measured of a simulated hospital's training in one round; no real site sends it.

    Attributes:
        num_examples: training records it holds; Flower's name for what its strategies weight single replies by.
        num_scrubbed: records whose gradient was not finite and was left out, summed over steps; where hospitals are
            the unit, 1 if the update was not finite and a zero update was sent instead.
        loss: mean training loss per sampled record over the round, with the weights of classes; nan where none was
            sampled.
        seconds: wall time of the local training.
    """

    num_examples: int
    num_scrubbed: int
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How the model does on a simulated hospital's test records; no real site sends it.

    Attributes:
        hospital_id: who.
        num_examples: test records; Flower's name for what its strategies weight single replies by.
        loss: mean test loss (cross-entropy, squared error, or that of hazards).
        score: share answered right in [0, 1]; for regression the r2, for survival Harrell's C.
        auc: area under the ROC curve, macro average one-vs-rest; nan where no class has both kinds, or there are none.
    """

    hospital_id: str
    num_examples: int
    loss: float
    score: float = json_field(key="accuracy")
    auc: float

    def __post_init__(self) -> None:
        rule = f"num_examples must be >= 0 and <= {_MOST_RECORDS}"
        hold(self, {rule: 0 <= self.num_examples <= _MOST_RECORDS})


def hold(record: object, rules: Mapping[str, bool]) -> None:
    """Refuse a record that breaks a rule; each begins with the name of the field that it is about.

    Raises:
        ProtocolError: naming the record, the rule and the value.
    """
    for rule, holds in rules.items():
        if not holds:
            value = getattr(record, rule.split(" ", 1)[0])
            raise ProtocolError(f"the {type(record).__name__} message is refused: {rule}, not {value}")
