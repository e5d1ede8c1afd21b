"""Models of sequences: an LSTM and a small transformer, of the framework's own layers, which no other record enters.

A record is a sequence (steps, features); an image (channels, height, width) is read as one of its rows, from the top.
Where records are protected such a model is run as a program of one record (see `clients.programs`), so that a record
has one gradient, however often a weight is used along its steps. What is left out on purpose: sequences of different
lengths, words, and the statistics of a batch.
"""

import math

import torch
from torch import Tensor, nn

from wardround.config import ModelConfig

__all__ = ["SEQUENCE_MODELS", "lstm", "transformer"]

SEQUENCE_MODELS = ("lstm", "transformer")


def lstm(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Return an LSTM (Hochreiter and Schmidhuber 1997) and a linear layer on its state after the last step."""
    _, num_features = _steps_of(input_shape)
    return nn.Sequential(
        Rows(), LastState(num_features, config.width, config.num_layers), nn.Linear(config.width, num_outputs)
    )


def transformer(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Return a transformer's encoder (Vaswani et al. 2017) and a linear layer on the mean over its steps.

    Layers normalise before they attend (Xiong et al. 2020) and have neither dropout nor a batch's statistics; what they
    feed forward is twice as wide as they are.
    """
    num_steps, num_features = _steps_of(input_shape)
    width = config.width
    layers = [
        nn.TransformerEncoderLayer(
            width, config.num_heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(config.num_layers)
    ]
    places = Places(num_steps, width)
    head = [nn.LayerNorm(width), MeanOverSteps(), nn.Linear(width, num_outputs)]
    return nn.Sequential(Rows(), nn.Linear(num_features, width), places, *layers, *head)


def _steps_of(input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many steps a record has, and how many features each of them."""
    if len(input_shape) == 2:
        return input_shape[0], input_shape[1]
    channels, height, width = input_shape
    return height, channels * width


class Rows(nn.Module):
    """Images (n, channels, height, width) as sequences of rows (n, height, channels x width); sequences as they are."""

    def forward(self, records: Tensor) -> Tensor:
        """Return sequences (n, steps, features)."""
        return records if records.dim() == 3 else records.movedim(1, 2).flatten(2)


class LastState(nn.Module):
    """Sequences (n, steps, features) to the states (n, width) of an LSTM's last layer after the last step."""

    def __init__(self, num_features: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(num_features, width, num_layers, batch_first=True)

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the last states."""
        states: Tensor = self.recurrent(sequences)[0]
        return states[:, -1]


class Places(nn.Module):
    """Adds to each step (n, steps, width) where it stands: sines and cosines (Vaswani et al. 2017, section 3.5)."""

    places: Tensor

    def __init__(self, num_steps: int, width: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
        angles = torch.arange(num_steps)[:, None] * rates
        places = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
        self.register_buffer("places", places, persistent=False)

    def forward(self, steps: Tensor) -> Tensor:
        """Return the steps with their places."""
        return steps + self.places


class MeanOverSteps(nn.Module):
    """Steps (n, steps, width) to their mean (n, width)."""

    def forward(self, steps: Tensor) -> Tensor:
        """Return the mean."""
        return steps.mean(dim=1)
