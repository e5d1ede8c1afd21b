"""The loss of hazards: sums over the intervals at risk, a record's gradient that of the record alone in every mode."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from wardround.clients.gradients import ClippedSum, per_record_module, quiet_hooks, trained_parameters
from wardround.clients.losses import loss_per_record
from wardround.clients.programs import record_program
from wardround.survival import labels_of_times

EDGES = (0.0, 1.0, 2.5, 5.0)
LOSS = loss_per_record("survival", edges=EDGES)
CLIP = 0.3


def labels(times, events):
    return torch.from_numpy(labels_of_times(times, events).astype(np.float32))


def records(num=40, seed=0):
    rng = np.random.default_rng(seed)
    times = np.round(rng.uniform(0, 7, num), 2)
    times[:4] = [0.0, 0.0, 2.5, 6.0]
    return torch.from_numpy(rng.normal(size=(num, 5)).astype(np.float32)), labels(times, np.arange(num) % 3 == 0)


def loss_in_a_loop(logits, time, event):
    total = 0.0
    for z, start, end in zip(logits, EDGES, EDGES[1:], strict=False):
        survived, failed = time >= (end if event else (start + end) / 2), event and start <= time < end
        total += math.log1p(math.exp(z)) if survived else math.log1p(math.exp(-z)) if failed else 0.0
    return total


def test_it_is_the_sum_over_the_intervals_at_risk():
    _, given = records()
    outputs = torch.randn(len(given), 3, generator=torch.Generator().manual_seed(1))
    pairs = zip(outputs.tolist(), given.abs().tolist(), (~given.signbit()).tolist(), strict=True)
    wanted = [loss_in_a_loop(*record) for record in pairs]
    np.testing.assert_allclose(LOSS(outputs, given), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("time", "event", "num_at_risk"),
    [
        (0.0, True, 1),  # in the first interval
        (0.99, True, 1),
        (1.0, True, 2),  # an edge is the beginning of the next interval
        (4.9, True, 3),
        (5.0, True, 3),  # at the last edge and later, all were survived
        (50.0, True, 3),
        (0.0, False, 0),
        (0.49, False, 0),  # censored before the middle: not at risk in that interval
        (0.5, False, 1),
        (1.7, False, 1),
        (1.75, False, 2),
        (9.0, False, 3),
    ],
)
def test_without_a_guess_every_interval_at_risk_costs_the_logarithm_of_two(time, event, num_at_risk):
    found = LOSS(torch.zeros(1, 3), labels([time], [event]))
    assert float(found) == pytest.approx(num_at_risk * math.log(2), rel=1e-6)


def test_hazards_that_minimise_it_are_events_over_those_at_risk():
    """The closed form of a model of biases alone: the life table."""
    times = np.array([0.2, 0.3, 0.7, 1.1, 1.2, 2.0, 2.4, 3.0, 4.0, 6.0])
    events = np.array([1, 0, 1, 1, 0, 1, 0, 1, 0, 0], bool)
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = LOSS(logits.expand(len(times), 3), labels(times, events)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    starts, ends = np.array(EDGES[:-1]), np.array(EDGES[1:])
    failed = events[:, None] & (times[:, None] >= starts) & (times[:, None] < ends)
    survived = times[:, None] >= np.where(events[:, None], ends, (starts + ends) / 2)
    wanted = failed.sum(axis=0) / (failed | survived).sum(axis=0)
    np.testing.assert_allclose(logits.sigmoid().detach(), wanted, atol=1e-4)


def one_by_one(model, features, given):
    parameters, total = trained_parameters(model), 0.0
    for row in range(len(given)):
        loss = LOSS(model(features[[row]]), given[[row]]).sum()
        flat = torch.cat([part.reshape(-1).double() for part in torch.autograd.grad(loss, parameters)])
        total = total + flat * min(1.0, CLIP / max(float(flat.norm()), 1e-12))
    return total


@pytest.mark.parametrize("mode", ["closed-form", "hooks", "functorch", "ew", "ghost", "per-record"])
def test_clipped_sums_are_those_of_single_records_in_every_mode(mode):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    features, given = records()
    wanted = one_by_one(model, features, given)
    if mode == "per-record":
        module = record_program(model, (5,), torch.float32, LOSS)
    else:
        module = per_record_module(model, mode, CLIP).train()
    made = ClippedSum(trained_parameters(model), CLIP)
    with quiet_hooks():
        losses = made.add_batch(module, features, given, LOSS)
    found = torch.cat([part.reshape(-1) for part in made.values()])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-6 * float(wanted.abs().max()))
    np.testing.assert_allclose(losses, LOSS(model(features), given).detach(), rtol=1e-5, atol=1e-6)
    assert made.num_scrubbed == 0


def test_a_record_that_is_at_risk_nowhere_has_no_gradient():
    outputs = torch.randn(1, 3, requires_grad=True)
    LOSS(outputs, labels([0.1], [False])).sum().backward()
    assert outputs.grad.tolist() == [[0.0, 0.0, 0.0]]
