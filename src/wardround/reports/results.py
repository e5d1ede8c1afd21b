"""A run as its folder tells it, in frozen records; numbers that the folder does not hold are nan."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.privacy.cells import READERS, CellWords, cell_in_words
from wardround.reports.files import read_number
from wardround.small_counts import shown_total

__all__ = ["HospitalResult", "RunResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalResult:
    """What one hospital did, spent and got. Numbers that the folder does not hold are nan.

    Attributes:
        name: hospital id.
        size: training records as they may be shown: a number, or "<10".
        num_train: training records; nan where they are not shown.
        num_test: test records; nan where they are not shown, and then its scores are not either.
        rounds_selected: rounds it was asked to train in.
        rounds_completed: rounds it answered in.
        noise_multiplier: smallest and largest noise stddev / clipping norm over its rounds.
        sample_rate: smallest and largest sample rate over its rounds, in (0, 1]; nan where it would tell a size that
            is not shown.
        target_delta: the delta its epsilon is stated at.
        epsilon: spent by the end, headline accountant where there is one; inf without noise.
        loss: mean test loss after the last round.
        accuracy: share right in [0, 1], or r2, after the last round.
        auc: area under the ROC curve after the last round.
        majority_accuracy: the score of always answering the most frequent class (for regression: the mean).
        rows: its lines of hospitals.csv as numbers, by round.
    """

    name: str
    size: str
    num_train: float
    num_test: float
    rounds_selected: int
    rounds_completed: int
    noise_multiplier: tuple[float, float]
    sample_rate: tuple[float, float]
    target_delta: float
    epsilon: float
    loss: float
    accuracy: float
    auc: float
    majority_accuracy: float
    rows: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run as its folder tells it. Numbers that the folder does not hold are nan.

    Attributes:
        folder: where the run is.
        config_text: config.toml as it stands there.
        config: the same, parsed: section -> key -> value.
        facts: summary.json as it stands there; empty where the run did not get so far.
        is_regression: the quality figure is r2, not accuracy.
        placement: where the noise is added: none, local, distributed or central.
        unit: what one unit of protection is: record or hospital.
        words: what is said of the cell of unit and placement.
        epsilon_max: largest epsilon of a hospital.
        epsilon_total: epsilon of a patient who may sit in `patient_overlap` hospitals.
        readers: epsilon against the server, another hospital and whoever receives the model.
        target_delta: the delta that max and total are stated at, as the summary has it.
        patient_overlap: the largest number of hospitals assumed to hold the same patient.
        scores: accuracy (or r2), auc, loss and majority_accuracy of the last model.
        rounds: lines of rounds.csv as numbers, by round.
        hospitals: by name.
    """

    folder: Path
    config_text: str
    config: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    is_regression: bool
    placement: str
    unit: str
    words: CellWords
    epsilon_max: float
    epsilon_total: float
    readers: Mapping[str, float]
    target_delta: float
    patient_overlap: int
    scores: Mapping[str, float]
    rounds: tuple[Mapping[str, float], ...]
    hospitals: tuple[HospitalResult, ...]

    @property
    def is_private(self) -> bool:
        """Whether training was meant to be private."""
        return cell_in_words(self.unit, self.placement).is_private

    @property
    def num_records(self) -> str:
        """Training records of all hospitals as they may be shown."""
        sizes = (hospital.size if hospital.size.startswith("<") else hospital.num_train for hospital in self.hospitals)
        return shown_total(size for size in sizes if size == size)

    @property
    def has_own_deltas(self) -> bool:
        """Whether the hospitals' epsilons are stated at deltas of their own."""
        return len({hospital.target_delta for hospital in self.hospitals}) > 1

    @property
    def is_measured(self) -> bool:
        """Whether loss and scores were measured at all; real sites measure none for others."""
        # Until a run ends, its tables tell.
        so_far = not self.rounds or any(row.get("loss", math.nan) == row.get("loss", math.nan) for row in self.rounds)
        return bool(self.facts.get("measured", bool(self.facts) or so_far))

    @property
    def has_baselines(self) -> bool:
        """Whether the score of the most frequent class is known of any hospital."""
        return any(hospital.majority_accuracy == hospital.majority_accuracy for hospital in self.hospitals)

    @property
    def attacker(self) -> Mapping[str, Any]:
        """How often an attacker on the total is right; empty where the run did not say."""
        return self.facts.get("attacker") or {}

    @property
    def guesses(self) -> dict[str, float]:
        """Share of coin tosses that each reader guesses right at most, in [0.5, 1]; nan where the run did not say."""
        stated = self.facts.get("attackers") or {}
        return {name: read_number((stated.get(name) or {}).get("coin_toss_accuracy")) for name in READERS}

    @property
    def dataset(self) -> str:
        """Name of the data."""
        return str(self.facts.get("dataset", self.setting("federation", "dataset", "unnamed data")))

    @property
    def status(self) -> str:
        """One of done, stopped-at-budget, interrupted."""
        return str(self.facts.get("status", "interrupted"))

    @property
    def num_rounds(self) -> int:
        """Rounds that were committed."""
        return int(self.facts.get("num_rounds", max((row["round"] for row in self.rounds), default=0)))

    @property
    def num_rounds_planned(self) -> int:
        """Rounds that were asked for."""
        return int(self.facts.get("num_rounds_planned", self.setting("training", "num-rounds", self.num_rounds)))

    def setting(self, section: str, key: str, default: Any) -> Any:
        """Return a setting of config.toml, or the default where it is not set."""
        return self.config.get(section, {}).get(key, default)

    @property
    def stated(self) -> dict[str, Any]:
        """The summary, and while there is none the settings that a claim rests on."""
        protocol, noise = (
            self.setting("aggregation", "protocol", "plain"),
            self.setting("simulation", "noise", "seeded"),
        )
        cell = cell_in_words(self.unit, self.placement)
        relation = {"relation": cell.relation} if cell.is_private and not self.facts else {}
        return {"dataset": self.dataset, "protocol": protocol, "noise": noise, **relation, **self.facts}

    def sentences(self, key: str) -> tuple[str, ...]:
        """Return a list of summary.json as sentences; empty where it is missing."""
        listed = self.facts.get(key) or ()
        return (listed,) if isinstance(listed, str) else tuple(str(item) for item in listed)
