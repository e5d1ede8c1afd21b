"""The bound for integer noise: against divergences summed up numerically, against the Gaussian, and in its limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.special import logsumexp
from scipy.stats import skellam

from wardround.errors import ConfigError
from wardround.privacy.renyi import ORDERS, epsilon_from_rdp, rdp
from wardround.privacy.skellam import choose_scaled_norm, norm_bound_squared, skellam_rdp


def log_noise(points: np.ndarray, variance: float) -> np.ndarray:
    return skellam.logpmf(points, variance / 2, variance / 2)


def divergences(shift: tuple[int, ...], variance: float, sample_rate: float, order: float) -> float:
    """The larger direction between noise and its shift, sampled at a rate, by summation over a grid."""
    reach = int(14 * math.sqrt(variance)) + 60
    axes = [np.arange(-reach - abs(k), reach + abs(k) + 1) for k in shift]
    without, with_one = np.zeros(()), np.zeros(())
    for axis, k in zip(axes, shift, strict=True):
        without = np.add.outer(without, log_noise(axis, variance))
        with_one = np.add.outer(with_one, log_noise(axis - k, variance))
    mixed = with_one
    if sample_rate < 1:
        mixed = np.logaddexp(math.log1p(-sample_rate) + without, math.log(sample_rate) + with_one)
    keep = np.isfinite(without) & np.isfinite(mixed)
    first, second = mixed[keep], without[keep]
    return max(
        float(logsumexp(order * a + (1 - order) * b)) / (order - 1) for a, b in ((first, second), (second, first))
    )


@pytest.mark.parametrize("order", [1.5, 2.0, 3.0, 8.0, 32.0])
@pytest.mark.parametrize("sample_rate", [1.0, 0.5, 0.05])
@pytest.mark.parametrize(
    ("shift", "noise_multiplier"),
    [((1,), 2.0), ((5,), 1.0), ((40,), 2.0), ((3, -4), 1.0), ((1, 1), 1.5), ((2, 2), 3.0)],
)
def test_is_never_below_the_divergence_summed_up(shift, noise_multiplier, sample_rate, order):
    # The largest norm before rounding whose bound is not below this shift's.
    squared = sum(k * k for k in shift)
    scaled_norm = next(s for s in np.arange(0.01, 60, 0.01) if norm_bound_squared(float(s), len(shift)) >= squared)
    variance = (noise_multiplier * float(scaled_norm)) ** 2
    bound = skellam_rdp(noise_multiplier, float(scaled_norm), len(shift), sample_rate)[order == ORDERS][0]
    assert bound >= divergences(shift, variance, sample_rate, order)


@pytest.mark.parametrize("sample_rate", [1.0, 0.1])
@pytest.mark.parametrize("noise_multiplier", [1.0, 4.0])
def test_fine_steps_cost_what_gaussian_noise_costs(noise_multiplier, sample_rate):
    integer = ORDERS[(ORDERS % 1 == 0) & (ORDERS <= 64)]
    at = np.isin(ORDERS, integer)
    gaussian = rdp(noise_multiplier, sample_rate)[at]
    excess = [
        float((skellam_rdp(noise_multiplier, scaled_norm, 10, sample_rate)[at] / gaussian).max() - 1)
        for scaled_norm in (30.0, 300.0, 30_000.0, 3e6)
    ]
    assert excess == sorted(excess, reverse=True)
    assert 0 <= excess[-1] < 1e-4


@settings(max_examples=40, deadline=None)
@given(
    noise=some.floats(0.3, 50),
    more=some.floats(1.001, 3),
    rate=some.floats(0.01, 1),
    dimension=some.integers(1, 10**6),
    steps=some.integers(1, 500),
)
def test_epsilon_falls_with_noise_and_grows_with_rate_dimension_and_steps(noise, more, rate, dimension, steps):
    def epsilon(noise=noise, rate=rate, dimension=dimension, steps=steps):
        return float(epsilon_from_rdp(steps * skellam_rdp(noise, 5000.0, dimension, rate), 1e-5))

    assert epsilon(noise=noise * more) <= epsilon()
    assert epsilon(rate=min(1.0, rate * more)) >= epsilon()
    assert epsilon(dimension=2 * dimension) >= epsilon()
    assert epsilon(steps=steps + 1) >= epsilon()


def test_notes_figures_for_the_norm_after_rounding():
    # d = 1e5, C = 1, steps of 0.01, 0.001 and 0.0001: 1.878, 1.013 and 1.000 times the norm before.
    ratios = [math.sqrt(norm_bound_squared(1 / step, 100_000)) * step for step in (0.01, 0.001, 0.0001)]
    assert ratios == pytest.approx([1.878, 1.013, 1.000], abs=6e-4)


def test_no_noise_is_infinite_and_arguments_are_checked():
    assert np.isinf(skellam_rdp(0.0, 100.0, 5, 0.5)).all()
    for arguments in ((1.0, 0.0, 5, 0.5), (1.0, 10.0, 0, 0.5), (-1.0, 10.0, 5, 0.5), (1.0, 10.0, 5, 1.5)):
        with pytest.raises(ConfigError, match=r"must be"):
            skellam_rdp(*arguments)


@settings(max_examples=60, deadline=None)
@given(
    noise=some.floats(0, 1e4),
    dimension=some.integers(1, 10**8),
    contributions=some.integers(1, 10**6),
    surplus=some.floats(1, 1000),
)
def test_no_sum_leaves_32_bits(noise, dimension, contributions, surplus):
    steps = choose_scaled_norm(noise, dimension, most_contributions=contributions, most_shares=surplus)
    assert steps >= 1
    assert contributions * (steps + 1) + 16 * noise * steps * math.sqrt(surplus) <= 2**31


def test_too_many_contributions_are_refused():
    with pytest.raises(ConfigError, match="does not fit 32 bits"):
        choose_scaled_norm(1.0, 10, most_contributions=2**31, most_shares=1)
