"""Who trains in which round, with which rate, how many steps and how much noise: all settled before any training.

A plan is a pure function of the settings and the hospitals' profiles. Cohorts are drawn by name from a seeded stream,
so they are known in advance and the noise for a target epsilon can be sized for the rounds a hospital really joins.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from wardround.config import Config
from wardround.errors import CohortError, ConfigError
from wardround.privacy.accounting import calibrate_noise_multiplier, rdp_epsilon
from wardround.privacy.mechanisms import Mechanism
from wardround.privacy.phases import Release
from wardround.privacy.policy import check_target_delta
from wardround.privacy.schedules import schedule_of
from wardround.rounds import Assignment, HospitalProfile
from wardround.server.cohorts import cohort_size, rounds_joined
from wardround.server.margins import check_clip
from wardround.server.plans import FederationPlan, HospitalPlan, mechanism_in

__all__ = [
    "assign_round",
    "calibrated",
    "common_noise",
    "plan_federation",
    "release_in",
]


def plan_federation(config: Config, profiles: Iterable[HospitalProfile], num_parameters: int = 0) -> FederationPlan:
    """Return the plan of a run.

    Args:
        config: all settings.
        profiles: of all hospitals.
        num_parameters: of the model; needed with placement "distributed", where rounding them has a cost, and to
            tell whether a clip is too small with "central".

    Raises:
        ConfigError: delta is too large for a hospital, a cohort can't have min-survivors members, or the clip is too
            small for so many parameters.
        CohortError: there is no hospital, or two share a name.
    """
    profiles = sorted(profiles, key=lambda profile: profile.hospital_id)
    names = [profile.hospital_id for profile in profiles]
    if not names:
        raise CohortError("no hospital takes part: check [federation] and min-patients")
    if len(set(names)) < len(names):
        raise CohortError("two hospitals share a name: start every node with a partition-id of its own")
    held, overlap = max(p.hospitals_per_patient for p in profiles), config.privacy.patient_overlap
    # Where a whole hospital is the unit, all its patients are hidden with it, and each hospital pays for its own.
    if held > overlap and config.privacy.placement != "none" and config.privacy.unit == "record":
        raise ConfigError(
            f"patient-overlap = {overlap} must be >= {held}, since {held} hospitals hold rows of the same patient "
            f"([privacy] patient-overlap): set {held}, or give different people different patient numbers"
        )
    size = cohort_size(len(names), config.training.fraction_train)
    if config.aggregation.min_survivors > size:
        raise ConfigError(
            f"min-survivors = {config.aggregation.min_survivors} must be <= {size}, the hospitals in a round "
            "([aggregation] min-survivors): lower it, or raise fraction-train"
        )
    deltas = _target_deltas(config, profiles)
    joined = rounds_joined(config, names)
    release = release_in(
        mechanism_in(config),
        profiles,
        dimension=num_parameters + int(num_parameters and config.privacy.adaptive_clipping),
        num_shares=config.aggregation.honest_survivors,
        most_replies=size,
    )
    hospitals = [_plan_hospital(config, p, deltas[p.hospital_id], joined[p.hospital_id], release) for p in profiles]
    check_clip(FederationPlan(config=config, hospitals=tuple(hospitals), num_parameters=num_parameters))
    return FederationPlan(config=config, hospitals=tuple(_with_noise(config, hospitals)), num_parameters=num_parameters)


def assign_round(
    plan: FederationPlan,
    cohort: Sequence[str],
    round_number: int,
    noise_multipliers: Mapping[str, float],
    max_grad_norm: float | None = None,
    attempt: int = 1,
) -> tuple[Assignment, ...]:
    """Return what each hospital of the cohort is asked to do in the round, in name order.

    Args:
        plan: of the run.
        cohort: names of those who take part.
        round_number: from 1.
        noise_multipliers: in force, by hospital (they differ from the plan's after a re-plan).
        max_grad_norm: the clip in force (it differs from the setting with adaptive clipping); None is the setting's.
        attempt: at the round, from 1.
    """
    chosen = [hospital for hospital in plan.hospitals if hospital.profile.hospital_id in set(cohort)]
    cell, privacy = plan.mechanism, plan.config.privacy
    max_grad_norm = privacy.max_grad_norm if max_grad_norm is None else max_grad_norm
    total = sum(hospital.profile.num_train for hospital in chosen)
    largest = max((hospital.profile.num_train for hospital in chosen), default=1)
    assignments = []
    for hospital in chosen:
        name, noise_multiplier = hospital.profile.hospital_id, noise_multipliers[hospital.profile.hospital_id]
        assignment = Assignment(
            hospital_id=name,
            round_number=round_number,
            sample_rate=hospital.sample_rate,
            expected_batch_size=hospital.expected_batch_size,
            num_steps=hospital.num_steps,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm if cell else None,
            weight=1 / len(chosen) if cell and cell.sends_sum else hospital.profile.num_train / total,
            attempt=attempt,
        )
        if cell:
            phase = hospital.release.phase(noise_multiplier, 1)
            assignment = replace(
                assignment,
                unit=cell.unit,
                placement=cell.placement,
                sensitivity=cell.sensitivity(max_grad_norm, adaptive_clipping=privacy.adaptive_clipping),
                scaled_norm=phase.scaled_norm,
                num_shares=phase.num_shares,
                dimension=phase.dimension,
                contribution=hospital.profile.num_train / largest if cell.name == "skellam" else 1.0,
                adaptive_clipping=privacy.adaptive_clipping,
            )
        assignments.append(assignment)
    return tuple(assignments)


def common_noise(plan: FederationPlan, noise_multipliers: Mapping[str, float]) -> dict[str, float]:
    """Return the noise multipliers, all raised to the largest where one noise covers the sum of all hospitals."""
    if plan.mechanism is None or not plan.mechanism.shares_noise:
        return dict(noise_multipliers)
    return dict.fromkeys(noise_multipliers, max(noise_multipliers.values(), default=0.0))


def _target_deltas(config: Config, profiles: Sequence[HospitalProfile]) -> dict[str, float]:
    cell = mechanism_in(config)
    if cell is not None and cell.unit == "hospital":
        units = {profile.hospital_id: len(profiles) for profile in profiles}
        return check_target_delta(config.privacy.target_delta, units, unit="hospital")
    return check_target_delta(config.privacy.target_delta, {p.hospital_id: p.num_train for p in profiles})


def release_in(
    cell: Mechanism | None,
    profiles: Sequence[HospitalProfile],
    *,
    dimension: int,
    num_shares: int,
    most_replies: int,
) -> Release:
    """Return what any hospital releases in a billed step of a cell, at sample rate 1.

    Args:
        cell: None without privacy.
        profiles: of all hospitals.
        dimension: coordinates of what is released.
        num_shares: replies guaranteed.
        most_replies: hospitals in a round.
    """
    if cell is None:
        return Release(sample_rate=1.0)
    release = Release(sample_rate=1.0, unit=cell.unit, relation=cell.relation, placement=cell.placement)
    if cell.placement != "distributed":
        return release
    if dimension < 1:
        raise ConfigError(f"num-parameters = {dimension} must be >= 1 to plan integer noise: count the model's")
    num_vectors = len(profiles) if cell.unit == "hospital" else sum(profile.num_train for profile in profiles)
    return replace(
        release,
        dimension=dimension,
        num_shares=num_shares,
        most_contributions=num_vectors,
        most_shares=most_replies,
    )


def _plan_hospital(
    config: Config, profile: HospitalProfile, target_delta: float, num_rounds: int, release: Release
) -> HospitalPlan:
    """Return the hospital's part but for its noise."""
    cell, schedule = mechanism_in(config), schedule_of(config, profile.num_train)
    return HospitalPlan(
        profile=profile,
        target_delta=target_delta,
        sample_rate=schedule.sample_rate,
        expected_batch_size=schedule.expected_batch_size,
        num_steps=schedule.num_steps,
        num_rounds=num_rounds,
        release=release if release.unit == "hospital" else replace(release, sample_rate=schedule.sample_rate),
        noise_multiplier=float(config.privacy.noise_multiplier or 0.0) if cell is not None else 0.0,
        epsilon=math.inf,
    )


def _with_noise(config: Config, hospitals: Sequence[HospitalPlan]) -> list[HospitalPlan]:
    """Return the hospitals with the noise for the target epsilon, where there is one, and what they spend."""
    target_epsilon, cell = config.privacy.target_epsilon, mechanism_in(config)
    if target_epsilon is not None and cell is not None:
        hospitals = calibrated(hospitals, target_epsilon, shared=cell.shares_noise)
    return [replace(hospital, epsilon=rdp_epsilon([hospital.phase], hospital.target_delta)) for hospital in hospitals]


def calibrated(
    hospitals: Sequence[HospitalPlan], target_epsilon: float, *, shared: bool, guess: float | None = None
) -> list[HospitalPlan]:
    """Return the hospitals with the least noise that keeps each within the target over all its rounds.

    Args:
        hospitals: as planned.
        target_epsilon: for every hospital, at its own delta.
        shared: whether all get the same, which is then what the most exposed one needs.
        guess: a noise multiplier to begin the search for the first one at, and for each at the one before: faster, with
            other last digits.
    """

    @cache
    def least_noise(release: Release, target_delta: float, total_steps: int) -> float:
        nonlocal guess
        if not total_steps:
            return 1.0  # never drawn: this hospital joins no round
        found = calibrate_noise_multiplier(
            target_epsilon, target_delta, release.sample_rate, total_steps, (), release, guess=guess
        )
        guess = None if guess is None else found
        return found

    def needed(hospital: HospitalPlan) -> float:
        return least_noise(hospital.release, hospital.target_delta, hospital.billed_steps * hospital.num_rounds)

    if shared:
        most = max(needed(hospital) for hospital in _most_exposed(hospitals))
        return [replace(hospital, noise_multiplier=most) for hospital in hospitals]
    return [replace(hospital, noise_multiplier=needed(hospital)) for hospital in hospitals]


def _most_exposed(hospitals: Sequence[HospitalPlan]) -> list[HospitalPlan]:
    """Return those that no other one exceeds in sample rate, steps and strictness of delta at once."""
    exposure = {(h.release.sample_rate, h.billed_steps * h.num_rounds, -h.target_delta): h for h in hospitals}
    return [
        hospital
        for key, hospital in exposure.items()
        if not any(
            other != key and all(theirs >= mine for theirs, mine in zip(other, key, strict=True)) for other in exposure
        )
    ]
