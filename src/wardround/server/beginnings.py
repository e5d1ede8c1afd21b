"""What a run began with: its settings and what its hospitals said of themselves, kept with round 0 in the ledger.

The plan of a run between real sites is made of that for as long as it lasts: cohorts are drawn over the names that
the roster had then, and what a site is charged rests on the size that it stated. What is left out on purpose: whether
settings and data are still the same (see `sameness`).
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wardround.config import Config, config_to_toml
from wardround.errors import CohortError, ConfigError
from wardround.parsing import from_json
from wardround.privacy.ledger import Ledger, open_ledger
from wardround.rounds import HospitalProfile, ProfileMeasures
from wardround.server.hospitals import HospitalLink
from wardround.server.planning import plan_federation
from wardround.server.plans import FederationPlan
from wardround.server.run_folder import RunFolder

__all__ = ["opening_of", "plan_in", "plan_of_run", "was_between_sites"]


def opening_of(plan: FederationPlan, folder: RunFolder) -> dict[str, Any]:
    """Return what the plan is made of, so that the ledger alone says what the run's files must say (see `books`)."""
    return {
        "config": config_to_toml(plan.config),
        "profiles": [asdict(hospital.profile) for hospital in plan.hospitals],
        "measures": {h.profile.hospital_id: asdict(h.measures) for h in plan.hospitals if h.measures is not None},
        "num_parameters": plan.num_parameters,
        "drawn_from": list(plan.drawn_from),
        "packages": folder.versions(),
    }


def plan_in(config: Config, record: Mapping[str, Any]) -> FederationPlan:
    """Return the plan that an opening was made of.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the record is none.
    """
    profiles = [
        HospitalProfile(**profile | {"input_shape": tuple(profile["input_shape"])}) for profile in record["profiles"]
    ]
    measures = {name: ProfileMeasures(**measured) for name, measured in record["measures"].items()}
    drawn_from = tuple(record["drawn_from"])
    return plan_federation(config, profiles, record["num_parameters"], measures=measures, drawn_from=drawn_from)


def was_between_sites(folder: RunFolder) -> bool:
    """Return whether the hospitals of a run that was begun are real sites, of which nothing is measured."""
    if not folder.ledger.is_file() or not folder.ledger.stat().st_size:  # empty where a run was killed as it began
        return False
    with open_ledger(folder.ledger, read_only=True) as ledger:
        rounds = ledger.rounds()
    return bool(rounds) and not from_json(rounds[0][1]).get("measures", True)


def plan_of_run(
    config: Config, link: HospitalLink, ledger: Ledger, num_parameters: int, drawn_from: tuple[str, ...]
) -> tuple[FederationPlan, dict[str, str]]:
    """Return the plan of a run that begins or is taken up again, and who is left out of it from now on, and why.

    Args:
        config: all settings.
        link: to the hospitals that are there now.
        ledger: of the run; empty where it begins.
        num_parameters: of the model.
        drawn_from: names over which cohorts are drawn; () for those of the hospitals that are there.

    Returns:
        The plan; and by hospital what the summary says of who is left out: of a run between real sites that is taken
        up again, those who are not there, or are not what they were.

    Raises:
        ConfigError: the roster has other names than when the run began.
        CohortError: fewer real sites are left than a round needs.
    """
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
