"""Whether weights of classes fit the data, which settings alone can't say.

What is left out on purpose: the weighted loss itself (see `clients.losses`).
"""

from collections.abc import Sequence

from wardround.config.sections import TrainingConfig
from wardround.errors import ConfigError

__all__ = ["check_loss_weights"]


def check_loss_weights(training: TrainingConfig, class_names: Sequence[str]) -> None:
    """Refuse weights of classes where there are none, or where their number is another.

    Args:
        training: all of [training].
        class_names: in class order; none of another task.

    Raises:
        ConfigError: naming the classes.
    """
    weights = training.loss_weights
    if weights is None or len(weights) == len(class_names):
        return
    given = f"loss-weights = {list(weights)}"
    if not class_names:
        raise ConfigError(f"{given} is for classes, and none are told apart here ([training] loss-weights): remove it")
    raise ConfigError(
        f"{given} must have {len(class_names)} numbers, one for each class in this order: "
        f"{', '.join(class_names[:10])}{', ...' if len(class_names) > 10 else ''} ([training] loss-weights)"
    )
