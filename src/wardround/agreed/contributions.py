"""What a hospital contributes to a round: its assignment, and the event that it pays for.

All of it follows from the settings and from public numbers, so that a site computes it by itself and takes none of it
from a server. Left out on purpose: who takes part, and how much noise a target takes.
"""

from wardround.agreed.schedules import schedule_of
from wardround.config import Config
from wardround.privacy.cells import cell_of
from wardround.rounds import Assignment
from wardround.step_events import EventShape

__all__ = ["assignment_for"]


def assignment_for(
    config: Config,
    shape: EventShape,
    *,
    hospital_id: str,
    num_train: int,
    round_number: int,
    noise_multiplier: float,
    weight: float,
    contribution: float = 1.0,
    max_grad_norm: float | None = None,
    attempt: int = 1,
) -> Assignment:
    """Return what a hospital does in a round.

    Args:
        config: all settings.
        shape: of a billed step.
        hospital_id: who.
        num_train: its training records (>= 1).
        round_number: from 1.
        noise_multiplier: noise stddev / sensitivity (>= 0).
        weight: its share in the average over the cohort, in (0, 1].
        contribution: what its clipped update is multiplied with in a sum of integers, in (0, 1].
        max_grad_norm: the clip in force, which adaptive clipping moves; None is the setting's.
        attempt: at the round, from 1.

    Raises:
        ConfigError: the noise is out of range, or a sum of integers would not fit 32 bits.
    """
    cell, schedule, privacy = cell_of(config.privacy), schedule_of(config, num_train), config.privacy
    num_steps, _ = cell.billed(schedule)
    clip = (max_grad_norm or privacy.max_grad_norm) if cell.is_private else None
    return Assignment(
        hospital_id=hospital_id,
        round_number=round_number,
        schedule=schedule,
        event=cell.step_event(shape, noise_multiplier, num_steps),
        weight=weight,
        max_grad_norm=clip,
        sensitivity=clip and cell.sensitivity(clip, adaptive_clipping=privacy.adaptive_clipping),
        contribution=contribution,
        adaptive_clipping=privacy.adaptive_clipping,
        attempt=attempt,
    )
