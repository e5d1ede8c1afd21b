"""Gradients by record in closed form are those of plain differentiation, and bounded for every record."""

import numpy as np
import pytest
import torch
from stacks import CLIP, NUM_OUTPUTS, assigned, records, trainer_of
from torch import nn

from wardround.clients.gradients import ClippedSum, per_record_module, trained_parameters
from wardround.clients.losses import loss_per_record
from wardround.models import ResidualBlock, parameters_of

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

IMAGE, NUM = (4, 7, 6), 9


def convolved(module, after=nn.Tanh):
    last = after()
    size = torch.Size(last(module(torch.zeros(1, *IMAGE))).shape[1:]).numel()
    return IMAGE, nn.Sequential(module, last, nn.Flatten(), nn.Linear(size, NUM_OUTPUTS))


def along(module):
    size = torch.Size(module(torch.zeros(1, 4, 12)).shape[1:]).numel()
    return (4, 12), nn.Sequential(module, nn.Tanh(), nn.Flatten(), nn.Linear(size, NUM_OUTPUTS))


def narrow(*modules):
    channels = modules[0].in_channels
    is_flat = isinstance(modules[0], nn.Conv1d)
    shape = (channels, 6) if is_flat else (channels, 8, 1 if modules[0].groups > 1 else 6)
    size = nn.Sequential(*modules)(torch.zeros(1, *shape)).numel()
    return shape, nn.Sequential(*modules, nn.Tanh(), nn.Flatten(), nn.Linear(size, NUM_OUTPUTS))


def frozen(*names):
    shape, model = convolved(nn.Conv2d(4, 6, 3, padding=1))
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return shape, model


def residual():
    parts = [nn.Conv2d(4, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), ResidualBlock(8, 16, stride=2)]
    head = [ResidualBlock(16, 16, stride=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, NUM_OUTPUTS)]
    return IMAGE, nn.Sequential(*parts, *head)


MODELS = {
    "plain": lambda: convolved(nn.Conv2d(4, 6, 3, padding=1)),
    "without bias": lambda: convolved(nn.Conv2d(4, 6, 3, bias=False)),
    "strides": lambda: convolved(nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2))),
    "dilated": lambda: convolved(nn.Conv2d(4, 6, 2, dilation=(3, 2))),
    "same": lambda: convolved(nn.Conv2d(4, 6, (2, 4), padding="same")),
    "groups": lambda: convolved(nn.Conv2d(4, 6, 3, groups=2, padding=1)),
    "each channel": lambda: convolved(nn.Conv2d(4, 8, 3, groups=4, padding=1)),
    "one position": lambda: convolved(nn.Conv2d(4, 5, (7, 6))),
    "single windows": lambda: convolved(nn.Conv2d(4, 5, 1)),
    "pooled": lambda: convolved(nn.Conv2d(4, 6, 3, padding=1), lambda: nn.MaxPool2d(2, ceil_mode=True)),
    "one dimension": lambda: along(nn.Conv1d(4, 6, 3, stride=2, padding=1)),
    "one dimension, same": lambda: along(nn.Conv1d(4, 6, 4, padding="same", groups=2, dilation=2)),
    "weight frozen": lambda: frozen("0.weight"),
    "bias frozen": lambda: frozen("0.bias", "3.weight"),
    "residual": residual,
    # Kernels of images whose channels lie last read other memory for these, or crash.
    "one channel, strides, outputs of width 1": lambda: narrow(nn.Conv2d(1, 8, (3, 5), stride=(1, 2))),
    "one channel of several before": lambda: narrow(nn.Conv2d(4, 1, 1), nn.Conv2d(1, 8, (3, 5), stride=(1, 2))),
    "one channel and dimension, strides": lambda: narrow(nn.Conv1d(1, 8, 5, stride=2)),
    "groups of images of width 1": lambda: narrow(nn.Conv2d(4, 8, (3, 1), stride=(2, 1), padding=(1, 0), groups=2)),
}


def one_by_one(model, data, loss, clip):
    """Return the clipped sum by plain differentiation of one record after the other, flat."""
    parameters, total = trained_parameters(model), 0.0
    for features, label in zip(data.train_features, data.train_labels, strict=True):
        losses = loss(model(features[None]), label[None])
        found = torch.autograd.grad(losses.sum(), parameters)
        flat = torch.cat([each.reshape(-1).double() for each in found])
        total = total + flat * min(1.0, clip / float(flat.norm() + 1e-6))
    return total


def summed(model, data, loss, clip, **options):
    made = ClippedSum(trained_parameters(model), clip)
    module = per_record_module(model, "closed-form", clip).train()
    losses = made.add_batch(module, data.train_features, data.train_labels, loss, **options)
    return torch.cat([each.reshape(-1) for each in made.values()]), losses


@pytest.mark.parametrize("clip", [0.05, 1e3])
@pytest.mark.parametrize("name", MODELS)
def test_a_sum_is_that_of_plain_differentiation(name, clip):
    torch.manual_seed(5)
    shape, model = MODELS[name]()
    data, loss = records(NUM, 3, shape=shape), loss_per_record("classification")
    wanted = one_by_one(model, data, loss, clip)
    found, losses = summed(model, data, loss, clip)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * float(wanted.abs().max()))
    np.testing.assert_allclose(losses, loss(model(data.train_features), data.train_labels).detach(), rtol=1e-5)
    # However few rows are worked on at a time.
    few, _ = summed(model, data, loss, clip, most_floats=1)
    np.testing.assert_allclose(few, found, rtol=0, atol=2e-6 * float(wanted.abs().max()))


