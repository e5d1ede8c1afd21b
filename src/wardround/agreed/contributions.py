"""What a hospital contributes to a round: its assignment, the release it pays for, and the bounds of what it sends.

All of it follows from the settings and from public numbers, so that a site computes it by itself and takes none of it
from a server. Left out on purpose: who takes part, and how much noise a target takes.
"""

from wardround.agreed.schedules import schedule_of
from wardround.config import Config
from wardround.privacy.mechanisms import Mechanism, mechanism_of
from wardround.privacy.phases import Release
from wardround.privacy.skellam import TAIL_DEVIATIONS
from wardround.rounds import Assignment

__all__ = [
    "assignment_for",
    "largest_weight",
    "mechanism_in",
    "most_contributions",
    "payload_of",
    "release_of",
    "update_bound",
]

_FLOAT32_SLACK = 1 + 2.0**-16


def mechanism_in(config: Config) -> Mechanism | None:
    """Return the cell that the settings name; None without privacy."""
    privacy = config.privacy
    return None if privacy.placement == "none" else mechanism_of(privacy.unit, privacy.placement)


def release_of(
    cell: Mechanism | None,
    *,
    sample_rate: float = 1.0,
    dimension: int,
    num_shares: int,
    most_contributions: int,
    most_replies: int,
) -> Release:
    """Return what a hospital releases in a billed step of a cell.

    Args:
        cell: None without privacy.
        sample_rate: of its steps, in (0, 1]; a whole update has 1.
        dimension: coordinates of what is released; it has a cost with placement "distributed" alone.
        num_shares: replies guaranteed.
        most_contributions: vectors that one sum may have at most.
        most_replies: hospitals in a round.
    """
    if cell is None:
        return Release(sample_rate=sample_rate)
    is_skellam = cell.placement == "distributed"
    return Release(
        sample_rate=1.0 if cell.unit == "hospital" else sample_rate,
        unit=cell.unit,
        relation=cell.relation,
        placement=cell.placement,
        dimension=dimension if is_skellam else 0,
        num_shares=num_shares if is_skellam else 0,
        most_contributions=most_contributions if is_skellam else 0,
        most_shares=most_replies if is_skellam else 0,
    )


def assignment_for(
    config: Config,
    release: Release,
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
        release: what it releases in a billed step.
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
    cell, schedule, privacy = mechanism_in(config), schedule_of(config, num_train), config.privacy
    same = {
        "hospital_id": hospital_id,
        "round_number": round_number,
        "sample_rate": schedule.sample_rate,
        "expected_batch_size": schedule.expected_batch_size,
        "num_steps": schedule.num_steps,
        "noise_multiplier": noise_multiplier,
        "weight": weight,
        "attempt": attempt,
    }
    if cell is None:
        return Assignment(**same, max_grad_norm=None)  # type: ignore[arg-type]
    phase = release.phase(noise_multiplier, 1)
    clip = privacy.max_grad_norm if max_grad_norm is None else max_grad_norm
    return Assignment(
        **same,  # type: ignore[arg-type]
        max_grad_norm=clip,
        unit=cell.unit,
        placement=cell.placement,
        sensitivity=cell.sensitivity(clip, adaptive_clipping=privacy.adaptive_clipping),
        scaled_norm=phase.scaled_norm,
        num_shares=phase.num_shares,
        dimension=phase.dimension,
        contribution=contribution if cell.name == "skellam" else 1.0,
        adaptive_clipping=privacy.adaptive_clipping,
    )


def most_contributions(cell: Mechanism | None, config: Config, num_hospitals: int, num_records: int) -> int:
    """Return how many vectors one sum may have at most: of hospitals, or of records.

    Args:
        cell: None without privacy.
        config: all settings; with [federation] max-records every hospital counts as if it had as many.
        num_hospitals: that cohorts are drawn from.
        num_records: training records of all of them, as far as that is known.
    """
    if cell is None or cell.unit == "hospital":
        return num_hospitals
    most_records = config.federation.max_records
    return num_records if most_records is None else num_hospitals * most_records


def payload_of(config: Config) -> str:
    """Return what hospitals sum, as the terms of a secure sum have it."""
    return {"distributed": "residues", "central": "values"}.get(config.privacy.placement, "parameters")


def largest_weight(config: Config, most_records: int) -> float:
    """Return the largest weight that a hospital's vector may have in a secure sum.

    Args:
        config: all settings.
        most_records: training records that any hospital has at most.
    """
    return schedule_of(config, most_records).weight


def update_bound(config: Config, *, most_records: int, sensitivity: float, noise_multiplier: float) -> float:
    """Return the largest magnitude that a coordinate of what a hospital sends can have.

    A sum of clipped gradients is at most max_grad_norm for each of the hospital's records; a clipped update at most
    its sensitivity, and with local noise 16 standard deviations more. Local training has [aggregation] max-update.

    Args:
        config: all settings.
        most_records: training records that any hospital of the round has at most.
        sensitivity: the largest in the round, L2 (> 0).
        noise_multiplier: the largest in the round (>= 0).
    """
    cell = mechanism_in(config)
    if cell is None or (cell.unit, cell.placement) == ("record", "local"):
        return config.aggregation.max_update
    largest = sensitivity
    if cell.unit == "record":
        largest *= most_records
    elif cell.placement == "local":
        largest *= 1 + TAIL_DEVIATIONS * noise_multiplier
    return largest * _FLOAT32_SLACK
