"""The plan of the release of test scores after the last round, where there is one.

It is that of a job of one round over the hospitals' test records (see `score_sums`), in the cell and protocol of the
run. What is left out on purpose: asking the hospitals (see `round.score_release`), and the scores that follow.

**Whose bill it is.** The release is charged to each hospital beside its rounds, and both add up: a hospital's epsilon
is of whoever has records in both parts. A patient whose records are test records alone pays `epsilon_of_tests`. That
the two parts are of different patients is not used, as official test sets and patients of several hospitals may not
keep it; the ledger has both charges apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from wardround.agreed.statistics import scores_config
from wardround.config import Config
from wardround.errors import ConfigError
from wardround.privacy.accounting import overlap_epsilon
from wardround.rounds import HospitalProfile, ProfileMeasures
from wardround.score_sums import NUM_SUMS
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.statistics import epsilon_of_share

__all__ = ["epsilon_of_tests", "plan_of_scores", "score_note"]


def plan_of_scores(
    plan: FederationPlan,
    measures: Mapping[str, ProfileMeasures],
    plan_federation: Callable[..., FederationPlan],
) -> FederationPlan | None:
    """Return the plan of the release; None where the settings have none.

    Hospitals without a test record take no part.

    Args:
        plan: of the rounds, with noise where no target sizes it.
        measures: of the hospitals, by name, of which the number of test records is taken.
        plan_federation: makes a plan (see `planning`).

    Raises:
        ConfigError: the scores have no bound on one record, hang on statistics without noise, or are of too few
            hospitals; or the release alone spends more than the budget.
    """
    if plan.config.evaluation.release != "private":
        return None
    told = {each.name: each.profile.num_scored for each in plan.hospitals if each.profile.num_scored is not None}
    numbers = {name: each.num_test for name, each in measures.items()} | told
    profiles = [
        replace(hospital.profile, num_train=numbers[hospital.name], num_scored=None)
        for hospital in plan.hospitals
        if numbers.get(hospital.name)
    ]
    _check_data(plan, profiles)
    # Real sites know the roster and a bound, and of no other site how many records it has.
    settings = _settings(plan, [each.hospital_id for each in profiles], are_sites=bool(told))
    planned = plan_federation(settings, profiles, NUM_SUMS, drawn_from=plan.drawn_from if told else ())
    budget, spent = plan.config.privacy.budget_epsilon, max(planned.epsilon_max, planned.epsilon_total)
    if budget is not None and spent > budget:
        raise ConfigError(
            f"budget-epsilon = {budget:g} is less than the {spent:.3g} that the test scores spend ([privacy] "
            'budget-epsilon): raise it, lower [evaluation] release-share, or set release = "none"'
        )
    return planned


def _settings(plan: FederationPlan, names: Sequence[str], *, are_sites: bool) -> Config:
    """Return the settings of the job; a table of deltas is of those in it.

    Of simulated hospitals max-records bounds training records alone, of real sites test records, too.
    """
    config, privacy = plan.config, plan.config.privacy
    deltas = privacy.target_delta
    privacy = replace(
        privacy,
        noise_multiplier=None,
        target_epsilon=epsilon_of_share(plan, config.evaluation.release_share),
        target_delta={name: deltas[name] for name in names} if isinstance(deltas, dict) else deltas,
    )
    return scores_config(config, privacy, max_records=config.federation.max_records if are_sites else None)


def _check_data(plan: FederationPlan, profiles: Sequence[HospitalProfile]) -> None:
    where = '([evaluation] release): set "none", which tells no score'
    task, least = plan.hospitals[0].profile.task, plan.config.aggregation.min_survivors
    if task != "classification":
        raise ConfigError(
            f'release = "private" is of classes, and the labels are numbers (task = "{task}"), whose errors have no '
            f'largest one {where}, or "simulation" on data that you may look at'
        )
    if any(hospital.profile.own_statistics for hospital in plan.hospitals):
        raise ConfigError(
            'release = "private" needs features that hang on no other record, and here hospitals standardise them by '
            f'statistics of their training records that no noise covers {where}, or standardise = "public" or "private"'
            " ([features] standardise)"
        )
    if len(profiles) < least:
        raise ConfigError(
            f"{len(profiles)} hospitals have test records, and min-survivors = {least} are needed for a release "
            f"{where}, or raise test-fraction ([federation] test-fraction)"
        )


def epsilon_of_tests(plan: FederationPlan, num_attempts: int = 1) -> float:
    """Return what a patient pays whose records are test records alone, at the smallest delta of the whole run.

    Args:
        plan: of the run, with a release of scores.
        num_attempts: how often the release was charged.
    """
    if plan.scores is None:
        return 0.0
    events = {hospital.name: [hospital.event] * num_attempts for hospital in plan.scores.hospitals}
    return overlap_epsilon(events, min(plan.target_deltas.values()), plan.config.privacy.patient_overlap)


def score_note(plan: FederationPlan) -> str:
    """Return a sentence on the release."""
    released = plan.scores
    if released is None:
        return ""
    noise = sorted({hospital.noise_multiplier for hospital in released.hospitals})
    with_noise = f"noise multiplier {noise[0]:.3g}" if len(noise) == 1 else "noise"
    return (
        f"after the last round, and only then, {NUM_SUMS} sums over the test records of {len(released.hospitals)} "
        f"hospitals are released with {with_noise}, from which accuracy, AUC, loss and calibration follow: epsilon "
        f"{epsilon_of_tests(plan):.3g} by itself, which is all that a patient pays who is in test sets alone; in the "
        "bill it adds up with the rounds"
    )
