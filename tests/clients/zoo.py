"""Models that try to let one record move another's gradient, or to carry something on; and models that are sound.

Every model takes records of six numbers and gives two outputs. `ADVERSARIES` and `SOUND` hold factories by name.
"""

import random
import types
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional

__all__ = ["ADVERSARIES", "NUM_FEATURES", "NUM_RECORDS", "REASONS", "SOUND"]

NUM_FEATURES, NUM_RECORDS = 6, 6
_GLOBAL: list[torch.Tensor] = []


class TwoLayers(nn.Module):
    """The frame of the others: `mixed` is where they mix."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(NUM_FEATURES, NUM_FEATURES), nn.Linear(NUM_FEATURES, 2)

    def forward(self, records):
        return self.head(torch.tanh(self.mixed(self.inner(records))))

    def mixed(self, hidden):
        return hidden


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


class NormOverTheBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden):
        norm = hidden.norm()
        ctx.save_for_backward(norm)
        return hidden / norm

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 100 / gradient.norm()


class NormOverTheBatchWithARule(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(hidden):
        return hidden / hidden.norm()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 100 / gradient.norm()


class NormWithAMixingRule(torch.autograd.Function):
    @staticmethod
    def forward(hidden):
        return hidden * 1.0

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient / gradient.norm()

    @staticmethod
    def vmap(info, in_dims, hidden):
        return hidden - hidden.mean(dim=0), in_dims[0]


class OldFunction(TwoLayers):
    def mixed(self, hidden):
        return NormOverTheBatch.apply(hidden)


class NewFunction(TwoLayers):
    def mixed(self, hidden):
        return NormOverTheBatchWithARule.apply(hidden)


class MixingRule(TwoLayers):
    def mixed(self, hidden):
        return NormWithAMixingRule.apply(hidden)


class WeightTwice(TwoLayers):
    def forward(self, records):
        hidden = functional.dropout(functional.linear(records, self.inner.weight), 0.5, training=self.training)
        return self.head(torch.tanh(functional.linear(hidden, self.inner.weight)))


class TiedLayers(TwoLayers):
    def __init__(self):
        super().__init__()
        self.second = nn.Linear(NUM_FEATURES, NUM_FEATURES)
        self.second.weight = self.inner.weight

    def mixed(self, hidden):
        return self.second(hidden)


def tied_sequence():
    first, second = nn.Linear(NUM_FEATURES, NUM_FEATURES), nn.Linear(NUM_FEATURES, NUM_FEATURES)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Linear(NUM_FEATURES, 2))


def layer_twice():
    layer = nn.Linear(NUM_FEATURES, NUM_FEATURES)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(NUM_FEATURES, 2))


def sequence():
    return nn.Sequential(nn.Linear(NUM_FEATURES, NUM_FEATURES), nn.Tanh(), nn.Linear(NUM_FEATURES, 2))


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


class SortedOverTheBatch(TwoLayers):
    def mixed(self, hidden):
        return hidden.sort(dim=0).values


class SummedUpOverTheBatch(TwoLayers):
    def mixed(self, hidden):
        return hidden.cumsum(dim=0)


class Rolled(TwoLayers):
    def mixed(self, hidden):
        return torch.roll(hidden, 1, dims=0)


class TransposedProduct(TwoLayers):
    def mixed(self, hidden):
        return (hidden @ hidden.T) @ hidden


class BatchNormByHand(TwoLayers):
    def mixed(self, hidden):
        return (hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, unbiased=False) + 1e-5).sqrt()


class BatchNormFunction(TwoLayers):
    def mixed(self, hidden):
        return functional.batch_norm(hidden.unsqueeze(-1).repeat(1, 1, 2), None, None, training=True)[..., 0]


class BatchNormSubclass(nn.BatchNorm1d):
    pass


def batch_norm_subclass():
    return nn.Sequential(
        nn.Linear(NUM_FEATURES, NUM_FEATURES), BatchNormSubclass(NUM_FEATURES), nn.Linear(NUM_FEATURES, 2)
    )


class AttentionOverTheBatch(TwoLayers):
    def mixed(self, hidden):
        return torch.softmax(hidden @ hidden.T, dim=-1) @ hidden


class TheFirstRecord(TwoLayers):
    def mixed(self, hidden):
        return hidden * hidden[:1]


class WritesOnTheInput(TwoLayers):
    def forward(self, records):
        records.sub_(records.mean(dim=0))
        return super().forward(records)


class MoreForLargeBatches(TwoLayers):
    def mixed(self, hidden):
        return hidden * len(hidden) + (hidden.sum(dim=0) if len(hidden) > 3 else 0.0)


def spectral_norm():
    model = sequence()
    nn.utils.parametrizations.spectral_norm(model[0])
    return model


def old_weight_norm():
    model = sequence()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(model[0])
    return model


class CentredLinear(nn.Linear):
    def forward(self, records):
        return super().forward(records - records.mean(dim=0))


def linear_subclass():
    return nn.Sequential(CentredLinear(NUM_FEATURES, NUM_FEATURES), nn.Tanh(), nn.Linear(NUM_FEATURES, 2))


def forward_on_the_instance():
    model = sequence()
    plain = nn.Linear.forward
    model[0].forward = types.MethodType(lambda self, records: plain(self, records / records.norm()), model[0])
    return model


def call_on_the_instance():
    model = sequence()
    layer = model[0]
    layer._call_impl = lambda records: nn.functional.linear(records.flip(0), layer.weight, layer.bias)
    return model


class MeanSequence(nn.Sequential):
    def forward(self, records):
        output = super().forward(records)
        return output - output.mean(dim=0)


def sequence_subclass():
    return MeanSequence(*sequence())


def softmax_over_the_batch():
    return nn.Sequential(nn.Linear(NUM_FEATURES, NUM_FEATURES), nn.Softmax(dim=0), nn.Linear(NUM_FEATURES, 2))


def softmax_over_the_batch_from_behind():
    return nn.Sequential(nn.Linear(NUM_FEATURES, NUM_FEATURES), nn.Softmax(dim=-2), nn.Linear(NUM_FEATURES, 2))


def layer_norm_over_the_batch():
    return nn.Sequential(
        nn.Linear(NUM_FEATURES, NUM_FEATURES),
        nn.LayerNorm((NUM_RECORDS, NUM_FEATURES)),
        nn.Linear(NUM_FEATURES, 2),
    )


def records_as_channels():
    return nn.Sequential(nn.Conv1d(NUM_RECORDS, NUM_RECORDS, 3, padding=1), nn.Tanh(), nn.Linear(NUM_FEATURES, 2))


def dropout_of_records():
    return nn.Sequential(nn.Dropout1d(0.5), nn.Linear(NUM_FEATURES, 2))


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


_ADVERSARIES = (
    MaxWhenLarge, MaxWhenLargeWithoutIf, MeanBeforeAZeroHead, RunningMeanInABuffer,
    RunningMeanInAFrozenParameter, RunningMeanInATrainableParameter, RunningMeanInAnAttribute,
    RunningMeanInPlace, ListOfBatches, CounterOfBatches, GlobalList, GlobalNumber, closure, DefaultArgument,
    CopiesAreItself, OldFunction, NewFunction, MixingRule, WeightTwice, TiedLayers, tied_sequence, layer_twice,
    forward_hook, forward_pre_hook, backward_hook, backward_pre_hook, parameter_hook, caching_hook,
    HookOnActivations, SortedOverTheBatch, SummedUpOverTheBatch, Rolled, TransposedProduct, BatchNormByHand,
    BatchNormFunction, batch_norm_subclass, AttentionOverTheBatch, TheFirstRecord, WritesOnTheInput,
    MoreForLargeBatches, spectral_norm, old_weight_norm, linear_subclass, forward_on_the_instance,
    call_on_the_instance, sequence_subclass, softmax_over_the_batch, softmax_over_the_batch_from_behind,
    layer_norm_over_the_batch, records_as_channels, dropout_of_records, odd_setting, OwnGenerator,
    GeneratorThatIsSeeded, NumPyDetour, NumPyGenerator, PythonsRandom, MemoryOfNobody, MemoryOfAnyShape,
    ReadsNeighbours, WritesToAPart, DrawsAsManyAsItLikes, Chosen, Nonzero, ReadsNumbers, OwnOperation,
    LooksBehindTheTransform, lazy,
)  # fmt: skip
ADVERSARIES = {factory.__name__: factory for factory in _ADVERSARIES}

_WRITES = "it writes into a buffer, a parameter or another tensor that outlives the call"
_BY_VALUE = "what it does next depends on the values of a record"
_EARLIER = "it uses something of an earlier call"
REASONS = {
    "MaxWhenLarge": _BY_VALUE,
    "RunningMeanInABuffer": _WRITES,
    "RunningMeanInAFrozenParameter": _WRITES,
    "RunningMeanInATrainableParameter": _WRITES,
    "RunningMeanInAnAttribute": "it writes to mean",
    "RunningMeanInPlace": _WRITES,
    "ListOfBatches": "it writes to batches.0",
    "CounterOfBatches": "it writes to state.calls",
    "GlobalList": _EARLIER,
    "GlobalNumber": "its forward is not the same twice",
    "closure": _EARLIER,
    "DefaultArgument": _EARLIER,
    "CopiesAreItself": "it writes to mean",
    "caching_hook": _EARLIER,
    "parameter_hook": "has hooks, which are not run here",
    "batch_norm_subclass": "Expected more than 1 value per channel",
    "WritesOnTheInput": _WRITES,
    "spectral_norm": _WRITES,
    "old_weight_norm": "can't be copied",
    "call_on_the_instance": "a parameter that is not the module's own",
    "layer_norm_over_the_batch": "normalized_shape",
    "records_as_channels": "to have 6 channels",
    "OwnGenerator": "a generator of its own",
    "GeneratorThatIsSeeded": _BY_VALUE,
    "NumPyDetour": ".numpy() is not supported",
    "NumPyGenerator": "it writes to generator",
    "PythonsRandom": "its forward is not the same twice",
    "MemoryOfAnyShape": "memory that was not written to",
    "ReadsNeighbours": "it reads memory by strides",
    "WritesToAPart": "it reads memory",
    "DrawsAsManyAsItLikes": "it draws with poisson",
    "Chosen": "can't be run record by record",
    "Nonzero": "depends on the values of a record",
    "ReadsNumbers": _BY_VALUE,
    "OwnOperation": "not one of the framework's own operations",
    "lazy": "Expected more than 1 value per channel",
}
"""Why the others are refused; those that are missing run, each record by itself."""


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
    Residual, FunctionalDropout, Rounded, Block, InPlace, Recurrent, LongShort, Encoder, weight_norm, Images,
    WeightTwice, tied_sequence,
)  # fmt: skip
SOUND = {factory.__name__: factory for factory in _SOUND}
