"""Losses of many records: those of each by itself, and no record has a say in a bit of another's."""

import pytest
import torch

from wardround.clients.losses import loss_of_many, loss_per_record

WEIGHTS = (0.3, 1.0, 7.5)
CASES = [("classification", None), ("classification", WEIGHTS), ("regression", None), ("survival", None)]
EDGES = (0.0, 1.0, 2.0, 5.0)


def outputs_and_labels(task, num, num_classes=3):
    generator = torch.Generator().manual_seed(num)
    if task == "regression":
        return torch.randn(num, 1, generator=generator), torch.randn(num, generator=generator)
    outputs = 5 * torch.randn(num, num_classes, generator=generator)
    if task == "survival":
        return outputs, 4 * torch.randn(num, generator=generator)
    return outputs, torch.randint(0, num_classes, (num,), generator=generator)


def losses_and_gradients(loss, outputs, labels):
    outputs = outputs.clone().requires_grad_()
    losses = loss(outputs, labels)
    (gradients,) = torch.autograd.grad(losses.sum(), outputs)
    return losses.detach(), gradients


@pytest.mark.parametrize(("task", "weights"), CASES)
@pytest.mark.parametrize("num", [1, 7, 64, 200])
def test_they_are_the_losses_of_each_record(task, weights, num):
    given = outputs_and_labels(task, num)
    found = losses_and_gradients(loss_of_many(task, weights, EDGES), *given)
    for many, plain in zip(found, losses_and_gradients(loss_per_record(task, weights, EDGES), *given), strict=True):
        torch.testing.assert_close(many, plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("task", "weights"), CASES)
def test_no_bit_of_a_record_depends_on_others_or_on_its_place(task, weights):
    loss = loss_of_many(task, weights, EDGES)
    outputs, labels = outputs_and_labels(task, 300)
    wanted = losses_and_gradients(loss, outputs, labels)
    for start, end in ((0, 1), (3, 20), (11, 42), (0, 65), (17, 300)):
        found = losses_and_gradients(loss, outputs[start:end], labels[start:end])
        for own, among_all in zip(found, wanted, strict=True):
            assert torch.equal(own, among_all[start:end])


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_a_record_that_is_not_finite_is_so_alone(odd):
    loss, (outputs, labels) = loss_of_many("classification"), outputs_and_labels("classification", 100, 10)
    wanted = loss(outputs, labels)
    outputs[41] = odd
    found, others = loss(outputs, labels), torch.arange(100) != 41
    assert not found[41].isfinite()
    assert torch.equal(found[others], wanted[others])
