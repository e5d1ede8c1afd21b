import math

import mpmath
import numpy as np
import pytest
from absl import logging as absl_logging
from dp_accounting.rdp import rdp_privacy_accountant
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.errors import ConfigError
from wardround.privacy.accounting import rdp_epsilon
from wardround.privacy.renyi import ORDERS, epsilon_from_rdp, rdp
from wardround.step_events import StepEvent

# What rounding is covered with; see renyi._ROUNDING.
COVER = 1e-10
NOISES = (0.3, 0.7, 1.0, 2.0, 10.0, 100.0)
RATES = (1e-4, 1e-2, 0.3, 0.9, 1.0)


def place_of(order):
    return int(np.argmin(np.abs(ORDERS - order)))


def integrated_divergence(noise_multiplier, sample_rate, order):
    """The definition, integrated to 25 digits piece by piece."""
    with mpmath.workdps(25):
        noise, rate, order = mpmath.mpf(noise_multiplier), mpmath.mpf(sample_rate), mpmath.mpf(order)

        def density(t):
            ratio = 1 - rate + rate * mpmath.exp(t / noise - 1 / (2 * noise**2))
            return ratio**order * mpmath.npdf(t)

        pieces = [-14 + 2 * k for k in range(int(14 + order / noise / 2) + 2)]
        return mpmath.log(mpmath.quad(density, pieces)) / (order - 1)


POINTS = [
    *((noise, rate, order) for order in (1.1, 2.5) for noise, rate in ((0.1, 0.03), (0.3, 1e-4), (0.7, 0.3))),
    *((noise, rate, order) for order in (1.1, 10.9) for noise, rate in ((1.0, 1e-4), (2.0, 0.999999), (100.0, 0.03))),
    *((0.7, 0.3, 10.9), (2.0, 0.999999, 63.0), (100.0, 0.03, 63.0)),
]


@pytest.mark.parametrize(("noise", "rate", "order"), POINTS)
def test_equals_the_integral_of_the_definition_and_never_less(noise, rate, order):
    place = place_of(order)
    reference = integrated_divergence(noise, rate, float(ORDERS[place]))
    excess = float(mpmath.mpf(float(rdp(noise, rate)[place])) / reference - 1)
    assert 0 <= excess <= 2 * COVER


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("noise", NOISES)
def test_integer_orders_equal_dp_accounting(noise, rate):
    whole = [place for place, order in enumerate(ORDERS) if order.is_integer()]
    theirs = rdp_privacy_accountant._compute_rdp_poisson_subsampled_gaussian(rate, noise, ORDERS[whole])
    # dp-accounting subtracts 1 from a sum near 1, which costs it the digits below 1e-16 / (order - 1).
    np.testing.assert_allclose(rdp(noise, rate)[whole], theirs, rtol=2e-10, atol=1e-13)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("noise", NOISES)
def test_fractional_orders_are_at_most_dp_accountings_and_between_their_neighbours(noise, rate):
    """dp-accounting 0.6 takes the series' binomials without their signs: an upper bound, loose at low orders."""
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.FATAL)
    try:
        theirs = rdp_privacy_accountant._compute_rdp_poisson_subsampled_gaussian(rate, noise, ORDERS)
    finally:
        absl_logging.set_verbosity(before)
    ours = rdp(noise, rate)
    assert (ours <= theirs * (1 + 2 * COVER) + 1e-13).all()
    assert (np.diff(ours) >= -1e-9 * ours[1:]).all(), "divergences grow with the order"
    log_moments = np.concatenate([[0.0], ours * (ORDERS - 1)])
    slopes = np.diff(log_moments) / np.diff(np.concatenate([[1.0], ORDERS]))
    assert (np.diff(slopes) >= -1e-8 * slopes[1:]).all(), "log moments are convex in the order"


@pytest.mark.parametrize("order", [5.3, 7.2, 10.7])
@pytest.mark.parametrize(("noise", "rate"), [(1.0, 0.001), (1.1, 0.004), (2.0, 0.032), (5.0, 0.01)])
def test_fractional_orders_equal_dp_accounting_where_its_series_is_tight(noise, rate, order):
    theirs = rdp_privacy_accountant._compute_rdp_poisson_subsampled_gaussian(rate, noise, [ORDERS[place_of(order)]])
    assert rdp(noise, rate)[place_of(order)] == pytest.approx(theirs[0], rel=2e-7)


def test_little_noise_is_bounded_by_chords_from_above():
    exact, chord = rdp(0.1, 0.1), rdp(0.0999, 0.1)
    assert (chord >= exact).all()
    assert np.isfinite(chord).all()
    assert (rdp(0.01, 0.1) <= ORDERS / (2 * 0.01**2)).all()


