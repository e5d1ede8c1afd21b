"""Whether clipped steps can reach a target that is a number in its own unit, such as a cost of 25,000.

What is left out on purpose: strategies and optimizers whose steps no clip bounds.
"""

import math

import numpy as np

from wardround.agreed.learning_rates import learning_rate_in
from wardround.config import Config
from wardround.datasets import FederatedData
from wardround.datasets.records import REGRESSION
from wardround.server.plan.plans import FederationPlan

__all__ = ["reach_notes"]


def reach_notes(config: Config, federation: FederatedData, plan: FederationPlan) -> tuple[str, ...]:
    """Return a warning where the whole run's clipped steps move the model less than its target is away from zero.

    A record's gradient is clipped to max-grad-norm, so that one step of plain SGD moves the parameters by learning-rate
    x max-grad-norm at most, noise aside, and a hospital's clipped update by max-grad-norm a round. With d features of
    variance 1, a linear model's answer to a typical record then moves by that times sqrt(d + 1) (Cauchy-Schwarz).

    Args:
        config: of the run.
        federation: its data.
        plan: with the schedule of each hospital.
    """
    clips_records = plan.cell.clips_records
    is_bounded = config.aggregation.strategy == "fedavg" and (config.training.optimizer == "sgd" or not clips_records)
    if federation.task != REGRESSION or not plan.cell.is_private or not is_bounded:
        return ()
    step, rate = config.privacy.max_grad_norm, _mean_learning_rate(config)
    if clips_records:
        steps = max(hospital.num_participations * hospital.schedule.num_steps for hospital in plan.hospitals)
        step *= rate / (1 - config.training.momentum)
    else:
        steps = config.training.num_rounds
    reach = step * steps * math.sqrt(math.prod(federation.input_shape) + 1)
    sizes = [np.abs(hospital.train_labels.astype(np.float64)) for hospital in federation.hospitals]
    if float(np.median(np.concatenate(sizes))) <= reach:
        return ()
    rate_text = f" x learning-rate {rate:g}" if clips_records else ""
    return (
        f"most targets are further from zero than {steps} clipped steps reach (max-grad-norm "
        f"{config.privacy.max_grad_norm:g}{rate_text} each; for a linear model, {reach:.3g} in all): the model "
        "can't come near them. State the target's public range ([federation] target-range, or a range in "
        "[federation.schema]), from which it is scaled to [-1, 1]",
    )


def _mean_learning_rate(config: Config) -> float:
    """Return the learning rate on average over the rounds, which its schedule lowers."""
    rounds = range(1, config.training.num_rounds + 1)
    return math.fsum(learning_rate_in(config.training, number) for number in rounds) / len(rounds)
