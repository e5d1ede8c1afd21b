"""How a run begins, or is taken up again between real sites: its plan, and round 0."""

import time
import uuid
from typing import Any

from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from wardround.config import Config
from wardround.errors import CohortError, ConfigError, ProtocolError
from wardround.parsing import from_json
from wardround.privacy.account import account_from_ledger
from wardround.privacy.ledger import Ledger
from wardround.server.plan.planning import plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState
from wardround.server.record.beginnings import opening_of, plan_in
from wardround.server.record.commits import commit, record_of
from wardround.server.record.outcomes import TrainedRound
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.sameness import identity_of
from wardround.server.round.hospitals import HospitalLink

__all__ = ["begin", "plan_of_run"]

Arrays = dict[str, NDArray[Any]]


def begin(
    plan: FederationPlan, ledger: Ledger, folder: RunFolder, link: HospitalLink, strategy: Strategy, initial: Arrays
) -> RoundState:
    """Commit round 0: the initial model, evaluated everywhere."""
    started = time.perf_counter()
    # With what is installed now the run begins, whenever its folder was made.
    folder.write_versions()
    state = RoundState(
        run_id=uuid.uuid4().hex[:12],
        round_number=0,
        attempt=1,
        arrays=initial,
        account=account_from_ledger(ledger, plan.target_deltas),
        noise_multipliers={hospital.profile.hospital_id: hospital.noise_multiplier for hospital in plan.hospitals},
        max_grad_norm=plan.config.privacy.max_grad_norm,
        left={},
        stopped="",
    )
    evaluations = link.evaluate(strategy, initial, 0)
    untrained = TrainedRound(arrays=None, executions={})
    what = record_of(plan, state, (), untrained, evaluations, time.perf_counter() - started)
    commit(
        ledger,
        folder,
        strategy,
        state,
        opening_of(plan, folder) | identity_of(plan) | {"absent": dict(link.left_out)} | what,
        [],
    )
    return state


def plan_of_run(
    config: Config,
    link: HospitalLink,
    ledger: Ledger,
    num_parameters: int,
    drawn_from: tuple[str, ...],
    planned: FederationPlan | None = None,
) -> tuple[FederationPlan, dict[str, str]]:
    """Return the plan of a run that begins or is taken up again, and who is left out of it from now on, and why.

    Args:
        config: all settings.
        link: to the hospitals that are there now.
        ledger: of the run; empty where it begins.
        num_parameters: of the model.
        drawn_from: names over which cohorts are drawn; () for those of the hospitals that are there.
        planned: what was planned for simulated hospitals before they were asked; None plans for who is there.

    Returns:
        The plan; and by hospital what the summary says of who is left out: of a run between real sites that is taken
        up again, those who are not there, or are not what they were.

    Raises:
        ConfigError: the roster has other names than when the run began.
        ProtocolError: the plan was made for other hospitals, or other data, than are there.
        CohortError: fewer real sites are left than a round needs.
    """
    if planned is not None:
        _check_planned(planned, link)
        return planned, {}
    rounds = ledger.rounds()
    if not link.are_sites or not rounds:
        profiles, measures = link.profiles, link.measures
        return plan_federation(config, profiles, num_parameters, measures=measures, drawn_from=drawn_from), {}
    plan = plan_in(config, from_json(rounds[0][1]))
    if changed := sorted(set(plan.drawn_from) ^ set(drawn_from)):
        raise ConfigError(
            f"the roster had {len(plan.drawn_from)} names when the run began, and differs in {', '.join(changed[:3])}: "
            "cohorts would be others than its sites draw; put it back, or begin a new run"
        )
    now = {profile.hospital_id: profile for profile in link.profiles}
    left = {}
    for hospital in plan.hospitals:
        name = hospital.profile.hospital_id
        if name not in now:
            left[name] = "did not say that it is there when the run was taken up again, and is left out from there on"
        elif now[name] != hospital.profile:
            left[name] = "says other things of itself than when the run began, and is left out from there on"
    remaining, least = len(plan.hospitals) - len(left), config.aggregation.min_survivors
    if remaining < least:
        raise CohortError(
            f"{remaining} of the run's {len(plan.hospitals)} sites are there as they were when it began, and "
            f"min-survivors = {least} are needed: start the nodes of {', '.join(sorted(left)[:3])}, with the data and "
            "settings of then"
        )
    return plan, left


def _check_planned(planned: FederationPlan, link: HospitalLink) -> None:
    """Refuse a plan that was not made of what the hospitals say: its noise would be that of others."""
    for_whom = {hospital.profile: planned.fingerprints[hospital.profile.hospital_id] for hospital in planned.hospitals}
    there = {
        profile: measured.fingerprint
        for profile in link.profiles
        if (measured := link.measures.get(profile.hospital_id))
    }
    if for_whom != there:
        others = sorted({profile.hospital_id for profile, _ in for_whom.items() ^ there.items()})
        raise ProtocolError(
            f"the run was planned for other hospitals or data than the nodes have, which differ in "
            f"{', '.join(others[:3])}: plan it again for those that are there"
        )
