"""Models that keep records apart, however they look."""

import torch
from torch import nn
from torch.nn import functional
from zoo_frame import TwoLayers, sequence
from zoo_mixers import WeightTwice, tied_sequence

__all__ = ["SOUND"]


class Residual(TwoLayers):
    def forward(self, records):
        return self.head(records + torch.relu(self.inner(records)))


class FunctionalDropout(TwoLayers):
    def mixed(self, hidden):
        return functional.dropout(hidden, 0.3, training=self.training)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden):
        return hidden.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Rounded(TwoLayers):
    def mixed(self, hidden):
        return StraightThrough.apply(hidden)


class Block(nn.Module):
    """A transformer block over the six numbers of a record."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(1, 8), nn.LayerNorm(8), nn.Linear(8, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, records):
        tokens = self.norm(self.embed(records.unsqueeze(-1)))
        return self.head((tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]).mean(dim=1))


class InPlace(TwoLayers):
    def mixed(self, hidden):
        hidden *= 2
        return functional.relu(hidden, inplace=True)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(2, 5), nn.Linear(5, 2)

    def forward(self, records):
        state = records.new_zeros(len(records), 5)
        for step in range(3):
            state = self.cell(records[:, 2 * step : 2 * step + 2], state)
        return self.head(state)


class LongShort(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, records):
        return self.head(self.recurrent(records.reshape(-1, 3, 2))[0][:, -1])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(1, 8), nn.Linear(8, 2)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, records):
        return self.head(self.block(self.embed(records.unsqueeze(-1))).mean(dim=1))


class Placed(TwoLayers):
    """Holds a constant that is no part of its state."""

    def __init__(self):
        super().__init__()
        self.register_buffer("places", torch.linspace(-1, 1, 6), persistent=False)

    def mixed(self, hidden):
        return hidden + self.places


def weight_norm():
    model = sequence()
    nn.utils.parametrizations.weight_norm(model[0])
    return model


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.pool, self.head = nn.MaxPool2d(2, ceil_mode=True), nn.Linear(8, 2)

    def forward(self, records):
        images = records.reshape(-1, 1, 2, 3)
        return self.head(self.pool(functional.relu(self.norm(self.convolution(images)))).flatten(1))


_SOUND = (
    Residual, FunctionalDropout, Rounded, Block, InPlace, Recurrent, LongShort, Encoder, Placed, weight_norm, Images,
    WeightTwice, tied_sequence,
)  # fmt: skip
SOUND = {factory.__name__: factory for factory in _SOUND}
