"""Models that try to let one record move another's gradient: mixed in forward, in backward, or by a shared weight."""

import types
import warnings

import torch
from torch import nn
from torch.nn import functional
from zoo_frame import NUM_FEATURES, NUM_RECORDS, TwoLayers, sequence

__all__ = ["MIXERS", "WeightTwice", "tied_sequence"]


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


MIXERS = (
    OldFunction, NewFunction, MixingRule, WeightTwice, TiedLayers, tied_sequence, layer_twice,
    SortedOverTheBatch, SummedUpOverTheBatch, Rolled, TransposedProduct, BatchNormByHand, BatchNormFunction,
    batch_norm_subclass, AttentionOverTheBatch, TheFirstRecord, WritesOnTheInput, MoreForLargeBatches,
    spectral_norm, old_weight_norm, linear_subclass, forward_on_the_instance, call_on_the_instance,
    sequence_subclass, softmax_over_the_batch, softmax_over_the_batch_from_behind, layer_norm_over_the_batch,
    records_as_channels, dropout_of_records,
)  # fmt: skip
