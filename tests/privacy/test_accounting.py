import math

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from wardround.errors import ConfigError
from wardround.privacy.accounting import (
    headline_epsilon,
    largest_rdp,
    overlap_epsilon,
    pld_epsilon,
    rdp_epsilon,
)
from wardround.privacy.events import merged
from wardround.privacy.loss_distribution import composed_bound, grid_interval
from wardround.step_events import StepEvent


def event(noise_multiplier, sample_rate, num_steps):
    return StepEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=num_steps)


def gaussian_epsilon(mu, target_delta):
    """The exact epsilon of a Gaussian of sensitivity mu standard deviations (Balle, Wang 2018, theorem 8)."""

    def excess(epsilon):
        return (
            stats.norm.cdf(mu / 2 - epsilon / mu)
            - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
            - target_delta
        )

    return optimize.brentq(excess, 0, 200, xtol=1e-12)


# Made by dp-accounting 0.6.0 (RdpAccountant and PLDAccountant, default settings), three decimals.
GOLDENS = [
    (1.0, 128 / 50000, 39062, 1 / 75000, 2.987, 2.741),
    (10.0, 128 / 50000, 39062, 1 / 75000, 0.179, 0.161),
    (100.0, 128 / 50000, 39062, 1 / 75000, 0.0144, 0.0232),
    (1.1, 256 / 60000, 23437, 1e-5, 3.433, 3.159),
    (1.2, 256 / 60000, 23437, 1e-5, 2.975, 2.736),
    (1.1, 250 / 60000, 24000, 1e-5, 3.386, 3.116),
    (1.2, 250 / 60000, 24000, 1e-5, 2.935, 2.700),
    (2.0, 0.032, 937, 1e-5, 2.361, 2.161),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "target_delta", "by_rdp", "by_pld"), GOLDENS)
def test_goldens(noise, rate, steps, target_delta, by_rdp, by_pld):
    events = [event(noise, rate, steps)]
    assert rdp_epsilon(events, target_delta) == pytest.approx(by_rdp, abs=1e-3)
    ours = pld_epsilon(events, target_delta)
    if by_pld > 0.2:
        assert ours == pytest.approx(by_pld, abs=1e-3)
    else:  # dp-accounting's default grid of 1e-4 is too coarse there; ours is finer and may only be tighter
        assert ours <= by_pld + 5e-4
    assert headline_epsilon(events, target_delta) <= min(by_rdp, by_pld) + 1e-3


@pytest.mark.parametrize("noise", [10.0, 100.0])
def test_tiny_epsilons_equal_dp_accounting_on_the_finest_grid(noise):
    accountant = PLDAccountant(value_discretization_interval=2e-6)
    dp_sgd = dp_event.PoissonSampledDpEvent(128 / 50000, dp_event.GaussianDpEvent(noise))
    accountant.compose(dp_sgd, 39062)
    theirs = accountant.get_epsilon(1 / 75000)
    assert pld_epsilon([event(noise, 128 / 50000, 39062)], 1 / 75000) == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "target_delta"),
    [(0.7, 0.01, 500, 1e-6), (3.0, 0.5, 300, 1e-3), (20.0, 0.1, 5000, 1e-5), (1.0, 0.64, 150, 1e-3)],
)
def test_distribution_is_an_upper_bound_near_dp_accountings_finer_one(noise, rate, steps, target_delta):
    ours = pld_epsilon([event(noise, rate, steps)], target_delta)
    accountant = PLDAccountant(value_discretization_interval=grid_interval(steps, ours) / 4)
    accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise)), steps)
    finer = accountant.get_epsilon(target_delta)
    assert finer - 1e-9 <= ours <= finer + 2.5e-4 * max(1.0, ours / 20)
    assert ours <= rdp_epsilon([event(noise, rate, steps)], target_delta)


@pytest.mark.parametrize(("noise", "steps", "target_delta"), [(5.0, 20, 1e-5), (30.0, 1000, 1e-8), (1.0, 50, 1e-3)])
def test_whole_batches_equal_the_closed_form(noise, steps, target_delta):
    exact = gaussian_epsilon(math.sqrt(steps) / noise, target_delta)
    events = [event(noise, 1.0, steps)]
    assert exact - 1e-9 <= pld_epsilon(events, target_delta) <= exact + 3e-4 * max(1.0, exact / 20)
    assert rdp_epsilon(events, target_delta) >= exact


@pytest.mark.parametrize("target_delta", [1e-5, 1e-8])
def test_transforms_hide_less_than_is_allowed_for(target_delta):
    """Nearly whole batches go through the transform; the closed form tells what its rounding hides."""
    exact = gaussian_epsilon(math.sqrt(20_000) / 80.0, target_delta)
    ours = composed_bound(((80.0, 1.0 - 1e-12, 20_000),), target_delta, exact).epsilon
    assert exact - 1e-9 <= ours <= exact + 1e-3


def test_several_events_equal_dp_accounting():
    events = [event(1.0, 0.02, 100), event(2.0, 0.05, 200), event(4.0, 1.0, 3), event(1.0, 0.02, 50)]
    accountant = PLDAccountant(value_discretization_interval=1e-4)
    for item in events:
        gaussian = dp_event.GaussianDpEvent(item.noise_multiplier)
        accountant.compose(dp_event.PoissonSampledDpEvent(item.sample_rate, gaussian), item.num_steps)
    assert pld_epsilon(events, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), abs=5e-4)
    assert pld_epsilon(events[::-1], 1e-5) == pld_epsilon(events, 1e-5)
    assert rdp_epsilon(events[::-1], 1e-5) == rdp_epsilon(events, 1e-5)