def test_orders_contain_dp_accountings():
    assert set(rdp_privacy_accountant.DEFAULT_RDP_ORDERS) < set(ORDERS.tolist())
    assert ORDERS[-1] == 4096
    assert (np.diff(ORDERS) > 0).all()


def test_edges():
    np.testing.assert_array_equal(rdp(2.0, 1.0), ORDERS / 8)
    assert np.isinf(rdp(0.0, 0.5)).all()
    assert (rdp(1e6, 1e-6) > 0).all()
    with pytest.raises(ValueError, match="read-only"):
        rdp(1.0, 0.5)[0] = 0.0


@pytest.mark.parametrize(
    ("noise", "rate"), [(-1.0, 0.5), (math.nan, 0.5), (math.inf, 0.5), (1e308, 0.1), (1.0, 0.0), (1.0, 1.01)]
)
def test_refuses_what_is_out_of_range(noise, rate):
    with pytest.raises(ConfigError, match=r"noise-multiplier|sample-rate"):
        rdp(noise, rate)


def test_the_most_noise_that_is_taken_has_a_bill():
    assert 0 <= rdp_epsilon([StepEvent(noise_multiplier=1e150, sample_rate=0.1, num_steps=2)], 1e-5) < 1e-2


@settings(max_examples=25, deadline=None)
@given(noise=st.floats(0.2, 50), rate=st.floats(1e-5, 1), factor=st.floats(1.001, 3))
def test_grows_with_the_rate_and_falls_with_the_noise(noise, rate, factor):
    here = rdp(noise, rate)
    assert (rdp(noise * factor, rate) <= here * (1 + 2 * COVER)).all()
    assert (rdp(noise, min(1.0, rate * factor)) * (1 + 2 * COVER) >= here).all()


@pytest.mark.parametrize("target_delta", [1e-3, 1e-5, 1e-9])
@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e-2, 1.0, 50.0])
def test_conversion_equals_dp_accounting(scale, target_delta):
    divergences = scale * rdp(1.3, 0.05)
    theirs, _ = rdp_privacy_accountant.compute_epsilon(ORDERS, divergences, target_delta)
    assert float(epsilon_from_rdp(divergences, target_delta)) == pytest.approx(theirs, rel=1e-12, abs=1e-15)


def test_conversion_is_vectorised_over_hospitals_and_deltas():
    divergences = np.stack([rdp(1.0, 0.1), np.zeros(len(ORDERS)), rdp(0.0, 0.1), 30 * rdp(2.0, 0.1)])
    deltas = np.array([1e-3, 1e-5, 1e-5, 1e-7])
    together = epsilon_from_rdp(divergences, deltas)
    one_by_one = [float(epsilon_from_rdp(row, delta)) for row, delta in zip(divergences, deltas, strict=True)]
    assert together.tolist() == one_by_one
    assert together[1] == 0
    assert math.isinf(together[2])


def test_conversion_skips_infinite_orders():
    divergences = rdp(1.0, 0.1).copy()
    best = float(epsilon_from_rdp(divergences, 1e-5))
    divergences[-40:] = np.inf
    assert float(epsilon_from_rdp(divergences, 1e-5)) == best


@pytest.mark.parametrize("target_delta", [0.0, 1.0, -1e-5, math.nan])
def test_conversion_refuses_delta_out_of_range(target_delta):
    with pytest.raises(ConfigError, match="target-delta"):
        epsilon_from_rdp(rdp(1.0, 0.1), target_delta)


def test_noise_so_small_that_numbers_overflow_is_infinite_never_undefined():
    for noise_multiplier in (5e-324, 1e-200, 1e-154, 1e-100, 1e-8):
        divergences = rdp(noise_multiplier, 0.3)
        assert not np.isnan(divergences).any()
        assert rdp_epsilon([StepEvent(noise_multiplier=noise_multiplier, sample_rate=0.3, num_steps=1)], 1e-5) > 1e6


@pytest.mark.parametrize(
    ("noise_multiplier", "sample_rate", "num_steps"), [(1.92, 0.2, 75), (2.0, 0.35, 30), (1.0, 0.64, 150)]
)
def test_epsilon_is_that_of_opacus(noise_multiplier, sample_rate, num_steps):
    from opacus.accountants.analysis import rdp as theirs

    orders = [1 + tenths / 10 for tenths in range(1, 100)] + list(range(12, 64))
    divergences = theirs.compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=num_steps, orders=orders)
    wanted, _ = theirs.get_privacy_spent(orders=orders, rdp=divergences, delta=1e-5)
    event = StepEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=num_steps)
    assert rdp_epsilon([event], 1e-5) == pytest.approx(wanted, rel=2e-9)
