"""Whether numbers of classes, such as weights, fit the data, which settings alone can't say.

What is left out on purpose: the weighted loss itself (see `clients.losses`).
"""

from collections.abc import Sequence
from typing import Any

from wardround.config.sections import TrainingConfig
from wardround.errors import ConfigError

__all__ = ["check_class_numbers", "check_loss_weights"]


def check_loss_weights(training: TrainingConfig, class_names: Sequence[str]) -> None:
    """Refuse weights of classes where there are none, or where their number is another.

    Args:
        training: all of [training].
        class_names: in class order; none of another task.

    Raises:
        ConfigError: naming the classes.
    """
    weights = training.loss_weights
    if weights is not None:
        check_class_numbers(f"loss-weights = {list(weights)}", "[training] loss-weights", weights, class_names)


def check_class_numbers(given: str, where: str, numbers: Sequence[Any], class_names: Sequence[str]) -> None:
    """Refuse numbers that are not one for each class.

    Args:
        given: the key and its value, for the message.
        where: the key with its section, likewise.
        numbers: one for each class, in class order.
        class_names: none of another task.

    Raises:
        ConfigError: naming the classes.
    """
    if not class_names:
        raise ConfigError(f"{given} is for classes, and none are told apart here ({where}): remove it")
    if len(numbers) != len(class_names):
        raise ConfigError(
            f"{given} must have {len(class_names)} numbers, one for each class in this order: "
            f"{', '.join(class_names[:10])}{', ...' if len(class_names) > 10 else ''} ({where})"
        )
