"""What attackers can reach, against closed forms, dp-accounting, and the likelihood-ratio test written out."""

import itertools
import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from wardround.json_records import json_values
from wardround.privacy.accounting import (
    composed_rdp,
    headline_epsilon,
    headline_profile,
    overlap_profile,
    rdp_epsilon,
)
from wardround.privacy.attackers import LARGEST_FIT_ERROR, Attacker, attacker_of
from wardround.privacy.profiles import EPSILONS, gaussian_deltas, gaussian_epsilon, largest_profile, renyi_profile
from wardround.privacy.spending import open_account
from wardround.step_events import StepEvent

RATES = {0.01: "tpr_at_fpr_0.01", 0.001: "tpr_at_fpr_0.001"}


def event(noise_multiplier, sample_rate, num_steps, **other):
    return StepEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=num_steps, **other)


def attacker(*events, target_delta=1e-5) -> Attacker:
    return attacker_of(headline_profile(events, target_delta), target_delta)


@pytest.mark.parametrize("mu", [0.02, 0.3, 1.0, 3.0, 8.0])
def test_one_gaussian_is_its_closed_form(mu):
    found = attacker(event(1 / mu, 1.0, 1))
    assert 0 <= found.figures.coin_toss_accuracy - stats.norm.cdf(mu / 2) < 1e-3
    for rate, key in RATES.items():
        assert 0 <= json_values(found.figures)[key] - stats.norm.cdf(stats.norm.ppf(rate) + mu) < 1e-3
    assert mu <= found.nearest_mu < mu * 1.001
    assert found.figures.gdp_mu_error < 1e-4
    assert (found.figures.gdp_mu, found.reason, found.figures.by) == (found.nearest_mu, "", "pld")


@pytest.mark.parametrize(("noise", "rate"), [(0.6, 0.3), (1.0, 0.05), (2.0, 0.7)])
def test_one_sampled_step_is_bounded_by_the_best_test_there_is(noise, rate):
    """With one step the likelihood ratio grows with the output, so that thresholds are the best tests."""
    used = lambda x: (1 - rate) * stats.norm.sf(x / noise) + rate * stats.norm.sf((x - 1) / noise)  # noqa: E731
    unused = lambda x: stats.norm.sf(x / noise)  # noqa: E731

    def density_gap(x):
        return abs(rate * (stats.norm.pdf(x, 1, noise) - stats.norm.pdf(x, 0, noise)))

    found = json_values(attacker(event(noise, rate, 1)).figures)
    variation = integrate.quad(density_gap, -20 * noise, 20 * noise + 1, points=[0.5], limit=200)[0] / 2
    assert 0 <= found["coin_toss_accuracy"] - (1 + variation) / 2 < 1e-3
    for false_rate, key in RATES.items():
        above = optimize.brentq(lambda x, wanted=false_rate: unused(x) - wanted, -50, 50)
        below = optimize.brentq(lambda x, wanted=false_rate: 1 - used(x) - wanted, -50, 50)
        best = max(used(above), 1 - unused(below))
        assert 0 <= found[key] - best < 1e-3


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.795, 0.2, 75), (0.934, 0.04, 80), (3.0, 0.6, 40)])
def test_delta_at_every_epsilon_is_dp_accountings_on_a_finer_grid(noise, rate, steps):
    profile = headline_profile([event(noise, rate, steps)], 1e-5)
    step = privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=2e-4
    )
    finer = np.array(step.self_compose(steps).get_delta_for_epsilon(EPSILONS[::20]))
    shown = finer > 1e-9
    assert (profile.deltas[::20] >= finer - 1e-13).all()
    assert profile.deltas[::20][shown] == pytest.approx(finer[shown], rel=2e-3, abs=1e-9)
    assert (np.diff(profile.deltas) <= 0).all()


def test_attackers_by_one_epsilon_and_delta_alone_would_be_far_stronger():
    events = [event(1.921, 0.2, 75)]
    epsilon, found = headline_epsilon(events, 1e-5), attacker(*events)
    by_one_pair = (math.exp(epsilon) + 1e-5) / (1 + math.exp(epsilon))
    assert by_one_pair > 0.98 and 0.6 < found.figures.coin_toss_accuracy < 0.7
    assert min(1, math.exp(epsilon) * 0.01 + 1e-5) > 0.9 and found.figures.tpr_at_fpr_1_percent < 0.1


@settings(max_examples=8, deadline=None)
@given(noise=st.floats(0.7, 8), rate=st.floats(0.01, 1), steps=st.integers(1, 200))
def test_more_noise_helps_no_attacker_and_more_steps_harm_none(noise, rate, steps):
    here = json_values(attacker(event(noise, rate, steps)).figures)
    noisier, longer = attacker(event(1.5 * noise, rate, steps)), attacker(event(noise, rate, 2 * steps))
    slack = 1e-4
    for key in ("coin_toss_accuracy", *RATES.values()):
        assert json_values(noisier.figures)[key] <= here[key] + slack
        assert json_values(longer.figures)[key] >= here[key] - slack
    assert noisier.nearest_mu <= longer.nearest_mu


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.795, 0.2, 75), (2.0, 0.032, 937), (1.0, 0.05, 1)])
def test_mu_covers_every_epsilon_down_to_the_target_delta(noise, rate, steps):
    events = [event(noise, rate, steps)]
    found = attacker(*events)
    for target_delta in (1e-2, 1e-3, 1e-4, 1e-5):
        spent = headline_epsilon(events, target_delta)
        assert spent <= gaussian_epsilon(found.nearest_mu, target_delta) + 1e-9
    smaller = found.nearest_mu * 0.99
    deltas = headline_profile(events, 1e-5).deltas
    assert (deltas > np.maximum(gaussian_deltas(smaller, EPSILONS), 1e-5)).any()


