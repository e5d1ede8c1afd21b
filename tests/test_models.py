"""Models: the right shapes, the same bits everywhere, and refusals before anything is charged."""

import numpy as np
import pytest
import torch
from torch import nn

from wardround.config import ModelConfig
from wardround.errors import ConfigError, UpdateError
from wardround.models import build_model, load_parameters, parameters_of

MODELS = [
    ("logistic", (13,), {}, 13 * 4 + 4),
    ("mlp", (13,), {"hidden_sizes": (5, 3)}, 13 * 5 + 5 + 5 * 3 + 3 + 3 * 4 + 4),
    ("cnn", (1, 28, 28), {}, 16 * 9 + 16 + 32 * 16 * 9 + 32 + 32 * 49 * 4 + 4),
    ("cnn", (3, 9, 7), {"channels": (8,)}, 8 * 3 * 9 + 8 + 8 * 5 * 4 * 4 + 4),
    ("resnet18", (3, 32, 32), {"width": 8}, None),
    ("resnet18", (1, 64, 64), {"width": 8}, None),
    ("vgg19", (1, 28, 28), {"width": 8}, None),
    ("lstm", (7, 5), {"width": 8}, 4 * 8 * (5 + 8 + 2) + 8 * 4 + 4),
    ("lstm", (3, 7, 5), {"width": 8, "num_layers": 2}, 4 * 8 * (15 + 8 + 2) + 4 * 8 * (8 + 8 + 2) + 8 * 4 + 4),
    ("transformer", (7, 5), {"width": 8}, 5 * 8 + 8 + 4 * 72 + 2 * 8 * 16 + 16 + 8 + 4 * 8 + 2 * 8 + 8 * 4 + 4),
]


def build(name, input_shape=(13,), num_outputs=4, seed=1, private=True, **sizes):
    return build_model(
        ModelConfig(name=name, **sizes), input_shape=input_shape, num_outputs=num_outputs, seed=seed, private=private
    )


@pytest.mark.parametrize(("name", "input_shape", "sizes", "num_parameters"), MODELS)
def test_shapes_and_seeds(name, input_shape, sizes, num_parameters):
    model, notes = build(name, input_shape, **sizes)
    again, _ = build(name, input_shape, **sizes)
    other, _ = build(name, input_shape, seed=2, **sizes)
    assert notes == ()
    assert model(torch.zeros(3, *input_shape)).shape == (3, 4)
    arrays = parameters_of(model)
    if num_parameters is not None:
        assert sum(array.size for array in arrays.values()) == num_parameters
    assert all(np.array_equal(arrays[key], array) for key, array in parameters_of(again).items())
    alike = all(np.array_equal(arrays[key], array) for key, array in parameters_of(other).items())
    # A linear model begins at zero, whatever the seed: its loss is convex.
    assert alike == (name == "logistic") and alike == (not any(array.any() for array in arrays.values()))


def test_resnet18_and_vgg19_have_the_published_sizes():
    # He et al. 2016 (CIFAR stem, 10 classes): 11,173,962 with BatchNorm, whose scale and shift GroupNorm has too.
    resnet, _ = build("resnet18", (3, 32, 32), 10)
    assert sum(p.numel() for p in resnet.parameters()) == 11_173_962
    # Simonyan and Zisserman 2015, column E: 16 convolutions of 20,024,384 weights and biases, 5,504 channels normed.
    vgg, _ = build("vgg19", (3, 32, 32), 10)
    assert sum(p.numel() for p in vgg.parameters()) == 20_024_384 + 2 * 5_504 + 512 * 10 + 10


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    build("mlp")
    assert torch.equal(torch.rand(3), want)


def test_parameters_round_trip_and_misfits():
    model, _ = build("logistic")
    arrays = {name: array + 1 for name, array in parameters_of(model).items()}
    load_parameters(model, arrays)
    assert all(np.array_equal(parameters_of(model)[name], array) for name, array in arrays.items())
    with pytest.raises(UpdateError, match=r"parameter 1.bias has shape \(5,\)"):
        load_parameters(model, arrays | {"1.bias": np.zeros(5, np.float32)})
    with pytest.raises(UpdateError, match="on one side only"):
        load_parameters(model, {"other": np.zeros(1)})


def fixable(*, input_shape, num_outputs):
    size = (input_shape[1] - 2) * (input_shape[2] - 2) * 32
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 32, 3), nn.BatchNorm2d(32), nn.Flatten(), nn.Linear(size, num_outputs)
    )


def tabular_batch_norm(*, input_shape, num_outputs):
    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, num_outputs))


def one_value_normalised(*, input_shape, num_outputs):
    return nn.Sequential(nn.Linear(input_shape[0], 1), nn.BatchNorm1d(1), nn.Linear(1, num_outputs))


