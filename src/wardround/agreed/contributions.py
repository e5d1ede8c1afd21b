"""What a hospital contributes to a round: its assignment, and the event that it pays for.

All of it follows from the settings and from public numbers, so that a site computes it by itself and takes none of it
from a server. Left out on purpose: who takes part, and how much noise a target takes.
"""

from wardround.agreed.cohorts import cohort_sizes
from wardround.agreed.schedules import schedule_of
from wardround.config import Config
from wardround.privacy.cells import Cell, cell_of
from wardround.rounds import Assignment
from wardround.step_events import EventShape

__all__ = ["assignment_for", "sensitivity_in", "shape_in"]


def shape_in(
    cell: Cell, config: Config, *, num_hospitals: int, num_records: int, num_parameters: int, num_shares: int
) -> EventShape:
    """Return what any hospital's billed step is in a cell, at sample rate 1.

    Args:
        cell: which, not the settings' own where cells are compared.
        config: all settings.
        num_hospitals: that cohorts are drawn from (>= 1).
        num_records: training records of all of them, where [federation] max-records does not bound them.
        num_parameters: of the model; 0 where it is not known.
        num_shares: replies guaranteed.
    """
    return cell.shape(
        dimension=num_parameters and cell.dimension(num_parameters, adaptive_clipping=config.privacy.adaptive_clipping),
        num_shares=num_shares,
        most_contributions=cell.most_contributions(
            num_hospitals=num_hospitals, num_records=num_records, max_records=config.federation.max_records
        ),
        most_replies=cohort_sizes(config, num_hospitals)[1],
    )


def sensitivity_in(cell: Cell, config: Config, max_grad_norm: float) -> float:
    """Return how far apart neighbours are in what a hospital releases in a cell, L2, at a clip (see `Cell`)."""
    return cell.sensitivity(
        max_grad_norm,
        adaptive_clipping=config.privacy.adaptive_clipping,
        most_copies=config.imbalance.most_copies,
    )


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
        sensitivity=clip and sensitivity_in(cell, config, clip),
        contribution=contribution,
        adaptive_clipping=privacy.adaptive_clipping,
        attempt=attempt,
    )
