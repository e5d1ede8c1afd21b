"""Convolutions of several hospitals, as groups of one or one after the other, and the sums of their gradients."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from wardround.clients.closed_form.convolutions import convolution, with_channels_last

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")

CASES = {
    "plain": (lambda: nn.Conv2d(2, 3, 3), (2, 7, 6)),
    "strides and zeros": (lambda: nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 2)), (2, 7, 6)),
    "same, even kernel": (lambda: nn.Conv2d(3, 2, 4, padding="same"), (3, 5, 6)),
    "dilation": (lambda: nn.Conv2d(2, 3, 3, dilation=2, bias=False), (2, 8, 7)),
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 6, 6)),
    "windows of padding alone": (lambda: nn.Conv2d(3, 3, 1, stride=(1, 3), padding=2), (3, 8, 1)),
    "one dimension": (lambda: nn.Conv1d(3, 5, 4, stride=2, padding=1), (3, 11)),
}
NUM_HOSPITALS, NUM_RECORDS = 3, 5


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(2)
    make, shape = CASES[request.param]
    module = make()
    weight = torch.randn(NUM_HOSPITALS, *module.weight.shape)
    bias = None if module.bias is None else torch.randn(NUM_HOSPITALS, *module.bias.shape)
    layer = convolution(module, 0, None if bias is None else 1, is_flat=len(shape) == 2)
    parameters = [weight] if bias is None else [weight, bias]
    return module, layer, parameters, torch.randn(NUM_HOSPITALS, NUM_RECORDS, *shape)


def by_torch(module, parameters, given):
    """Return what torch makes of each hospital, with its parameters and what goes in as leaves."""
    leaves = [[part[hospital].clone().requires_grad_() for part in parameters] for hospital in range(NUM_HOSPITALS)]
    names = [name for name, _ in module.named_parameters()]
    made = [
        torch.func.functional_call(module, dict(zip(names, own, strict=True)), given[hospital])
        for hospital, own in enumerate(leaves)
    ]
    return torch.stack(made), leaves


@pytest.mark.parametrize("are_joined", [False, True])
def test_outputs_and_gradients_are_torchs_own_of_every_hospital(case, are_joined):
    module, layer, parameters, given = case
    layer = replace(layer, are_joined=are_joined)
    sides = [given.clone().requires_grad_() for _ in range(2)]
    before, made = layer.outputs(sides[0], parameters)
    expected, leaves = by_torch(module, parameters, sides[1])
    torch.testing.assert_close(made, expected)
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    made.backward(gradient)
    torch.testing.assert_close(sides[0].grad, sides[1].grad)
    for place, summed in layer.sums(before.detach(), gradient):
        own = torch.stack([leaf[place].grad for leaf in leaves])
        torch.testing.assert_close(summed.view_as(own).float(), own, rtol=1e-4, atol=1e-4)


def test_sums_are_those_of_the_records_gradients(case):
    _, layer, parameters, given = case
    before, made = layer.outputs(given, parameters)
    gradient = torch.randn_like(made)
    sums = dict(layer.sums(before, gradient))
    ones = torch.ones(NUM_HOSPITALS, NUM_RECORDS, dtype=torch.float64)
    of_records = dict(layer.by_record(before, gradient).sums(ones))
    assert sums.keys() == of_records.keys() == set(range(len(parameters)))
    for place, summed in sums.items():
        torch.testing.assert_close(summed.double().flatten(1), of_records[place].flatten(1), rtol=1e-4, atol=1e-4)


def test_only_what_is_trained_has_a_sum(case):
    module, layer, parameters, given = case
    frozen = replace(layer, weight=module.weight.detach(), bias=None)
    before, made = frozen.outputs(given, parameters)
    assert not list(frozen.sums(before, torch.ones_like(made)))


def test_channels_do_not_lie_last_where_torch_reads_memory_that_is_not_its_own():
    """Each of these crashed or read beyond its images with torch 2.13, sooner or later."""
    unsafe = [
        *(nn.Conv2d(3, 3, 1, stride=(1, 3), padding=2), nn.Conv2d(4, 4, (2, 1), stride=3, padding=2)),
        *(nn.Conv2d(1, 8, (3, 5), stride=(1, 2)), nn.Conv2d(4, 8, (3, 1), padding=(1, 0), groups=2)),
    ]
    safe = [nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(1, 8, 3, padding=2), nn.Conv2d(4, 4, 2, dilation=2, padding=2)]
    kinds = [[convolution(each, 0, 1, is_flat=False).runs_channels_last for each in group] for group in (unsafe, safe)]
    assert kinds == [[False] * 4, [True] * 3]


@pytest.mark.parametrize("shape", [(5, 1, 7, 6), (0, 1, 7, 6), (5, 3, 7, 6), (5, 1, 1, 1)])
def test_channels_lie_last_by_the_strides_alone_where_there_is_one(shape):
    images, (_, channels, height, width) = torch.randn(shape), shape
    found = with_channels_last(images)
    assert torch.equal(found, images)
    assert found.stride() == (channels * height * width, 1, channels * width, channels)


def test_what_a_convolution_makes_of_one_channel_has_its_channels_last():
    """Torch pools it ten times as slowly otherwise."""
    parameters = [torch.randn(1, 8, 1, 3, 3), torch.randn(1, 8)]
    _, made = convolution(nn.Conv2d(1, 8, 3), 0, 1, is_flat=False).outputs(torch.randn(1, 5, 1, 7, 6), parameters)
    assert made[0].is_contiguous(memory_format=torch.channels_last)
