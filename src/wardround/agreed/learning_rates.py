"""The learning rate of a round, by the name of its schedule, from public numbers alone.

Server and hospital both compute it from their own settings: a hospital for its local steps, the server for its step on
a sum of gradients. What is left out on purpose: schedules that follow a loss or a score, which would be measured on
somebody's records.
"""

import math

from wardround.config import TrainingConfig

__all__ = ["learning_rate_in"]

_STEP_FACTOR = 0.1
_STEPS_AT = (0.5, 0.75)
"""Shares of the training after which the rate is a tenth: He et al. 2016, section 4.2."""


def learning_rate_in(training: TrainingConfig, round_number: int) -> float:
    """Return the learning rate of a round (> 0); the first round has the rate that is set.

    With u = (round_number - 1) / num_rounds, the share of the rounds that are over, the rate is multiplied with

    - constant: 1;
    - linear: 1 - u;
    - cosine: (1 + cos(pi u)) / 2;
    - step: 0.1 from u = 1/2 on, 0.01 from u = 3/4 on.

    >>> learning_rate_in(TrainingConfig(num_rounds=4, learning_rate=0.8, learning_rate_schedule="linear"), 3)
    0.4

    Args:
        training: all of [training].
        round_number: from 1 to num_rounds.

    Source: Loshchilov and Hutter 2017 (SGDR), equation 5 with a least rate of 0 and one period (cosine); He et al.
        2016, section 4.2 (step).
    """
    over = (round_number - 1) / training.num_rounds
    factor = {
        "constant": 1.0,
        "linear": 1 - over,
        "cosine": (1 + math.cos(math.pi * over)) / 2,
        "step": _STEP_FACTOR ** sum(over >= share for share in _STEPS_AT),
    }[training.learning_rate_schedule]
    return training.learning_rate * factor
