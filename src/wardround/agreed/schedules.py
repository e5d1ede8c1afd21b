"""How much a hospital trains in a round: rate, expected batch and steps, from the settings and its number of records.

Server and hospital both compute it, so that a hospital can refuse an assignment that is not its own settings'.
"""

import math
from dataclasses import dataclass

from wardround.config import Config
from wardround.privacy.mechanisms import mechanism_of

__all__ = ["Schedule", "schedule_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A hospital's training in a round.

    Attributes:
        sample_rate: of every step, in (0, 1].
        expected_batch_size: sample_rate times the number of training records.
        num_steps: optimizer steps (>= 1).
        weight: of what it sends, in a secure sum (> 0): its records, or 1 where gradient sums count them already.
    """

    sample_rate: float
    expected_batch_size: float
    num_steps: int
    weight: float


def schedule_of(config: Config, num_train: int) -> Schedule:
    """Return a hospital's schedule.

    Args:
        config: all settings.
        num_train: its training records (>= 1).
    """
    training, privacy = config.training, config.privacy
    sample_rate = training.sample_rate
    if sample_rate is None:
        # A hospital with fewer records than the batch takes all of them in every step.
        sample_rate = min(1.0, (training.batch_size or 32) / num_train)
    # Rounded up, but not for the last bit of 1 / sample_rate.
    epoch_steps = math.ceil((training.local_epochs or 1) / sample_rate - 1e-9)
    sends_sum = privacy.placement != "none" and mechanism_of(privacy.unit, privacy.placement).sends_sum
    return Schedule(
        sample_rate=sample_rate,
        expected_batch_size=sample_rate * num_train,
        num_steps=1 if sends_sum else training.local_steps or epoch_steps,
        weight=1.0 if sends_sum else float(num_train),
    )