@pytest.mark.parametrize("owned", [[4, 4, 7, 9, 9, 9], [4, 4, 4, 9, 9, 9], [1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("name", ["plain", "groups", "one dimension", "residual"])
def test_a_patients_rows_are_clipped_as_one(name, owned):
    torch.manual_seed(5)
    shape, model = MODELS[name]()
    data, loss = records(6, 3, shape=shape), loss_per_record("classification")
    owners, clip = torch.tensor(owned), 0.05
    parameters, wanted = trained_parameters(model), 0.0
    for owner in owners.unique():
        mine = owners == owner
        mean = loss(model(data.train_features[mine]), data.train_labels[mine]).mean()
        flat = torch.cat([each.reshape(-1).double() for each in torch.autograd.grad(mean, parameters)])
        wanted = wanted + flat * min(1.0, clip / float(flat.norm() + 1e-6))
    found, _ = summed(model, data, loss, clip, owners=owners)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * float(wanted.abs().max()))


def of_sum(trainer, data, cell="record-central"):
    assignment = assigned(cell, data.num_train, rate=1.0, dimension=trainer.num_parameters)
    sent = trainer.train(parameters_of(trainer.model), data, assignment)
    return np.concatenate([array.reshape(-1) for array in sent.arrays.values()]), sent.measures.num_scrubbed


@pytest.mark.parametrize("model", ["cnn", "resnet18", "residual", "one dimension"])
def test_a_record_zeroed_out_moves_the_sum_by_at_most_the_clip(model):
    torch.manual_seed(5)
    shape, module = MODELS[model]() if model in MODELS else ((1, 12, 12), model)
    trainer = trainer_of(module, "record-central", shape=shape, grad_sample_mode="closed-form")
    assert trainer.mode_for(shape).name == "closed-form"
    data = records(150, 0, shape=shape)
    data.train_features.mul_(50.0)
    data.train_features[75:] = data.train_features[75].clone()  # many in one direction
    data.train_labels[:] = trainer.model(data.train_features).argmin(dim=1)  # and none is answered right
    whole, _ = of_sum(trainer, data)
    for row in (0, 75, 149):
        features = data.train_features.clone()
        features[row] = np.nan
        broken = type(data)(
            train_features=features,
            train_labels=data.train_labels,
            test_features=features,
            test_labels=data.test_labels,
        )
        without, num_scrubbed = of_sum(trainer, broken)
        assert num_scrubbed == 1
        assert CLIP * (1 - 1e-5) <= np.linalg.norm(whole - without) <= CLIP


def test_models_are_in_closed_form_where_every_layer_has_one_and_others_are_run_by_record():
    found = {
        name: trainer_of(name, "record-local", shape=(1, 8, 8)).mode_for((1, 8, 8)).name
        for name in ("logistic", "mlp", "cnn", "resnet18", "vgg19", "lstm", "transformer")
    }
    apart = {name for name, mode in found.items() if mode == "per-record"}
    assert apart == {"lstm", "transformer"} and set(found.values()) == {"closed-form", "per-record"}


def test_random_layers_draw_what_they_draw_by_hooks():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, NUM_OUTPUTS))
    data, sent = records(40, 1), []
    for mode in ("closed-form", "hooks"):
        trainer = trainer_of(model, "record-local", grad_sample_mode=mode)
        assignment = assigned("record-local", 40, steps=8)
        sent.append(trainer.train(parameters_of(trainer.model), data, assignment).arrays)
    for name, array in sent[0].items():
        np.testing.assert_allclose(array, sent[1][name], atol=1e-5)


@pytest.mark.parametrize("name", [name for name in MODELS if "dimension" not in name])
@pytest.mark.parametrize("cell", ["none", "hospital-central"])
def test_plain_steps_are_those_of_double_precision_however_images_lie_in_memory(name, cell):
    torch.manual_seed(5)
    shape, model = MODELS[name]()
    trainer, data = trainer_of(model, cell, shape=shape), records(NUM, 3, shape=shape)
    start = parameters_of(trainer.model)
    asked = assigned(cell, NUM, rate=1.0, steps=1)
    trainer.train(start, records(NUM, 4, shape=shape), asked)  # whose memory is then free
    sent = trainer.train(start, data, asked).arrays
    again = trainer.train(start, data, asked).arrays
    assert all(np.array_equal(sent[key], again[key]) for key in sent)
    model.double()
    losses = loss_per_record("classification")(model(data.train_features.double()), data.train_labels)
    losses.mean().backward()
    moved = torch.cat([parameter.grad.flatten() for parameter in trained_parameters(model)]).numpy()
    before = np.concatenate([start[key].ravel() for key in start])
    found = np.concatenate([np.asarray(sent[key]).ravel() for key in start])
    if cell == "none":
        found = found - before
    scale = np.linalg.norm(found) / np.linalg.norm(moved)
    np.testing.assert_allclose(found, -scale * moved, rtol=0, atol=2e-6 + 1e-4 * np.abs(found).max())
