"""Who trains in which round, with which rate, how many steps and how much noise: all settled before any training.

A plan is a pure function of the settings and the hospitals' profiles. Cohorts are drawn by name from a seeded stream,
so they are known in advance and the noise for a target epsilon can be sized for the rounds a hospital really joins
(see `target_noise`). What is left out on purpose: re-planning at a budget (see `budget`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wardround.agreed.cohorts import cohort_sizes, rounds_joined
from wardround.agreed.contributions import assignment_for
from wardround.agreed.schedules import schedule_of
from wardround.config import Config
from wardround.privacy.accounting import headline_epsilon
from wardround.privacy.cells import Cell, cell_of
from wardround.rounds import Assignment, HospitalProfile, ProfileMeasures
from wardround.server.plan.admission import check_hospitals
from wardround.server.plan.margins import check_clip
from wardround.server.plan.plans import FederationPlan, HospitalPlan
from wardround.server.plan.target_noise import calibrated
from wardround.step_events import EventShape

__all__ = [
    "assign_round",
    "common_noise",
    "plan_federation",
    "shape_in",
    "target_deltas_in",
]


def plan_federation(
    config: Config,
    profiles: Iterable[HospitalProfile],
    num_parameters: int = 0,
    *,
    measures: Mapping[str, ProfileMeasures] | None = None,
    drawn_from: Sequence[str] = (),
) -> FederationPlan:
    """Return the plan of a run.

    Args:
        config: all settings.
        profiles: of all hospitals.
        num_parameters: of the model; needed with placement "distributed", where rounding them has a cost, and to
            tell whether a clip is too small with "central".
        measures: by hospital, of those that measured anything; no number of the plan depends on them.
        drawn_from: names that cohorts are drawn from, such as a roster's, whoever of them is there; empty for the
            hospitals' own.

    Raises:
        ConfigError: a hospital has more than max-records, delta is too large for one, a cohort can't have
            min-survivors members, or the clip is too small for so many parameters.
        CohortError: there is no hospital, or two share a name.
    """
    profiles = sorted(profiles, key=lambda profile: profile.hospital_id)
    drawn_from = tuple(sorted(drawn_from or [profile.hospital_id for profile in profiles]))
    check_hospitals(config, profiles, drawn_from)
    cell = cell_of(config.privacy)
    deltas = target_deltas_in(cell, config, profiles, len(drawn_from))
    joined = rounds_joined(config, drawn_from)
    shape = shape_in(
        cell,
        config,
        profiles,
        num_hospitals=len(drawn_from),
        dimension=num_parameters and cell.dimension(num_parameters, adaptive_clipping=config.privacy.adaptive_clipping),
        num_shares=config.aggregation.honest_survivors,
        most_replies=cohort_sizes(config, len(drawn_from))[1],
    )
    plan = FederationPlan(
        config=config,
        hospitals=tuple(
            replace(
                _plan_hospital(config, profile, deltas[profile.hospital_id], joined[profile.hospital_id], shape),
                measures=(measures or {}).get(profile.hospital_id),
            )
            for profile in profiles
        ),
        num_parameters=num_parameters,
        drawn_from=drawn_from,
    )
    check_clip(plan)
    return replace(plan, hospitals=tuple(_with_noise(config, plan.hospitals)))


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
    chosen = [hospital for hospital in plan.hospitals if hospital.name in set(cohort)]
    cell, size = plan.cell, len(chosen)
    total = sum(hospital.num_train for hospital in chosen)
    most_records = plan.most_records(hospital.name for hospital in chosen)
    return tuple(
        assignment_for(
            plan.config,
            hospital.shape,
            hospital_id=hospital.name,
            num_train=hospital.num_train,
            round_number=round_number,
            noise_multiplier=noise_multipliers[hospital.name],
            weight=cell.cohort_weight(hospital.num_train, total, size),
            contribution=cell.contribution(hospital.num_train, most_records),
            max_grad_norm=max_grad_norm,
            attempt=attempt,
        )
        for hospital in chosen
    )


def common_noise(plan: FederationPlan, noise_multipliers: Mapping[str, float]) -> dict[str, float]:
    """Return the noise multipliers, all raised to the largest where one noise covers the sum of all hospitals."""
    if not plan.cell.shares_noise:
        return dict(noise_multipliers)
    return dict.fromkeys(noise_multipliers, max(noise_multipliers.values(), default=0.0))


def target_deltas_in(
    cell: Cell, config: Config, profiles: Sequence[HospitalProfile], num_hospitals: int
) -> dict[str, float]:
    """Return every hospital's delta in a cell, which need not be the settings' own.

    Raises:
        ConfigError: a delta is too large for the unit, missing, or for a hospital that isn't there.
    """
    num_train = {profile.hospital_id: profile.num_train for profile in profiles}
    return cell.check_deltas(config.privacy.target_delta, num_train, num_hospitals)


def shape_in(
    cell: Cell,
    config: Config,
    profiles: Sequence[HospitalProfile],
    *,
    num_hospitals: int,
    dimension: int,
    num_shares: int,
    most_replies: int,
) -> EventShape:
    """Return what any hospital's billed step is in a cell, at sample rate 1.

    Args:
        cell: which.
        config: all settings.
        profiles: of all hospitals.
        num_hospitals: that cohorts are drawn from.
        dimension: coordinates of what is released.
        num_shares: replies guaranteed.
        most_replies: hospitals in a round.
    """
    return cell.shape(
        dimension=dimension,
        num_shares=num_shares,
        most_contributions=cell.most_contributions(
            num_hospitals=num_hospitals,
            num_records=sum(profile.num_train for profile in profiles),
            max_records=config.federation.max_records,
        ),
        most_replies=most_replies,
    )


def _plan_hospital(
    config: Config, profile: HospitalProfile, target_delta: float, num_rounds: int, shape: EventShape
) -> HospitalPlan:
    """Return the hospital's part except for its noise."""
    cell, schedule = cell_of(config.privacy), schedule_of(config, profile.num_train)
    return HospitalPlan(
        profile=profile,
        target_delta=target_delta,
        schedule=schedule,
        num_rounds=num_rounds,
        shape=shape.at_rate(cell.billed(schedule)[1]),
        noise_multiplier=float(config.privacy.noise_multiplier or 0.0),
        epsilon=math.inf,
    )


def _with_noise(config: Config, hospitals: Sequence[HospitalPlan]) -> list[HospitalPlan]:
    """Return the hospitals with the noise for the target epsilon, where there is one, and what they spend."""
    privacy, cell = config.privacy, cell_of(config.privacy)
    if privacy.target_epsilon is not None:
        hospitals = calibrated(
            hospitals, privacy.target_epsilon, shared=cell.shares_noise, patient_overlap=privacy.patient_overlap
        )
    return [
        replace(hospital, epsilon=headline_epsilon([hospital.event], hospital.target_delta)) for hospital in hospitals
    ]
