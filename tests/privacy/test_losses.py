"""Losses on a grid, against the exact curve of one step, and dp-accounting's composition."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from scipy import stats

from wardround.privacy.losses import composed, deltas_of, epsilon_of, losses_from_deltas, sampled_gaussian
from wardround.privacy.profiles import gaussian_deltas

STEPS = [(1.0, 0.1), (0.4, 0.02), (3.0, 0.9), (50.0, 0.3), (1.5, 1.0), (0.8, 1e-4)]


def exact_deltas(noise, rate, epsilons):
    """With the record against without it, and back: above and below the output whose loss is epsilon."""

    def output(loss):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(noise**2 * np.log1p(np.expm1(loss) / rate) + 0.5, nan=-np.inf)

    def used(x):
        return (1 - rate) * stats.norm.sf(x / noise) + rate * stats.norm.sf((x - 1) / noise)

    def used_below(x):
        return (1 - rate) * stats.norm.cdf(x / noise) + rate * stats.norm.cdf((x - 1) / noise)

    above, below = output(epsilons), output(-epsilons)
    one = used(above) - np.exp(epsilons) * stats.norm.sf(above / noise)
    other = stats.norm.cdf(below / noise) - np.exp(epsilons) * used_below(below)
    return one, np.maximum(other, 0)


@pytest.mark.parametrize(("noise", "rate"), STEPS)
@pytest.mark.parametrize("interval", [1e-2, 1e-3, 1e-5])
def test_one_step_is_never_below_the_exact_curve_and_on_it_at_the_grid(noise, rate, interval):
    either_way = sampled_gaussian(noise, rate, interval)
    between = np.geomspace(1e-6, 8 / noise, 60)
    on_grid = np.unique(np.round(between / interval)) * interval
    for losses, of_grid, of_between in zip(
        either_way, exact_deltas(noise, rate, on_grid), exact_deltas(noise, rate, between), strict=True
    ):
        assert (losses.probabilities >= 0).all()
        assert losses.probabilities.sum() + losses.infinite == pytest.approx(1, abs=1e-12)
        assert (deltas_of(losses, between) >= of_between - 3e-15).all()
        assert (deltas_of(losses, on_grid) >= of_grid - 3e-15).all()
        assert deltas_of(losses, on_grid) == pytest.approx(of_grid, rel=1e-5, abs=1e-9 * interval / 1e-5)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.8, 0.2, 75), (0.9, 0.04, 80), (8.0, 0.5, 300), (0.5, 0.01, 9)])
def test_composition_is_dp_accountings_on_the_same_grid(noise, rate, steps):
    theirs = privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=1e-3
    ).self_compose(steps)
    ours = [composed([(losses, steps)]) for losses in sampled_gaussian(noise, rate, 1e-3)]
    for target_delta in (1e-2, 1e-4, 1e-6, 1e-8):
        epsilon = max(epsilon_of(losses, target_delta) for losses in ours)
        assert epsilon == pytest.approx(theirs.get_epsilon_for_delta(target_delta), rel=1e-4, abs=1e-7)
    epsilons = np.linspace(0, 5, 40)
    deltas = np.maximum(*(deltas_of(losses, epsilons) for losses in ours))
    assert deltas == pytest.approx(theirs.get_delta_for_epsilon(epsilons), rel=1e-4, abs=1e-11)


def test_parts_of_different_kinds_compose_in_any_order():
    parts = [(sampled_gaussian(*step, 1e-3)[0], count) for step, count in (((2.0, 0.1), 40), ((3.0, 0.5), 5))]
    once, again = composed(parts), composed(parts[::-1])
    assert epsilon_of(once, 1e-5) == pytest.approx(epsilon_of(again, 1e-5), rel=1e-12)
    halves = composed([(parts[0][0], 20), (parts[0][0], 20), parts[1]])
    assert epsilon_of(halves, 1e-5) == pytest.approx(epsilon_of(once, 1e-5), rel=1e-9)


def test_epsilon_and_delta_invert_each_other():
    losses = composed([(sampled_gaussian(1.0, 0.1, 1e-3)[0], 50)])
    for target_delta in (0.1, 1e-3, 1e-7):
        epsilon = epsilon_of(losses, target_delta)
        assert deltas_of(losses, np.array([epsilon]))[0] == pytest.approx(target_delta, rel=1e-9)
    assert epsilon_of(losses, 0.99) == 0
    assert math.isinf(epsilon_of(losses, losses.infinite / 2))


def test_losses_made_of_a_profile_have_it():
    grid = np.arange(-3000, 3001) * 1e-2
    positive = gaussian_deltas(1.3, np.abs(grid))
    deltas = np.where(grid >= 0, positive, 1 - np.exp(grid) * (1 - positive))
    losses = losses_from_deltas(deltas, -3000, 1e-2)
    shown = np.array([0.0, 0.5, 1.0, 3.0, 6.0])
    assert deltas_of(losses, shown) == pytest.approx(gaussian_deltas(1.3, shown), rel=1e-9)
    between = shown + 0.005
    assert (deltas_of(losses, between) >= gaussian_deltas(1.3, between)).all()
    twice = composed([(losses, 2)])
    exact = gaussian_deltas(1.3 * math.sqrt(2), between)
    assert (deltas_of(twice, between) >= exact).all()
    assert deltas_of(twice, between) == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"), [(1.8, 0.2, 75), (0.5, 0.01, 9), (20.0, 0.7, 1000), (1.0, 1e-3, 50)]
)
def test_no_bound_is_below_what_dp_accounting_proves_from_the_other_side(noise, rate, steps):
    optimistic = privacy_loss_distribution.from_gaussian_mechanism(
        noise,
        sampling_prob=rate,
        value_discretization_interval=1e-4,
        pessimistic_estimate=False,
        use_connect_dots=False,
    ).self_compose(steps)
    epsilons = np.linspace(0, 6, 50)
    for interval in (1e-2, 1e-3, 1e-4):
        ours = [composed([(losses, steps)]) for losses in sampled_gaussian(noise, rate, interval)]
        deltas = np.maximum(*(deltas_of(losses, epsilons) for losses in ours))
        assert (deltas >= np.array(optimistic.get_delta_for_epsilon(epsilons)) - 1e-12).all()
