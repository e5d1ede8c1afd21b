"""What a hospital refuses to do: anything but what its own settings say.

A server that clipped or sampled one hospital otherwise than the rest could tell its update from their sum; one that
asked for less noise would get less than was charged. What is left out on purpose: refusing a model.
"""

import math
from collections.abc import Iterator
from typing import Any

from wardround.config import Config
from wardround.errors import ProtocolError
from wardround.privacy.mechanisms import mechanism_of
from wardround.privacy.schedules import schedule_of
from wardround.rounds import Assignment

__all__ = ["check_assignment"]


def check_assignment(assignment: Assignment, config: Config, hospital_id: str, num_train: int) -> None:
    """Refuse another hospital's assignment, which would draw that one's noise, and one that is not as the settings say.

    Args:
        assignment: from the server.
        config: the hospital's own settings.
        hospital_id: who it is.
        num_train: its training records.

    Raises:
        ProtocolError: naming the value that is wrong.
    """
    if assignment.hospital_id != hospital_id:
        raise ProtocolError(f"the assignment is hospital {assignment.hospital_id}'s, and this is {hospital_id}")
    for name, value in _wanted(assignment, config, num_train).items():
        asked = getattr(assignment, name)
        if not (math.isclose(asked, value) if isinstance(asked, float) and value is not None else asked == value):
            raise ProtocolError(
                f"the assignment's {name} = {asked}, and this hospital's settings say {value}: nothing was trained"
            )
    for rule in _broken_rules(assignment, config):
        name = rule.split(" ", 1)[0]
        raise ProtocolError(f"the assignment's {rule}, not {getattr(assignment, name)}: nothing was trained")


def _wanted(assignment: Assignment, config: Config, num_train: int) -> dict[str, Any]:
    """Return the values that the settings fix."""
    schedule, privacy = schedule_of(config, num_train), config.privacy
    wanted: dict[str, Any] = {
        "sample_rate": schedule.sample_rate,
        "expected_batch_size": schedule.expected_batch_size,
        "num_steps": schedule.num_steps,
    }
    if privacy.placement == "none":
        return wanted | {"max_grad_norm": None, "noise_multiplier": 0.0}
    cell = mechanism_of(privacy.unit, privacy.placement)
    clip = privacy.max_grad_norm
    wanted |= {"unit": privacy.unit, "placement": privacy.placement, "adaptive_clipping": privacy.adaptive_clipping}
    if privacy.adaptive_clipping and assignment.max_grad_norm is not None:
        clip = assignment.max_grad_norm  # it follows the quantile; the noise follows it
    wanted["max_grad_norm"] = clip
    sensitivity = cell.sensitivity(clip, adaptive_clipping=privacy.adaptive_clipping)
    if assignment.sensitivity is not None or sensitivity != clip:
        wanted["sensitivity"] = sensitivity
    if privacy.placement == "distributed":
        wanted["num_shares"] = config.aggregation.honest_survivors
    return wanted


def _broken_rules(assignment: Assignment, config: Config) -> Iterator[str]:
    privacy, clip = config.privacy, assignment.max_grad_norm
    if assignment.attempt < 1:
        yield "attempt must be >= 1"
    if clip is not None and not 0 < clip < math.inf:
        yield "max_grad_norm must be > 0 and finite"
    # Re-planning at the budget raises the noise; a target epsilon sets one for each hospital.
    least = privacy.noise_multiplier or 0.0
    if not least <= assignment.noise_multiplier < math.inf:
        yield f"noise_multiplier must be >= {least} and finite"
    if privacy.placement != "none" and privacy.target_epsilon is not None and assignment.noise_multiplier == 0:
        yield "noise_multiplier must be > 0 with a target epsilon"
    if privacy.placement == "distributed":
        if not 0 < assignment.contribution <= 1:
            yield "contribution must be in (0, 1]"
        if not assignment.scaled_norm > 0:
            yield "scaled_norm must be > 0"
