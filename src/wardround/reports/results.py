"""A run as its folder tells it, in frozen records; numbers that the folder does not hold are nan."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.privacy.attackers import AttackerFigures
from wardround.privacy.cells import READERS, CellWords, cell_in_words
from wardround.reports.files import NOT_KNOWN
from wardround.run_facts import RunFacts
from wardround.server.record.summaries import Summary
from wardround.small_counts import shown_total

__all__ = ["Claim", "HospitalResult", "RunResult", "claim_of"]


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
class Claim:
    """What the sentences beside an epsilon rest on.

    Attributes:
        dataset: its name.
        relation: between neighbours; "" where nothing is protected yet.
        own_statistics: whether hospitals standardised by their own records; None where that is not recorded yet.
        noise: where it is drawn from, "seeded" or "system".
        protocol: that sums are made by.
        status: of the run.
        num_rounds_lost: charged, and not in the model.
        max_colluding: hospitals that may tell each other all they see.
    """

    dataset: str
    relation: str
    own_statistics: bool | None
    noise: str
    protocol: str
    status: str
    num_rounds_lost: int = 0
    max_colluding: int = 0


def claim_of(summary: Summary, *, noise: str = "", protocol: str = "") -> Claim:
    """Return what a summary says that its epsilons rest on.

    Args:
        summary: of a run.
        noise: where the noise is drawn from, where the summary does not say.
        protocol: that sums are made by, likewise.
    """
    return Claim(
        dataset=summary.dataset,
        relation=summary.protection.relation,
        own_statistics=summary.protection.own_statistics,
        noise=summary.facts.noise or noise,
        protocol=summary.settings.protocol or protocol,
        status=summary.status,
        num_rounds_lost=summary.num_rounds_lost,
        max_colluding=summary.settings.max_colluding,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run as its folder tells it. Numbers that the folder does not hold are nan.

    Attributes:
        folder: where the run is.
        config_text: config.toml as it stands there.
        config: the same, parsed: section -> key -> value.
        summary: what summary.json says; None where the run did not get so far.
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
    summary: Summary | None
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
        return self.summary.measured if self.summary else so_far

    @property
    def has_baselines(self) -> bool:
        """Whether the score of the most frequent class is known of any hospital."""
        return any(hospital.majority_accuracy == hospital.majority_accuracy for hospital in self.hospitals)

    @property
    def attacker(self) -> AttackerFigures | None:
        """How often an attacker on the total is right; None where the run did not say."""
        return self.summary.attackers.attacker if self.summary and self.summary.attackers else None

    @property
    def guesses(self) -> dict[str, float]:
        """Share of coin tosses that each reader guesses right at most, in [0.5, 1]; nan where the run did not say."""
        stated = self.summary.attackers.attackers if self.summary and self.summary.attackers else {}
        return {name: stated[name].coin_toss_accuracy if name in stated else NOT_KNOWN for name in READERS}

    @property
    def dataset(self) -> str:
        """Name of the data."""
        return self.summary.dataset if self.summary else str(self.setting("federation", "dataset", "unnamed data"))

    @property
    def status(self) -> str:
        """One of done, stopped-at-budget, interrupted."""
        return self.summary.status if self.summary else "interrupted"

    @property
    def num_rounds(self) -> int:
        """Rounds that were committed."""
        return self.summary.num_rounds if self.summary else int(max((row["round"] for row in self.rounds), default=0))

    @property
    def num_rounds_planned(self) -> int:
        """Rounds that were asked for."""
        if self.summary:
            return self.summary.num_rounds_planned
        return int(self.setting("training", "num-rounds", self.num_rounds))

    @property
    def facts(self) -> RunFacts:
        """What only the starter of the run could tell, and its notes."""
        return self.summary.facts if self.summary else RunFacts()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sentences on who was left out of what."""
        return self.summary.left_out if self.summary else ()

    def setting(self, section: str, key: str, default: Any) -> Any:
        """Return a setting of config.toml, or the default where it is not set."""
        return self.config.get(section, {}).get(key, default)

    @property
    def claim(self) -> Claim:
        """What the epsilons rest on: as the summary says, and while there is none as the settings do."""
        noise = str(self.setting("simulation", "noise", "seeded"))
        protocol = str(self.setting("aggregation", "protocol", "plain"))
        if self.summary:
            return claim_of(self.summary, noise=noise, protocol=protocol)
        cell = cell_in_words(self.unit, self.placement)
        return Claim(
            dataset=self.dataset,
            relation=cell.relation if cell.is_private else "",
            own_statistics=None,
            noise=noise,
            protocol=protocol,
            status=self.status,
        )
