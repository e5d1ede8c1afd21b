"""audit.json as records: beside what the bill allows, what an attacker was seen to get.

What is left out on purpose: how it was found (see `audit`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wardround.json_records import json_field

__all__ = [
    "AUDIT",
    "CONFIDENCE",
    "AttackResult",
    "Audit",
    "FoundRates",
    "HospitalAudit",
    "Membership",
    "ReaderAudit",
    "Reconstruction",
    "ReconstructionView",
    "worst_of",
]

AUDIT = "audit.json"
"""The file's name in a run's folder."""
CONFIDENCE = 0.95
"""Of all lower bounds of one kind together, and of every other interval by itself: chance alone makes one of the bounds
too large in one of twenty audits at most, likewise of real records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRates:
    """Shares that are found by thresholds which others chose; None where too few chose, or were there to be found.

    Attributes:
        tpr_at_fpr_1_percent: share of those that were used who are found, by a threshold above which 1 % of the others
            are expected.
        tpr_at_fpr_1_percent_interval: its 95 % interval.
        measured_fpr_1_percent: share of the others who were falsely accused by it.
        measured_fpr_1_percent_interval: its 95 % interval.
        tpr_at_fpr_01_percent: the same at 0.1 %, and the next three likewise.
    """

    tpr_at_fpr_1_percent: float | None = json_field(key="tpr_at_fpr_0.01", default=None)
    tpr_at_fpr_1_percent_interval: tuple[float, ...] | None = json_field(key="tpr_at_fpr_0.01_interval", default=None)
    measured_fpr_1_percent: float | None = json_field(key="measured_fpr_0.01", default=None)
    measured_fpr_1_percent_interval: tuple[float, ...] | None = json_field(
        key="measured_fpr_0.01_interval", default=None
    )
    tpr_at_fpr_01_percent: float | None = json_field(key="tpr_at_fpr_0.001", default=None)
    tpr_at_fpr_01_percent_interval: tuple[float, ...] | None = json_field(key="tpr_at_fpr_0.001_interval", default=None)
    measured_fpr_01_percent: float | None = json_field(key="measured_fpr_0.001", default=None)
    measured_fpr_01_percent_interval: tuple[float, ...] | None = json_field(
        key="measured_fpr_0.001_interval", default=None
    )


