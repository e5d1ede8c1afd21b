"""The frame that the models of the zoo share: records of six numbers in, two outputs."""

import torch
from torch import nn

__all__ = ["NUM_FEATURES", "NUM_RECORDS", "TwoLayers", "sequence"]

NUM_FEATURES, NUM_RECORDS = 6, 6


class TwoLayers(nn.Module):
    """The frame of the others: `mixed` is where they mix."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(NUM_FEATURES, NUM_FEATURES), nn.Linear(NUM_FEATURES, 2)

    def forward(self, records):
        return self.head(torch.tanh(self.mixed(self.inner(records))))

    def mixed(self, hidden):
        return hidden


def sequence():
    return nn.Sequential(nn.Linear(NUM_FEATURES, NUM_FEATURES), nn.Tanh(), nn.Linear(NUM_FEATURES, 2))
