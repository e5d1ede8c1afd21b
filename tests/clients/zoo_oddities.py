"""Models with randomness, memory or operations of their own."""

import random

import numpy as np
import torch
from torch import nn
from zoo_frame import NUM_FEATURES, TwoLayers

__all__ = ["ODDITIES"]


class NastyNumber(float):
    pass


def odd_setting():
    model = nn.Sequential(nn.LeakyReLU(), nn.Linear(NUM_FEATURES, 2))
    model[0].negative_slope = NastyNumber(0.1)
    return model


class OwnGenerator(TwoLayers):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def mixed(self, hidden):
        return hidden + torch.rand(NUM_FEATURES, generator=self.generator)


class GeneratorThatIsSeeded(TwoLayers):
    def mixed(self, hidden):
        torch.manual_seed(int(hidden.detach().abs().sum()))
        return hidden + torch.rand(NUM_FEATURES)


class NumPyDetour(TwoLayers):
    def mixed(self, hidden):
        return hidden - torch.from_numpy(hidden.detach().numpy().mean(axis=0))


class NumPyGenerator(TwoLayers):
    def __init__(self):
        super().__init__()
        self.generator = np.random.default_rng(1)

    def mixed(self, hidden):
        return hidden + self.generator.random()


class PythonsRandom(TwoLayers):
    def mixed(self, hidden):
        return hidden * random.random()


class MemoryOfNobody(TwoLayers):
    def mixed(self, hidden):
        return hidden + torch.empty_like(hidden).nan_to_num(0, 0, 0).clamp(-1, 1)


class MemoryOfAnyShape(TwoLayers):
    def mixed(self, hidden):
        return hidden + torch.empty_strided((NUM_FEATURES,), (1,)).nan_to_num(0, 0, 0).clamp(-1, 1)


class ReadsNeighbours(TwoLayers):
    def mixed(self, hidden):
        across = (self.inner.weight @ hidden.T).T
        return hidden + torch.as_strided(across, (NUM_FEATURES,), (1,), 0)


class WritesToAPart(TwoLayers):
    def mixed(self, hidden):
        hidden[:, 0] -= hidden[:, 0].mean()
        return hidden


class DrawsAsManyAsItLikes(TwoLayers):
    def mixed(self, hidden):
        return hidden + torch.poisson(hidden.detach().abs().clamp(max=1e3))


class Chosen(TwoLayers):
    def mixed(self, hidden):
        return torch.cond(hidden.sum() > 0, lambda h: h - h.mean(dim=0), lambda h: h * 2, (hidden,))


class Nonzero(TwoLayers):
    def mixed(self, hidden):
        return hidden + hidden[hidden > 0].mean()


class ReadsNumbers(TwoLayers):
    def mixed(self, hidden):
        return hidden * hidden.detach().abs().max().item()


_REMEMBERED: list[torch.Tensor] = []


@torch.library.custom_op("wardround_zoo::remember", mutates_args=())
def remember(hidden: torch.Tensor) -> torch.Tensor:
    _REMEMBERED.append(hidden.detach().clone())
    return hidden + _REMEMBERED[0].mean()


@remember.register_fake
def _(hidden):
    return torch.empty_like(hidden)


remember.register_autograd(lambda ctx, gradient: gradient)


class OwnOperation(TwoLayers):
    def mixed(self, hidden):
        return remember(hidden)


class LooksBehindTheTransform(TwoLayers):
    def mixed(self, hidden):
        if torch._C._functorch.is_batchedtensor(hidden):
            whole = torch._C._functorch.get_unwrapped(hidden)
            return hidden - whole.mean(dim=0)
        return hidden - hidden.mean(dim=0)


def lazy():
    model = nn.Sequential(nn.LazyLinear(NUM_FEATURES), nn.LazyBatchNorm1d(), nn.Linear(NUM_FEATURES, 2))
    model(torch.randn(4, NUM_FEATURES))
    return model


ODDITIES = (
    odd_setting, OwnGenerator, GeneratorThatIsSeeded, NumPyDetour, NumPyGenerator, PythonsRandom,
    MemoryOfNobody, MemoryOfAnyShape, ReadsNeighbours, WritesToAPart, DrawsAsManyAsItLikes, Chosen, Nonzero,
    ReadsNumbers, OwnOperation, LooksBehindTheTransform, lazy,
)  # fmt: skip