def _check_curve(roc: tuple[tuple[float, ...], ...] | None, most: tuple[float, ...] | None) -> None:
    points = roc or ()
    if most is not None and len(most) != len(points):
        raise ValueError(f"roc_most has {len(most)} numbers, and roc has {len(points)} points")
    if {len(point) for point in points} - {2}:
        raise ValueError("roc must have points of two numbers")
    if not all(0 <= share <= 1 for share in (*(share for point in points for share in point), *(most or ()))):
        raise ValueError("roc and roc_most must have shares in [0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderAudit:
    """What one reader of a run got, and may get.

    Attributes:
        epsilon: the bill: what the reader may get, at the hospital's delta; inf where nothing is promised.
        epsilon_lower: what it was seen to get at least; None where nothing is promised. No larger than the bill, unless
            that is refuted.
        epsilon_lower_one_run: the same where canaries may share whatever they like, for promises of the bill's shape.
        epsilon_lower_any: the same where nothing is assumed but epsilon and delta.
        mu_lower: how many standard deviations Gaussians are apart at least that are told apart as well.
        mu: that of the nearest Gaussians that the bill is not above.
        num_canaries: that the attacker guessed.
        num_correct: that it guessed right.
        num_used: of the canaries.
        auc: how often one that was used has a higher score than one that was not, in [0, 1].
        auc_error: standard error of that.
        num_clearest: canaries whose scores say most, a tenth of all.
        num_clearest_correct: of these, that it guessed right.
        coin_toss_accuracy: share of right guesses.
        coin_toss_interval: its 95 % interval.
        coin_toss_most: what the bill allows.
        found: of canaries that were used, while others are falsely accused.
        tpr_at_fpr_1_percent_most: what the bill allows at 1 %.
        tpr_at_fpr_01_percent_most: at 0.1 %.
        noise: measured, relative to what is billed; None where it can't be measured.
        noise_interval: its 99.9 % interval.
        is_noise_low: whether so little noise is beyond chance.
        is_refuted: whether so many right guesses are beyond what the bill allows by chance.
        roc: points of the ROC curve of its scores, (false-positive rate, true-positive rate), from the left, at rates
            that so many canaries can show; None where nothing is promised, or an earlier version audited.
        roc_most: what the bill allows at those false-positive rates.

    Raises:
        ValueError: a curve is none, or a number is out of its range.
    """

    epsilon: float
    epsilon_lower: float | None
    epsilon_lower_one_run: float | None = None
    epsilon_lower_any: float | None = None
    mu_lower: float | None = None
    mu: float | None = None
    num_canaries: int = 0
    num_correct: int = 0
    num_used: int = 0
    auc: float | None = None
    auc_error: float | None = None
    num_clearest: int = 0
    num_clearest_correct: int = 0
    coin_toss_accuracy: float | None = None
    coin_toss_interval: tuple[float, ...] | None = None
    coin_toss_most: float | None = None
    found: FoundRates = json_field(is_inline=True, default=FoundRates())
    tpr_at_fpr_1_percent_most: float | None = json_field(key="tpr_at_fpr_0.01_most", default=None)
    tpr_at_fpr_01_percent_most: float | None = json_field(key="tpr_at_fpr_0.001_most", default=None)
    noise: float | None = None
    noise_interval: tuple[float, ...] | None = None
    is_noise_low: bool = False
    is_refuted: bool = False
    roc: tuple[tuple[float, ...], ...] | None = json_field(default=None, is_left_out=True)
    roc_most: tuple[float, ...] | None = json_field(default=None, is_left_out=True)

    def __post_init__(self) -> None:
        _check_curve(self.roc, self.roc_most)
        if not (0 <= (self.auc or 0.0) <= 1 and (self.auc_error or 0.0) >= 0):
            raise ValueError(f"auc = {self.auc} and auc_error = {self.auc_error} must be in [0, 1], and >= 0")
        if not (0 <= self.num_used <= self.num_canaries and 0 <= self.num_correct <= self.num_canaries):
            raise ValueError(f"num_used and num_correct must be in 0..{self.num_canaries}, the number of canaries")


def worst_of(found: Iterable[ReaderAudit]) -> ReaderAudit:
    """Return what the reader got who got most, the first of those who got as much.

    One against whom nothing is promised comes last.
    """
    return max(found, key=lambda each: -1.0 if each.epsilon_lower is None else each.epsilon_lower)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackResult:
    """What one attack on models got, of patients of one hospital.

    Attributes:
        auc: of its scores: how often a used patient stands above one who was not, in [0, 1].
        num_coins: one for each patient in each model that was attacked.
        num_guesses: of coins, half of those that there are, the clearest.
        num_correct: how many of them were right.
        found: of patients who were used, while others are falsely accused; intervals are of other models, too.
        epsilon_lower: that so many right guesses show at least, whatever they share and whatever the promise's shape;
            None where the bill is not of what one record changes.
        is_refuted: whether so many right guesses are more than the bill of whoever receives the model allows, beyond
            chance.
        roc: points of the ROC curve of its scores, as of ReaderAudit; None where an earlier version audited.
        roc_most: what the bill allows at those false-positive rates; None where it is not of what one record changes.

    Raises:
        ValueError: a curve is none.
    """

    auc: float
    num_coins: int = 0
    num_guesses: int
    num_correct: int
    found: FoundRates = json_field(is_inline=True, default=FoundRates())
    epsilon_lower: float | None
    is_refuted: bool = False
    roc: tuple[tuple[float, ...], ...] | None = json_field(default=None, is_left_out=True)
    roc_most: tuple[float, ...] | None = json_field(default=None, is_left_out=True)

    def __post_init__(self) -> None:
        _check_curve(self.roc, self.roc_most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What whoever receives the model tells of a hospital's real records, by shadow models.

    Attributes:
        num_models: that were trained.
        num_attacked: of these, with the others as shadows.
        num_records: of the hospital, or patients where some have several.
        level: probability with which the lower bound of one attack is too large, at most.
        attacks: by name, "lira" and "rmia"; where there are classes "mislabelled" too, of one model more, and of
            half of the patients, who have wrong labels there.
    """

    num_models: int
    num_attacked: int
    num_records: int
    level: float | None = None
    attacks: Mapping[str, AttackResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalAudit:
    """One hospital's readers; its own keys are those of the reader that got most.

    Attributes:
        worst: of the reader that got most.
        readers: by name.
        membership: of its real records; None where no shadow models were trained.
    """

    worst: ReaderAudit = json_field(is_inline=True)
    readers: Mapping[str, ReaderAudit]
    membership: Membership | None = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionView:
    """How well stand-ins are reconstructed from what a server receives with one protection.

    Attributes:
        noise_multiplier: of the step; 0 where there is no noise.
        num_summed: hospitals whose records are in what is received: 1, or those of a secure sum.
        error: of features, on average, in standard deviations of stand-ins.
        error_interval: its 95 % interval.
        identified: share of stand-ins that are told among all.
        identified_interval: its 95 % interval.
        shown: the reconstruction of the stand-in that is shown, feature by feature.
    """

    noise_multiplier: float
    num_summed: int
    error: float
    error_interval: tuple[float, ...]
    identified: float
    identified_interval: tuple[float, ...]
    shown: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What gradient inversion gets of made-up records, each in a batch of its own.

    Attributes:
        model: whose gradients they are.
        num_records: that were reconstructed.
        num_candidates: stand-ins among which each is to be told.
        guessed_error: of whoever has received nothing, and answers with the mean of all stand-ins.
        input_shape: of a record.
        feature_names: of a row; () of an image.
        shown: one stand-in, feature by feature. No record of a hospital has a part in it.
        views: by protection.
    """

    model: str
    num_records: int
    num_candidates: int
    guessed_error: float
    input_shape: tuple[int, ...]
    feature_names: tuple[str, ...]
    shown: tuple[float, ...]
    views: Mapping[str, ReconstructionView]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What audit.json holds.

    Attributes:
        epsilon_lower: the largest of the hospitals' and readers'; the confidence is of that.
        epsilon: the bill of the hospital and the reader that it is of.
        confidence: of lower bounds and intervals.
        num_canaries: asked for, of hospitals that did the same together.
        seed: of coins, batches and noise.
        is_alarm: whether a bill is refuted.
        suspicions: sentences on what may be wrong; none without alarm.
        seconds: it took.
        hospitals: by name.
        unaudited: by name, why a hospital is not among them.
        ledger_digest: at which the run's ledger ended; "" of an earlier version, which did not say.
        level: probability with which one lower bound is too large, at most; None of an earlier version.
        other_versions: of packages that are not what they were when the run began, so that twins are of other code.
        reconstruction: of made-up records; None where it was not asked for.
    """

    epsilon_lower: float | None
    epsilon: float
    confidence: float
    num_canaries: int
    seed: int
    is_alarm: bool
    suspicions: tuple[str, ...]
    seconds: float
    hospitals: Mapping[str, HospitalAudit]
    unaudited: Mapping[str, str] = json_field(lacking={})
    ledger_digest: str = ""
    level: float | None = None
    other_versions: tuple[str, ...] = ()
    reconstruction: Reconstruction | None = json_field(default=None, is_left_out=True)
