"""What a study keeps in its folder, as records: what it compares, and the rows of each of its runs.

What is left out on purpose: files (see `study_files`), and means and intervals (see `reports`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wardround.json_records import json_field

__all__ = ["HospitalRow", "NoiseRow", "ResultRow", "RunRows", "StudyFacts", "Varied"]

Varied = tuple[tuple[str, ...], ...] | None
"""(setting, value) pairs; the value is empty where the setting makes no difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """study.json: what is varied (see `Study`), and every run's settings, as TOML, by its name.

    Attributes:
        base: settings that all runs share, as TOML.
        versions: by package, of what decides the bits of a model.
        runs: settings by run.
        vary: values of other settings that are varied, as the tables have them, by "section.key"; None of none.
        of_baselines: settings of the baselines alone, likewise.
        of_placements: likewise of the runs of a placement, by placement.
        variants: likewise of the variants, by name.
    """

    name: str
    units: tuple[str, ...]
    placements: tuple[str, ...]
    noise_multipliers: tuple[float, ...]
    target_epsilons: tuple[float, ...]
    seeds: tuple[int, ...]
    baselines: tuple[str, ...]
    base: str = json_field(lacking="")
    versions: Mapping[str, str] = json_field(lacking={})
    runs: Mapping[str, str]
    vary: Mapping[str, tuple[str, ...]] | None = json_field(default=None, is_left_out=True)
    of_baselines: Mapping[str, str] | None = json_field(default=None, is_left_out=True)
    of_placements: Mapping[str, Mapping[str, str]] | None = json_field(default=None, is_left_out=True)
    variants: Mapping[str, Mapping[str, str]] | None = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A row of results.csv: one run; nan where there is nothing to say, as of the noise of a baseline.

    Attributes:
        placement: where noise is added.
        unit: what is protected; "" of a baseline.
        noise_multiplier: the largest of the hospitals'.
        target_epsilon: that was wanted.
        baseline: its name; "" for a run with privacy.
        epsilon_max: the largest of the hospitals'.
        epsilon_total: of a patient in as many hospitals as the patient overlap says.
        score: share right of all test records; over them the r2 of a regression, or the C of a survival, as in a run's
            own tables.
        auc: mean over hospitals by test records.
        seconds: that the rounds took.
        status: "done" or "stopped-at-budget".
        num_rounds: committed.
        task: "classification", "regression" or "survival".
        epsilon_server: against the server.
        epsilon_hospital: against another hospital.
        epsilon_recipient: against whoever receives the model.
        relation: between neighbours; "" of a baseline.
        target_delta: that the largest and the total epsilon are stated at.
        gdp_mu: of the one Gaussian that stands for the run.
        coin_toss_accuracy: of an attacker, at most.
        tpr_at_fpr_1_percent: likewise.
        tpr_at_fpr_01_percent: likewise.
        auc_pooled: over all test records.
        brier_integrated: likewise, of a survival.
        balanced_accuracy: mean of the classes' recalls over all test records, where each has ten or more.
        varied: value by setting of [study.vary], each with a column of its own behind the others; None of none.
    """

    placement: str
    unit: str
    noise_multiplier: float
    target_epsilon: float
    seed: int
    baseline: str
    epsilon_max: float
    epsilon_total: float
    score: float = json_field(key="accuracy")
    auc: float
    seconds: float
    run: str
    status: str
    num_rounds: int
    task: str
    epsilon_server: float
    epsilon_hospital: float
    epsilon_recipient: float
    relation: str = ""
    target_delta: float = math.nan
    gdp_mu: float = math.nan
    coin_toss_accuracy: float = math.nan
    tpr_at_fpr_1_percent: float = json_field(default=math.nan, key="tpr_at_fpr_0.01")
    tpr_at_fpr_01_percent: float = json_field(default=math.nan, key="tpr_at_fpr_0.001")
    auc_pooled: float = math.nan
    brier_integrated: float = math.nan
    balanced_accuracy: float = math.nan
    varied: Varied = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalRow:
    """A row of hospitals.csv: one hospital in one run, with the columns of `ResultRow` that tell the runs apart.

    Attributes:
        hospital: its name.
        num_train: training records, as they may be shown.
        epsilon: that it spent, at its own delta.
        num_test: test records, as they may be shown; None where none are measured.
        varied: as of `ResultRow`.
    """

    placement: str
    unit: str
    noise_multiplier: float
    target_epsilon: float
    seed: int
    baseline: str
    hospital: str
    num_train: int | str = json_field(key="num_examples")
    epsilon: float
    score: float = json_field(key="accuracy")
    auc: float
    run: str
    num_test: int | str | None = None
    relation: str = ""
    varied: Varied = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRow:
    """A row of noise_on_average.csv: the standard deviation of the noise on the average of n hospitals."""

    unit: str
    placement: str
    num_hospitals: int
    noise_multiplier: float
    max_grad_norm: float
    num_coordinates: int
    stddev_measured: float
    stddev_theory: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """result.json: the rows of a run that is done."""

    row: ResultRow
    hospitals: tuple[HospitalRow, ...]
