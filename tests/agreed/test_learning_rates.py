"""Schedules by name: their values in closed form and beside torch's, for every round of a run."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from wardround.agreed.learning_rates import learning_rate_in
from wardround.config import TrainingConfig

SCHEDULES = ("constant", "linear", "cosine", "step")


def rates(schedule, num_rounds, learning_rate=0.5):
    training = TrainingConfig(
        num_rounds=num_rounds, learning_rate=learning_rate, learning_rate_schedule=schedule, momentum=0.0
    )
    return [learning_rate_in(training, round_number) for round_number in range(1, num_rounds + 1)]


@pytest.mark.parametrize(
    ("schedule", "want"),
    [
        ("constant", [0.5] * 8),
        ("linear", [0.5 * left / 8 for left in range(8, 0, -1)]),
        ("cosine", [0.25 + 0.25 * math.cos(math.pi * over / 8) for over in range(8)]),
        ("step", [0.5] * 4 + [0.05] * 2 + [0.005] * 2),
    ],
)
def test_values_in_closed_form(schedule, want):
    assert rates(schedule, 8) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("num_rounds", [1, 7, 20])
def test_linear_and_cosine_are_torchs(num_rounds):
    schedulers = {
        "linear": lambda of: torch.optim.lr_scheduler.LinearLR(of, 1.0, 0.0, total_iters=num_rounds),
        "cosine": lambda of: torch.optim.lr_scheduler.CosineAnnealingLR(of, T_max=num_rounds),
    }
    for schedule, make in schedulers.items():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
        scheduler, want = make(optimizer), []
        for _ in range(num_rounds):
            want.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert rates(schedule, num_rounds) == pytest.approx(want, rel=1e-9)


@given(some.sampled_from(SCHEDULES), some.integers(1, 400), some.floats(1e-6, 1e3))
def test_rates_begin_with_the_setting_never_rise_and_stay_above_zero(schedule, num_rounds, learning_rate):
    found = rates(schedule, num_rounds, learning_rate)
    assert found[0] == learning_rate
    assert all(first >= second > 0 for first, second in itertools.pairwise(found))
