"""How many trainable parameters a model will have, in closed form: planning needs the number and not the model.

Left out on purpose: models that only torch can count (ResNet, VGG, a user's own); `models` builds those.
"""

import itertools
import math
from collections.abc import Sequence

from wardround.config import ModelConfig

__all__ = ["count_parameters"]


def count_parameters(config: ModelConfig, *, input_shape: Sequence[int], num_outputs: int) -> int | None:
    """Return the number of trainable parameters, or None where the model must be built to know.

    >>> count_parameters(ModelConfig(name="logistic"), input_shape=(13,), num_outputs=2)
    28

    Args:
        config: name and sizes.
        input_shape: shape of one record, (d,), (steps, features) or (channels, height, width).
        num_outputs: classes, or 1 for regression.
    """
    num_features = math.prod(input_shape)
    if config.name == "logistic":
        return _linear((num_features, num_outputs))
    if config.name == "mlp":
        return _linear((num_features, *config.hidden_sizes, num_outputs))
    if config.name == "cnn" and len(input_shape) == 3:
        channels = (input_shape[0], *config.channels)
        # Every stage halves height and width, rounded up.
        left = math.prod(math.ceil(size / 2 ** len(config.channels)) for size in input_shape[1:])
        convolutions = sum((9 * size_in + 1) * size_out for size_in, size_out in itertools.pairwise(channels))
        return convolutions + _linear((channels[-1] * left, num_outputs))
    if config.name in ("lstm", "transformer") and len(input_shape) in (2, 3):
        # A step of a sequence, or a row of an image with all its channels.
        counted = _lstm if config.name == "lstm" else _transformer
        return counted(config, num_features // input_shape[-2]) + _linear((config.width, num_outputs))
    return None


def _lstm(config: ModelConfig, num_features: int) -> int:
    """Return the parameters of layers of four gates each, which have two biases in the framework."""
    sizes = [num_features, *[config.width] * (config.num_layers - 1)]
    return sum(4 * config.width * (size + config.width + 2) for size in sizes)


def _transformer(config: ModelConfig, num_features: int) -> int:
    width = config.width
    attention = 4 * _linear((width, width))
    layer = attention + _linear((width, 2 * width, width)) + 2 * 2 * width
    return _linear((num_features, width)) + config.num_layers * layer + 2 * width


def _linear(sizes: Sequence[int]) -> int:
    return sum((size_in + 1) * size_out for size_in, size_out in itertools.pairwise(sizes))