def test_nothing_costs_nothing_and_no_noise_costs_everything():
    for epsilon in (rdp_epsilon, pld_epsilon, headline_epsilon):
        assert epsilon([], 1e-5) == 0
        assert epsilon([event(1.0, 0.5, 0)], 1e-5) == 0
        assert math.isinf(epsilon([event(0.0, 0.5, 1), event(1.0, 0.5, 1)], 1e-5))
        assert epsilon([event(0.0, 0.5, 0)], 1e-5) == 0


def test_distribution_gives_way_where_it_cannot_be_trusted():
    assert math.isinf(pld_epsilon([event(1.0, 0.1, 1000)], 1e-12))
    assert math.isinf(pld_epsilon([event(1.0 + k / 100, 0.1, 1) for k in range(40)], 1e-5))
    assert math.isinf(pld_epsilon([event(0.05, 0.5, 1000)], 1e-5))
    assert headline_epsilon([event(1.0, 0.1, 1000)], 1e-12) == rdp_epsilon([event(1.0, 0.1, 1000)], 1e-12)


def test_merged_adds_up_equal_kinds():
    assert merged([event(1.0, 0.1, 2), event(2.0, 0.1, 1), event(1.0, 0.1, 3), event(3.0, 0.1, 0)]) == (
        event(1.0, 0.1, 5),
        event(2.0, 0.1, 1),
    )


@settings(max_examples=25, deadline=None)
@given(
    noise=st.floats(0.4, 20),
    rate=st.floats(1e-3, 1),
    steps=st.integers(1, 3000),
    target_delta=st.floats(1e-8, 1e-2),
    factor=st.floats(1.01, 3),
)
def test_renyi_epsilon_is_monotone(noise, rate, steps, target_delta, factor):
    here = rdp_epsilon([event(noise, rate, steps)], target_delta)
    slack = 1e-8 * (1 + here)
    assert rdp_epsilon([event(noise, rate, steps + 1)], target_delta) >= here - slack
    assert rdp_epsilon([event(noise, min(1.0, rate * factor), steps)], target_delta) >= here - slack
    assert rdp_epsilon([event(noise * factor, rate, steps)], target_delta) <= here + slack
    assert rdp_epsilon([event(noise, rate, steps)], min(0.5, target_delta * factor)) <= here + slack


@settings(max_examples=8, deadline=None)
@given(noise=st.floats(0.8, 10), rate=st.floats(0.01, 0.9), steps=st.integers(10, 300))
def test_distribution_epsilon_is_monotone(noise, rate, steps):
    here = pld_epsilon([event(noise, rate, steps)], 1e-4)
    slack = 5e-4 * max(1.0, here / 20)
    assert pld_epsilon([event(noise, rate, 2 * steps)], 1e-4) >= here - slack
    assert pld_epsilon([event(1.5 * noise, rate, steps)], 1e-4) <= here + slack


@pytest.mark.parametrize(("overlap", "expected"), [(1, 2.161), (2, 3.161), (3, 3.966), (5, 5.309)])
def test_equal_hospitals_compose_exactly(overlap, expected):
    """Expected: dp-accounting 0.6.0, PLDAccountant with 937 * overlap steps."""
    hospitals = {str(number): [event(2.0, 0.032, 937)] for number in range(7)}
    assert overlap_epsilon(hospitals, 1e-5, overlap) == pytest.approx(expected, abs=1e-3)


def test_overlap_bounds_every_choice_of_hospitals():
    hospitals = {
        "many small steps": [event(4.0, 0.02, 3000)],
        "few big steps": [event(1.1, 0.3, 4)],
        "one of each": [event(2.0, 0.05, 100), event(1.5, 1.0, 1)],
        "little": [event(8.0, 0.1, 50)],
    }
    names = list(hospitals)
    for overlap in (2, 3):
        total = overlap_epsilon(hospitals, 1e-5, overlap)
        worst = 0.0
        for mask in range(2 ** len(names)):
            chosen = [name for place, name in enumerate(names) if mask >> place & 1]
            if len(chosen) == overlap:
                together = [item for name in chosen for item in hospitals[name]]
                worst = max(worst, pld_epsilon(together, 1e-5))
        assert worst - 5e-4 <= total <= worst * 1.35


def test_overlap_of_all_is_their_composition_and_of_one_the_largest():
    hospitals = {"a": [event(2.0, 0.1, 100)], "b": [event(1.0, 0.05, 50)], "c": []}
    everything = [*hospitals["a"], *hospitals["b"]]
    assert overlap_epsilon(hospitals, 1e-5, 2) == headline_epsilon(everything, 1e-5)
    assert overlap_epsilon(hospitals, 1e-5, 9) == headline_epsilon(everything, 1e-5)
    largest = max(headline_epsilon(events, 1e-5) for events in hospitals.values())
    assert overlap_epsilon(hospitals, 1e-5, 1) == largest
    assert overlap_epsilon({}, 1e-5, 3) == 0
    assert math.isinf(overlap_epsilon({**hospitals, "d": [event(0.0, 0.1, 1)]}, 1e-5, 2))
    with pytest.raises(ConfigError, match="patient-overlap = 0 must be >= 1"):
        overlap_epsilon(hospitals, 1e-5, 0)


def test_largest_rdp_takes_the_largest_at_every_order_apart():
    divergences = np.array([[1.0, 9.0], [5.0, 1.0], [4.0, 2.0]])
    assert largest_rdp(divergences, 1).tolist() == [5.0, 9.0]
    assert largest_rdp(divergences, 2).tolist() == [9.0, 11.0]
    assert largest_rdp(divergences, 5).tolist() == [10.0, 12.0]


def test_event_refuses_negative_steps():
    with pytest.raises(ConfigError, match="num-steps = -1 must be >= 0"):
        event(1.0, 0.1, -1)
