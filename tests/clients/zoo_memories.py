"""Models that try to carry something of a record on: in buffers, attributes, globals, closures and hooks."""

import torch
from torch import nn
from torch.nn import functional
from zoo_frame import NUM_FEATURES, TwoLayers, sequence

__all__ = ["MEMORIES"]

_GLOBAL: list[torch.Tensor] = []


class MaxWhenLarge(TwoLayers):
    def forward(self, records):
        largest = records.abs().max()
        return super().forward(records / largest if largest > 8 else records)


class MaxWhenLargeWithoutIf(TwoLayers):
    def forward(self, records):
        largest = records.abs().max()
        return super().forward(torch.where(largest > 8, records / largest, records))


class MeanBeforeAZeroHead(TwoLayers):
    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.head.weight)

    def mixed(self, hidden):
        return functional.dropout(hidden - hidden.mean(dim=0), 0.5, training=self.training)


class RunningMeanInABuffer(TwoLayers):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(NUM_FEATURES))

    def mixed(self, hidden):
        with torch.no_grad():
            self.mean.mul_(0.9).add_(hidden.mean(dim=0), alpha=0.1)
        return hidden - self.mean


class RunningMeanInAFrozenParameter(TwoLayers):
    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(NUM_FEATURES), requires_grad=False)

    def mixed(self, hidden):
        self.mean.data.mul_(0.9).add_(hidden.detach().mean(dim=0), alpha=0.1)
        return hidden - self.mean


class RunningMeanInATrainableParameter(TwoLayers):
    def mixed(self, hidden):
        self.inner.bias.data.add_(hidden.detach().mean(dim=0), alpha=0.1)
        return hidden


class RunningMeanInAnAttribute(TwoLayers):
    def __init__(self):
        super().__init__()
        self.mean = torch.zeros(NUM_FEATURES)

    def mixed(self, hidden):
        self.mean = 0.9 * self.mean + 0.1 * hidden.detach().mean(dim=0)
        return hidden - self.mean


class RunningMeanInPlace(RunningMeanInAnAttribute):
    def mixed(self, hidden):
        self.mean += hidden.detach().mean(dim=0)
        return hidden - self.mean


class ListOfBatches(TwoLayers):
    def __init__(self):
        super().__init__()
        self.batches = []

    def mixed(self, hidden):
        self.batches.append(hidden.detach().mean(dim=0))
        return hidden - self.batches[0]


class CounterOfBatches(TwoLayers):
    def __init__(self):
        super().__init__()
        self.state = {"calls": 0}

    def mixed(self, hidden):
        self.state["calls"] += 1
        return hidden * self.state["calls"]


class GlobalList(TwoLayers):
    def mixed(self, hidden):
        _GLOBAL.append(hidden.detach().mean(dim=0))
        return hidden - _GLOBAL[max(0, len(_GLOBAL) - 2)]


class GlobalNumber(TwoLayers):
    calls = 0

    def mixed(self, hidden):
        GlobalNumber.calls += 1
        return hidden * GlobalNumber.calls


class FrozenFromOutside(TwoLayers):
    calls = 0

    def mixed(self, hidden):
        FrozenFromOutside.calls += 1
        return hidden * nn.Parameter(torch.tensor(float(FrozenFromOutside.calls)), requires_grad=False)


class NoughtOrNone(TwoLayers):
    calls = 0

    def mixed(self, hidden):
        NoughtOrNone.calls += 1
        return hidden + torch.tensor(float("nan") if NoughtOrNone.calls % 2 else 0.0)


def closure():
    last = {}

    class Closure(TwoLayers):
        def mixed(self, hidden):
            before = last.get("hidden", torch.zeros(NUM_FEATURES))
            last["hidden"] = hidden.detach().sum(dim=0)
            return hidden + before

    return Closure()


class DefaultArgument(TwoLayers):
    def mixed(self, hidden, kept=[]):  # noqa: B006
        kept.append(hidden.detach().sum(dim=0))
        return hidden + kept[0]


class CopiesAreItself(RunningMeanInAnAttribute):
    def __deepcopy__(self, memo):
        return self


def forward_hook():
    model = sequence()
    model[0].register_forward_hook(lambda module, given, output: output - output.mean(dim=0))
    return model


def forward_pre_hook():
    model = sequence()
    model[2].register_forward_pre_hook(lambda module, given: (given[0] / given[0].norm(),))
    return model


def backward_hook():
    model = sequence()
    model[2].register_full_backward_hook(lambda module, into, out: tuple(100 * g / g.norm() for g in into))
    return model


def backward_pre_hook():
    model = sequence()
    model[2].register_full_backward_pre_hook(lambda module, out: tuple(g.flip(0) * 10 for g in out))
    return model


def parameter_hook():
    model = sequence()
    model[0].weight.register_hook(lambda gradient: gradient * 100)
    return model


def caching_hook():
    model, cache = sequence(), []

    def look(module, given, output):
        cache.append(output.detach())
        return output + cache[0].mean()

    model[0].register_forward_hook(look)
    return model


class HookOnActivations(TwoLayers):
    def mixed(self, hidden):
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: gradient - 10 * gradient.mean(dim=0))
        return hidden


MEMORIES = (
    MaxWhenLarge, MaxWhenLargeWithoutIf, MeanBeforeAZeroHead, RunningMeanInABuffer,
    RunningMeanInAFrozenParameter, RunningMeanInATrainableParameter, RunningMeanInAnAttribute,
    RunningMeanInPlace, ListOfBatches, CounterOfBatches, GlobalList, GlobalNumber, FrozenFromOutside,
    NoughtOrNone, closure, DefaultArgument,
    CopiesAreItself, forward_hook, forward_pre_hook, backward_hook, backward_pre_hook, parameter_hook,
    caching_hook, HookOnActivations,
)  # fmt: skip
