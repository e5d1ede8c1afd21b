"""Who trains in which round, with which rate, how many steps and how much noise: all settled before any training.

A plan is a pure function of the settings and the hospitals' profiles. Cohorts are drawn by name from a seeded stream,
so they are known in advance and the noise for a target epsilon can be sized for the rounds a hospital really joins.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardround.config import Config
from wardround.errors import CohortError, ConfigError
from wardround.privacy.account import Account, open_account
from wardround.privacy.accounting import Phase, calibrate_noise_multiplier, rdp_epsilon
from wardround.privacy.policy import check_target_delta
from wardround.rounds import Assignment, HospitalProfile
from wardround.streams import COHORT, DROPOUT, stream

__all__ = [
    "FederationPlan",
    "HospitalPlan",
    "assign_round",
    "draw_cohort",
    "draw_dropouts",
    "plan_federation",
    "rounds_joined",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalPlan:
    """One hospital's part in the whole run.

    Attributes:
        profile: what is known of it.
        target_delta: its delta, below 1 / num_train.
        sample_rate: of every step, in (0, 1].
        expected_batch_size: sample_rate times num_train.
        num_steps: steps in a round it joins.
        num_rounds: rounds it joins, of all.
        noise_multiplier: noise stddev / max_grad_norm; 0.0 without privacy.
        epsilon: after all rounds, by RDP; inf without noise.
    """

    profile: HospitalProfile
    target_delta: float
    sample_rate: float
    expected_batch_size: float
    num_steps: int
    num_rounds: int
    noise_multiplier: float
    epsilon: float

    @property
    def phase(self) -> Phase:
        """All its steps, over all rounds."""
        return Phase(
            noise_multiplier=self.noise_multiplier,
            sample_rate=self.sample_rate,
            num_steps=self.num_steps * self.num_rounds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationPlan:
    """The settings and every hospital's part, in name order."""

    config: Config
    hospitals: tuple[HospitalPlan, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The hospitals' names, sorted."""
        return tuple(hospital.profile.hospital_id for hospital in self.hospitals)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per hospital: what it would pay after all rounds, by Renyi divergences."""
        return [
            {
                "hospital": hospital.profile.hospital_id,
                "num_examples": hospital.profile.num_train,
                "sample_rate": hospital.sample_rate,
                "num_steps": hospital.num_steps,
                "num_rounds": hospital.num_rounds,
                "noise_multiplier": hospital.noise_multiplier,
                "target_delta": hospital.target_delta,
                "epsilon": hospital.epsilon,
            }
            for hospital in self.hospitals
        ]

    @property
    def epsilon_total(self) -> float:
        """Epsilon after all rounds of a patient in as many hospitals as [privacy] patient-overlap says."""
        return self._account().epsilon_total(self.config.privacy.patient_overlap)

    def _account(self) -> Account:
        phases = [(hospital.profile.hospital_id, hospital.phase) for hospital in self.hospitals]
        return open_account(self.target_deltas).projected(phases)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON can hold it; infinite is "inf"."""
        rows = [row | {"epsilon": _finite(row["epsilon"])} for row in self.rows()]
        return {"hospitals": rows, "epsilon": {"max": _finite(self.epsilon_max), "total": _finite(self.epsilon_total)}}

    @property
    def epsilon_max(self) -> float:
        """Largest epsilon of a hospital after all rounds, at the common delta."""
        return self._account().epsilon_max()

    @property
    def fingerprints(self) -> dict[str, str]:
        """The digest of each hospital's training data."""
        return {hospital.profile.hospital_id: hospital.profile.fingerprint for hospital in self.hospitals}

    @property
    def target_deltas(self) -> dict[str, float]:
        """Each hospital's delta."""
        return {hospital.profile.hospital_id: hospital.target_delta for hospital in self.hospitals}


def plan_federation(config: Config, profiles: Iterable[HospitalProfile]) -> FederationPlan:
    """Return the plan of a run.

    Raises:
        ConfigError: delta is too large for a hospital, or a cohort can't have min-survivors members.
        CohortError: there is no hospital, or two share a name.
    """
    profiles = sorted(profiles, key=lambda profile: profile.hospital_id)
    names = [profile.hospital_id for profile in profiles]
    if not names:
        raise CohortError("no hospital takes part: check [federation] and min-patients")
    if len(set(names)) < len(names):
        raise CohortError("two hospitals share a name: start every node with a partition-id of its own")
    held, overlap = max(p.hospitals_per_patient for p in profiles), config.privacy.patient_overlap
    if held > overlap and config.privacy.placement != "none":
        raise ConfigError(
            f"patient-overlap = {overlap} must be >= {held}, since {held} hospitals hold rows of the same patient "
            f"([privacy] patient-overlap): set {held}, or give different people different patient numbers"
        )
    cohort_size = _cohort_size(len(names), config.training.fraction_train)
    if config.aggregation.min_survivors > cohort_size:
        raise ConfigError(
            f"min-survivors = {config.aggregation.min_survivors} must be <= {cohort_size}, the hospitals in a round "
            "([aggregation] min-survivors): lower it, or raise fraction-train"
        )
    deltas = check_target_delta(config.privacy.target_delta, {p.hospital_id: p.num_train for p in profiles})
    joined = rounds_joined(config, names)
    return FederationPlan(
        config=config,
        hospitals=tuple(_plan_hospital(config, p, deltas[p.hospital_id], joined[p.hospital_id]) for p in profiles),
    )


def draw_cohort(config: Config, names: Sequence[str], round_number: int) -> tuple[str, ...]:
    """Return the names drawn for a round, sorted; the same for the same seed, whatever happened before."""
    size = _cohort_size(len(names), config.training.fraction_train)
    if size == len(names):
        return tuple(sorted(names))
    drawn = stream(config.federation.seed, COHORT, round_number, "").choice(len(names), size=size, replace=False)
    return tuple(sorted(sorted(names)[index] for index in drawn))


def rounds_joined(config: Config, names: Sequence[str], *, first_round: int = 1) -> dict[str, int]:
    """Return how many rounds, from the first one given to the last, each hospital is drawn for."""
    rounds = range(first_round, config.training.num_rounds + 1)
    if _cohort_size(len(names), config.training.fraction_train) == len(names):
        return dict.fromkeys(names, len(rounds))
    joined = dict.fromkeys(names, 0)
    for round_number in rounds:
        for name in draw_cohort(config, names, round_number):
            joined[name] += 1
    return joined


def draw_dropouts(config: Config, cohort: Sequence[str], round_number: int) -> frozenset[str]:
    """Return the hospitals of the cohort that will not answer in this round (simulation)."""
    rate = config.simulation.dropout_rate
    seed = config.federation.seed
    return frozenset(name for name in cohort if rate and stream(seed, DROPOUT, round_number, name).random() < rate)


def assign_round(
    plan: FederationPlan, cohort: Sequence[str], round_number: int, noise_multipliers: Mapping[str, float]
) -> tuple[Assignment, ...]:
    """Return what each hospital of the cohort is asked to do in the round, in name order.

    Args:
        plan: of the run.
        cohort: names of those who take part.
        round_number: from 1.
        noise_multipliers: in force, by hospital (they differ from the plan's after a re-plan).
    """
    chosen = [hospital for hospital in plan.hospitals if hospital.profile.hospital_id in set(cohort)]
    total = sum(hospital.profile.num_train for hospital in chosen)
    private = plan.config.privacy.placement != "none"
    return tuple(
        Assignment(
            hospital_id=hospital.profile.hospital_id,
            round_number=round_number,
            sample_rate=hospital.sample_rate,
            expected_batch_size=hospital.expected_batch_size,
            num_steps=hospital.num_steps,
            noise_multiplier=noise_multipliers[hospital.profile.hospital_id],
            max_grad_norm=plan.config.privacy.max_grad_norm if private else None,
            weight=hospital.profile.num_train / total,
        )
        for hospital in chosen
    )


def _cohort_size(num_hospitals: int, fraction_train: float) -> int:
    return max(1, round(fraction_train * num_hospitals))


def _finite(epsilon: float) -> float | str:
    return epsilon if math.isfinite(epsilon) else "inf"


def _plan_hospital(config: Config, profile: HospitalProfile, target_delta: float, num_rounds: int) -> HospitalPlan:
    training, privacy = config.training, config.privacy
    sample_rate = training.sample_rate
    if sample_rate is None:
        # A hospital with fewer records than the batch takes all of them in every step.
        sample_rate = min(1.0, (training.batch_size or 32) / profile.num_train)
    # Rounded up, but not for the last bit of 1 / sample_rate.
    epoch_steps = math.ceil((training.local_epochs or 1) / sample_rate - 1e-9)
    num_steps = training.local_steps or epoch_steps
    total_steps = num_steps * num_rounds
    if privacy.placement == "none":
        noise_multiplier = 0.0
    elif privacy.target_epsilon is None:
        noise_multiplier = float(privacy.noise_multiplier or 0.0)
    elif total_steps:
        noise_multiplier = calibrate_noise_multiplier(privacy.target_epsilon, target_delta, sample_rate, total_steps)
    else:
        noise_multiplier = 1.0  # never drawn: this hospital joins no round
    phase = Phase(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=total_steps)
    return HospitalPlan(
        profile=profile,
        target_delta=target_delta,
        sample_rate=sample_rate,
        expected_batch_size=sample_rate * profile.num_train,
        num_steps=num_steps,
        num_rounds=num_rounds,
        noise_multiplier=noise_multiplier,
        epsilon=rdp_epsilon([phase], target_delta),
    )
