"""summary.json as records: what a run says of itself once it ended, for users, reports and studies.

Keys that earlier versions did not write are read as not said. What is left out on purpose: how it follows from the
ledger (see `summary`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.json_records import json_field
from wardround.privacy.attackers import AttackerFigures
from wardround.run_facts import RunFacts
from wardround.server.record.class_reports import ClassReport
from wardround.server.record.released_scores import ReleasedScores

__all__ = [
    "AttackerSummary",
    "ClassScores",
    "EpsilonSummary",
    "HospitalSummary",
    "LedgerHead",
    "Protection",
    "RegressionScores",
    "SettingsSummary",
    "Summary",
    "SurvivalScores",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What epsilon is about.

    Attributes:
        unit: what is protected.
        record_is: what a record is: "patient" or "row".
        own_statistics: whether a hospital standardised by its own records; None where the run did not say.
        placement: where noise is added.
        relation: between neighbours; "none" without privacy.
        mechanism: in words; "none" without privacy.
        target_delta: one for all, or by hospital.
    """

    unit: str
    record_is: str = json_field(lacking="row")
    own_statistics: bool | None = json_field(lacking=None)
    placement: str
    relation: str
    mechanism: str
    target_delta: float | Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonSummary:
    """What was spent.

    Attributes:
        max: by the worst hospital, at the common delta.
        total: by a patient in as many hospitals as the patient overlap says, at the common delta.
        hospitals: by each, at its own delta.
        target_delta: the common delta, the hospitals' smallest; None where the run did not say.
        readers: the total against the server, another hospital and whoever receives the model.
    """

    max: float
    total: float
    hospitals: Mapping[str, float] = json_field(lacking={})
    target_delta: float | None = json_field(lacking=None)
    readers: Mapping[str, float] = json_field(lacking={})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackerSummary:
    """What attackers can reach at most (see `privacy.attackers`).

    Attributes:
        gdp_mu: of the one Gaussian that stands for the run; None where none does.
        gdp_mu_reason: why not; "" where it does.
        attacker: on the total; None where the run did not say.
        attackers: by reader.
        attackers_by_hospital: by hospital, for a patient in that one alone.
    """

    gdp_mu: float | None = json_field(lacking=None)
    gdp_mu_reason: str = json_field(lacking="")
    attacker: AttackerFigures | None = json_field(lacking=None)
    attackers: Mapping[str, AttackerFigures] = json_field(lacking={})
    attackers_by_hospital: Mapping[str, AttackerFigures] = json_field(lacking={})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """How well the run's model tells classes; None where nothing is measured.

    Attributes:
        score: share right of all test records, in [0, 1].
        auc: area under the ROC curve, the mean over hospitals by test records.
        auc_pooled: the same over all test records; None where the run did not say.
        majority: share right of always answering the most frequent class.
    """

    score: float | None = json_field(key="accuracy")
    auc: float | None = json_field(lacking=None)
    auc_pooled: float | None = json_field(default=None, is_left_out=True)
    majority: float | None = json_field(key="majority_accuracy", lacking=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionScores:
    """How well the run's model predicts a number: the r2 over all test records, and that of always answering the mean.

    Earlier versions wrote the mean of the hospitals' r2, weighted by test records.
    """

    score: float | None = json_field(key="r2")
    majority: float | None = json_field(key="majority_r2", lacking=None)

    @property
    def auc(self) -> None:
        """There is none."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SurvivalScores:
    """How well the run's model tells who has the event earlier, and when; None where nothing is measured.

    Attributes:
        score: Harrell's C over all test records, in [0, 1].
        concordance: the same, the mean over hospitals by test records.
        brier_integrated: integrated Brier score over all test records; None where the run had no training records to
            tell the censoring from.
        brier_kaplan_meier: the same of answering with the training records' survival curve, whatever the features.
        majority: C of giving the same answer to all.
    """

    score: float | None = json_field(key="concordance_pooled")
    concordance: float | None
    brier_integrated: float | None
    brier_kaplan_meier: float | None
    majority: float | None = json_field(key="majority_concordance", lacking=None)

    @property
    def auc(self) -> None:
        """There is none."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsSummary:
    """The settings that a summary repeats; the protocol that sums were made by is "" where the run did not say.

    `personal` is the method by which hospitals have parameters of their own; None where they have none.
    """

    seed: int
    strategy: str = json_field(lacking="")
    protocol: str = json_field(lacking="")
    min_survivors: int = json_field(lacking=1)
    max_colluding: int = json_field(lacking=0)
    model: str
    personal: str | None = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalSummary:
    """One hospital's records as they may be shown, and the score of always answering the most frequent class.

    `intervals` are 95 % intervals of the scores of the run's model there; None where there are none.
    """

    hospital: str
    num_train: int | str
    num_test: int | str | None
    majority_score: float | None = json_field(key="majority_accuracy", lacking=None)
    intervals: Mapping[str, tuple[float, ...]] | None = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerHead:
    """The number of the ledger's rows and the last one's digest: kept elsewhere, it shows whether all was rewritten."""

    count: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What summary.json holds.

    Attributes:
        num_rounds: committed.
        num_rounds_planned: asked for.
        status: "done", "stopped-at-budget", "stopped-early" or "interrupted".
        kept_round: whose model is the run's; None where it is the last one's.
        protection: what is protected, and how.
        attackers: what they can reach; None where the run did not say.
        accountant: that proves epsilon: "pld" or "rdp".
        events: by hospital what was done, as dp-accounting writes it.
        patient_overlap: hospitals that may hold the same patient.
        noise_multiplier: by hospital, in the last round.
        max_grad_norm: the clip after the last round; None without privacy.
        measured: whether loss and scores were.
        loss: mean test loss of the run's model, or of the last one that was tested.
        scores: of the same; None where the run did not say.
        public_loss: of the same, on public records; None where there are none.
        metrics: a user's, of the same over all test records; None of none.
        class_report: of the same; None of a regression, and where the run did not say.
        intervals: 95 % intervals of scores by their names; None where there are none.
        released_scores: what was released of the test records with noise; None where nothing was asked for.
        seconds: that all rounds took.
        left_out: sentences on who was left out of what.
        num_rounds_lost: charged, and not in the model.
        leaves_hospital: by field that was sent, on what grounds.
        ledger_head: after the end was booked; None where the run did not say.
        facts: what only the starter of the run could tell, and all its notes.
    """

    dataset: str
    num_hospitals: int
    num_rounds: int
    num_rounds_planned: int
    status: str
    kept_round: int | None = json_field(default=None, is_left_out=True)
    protection: Protection = json_field(is_inline=True)
    epsilon: EpsilonSummary
    attackers: AttackerSummary | None = json_field(lacking=None, is_inline=True)
    accountant: str = json_field(lacking="")
    events: Mapping[str, tuple[str, ...]] = json_field(lacking={})
    patient_overlap: int
    noise_multiplier: Mapping[str, float] = json_field(lacking={})
    max_grad_norm: float | None = json_field(lacking=None)
    measured: bool = json_field(lacking=True)
    loss: float | None
    scores: ClassScores | RegressionScores | SurvivalScores | None = json_field(lacking=None, is_inline=True)
    public_loss: float | None = json_field(default=None, is_left_out=True)
    metrics: Mapping[str, float] | None = json_field(default=None, is_left_out=True)
    class_report: ClassReport | None = json_field(default=None, is_inline=True)
    intervals: Mapping[str, tuple[float, ...]] | None = json_field(default=None, is_left_out=True)
    released_scores: ReleasedScores | None = json_field(default=None, is_left_out=True)
    seconds: float
    settings: SettingsSummary = json_field(is_inline=True)
    left_out: tuple[str, ...]
    num_rounds_lost: int = json_field(lacking=0)
    hospitals: tuple[HospitalSummary, ...]
    leaves_hospital: Mapping[str, str]
    versions: Mapping[str, str] = json_field(lacking={})
    ledger_head: LedgerHead | None = json_field(lacking=None)
    facts: RunFacts = json_field(is_inline=True)
