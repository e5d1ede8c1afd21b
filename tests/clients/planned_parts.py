"""What the product's own server asks three hospitals to do, and what each of them knows of its part by itself."""

from collections.abc import Mapping
from typing import Any

from made_up import PRIVATE
from site_files import site_config
from small_runs import profiles_of

from wardround.clients.assignments import Part
from wardround.config import Config
from wardround.rounds import Assignment
from wardround.server.plan.planning import assign_round, plan_federation

SIZES = (20, 40, 50)
NUM_PARAMETERS = 8
CELLS = [(*cell, False) for cell in PRIVATE] + [("hospital", "distributed", True), ("hospital", "central", True)]


def config_of(unit: str, placement: str, adaptive: bool = False, **sections: Mapping[str, Any]) -> Config:
    gradient = unit == "record" and placement in ("central", "distributed")
    whole: dict[str, dict[str, Any]] = {
        "training": {"local-steps": None if gradient else 2},
        "privacy": {"unit": unit, "placement": placement, "adaptive-clipping": adaptive or None},
    }
    if placement == "none":
        whole["privacy"] |= {"noise-multiplier": None}
    return site_config(**{name: whole.get(name, {}) | dict(sections.get(name, {})) for name in whole | dict(sections)})


def asked_by(config: Config, noise_multiplier: float = 1.0, clip: float | None = None) -> dict[str, Assignment]:
    """Return what the product's own server asks three hospitals to do in round 1."""
    plan = plan_federation(config, profiles_of(SIZES), NUM_PARAMETERS)
    noise = dict.fromkeys(plan.names, noise_multiplier if config.privacy.placement != "none" else 0.0)
    return {each.hospital_id: each for each in assign_round(plan, plan.names, 1, noise, clip)}


def part_of(config: Config, name: str) -> Part:
    """Return what a hospital knows of its own part: of the others nothing but their names."""
    sizes = {profile.hospital_id: profile.num_train for profile in profiles_of(SIZES)}
    return Part(
        config=config,
        hospital_id=name,
        num_train=sizes[name],
        names=tuple(sizes),
        num_parameters=NUM_PARAMETERS,
        num_records=0 if config.federation.max_records else sum(SIZES),
    )
