"""The plan of a run as records: every hospital's part, and what the whole would cost.

How a plan is made is in `planning`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wardround.config import Config
from wardround.datasets.moments import MomentLayout
from wardround.json_records import json_values
from wardround.json_text import plain_values
from wardround.privacy.cells import Cell, cell_of
from wardround.privacy.policy import RemainingPlan
from wardround.privacy.spending import Account, open_account
from wardround.rounds import HospitalProfile, ProfileMeasures, Schedule
from wardround.small_counts import shown_count, shown_rate
from wardround.step_events import StepEvent

__all__ = ["FederationPlan", "HospitalPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalPlan(RemainingPlan):
    """One hospital's part in the whole run, before its first round.

    Attributes:
        profile: what is known of it.
        target_delta: its delta, below 1 / num_train.
        schedule: of a round it joins.
        before: what is charged to it before round 1: its part in the statistics, or nothing.
        after: what is charged to it after the last round: its part in the release of test scores, or nothing.
        epsilon: after all rounds, as it will be reported; inf without noise.
        measures: what was measured of it; None of a real site, which measures nothing for others.
    """

    profile: HospitalProfile
    target_delta: float
    schedule: Schedule
    before: tuple[StepEvent, ...] = ()
    after: tuple[StepEvent, ...] = ()
    epsilon: float = math.inf
    measures: ProfileMeasures | None = None

    @property
    def name(self) -> str:
        """The hospital's."""
        return self.profile.hospital_id

    @property
    def num_train(self) -> int:
        """Its training records, as it states them."""
        return self.profile.num_train

    @property
    def events(self) -> tuple[StepEvent, ...]:
        """All that it is to be charged for."""
        return (*self.before, self.event, *self.after)


@dataclass(frozen=True, kw_only=True)  # without slots, which leave no room for what is computed once
class FederationPlan:
    """The settings and every hospital's part, in name order.

    Attributes:
        config: all settings.
        hospitals: those that are there.
        num_parameters: the model's.
        drawn_from: names that cohorts are drawn from, sorted: the hospitals', or a roster's.
        notes: sentences on what the settings can't reach with these data.
        moments: that hospitals release before round 1; None where they release none.
        statistics: the plan of that release, likewise.
        scores: the plan of the release of test scores after the last round, of the hospitals that have test records;
            None where there is none.
    """

    config: Config
    hospitals: tuple[HospitalPlan, ...]
    num_parameters: int
    drawn_from: tuple[str, ...]
    notes: tuple[str, ...] = ()
    moments: MomentLayout | None = None
    statistics: "FederationPlan | None" = None
    scores: "FederationPlan | None" = None

    @property
    def cell(self) -> Cell:
        """What is protected, and how."""
        return cell_of(self.config.privacy)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The hospitals' names, sorted."""
        return tuple(self.by_name)

    @cached_property
    def by_name(self) -> Mapping[str, HospitalPlan]:
        """The hospitals by name, in name order: a round looks up those of its cohort."""
        return {hospital.name: hospital for hospital in self.hospitals}

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Each hospital's training records."""
        return {hospital.name: hospital.num_train for hospital in self.hospitals}

    @cached_property
    def noise_multipliers(self) -> Mapping[str, float]:
        """Each hospital's, as planned."""
        return {hospital.name: hospital.noise_multiplier for hospital in self.hospitals}

    def most_records(self, names: Iterable[str]) -> int:
        """Return the training records that any of these hospitals has at most; [federation] max-records where set."""
        if self.config.federation.max_records is not None:
            return self.config.federation.max_records
        known = (self.by_name[name] for name in names if name in self.by_name)
        return max((hospital.num_train for hospital in known), default=1)

    def rate_to_show(self, rate: float, num_train: int) -> float | None:
        """Return a hospital's sample rate; None where it is a batch divided by a size that is not shown."""
        return rate if self.config.training.sample_rate is not None else shown_rate(rate, num_train)

    @property
    def account(self) -> Account:
        """The account as it will be after all rounds."""
        events = [(hospital.name, event) for hospital in self.hospitals for event in hospital.events]
        return open_account(self.target_deltas).projected(events)

    @property
    def epsilon_total(self) -> float:
        """Epsilon after all rounds of a patient in as many hospitals as [privacy] patient-overlap says."""
        return self.account.headline_total(self.config.privacy.patient_overlap)

    def rows(self) -> list[dict[str, Any]]:
        """Return one mapping a hospital: its part and what it spends, with its records as they may be shown."""
        return [
            {
                "hospital": hospital.name,
                "num_examples": shown_count(hospital.num_train),
                "sample_rate": self.rate_to_show(hospital.schedule.sample_rate, hospital.num_train),
                "num_steps": hospital.schedule.num_steps,
                "num_rounds": hospital.num_participations,
                "noise_multiplier": hospital.noise_multiplier,
                "target_delta": hospital.target_delta,
                "epsilon": hospital.epsilon,
            }
            for hospital in self.hospitals
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON can hold it; infinite is "inf"."""
        account, patient_overlap = self.account, self.config.privacy.patient_overlap
        plain: dict[str, Any] = plain_values(
            {
                "unit": self.config.privacy.unit,
                "record_is": self.record_is,
                "placement": self.config.privacy.placement,
                "relation": self.cell.relation,
                "mechanism": self.cell.mechanism,
                "hospitals": self.rows(),
                "epsilon": {
                    "max": self.epsilon_max,
                    "total": self.epsilon_total,
                    # Of max and total: the hospitals' smallest.
                    "target_delta": min(self.target_deltas.values()),
                    "readers": account.epsilons_by_reader(patient_overlap),
                },
                "attacker": json_values(account.attacker(patient_overlap).figures),
            }
        )
        return plain

    @property
    def epsilon_max(self) -> float:
        """Largest epsilon of a hospital after all rounds, at the common delta."""
        return self.account.headline_total(1)

    @property
    def record_is(self) -> str:
        """What a record is: "patient" where that is known at every hospital, else "row"."""
        is_patient = all(hospital.profile.record_is == "patient" for hospital in self.hospitals)
        return "patient" if is_patient else "row"

    @property
    def is_measured(self) -> bool:
        """Whether exact loss and scores are told: of simulated hospitals, where settings let them; of no real site."""
        return self.config.evaluation.is_exact and any(hospital.measures is not None for hospital in self.hospitals)

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """The digest of each hospital's training data; "" of a real site, which does not tell it."""
        return {h.name: h.measures.fingerprint if h.measures is not None else "" for h in self.hospitals}

    @cached_property
    def target_deltas(self) -> Mapping[str, float]:
        """Each hospital's delta."""
        return {hospital.name: hospital.target_delta for hospital in self.hospitals}
