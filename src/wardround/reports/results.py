"""A run as its folder tells it, in frozen records; numbers that the folder does not hold are nan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.privacy.attackers import AttackerFigures
from wardround.privacy.cells import READERS, CellWords, cell_in_words
from wardround.reports.files import NOT_KNOWN, is_small
from wardround.reports.score_words import ScoreWords
from wardround.server.record.summaries import EpsilonSummary, Summary
from wardround.small_counts import shown_total

__all__ = ["MOST_DRAWN", "HospitalResult", "RunResult"]

MOST_DRAWN = 200
"""Hospitals that a page shows one by one: of more, it shows those with the largest epsilon, and draws some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalResult:
    """What one hospital did, spent and got. Numbers that the folder does not hold are nan.

    Attributes:
        name: hospital id.
        size: training records as they may be shown: a number, or "<10".
        num_train: training records; nan where they are not shown.
        rounds_selected: rounds it was asked to train in.
        rounds_completed: rounds it answered in.
        noise_multiplier: smallest and largest noise stddev / clipping norm over its rounds.
        sample_rate: smallest and largest sample rate over its rounds, in (0, 1]; nan where it would tell a size that
            is not shown.
        target_delta: the delta its epsilon is stated at.
        epsilon: spent by the end, headline accountant where there is one; inf without noise.
        score: share right in [0, 1], r2 or C, of the run's model; nan on test records that are not shown.
        auc: area under the ROC curve; likewise.
        majority_score: of the same answer to all: the most frequent class, or the mean.
        intervals: 95 % intervals of its score and auc; none where the run did not say.
        rows: its lines of hospitals.csv as numbers, by round.
    """

    name: str
    size: str
    num_train: float
    rounds_selected: int
    rounds_completed: int
    noise_multiplier: tuple[float, float]
    sample_rate: tuple[float, float]
    target_delta: float
    epsilon: float
    score: float
    auc: float
    majority_score: float
    intervals: Mapping[str, Sequence[float]]
    rows: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run as its folder tells it. Numbers that the folder does not hold are nan.

    Attributes:
        folder: where the run is.
        config_text: config.toml as it stands there.
        config: the same, parsed: section -> key -> value.
        summary: what summary.json says; where the run did not get so far, or does not say where noise and sums come
            from, what its tables and settings say.
        score_words: what the score is called: accuracy, r2 or C.
        words: what is said of the cell of unit and placement.
        epsilon: largest and total, infinite without privacy, at their delta; and against each of the three readers.
        scores: score (accuracy, r2 or C), auc, auc_pooled, loss and majority_score of the run's model; of a survival
            concordance, brier_integrated and brier_kaplan_meier too.
        rounds: lines of rounds.csv as numbers, by round.
        hospitals: by name.
    """

    folder: Path
    config_text: str
    config: Mapping[str, Mapping[str, Any]]
    summary: Summary
    score_words: ScoreWords
    words: CellWords
    epsilon: EpsilonSummary
    scores: Mapping[str, float]
    rounds: tuple[Mapping[str, float], ...]
    hospitals: tuple[HospitalResult, ...]

    @property
    def costliest(self) -> tuple[HospitalResult, ...]:
        """The hospitals that a page has a line for, by name: all, or of many those with the largest epsilon."""
        if len(self.hospitals) <= MOST_DRAWN:
            return self.hospitals
        ranked = sorted(self.hospitals, key=lambda hospital: (-hospital.epsilon, hospital.name))
        return tuple(sorted(ranked[:MOST_DRAWN], key=lambda hospital: hospital.name))

    @property
    def is_private(self) -> bool:
        """Whether training was meant to be private."""
        return cell_in_words(self.summary.protection.unit, self.summary.protection.placement).is_private

    @property
    def num_records(self) -> str:
        """Training records of all hospitals as they may be shown."""
        sizes = (hospital.size if is_small(hospital.size) else hospital.num_train for hospital in self.hospitals)
        return shown_total(size for size in sizes if size == size)

    @property
    def target_delta(self) -> float:
        """The delta that the largest and the total epsilon are stated at; nan where it is not recorded."""
        return NOT_KNOWN if self.epsilon.target_delta is None else self.epsilon.target_delta

    @property
    def has_own_deltas(self) -> bool:
        """Whether the hospitals' epsilons are stated at deltas of their own."""
        return len({hospital.target_delta for hospital in self.hospitals}) > 1

    @property
    def has_baselines(self) -> bool:
        """Whether the score of the most frequent class is known of any hospital."""
        return any(hospital.majority_score == hospital.majority_score for hospital in self.hospitals)

    @property
    def attacker(self) -> AttackerFigures | None:
        """How often an attacker on the total is right; None where the run did not say."""
        return self.summary.attackers.attacker if self.summary.attackers else None

    @property
    def guesses(self) -> dict[str, float]:
        """Share of coin tosses that each reader guesses right at most, in [0.5, 1]; nan where the run did not say."""
        stated = self.summary.attackers.attackers if self.summary.attackers else {}
        return {name: stated[name].coin_toss_accuracy if name in stated else NOT_KNOWN for name in READERS}

    @property
    def intervals(self) -> Mapping[str, Sequence[float]]:
        """95 % intervals of scores by their names in the summary; none where it did not say."""
        return self.summary.intervals or {}

    def setting(self, section: str, key: str, default: Any) -> Any:
        """Return a setting of config.toml, or the default where it is not set."""
        return self.config.get(section, {}).get(key, default)
