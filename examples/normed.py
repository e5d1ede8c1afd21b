"""A small network with a normalisation layer, for `[model] name = "normed:build"`."""

import math

from torch import nn

_HIDDEN = 32


def build(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Return the model before round 1, for records of any shape."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), _HIDDEN),
        nn.LayerNorm(_HIDDEN),
        nn.Tanh(),
        nn.Linear(_HIDDEN, num_outputs),
    )