def test_the_error_of_mu_is_the_largest_gap_along_the_diagonal():
    """Kappa by bisection on its definition, on the bound of the rates itself."""
    profile = headline_profile([event(0.934, 0.04, 80)], 1e-5)
    found = attacker_of(profile, 1e-5)

    def misses(rates):
        growth, deltas = np.exp(EPSILONS[:, None]), profile.deltas[:, None]
        one = (1 - deltas - growth * rates).max(axis=0)
        return np.maximum(0, np.maximum(one, ((1 - deltas - rates) / growth).max(axis=0)))

    rates = np.linspace(0, 1, 501)
    gaussian = stats.norm.cdf(stats.norm.ppf(1 - rates) - found.nearest_mu)
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        kappa = (low + high) / 2
        low, high = (low, kappa) if (misses(rates + kappa) - kappa <= gaussian).all() else (kappa, high)
    assert found.figures.gdp_mu_error == pytest.approx(high, abs=2e-4)
    assert found.figures.gdp_mu_error > LARGEST_FIT_ERROR
    assert found.figures.gdp_mu is None and json_values(found.figures)["gdp_mu"] is None
    assert "no one Gaussian stands for" in found.reason


def test_no_noise_is_no_privacy_and_nothing_released_is_guesswork():
    assert json_values(attacker(event(0.0, 0.5, 1)).figures) == {
        "coin_toss_accuracy": 1.0,
        "tpr_at_fpr_0.01": 1.0,
        "tpr_at_fpr_0.001": 1.0,
        "gdp_mu": math.inf,
        "gdp_mu_error": 0.0,
        "by": "renyi",
    }
    nothing = attacker().figures
    assert (nothing.coin_toss_accuracy, nothing.gdp_mu) == (0.5, 0.0)
    assert (nothing.tpr_at_fpr_1_percent, nothing.tpr_at_fpr_01_percent) == pytest.approx((0.01, 0.001))


def test_renyi_profile_is_above_the_distributions_and_gives_the_renyi_epsilon():
    events = [event(1.5, 0.1, 100), event(3.0, 1.0, 2)]
    renyi = renyi_profile(composed_rdp(events))
    assert (renyi.deltas >= headline_profile(events, 1e-5).deltas - 1e-9).all()
    for epsilon, delta in itertools.islice(zip(EPSILONS, renyi.deltas, strict=True), 300, None, 100):
        if delta > 1e-12:
            assert rdp_epsilon(events, float(delta)) == pytest.approx(epsilon, rel=1e-6)


def test_integer_noise_is_bounded_by_renyi_and_above_the_gaussian_it_resembles():
    integers = {"cell": "hospital-distributed", "scaled_norm": 1000.0, "dimension": 30, "num_shares": 3}
    skellam = attacker(event(2.0, 1.0, 10, **integers))
    gaussian = attacker(event(2.0, 1.0, 10))
    assert (skellam.figures.by, gaussian.figures.by) == ("renyi", "pld")
    for key in ("coin_toss_accuracy", *RATES.values()):
        assert json_values(gaussian.figures)[key] < json_values(skellam.figures)[key] < 1


def test_a_patient_in_several_hospitals_is_found_more_easily():
    hospitals = {"a": [event(3.0, 0.1, 100)], "b": [event(2.0, 0.05, 50)], "c": [event(4.0, 1.0, 5)], "d": []}
    one, two, all_of_them = (attacker_of(overlap_profile(hospitals, 1e-5, k), 1e-5).figures for k in (1, 2, 9))
    singles = [attacker(*events).figures for events in hospitals.values()]
    assert one.coin_toss_accuracy == max(single.coin_toss_accuracy for single in singles)
    assert one.coin_toss_accuracy < min(two.coin_toss_accuracy, all_of_them.coin_toss_accuracy)
    together = attacker(*(part for events in hospitals.values() for part in events))
    assert all_of_them == together.figures
    for chosen in itertools.combinations(hospitals.values(), 2):
        pair = attacker(*(part for events in chosen for part in events)).figures
        assert pair.coin_toss_accuracy <= two.coin_toss_accuracy + 1e-4
        assert pair.tpr_at_fpr_1_percent <= two.tpr_at_fpr_1_percent + 1e-4


def test_an_account_states_attackers_in_all_by_hospital_and_against_a_reader():
    account = open_account({"Basel": 1e-3, "Bern": 1e-5}).projected(
        [("Basel", event(2.0, 0.1, 50, cell="record-central")), ("Bern", event(2.0, 0.1, 100, cell="record-central"))]
    )
    assert account.attackers()["Bern"] == account.attacker(1) == attacker(event(2.0, 0.1, 100))
    assert account.attackers()["Basel"] == attacker(event(2.0, 0.1, 50), target_delta=1e-3)
    assert account.against("recipient").attacker(1) == account.attacker(1)
    assert account.against("server").attacker(1).figures.coin_toss_accuracy == 1.0


def test_equal_hospitals_have_one_profile_so_that_their_attacker_is_found_once():
    one, other = (
        headline_profile([StepEvent(noise_multiplier=2.0, sample_rate=q, num_steps=40)], 1e-5) for q in (0.2, 0.1)
    )
    assert largest_profile([one, one, one]) is one
    assert largest_profile([one, other]) is largest_profile([one, other, one])
    assert largest_profile([other, one]).deltas.tolist() == np.maximum(one.deltas, other.deltas).tolist()


def test_largest_profile_of_none_is_zero():
    assert not largest_profile([]).deltas.any()