def frozen_batch_norm(*, input_shape, num_outputs):
    model = tabular_batch_norm(input_shape=input_shape, num_outputs=num_outputs)
    model[1].requires_grad_(False)
    return model


def lazy(*, input_shape, num_outputs):
    return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.LazyLinear(num_outputs))


class Recorder(nn.Linear):
    def forward(self, records):
        self.seen = records.detach()
        return super().forward(records)


def recorder(*, input_shape, num_outputs):
    return Recorder(input_shape[0], num_outputs)


def uncopiable(*, input_shape, num_outputs):
    model = nn.Linear(input_shape[0], num_outputs)
    model.lines = (line for line in "ab")
    return model


def frozen(*, input_shape, num_outputs):
    return nn.Linear(input_shape[0], num_outputs).requires_grad_(False)


class Centred(nn.Linear):
    def forward(self, records):
        return super().forward(records - records.mean(dim=0))


def mixing(*, input_shape, num_outputs):
    return Centred(input_shape[0], num_outputs)


def with_dropout(*, input_shape, num_outputs):
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(input_shape[0], num_outputs))


class Counting(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, records):
        if self.training:
            self.seen += len(records)
        return super().forward(records)


def counting(*, input_shape, num_outputs):
    return Counting(input_shape[0], num_outputs)


def raises(*, input_shape, num_outputs):
    raise RuntimeError("no such weights")


def wrong_outputs(*, input_shape, num_outputs):
    return nn.Linear(input_shape[0], num_outputs + 1)


class BufferElsewhere(nn.Linear):
    """Its forward leaves a buffer where nothing can be compared with it."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, features):
        self.seen = self.seen.to("meta")
        return super().forward(features)


def buffer_elsewhere(*, input_shape, num_outputs):
    return BufferElsewhere(input_shape[0], num_outputs)


class TwoOutputs(nn.Linear):
    """It returns a tuple, as models with hidden states do."""

    def forward(self, features):
        return super().forward(features), features


def two_outputs(*, input_shape, num_outputs):
    return TwoOutputs(input_shape[0], num_outputs)


def not_a_model(*, input_shape, num_outputs):
    return "model"


@pytest.mark.parametrize("private", [True, False])
def test_batch_norm_is_replaced_with_a_note_with_and_without_privacy(private):
    model, notes = build(f"{__name__}:fixable", (3, 8, 8), private=private)
    assert "changed so that no layer mixes records" in notes[0]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("factory", ["tabular_batch_norm", "frozen_batch_norm", "lazy"])
def test_the_repair_of_a_batch_norm_on_rows_is_one(factory):
    model, notes = build(f"{__name__}:{factory}")
    assert "BatchNorm1d replaced by GroupNorm" in notes[0]
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in model.modules())
    # A batch of one is taken, and what comes out of the normalisation still tells two records apart.
    one, other = (model[:2](torch.randn(1, 13, generator=torch.Generator().manual_seed(seed))) for seed in (1, 2))
    assert not torch.allclose(one, other)
    assert model[1].weight.requires_grad == (factory != "frozen_batch_norm")


def test_a_model_is_tried_on_copies_alone():
    model, _ = build(f"{__name__}:recorder")
    assert not hasattr(model, "seen")


def test_what_does_not_mix_records_is_let_through():
    build(f"{__name__}:with_dropout")
    build(f"{__name__}:mixing", private=False)


@pytest.mark.parametrize(
    ("name", "input_shape", "message"),
    [
        ("logisitc", (13,), 'model name = "logisitc" must be one of logistic, mlp'),
        ("cnn", (13,), "needs images"),
        (f"{__name__}:raises", (13,), "could not be built: RuntimeError: no such weights"),
        (f"{__name__}:absent", (13,), "could not be built: AttributeError"),
        ("no_such_module:factory", (13,), "could not be built: ModuleNotFoundError"),
        (f"{__name__}:frozen", (13,), "has no trainable parameter"),
        (f"{__name__}:wrong_outputs", (13,), r"returned shape \(2, 5\) for 2 records, want \(2, 4\)"),
        (f"{__name__}:mixing", (13,), "mixes records"),
        (f"{__name__}:counting", (13,), "keeps statistics of its batches in buffers"),
        (f"{__name__}:buffer_elsewhere", (13,), "can't take records of shape .*NotImplementedError"),
        (f"{__name__}:two_outputs", (13,), "can't take records of shape .*'tuple' object has no attribute 'shape'"),
        (f"{__name__}:one_value_normalised", (13,), "normalises a single value a record"),
        (f"{__name__}:uncopiable", (13,), "can't be copied"),
        (f"{__name__}:not_a_model", (13,), "returned str, not a torch.nn.Module"),
    ],
)
def test_each_misfit_is_refused_by_name(name, input_shape, message):
    with pytest.raises(ConfigError, match=message):
        build(name, input_shape)
