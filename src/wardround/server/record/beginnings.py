"""What a run began with: its settings and what its hospitals said of themselves, kept with round 0 in the ledger.

The plan of a run between real sites is made of that for as long as it lasts: cohorts are drawn over the names that
the roster had then, and what a site is charged rests on the size that it stated. What is left out on purpose: whether
settings and data are still the same (see `sameness`).
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wardround.config import Config, config_to_toml
from wardround.parsing import from_json
from wardround.privacy.ledger import open_ledger
from wardround.rounds import HospitalProfile, ProfileMeasures
from wardround.server.plan.planning import plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.record.run_folder import RunFolder

__all__ = ["opening_of", "plan_in", "was_between_sites"]


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
