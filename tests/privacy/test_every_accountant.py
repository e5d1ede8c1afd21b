"""One suite for every accountant: by Renyi divergences, by loss distributions, the smaller, and over hospitals."""

import itertools
import math

import dp_accounting
import pytest
from dp_accounting.pld import pld_privacy_accountant
from dp_accounting.rdp import rdp_privacy_accountant

from wardround.privacy.accounting import headline_epsilon, overlap_epsilon, pld_epsilon, rdp_epsilon
from wardround.step_events import StepEvent

DELTA = 1e-5


def alone(events, target_delta):
    return overlap_epsilon({"Basel": tuple(events), "Bern": ()}, target_delta, 1)


def in_both(events, target_delta):
    """Two of three hospitals may hold the same patient, and one alone did anything."""
    return overlap_epsilon({"Basel": tuple(events), "Bern": (), "Chur": ()}, target_delta, 2)


ACCOUNTANTS = {"rdp": rdp_epsilon, "pld": pld_epsilon, "headline": headline_epsilon, "max": alone, "overlap": in_both}
every_accountant = pytest.mark.parametrize("spend", ACCOUNTANTS.values(), ids=ACCOUNTANTS)


def steps(noise_multiplier=1.5, sample_rate=0.05, num_steps=200):
    return StepEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=num_steps)


@every_accountant
def test_nothing_done_is_nothing_spent(spend):
    assert spend([], DELTA) == 0.0
    assert spend([steps(num_steps=0)], DELTA) == 0.0


@every_accountant
def test_without_noise_epsilon_is_infinite(spend):
    assert math.isinf(spend([steps(noise_multiplier=0.0)], DELTA))
    assert math.isinf(spend([steps(), steps(noise_multiplier=0.0, num_steps=1)], DELTA))


@every_accountant
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("num_steps", [1, 10, 200, 2000]),
        ("sample_rate", [0.01, 0.05, 0.5, 1.0]),
        ("noise_multiplier", [8.0, 3.0, 1.5, 0.8]),
    ],
)
def test_epsilon_grows_with_steps_and_rate_and_falls_with_noise(spend, name, values):
    spent = [spend([steps(**{name: value})], DELTA) for value in values]
    assert all(less < more for less, more in itertools.pairwise(spent)), spent


@every_accountant
def test_epsilon_falls_with_delta(spend):
    assert spend([steps()], 1e-3) < spend([steps()], 1e-5) < spend([steps()], 1e-7)


@every_accountant
def test_events_of_a_kind_add_up_in_any_order(spend):
    parts = [steps(num_steps=50), steps(2.0, 0.2, 30), steps(num_steps=150)]
    together = spend([steps(), steps(2.0, 0.2, 30)], DELTA)
    for order in itertools.permutations(parts):
        assert spend(order, DELTA) == together
    assert together > max(spend([steps()], DELTA), spend([steps(2.0, 0.2, 30)], DELTA))
    assert together <= spend([steps()], DELTA / 2) + spend([steps(2.0, 0.2, 30)], DELTA / 2)


@every_accountant
@pytest.mark.parametrize(
    ("noise_multiplier", "sample_rate", "num_steps"),
    [(1.0, 0.01, 1000), (2.0, 0.032, 937), (0.8, 0.2, 30), (5.0, 1.0, 40)],
)
def test_no_accountant_says_less_than_dp_accountings_tightest_nor_more_than_its_renyi_bound(
    spend, noise_multiplier, sample_rate, num_steps
):
    step = dp_accounting.GaussianDpEvent(noise_multiplier)
    if sample_rate < 1:
        step = dp_accounting.PoissonSampledDpEvent(sample_rate, step)
    event = dp_accounting.SelfComposedDpEvent(step, num_steps)
    tight = pld_privacy_accountant.PLDAccountant(value_discretization_interval=1e-4).compose(event).get_epsilon(DELTA)
    loose = rdp_privacy_accountant.RdpAccountant().compose(event).get_epsilon(DELTA)
    assert tight * (1 - 1e-3) <= spend([steps(noise_multiplier, sample_rate, num_steps)], DELTA) <= loose * (1 + 1e-3)


@every_accountant
def test_no_bound_is_below_the_tightest(spend):
    several = [steps(), steps(3.0, 0.3, 20), steps(0.9, 0.01, 400)]
    assert spend(several, DELTA) >= headline_epsilon(several, DELTA) * (1 - 1e-12)
