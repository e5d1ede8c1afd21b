"""Who trains in which round, with which rate, how many steps and how much noise: all settled before any training.

A plan is a pure function of the settings and the hospitals' profiles. Cohorts are drawn by name from a seeded stream,
so they are known in advance and the noise for a target epsilon can be sized for the rounds a hospital really joins
(see `target_noise`). What is left out on purpose: re-planning at a budget (see `budget`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wardround.agreed.cohorts import rounds_joined
from wardround.agreed.contributions import assignment_for, shape_in
from wardround.agreed.schedules import schedule_of
from wardround.config import Config
from wardround.datasets.moments import MomentLayout
from wardround.errors import ConfigError
from wardround.privacy.accounting import headline_epsilon
from wardround.privacy.cells import Cell, cell_of
from wardround.rounds import Assignment, HospitalProfile, ProfileMeasures
from wardround.server.plan.admission import check_hospitals
from wardround.server.plan.margins import check_clip
from wardround.server.plan.plans import FederationPlan, HospitalPlan
from wardround.server.plan.score_release import plan_of_scores
from wardround.server.plan.statistics import settings_of_statistics
from wardround.server.plan.target_noise import calibrated

__all__ = [
    "assign_round",
    "hospitals_in",
    "plan_federation",
]


def plan_federation(
    config: Config,
    profiles: Iterable[HospitalProfile],
    num_parameters: int = 0,
    *,
    measures: Mapping[str, ProfileMeasures] | None = None,
    drawn_from: Sequence[str] = (),
    moments: MomentLayout | None = None,
) -> FederationPlan:
    """Return the plan of a run.

    The number of the model's parameters is needed with placement "distributed", where rounding them has a cost, and to
    tell whether a clip is too small with "central". No number of the plan depends on what was measured, by hospital.
    Cohorts are drawn from the hospitals' names where `drawn_from` has none, such as a roster's, whoever is there.
    The moments are those that hospitals release before round 1; None where they release none.

    Raises:
        ConfigError: a hospital has more than max-records, delta is too large for one, a cohort can't have
            min-survivors members, the clip is too small for so many parameters, or the statistics alone spend more
            than the budget.
        CohortError: there is no hospital, or two share a name.
    """
    profiles = sorted(profiles, key=lambda profile: profile.hospital_id)
    drawn_from = tuple(sorted(drawn_from or [profile.hospital_id for profile in profiles]))
    check_hospitals(config, profiles, drawn_from)
    privacy, num_shares, measures = config.privacy, config.aggregation.honest_survivors, measures or {}
    hospitals = hospitals_in(cell_of(privacy), config, profiles, num_parameters, num_shares, drawn_from)
    plan = FederationPlan(
        config=config, hospitals=tuple(hospitals), num_parameters=num_parameters, drawn_from=drawn_from
    )
    check_clip(plan)
    if moments is not None:
        released = _statistics(plan, moments, profiles)
        plan = replace(plan, moments=moments, statistics=released)
        hospitals = [replace(h, before=(released.by_name[h.name].event,)) for h in hospitals]
    if (scores := plan_of_scores(plan, measures, plan_federation)) is not None:
        plan = replace(plan, scores=scores)
        hospitals = [
            replace(h, after=(scores.by_name[h.name].event,)) if h.name in scores.by_name else h for h in hospitals
        ]
    if privacy.target_epsilon is not None:
        hospitals = calibrated(hospitals, privacy.target_epsilon, patient_overlap=privacy.patient_overlap)
    spent = {hospital.name: headline_epsilon(hospital.events, hospital.target_delta) for hospital in hospitals}
    planned = (replace(h, epsilon=spent[h.name], measures=measures.get(h.name)) for h in hospitals)
    return replace(plan, hospitals=tuple(planned))


def _statistics(plan: FederationPlan, moments: MomentLayout, profiles: Sequence[HospitalProfile]) -> FederationPlan:
    """Return the plan of the release before round 1, in which every hospital takes part."""
    settings = settings_of_statistics(plan, moments.most_norm)
    released = plan_federation(settings, profiles, moments.num_values, drawn_from=plan.drawn_from)
    budget, spent = plan.config.privacy.budget_epsilon, max(released.epsilon_max, released.epsilon_total)
    if budget is not None and spent > budget:
        raise ConfigError(
            f"budget-epsilon = {budget:g} is less than the {spent:.3g} that the statistics before "
            "round 1 spend ([privacy] budget-epsilon): raise it, lower [features] statistics-share, or set standardise "
            "or the remedy for imbalance to something that releases none"
        )
    return released


def hospitals_in(
    cell: Cell,
    config: Config,
    profiles: Sequence[HospitalProfile],
    num_parameters: int,
    num_shares: int,
    drawn_from: Sequence[str],
) -> list[HospitalPlan]:
    """Return the hospitals' parts in a cell, which need not be the settings' own, with the noise of the settings.

    `num_shares` replies are guaranteed, where hospitals add shares of one noise.

    Raises:
        ConfigError: delta is too large for a hospital, or a sum of integers can't be planned for.
    """
    sizes = {profile.hospital_id: profile.num_train for profile in profiles}
    deltas = cell.check_deltas(config.privacy.target_delta, sizes, len(drawn_from))
    joined = rounds_joined(config, drawn_from)
    shape = shape_in(
        cell,
        config,
        num_hospitals=len(drawn_from),
        num_records=sum(sizes.values()),
        num_parameters=num_parameters,
        num_shares=num_shares,
    )
    hospitals = []
    for profile in profiles:
        schedule = schedule_of(config, profile.num_train)
        num_steps, rate = cell.billed(schedule)
        hospital = HospitalPlan(
            profile=profile,
            target_delta=deltas[profile.hospital_id],
            schedule=schedule,
            num_steps=num_steps,
            num_participations=joined[profile.hospital_id],
            shape=shape.at_rate(rate),
            noise_multiplier=float(config.privacy.noise_multiplier or 0.0),
        )
        hospitals.append(hospital)
    return hospitals


def assign_round(
    plan: FederationPlan,
    cohort: Sequence[str],
    round_number: int,
    noise_multipliers: Mapping[str, float],
    max_grad_norm: float | None = None,
    attempt: int = 1,
) -> tuple[Assignment, ...]:
    """Return what each hospital of the cohort is asked to do in the round, in name order.

    Noise multipliers, by hospital, and the clip are those in force: they differ from the plan's after a re-plan and
    with adaptive clipping. None is the clip of the settings.
    """
    chosen = [plan.by_name[name] for name in sorted({*cohort}) if name in plan.by_name]
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
