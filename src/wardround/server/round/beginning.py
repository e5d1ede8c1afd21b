"""How a run begins, or is taken up again between real sites: its plan, round 0, and a round that was cut short."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

from wardround.config import Config
from wardround.errors import CohortError, ConfigError, ProtocolError
from wardround.exact_sums import Arrays
from wardround.privacy.ledger import Entry, Ledger
from wardround.server.plan.planning import assign_round, plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState
from wardround.server.plan.statistics import is_as_planned
from wardround.server.record.beginnings import opening_in, opening_of, plan_in
from wardround.server.record.commits import commit
from wardround.server.record.records import Outcome
from wardround.server.round.evaluating import evaluate_model
from wardround.server.round.hospitals import HospitalLink
from wardround.server.round.run_under_way import RunUnderWay
from wardround.server.round.statistics import release_statistics

__all__ = ["begin", "give_up_interrupted", "plan_of_run"]


def begin(run: RunUnderWay, initial: Arrays) -> RoundState:
    """Commit round 0: statistics, where they are released, and the initial model, evaluated everywhere.

    Raises:
        ConfigError: the settings are others than those that a beginning which was interrupted was charged by.
    """
    started, charged = time.perf_counter(), run.ledger.entries()
    _check_charged(run, charged)
    # With what is installed now the run begins, whenever its folder was made.
    run.folder.write_versions()
    # What was charged by a beginning that was interrupted is of this run, and may have been seen.
    run_id = charged[0].run_id if charged else uuid.uuid4().hex[:12]
    state = RoundState(
        run_id=run_id,
        round_number=0,
        attempt=run.ledger.num_attempts(run_id, 0) + 1,
        arrays=initial,
        account=run.account,
        noise_multipliers=run.plan.noise_multipliers,
        max_grad_norm=run.plan.config.privacy.max_grad_norm,
        left={},
        stopped="",
    )
    statistics = release_statistics(run, state.run_id, state.attempt)
    state = replace(state, constants=statistics.constants, account=run.account)
    evaluated = evaluate_model(run.link, run, run.measuring, 0, initial, state.constants)
    opening = opening_of(run.plan, run.folder, run.link.left_out, run.columns, run.measuring.public)
    opening = replace(opening, scaling=state.constants.scaling, balance=state.constants.balance)
    came = (statistics.assignments, statistics.answered, statistics.outcome, evaluated, time.perf_counter() - started)
    _, best = commit(run, state, *came, noise_before={}, opening=opening)
    return replace(state, attempt=1, best=best)


def _check_charged(run: RunUnderWay, charged: Sequence[Entry]) -> None:
    """Refuse to go on with a beginning by settings that size its release otherwise: one folder is of one job."""
    planned = {} if run.plan.statistics is None else run.plan.statistics.by_name
    for entry in charged:
        part = planned.get(entry.hospital_id)
        if part is None or not is_as_planned(entry.event.noise_multiplier, part.noise_multiplier):
            raise ConfigError(
                f"{run.folder.path / 'config.toml'} was changed since the run was interrupted as it began, with its "
                "statistics charged: put it back, or begin a new run"
            )


def plan_of_run(
    config: Config,
    link: HospitalLink,
    ledger: Ledger,
    num_parameters: int,
    planned: FederationPlan | None,
) -> tuple[FederationPlan, dict[str, str]]:
    """Return the plan of a run that begins or is taken up again, and who is left out of it from now on, and why.

    What was planned for simulated hospitals before they were asked is held to what they say, and else a plan is made of
    that. A run between real sites that is taken up again goes on by the plan that it began with, and leaves out those
    who are not there, or are not what they were.

    Raises:
        ConfigError: the roster has other names than when the run began.
        ProtocolError: the plan was made for other hospitals, or other data, than are there.
        CohortError: fewer real sites are left than a round needs.
    """
    if planned is not None:
        _check_planned(planned, link)
        return planned, {}
    drawn_from = () if link.roster is None else tuple(link.roster.verify_keys)
    opening = opening_in(ledger)
    if not link.are_sites or opening is None:
        profiles, measures = link.profiles, link.measures
        return plan_federation(config, profiles, num_parameters, measures=measures, drawn_from=drawn_from), {}
    plan = plan_in(config, opening)
    if changed := sorted(set(plan.drawn_from) ^ set(drawn_from)):
        raise ConfigError(
            f"the roster had {len(plan.drawn_from)} names when the run began, and differs in {', '.join(changed[:3])}: "
            "cohorts would be others than its sites draw; put it back, or begin a new run"
        )
    left = _changed_sites(plan, link)
    remaining, least = len(plan.hospitals) - len(left), config.aggregation.min_survivors
    if remaining < least:
        raise CohortError(
            f"{remaining} of the run's {len(plan.hospitals)} sites are there as they were when it began, and "
            f"min-survivors = {least} are needed: start the nodes of {', '.join(sorted(left)[:3])}, with the data and "
            "settings of then"
        )
    return plan, left


def _changed_sites(plan: FederationPlan, link: HospitalLink) -> dict[str, str]:
    """Return by name why a site can't go on with a run: it is not there, or not what it was."""
    now = {profile.hospital_id: profile for profile in link.profiles}
    left = {}
    for hospital in plan.hospitals:
        name = hospital.name
        if name not in now:
            left[name] = "did not say that it is there when the run was taken up again, and is left out from there on"
        elif now[name] != hospital.profile:
            left[name] = "says other things of itself than when the run began, and is left out from there on"
    return left


def give_up_interrupted(run: RunUnderWay, state: RoundState) -> RoundState:
    """Commit the round that real sites were in when the run stopped as abandoned: they answer in a round once."""
    round_number, attempt = state.round_number + 1, state.attempt - 1
    charged = [
        entry for entry in run.ledger.entries() if (entry.run_id, entry.round_number) == (state.run_id, round_number)
    ]
    if not charged or round_number > run.plan.config.training.num_rounds:  # the release after the last round
        return state
    started = time.perf_counter()
    noise = dict(state.noise_multipliers) | {entry.hospital_id: entry.event.noise_multiplier for entry in charged}
    cohort = [entry.hospital_id for entry in charged]
    assignments = assign_round(run.plan, cohort, round_number, noise, state.max_grad_norm, attempt)
    before = state.noise_multipliers
    state = replace(state, round_number=round_number, attempt=attempt, noise_multipliers=noise, memory={})
    why = "the run was interrupted in it, and sites do not redo a round"
    lost = Outcome(abandoned=why, dropped={}, num_scrubbed={})
    evaluated = evaluate_model(run.link, run, run.measuring, round_number, state.arrays)
    seconds = time.perf_counter() - started
    _, best = commit(run, state, assignments, (), lost, evaluated, seconds, noise_before=before)
    return replace(state, attempt=1, best=best)


def _check_planned(planned: FederationPlan, link: HospitalLink) -> None:
    """Refuse a plan that was not made of what the hospitals say: its noise would be that of others."""
    for_whom = {hospital.profile: planned.fingerprints[hospital.name] for hospital in planned.hospitals}
    there = {p: link.measures[p.hospital_id].fingerprint for p in link.profiles if p.hospital_id in link.measures}
    if for_whom != there:
        others = sorted({profile.hospital_id for profile, _ in for_whom.items() ^ there.items()})
        raise ProtocolError(
            f"the run was planned for other hospitals or data than the nodes have, which differ in "
            f"{', '.join(others[:3])}: plan it again for those that are there"
        )
