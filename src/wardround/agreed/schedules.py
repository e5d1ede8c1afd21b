"""How much a hospital trains in a round: rate, expected batch and steps, from the settings and its number of records.

Server and hospital both compute it, so that a hospital can refuse an assignment that is not its own settings'.
"""

import math

from wardround.config import Config
from wardround.privacy.cells import cell_of
from wardround.rounds import Schedule

__all__ = ["schedule_of"]


def schedule_of(config: Config, num_train: int) -> Schedule:
    """Return a hospital's schedule.

    Args:
        config: all settings.
        num_train: its training records (>= 1).
    """
    training = config.training
    sample_rate = training.sample_rate
    if sample_rate is None:
        # A hospital with fewer records than the batch takes all of them in every step.
        sample_rate = min(1.0, (training.batch_size or 32) / num_train)
    # Rounded up, but not for the last bit of 1 / sample_rate.
    epoch_steps = math.ceil((training.local_epochs or 1) / sample_rate - 1e-9)
    return Schedule(
        sample_rate=sample_rate,
        # Of what is clipped as one: of records, or of groups of them.
        expected_batch_size=sample_rate * math.ceil(num_train / config.privacy.microbatch_size),
        num_steps=1 if cell_of(config.privacy).sends_sum else training.local_steps or epoch_steps,
    )
