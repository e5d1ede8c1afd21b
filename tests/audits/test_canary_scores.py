"""What an attacker makes of what it saw: closed forms of its scores, guesses and thresholds."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_curve

from wardround.audits.scores import (
    allowed_at,
    guesses_of,
    log_ratios,
    measured_noise,
    rate_at,
    rate_over_models,
    roc_points,
    share_of,
)
from wardround.privacy.profiles import EPSILONS, Profile, gaussian_deltas


def test_a_whole_batch_is_scored_by_one_gaussian_against_the_other():
    seen = np.array([[0.3, 1.4], [0.9, -0.2]])
    scores = log_ratios(seen, stddev=2.0, num_steps=1, sample_rate=1.0, unused=0.0)
    expected = (stats.norm.logpdf(seen, 1, 2) - stats.norm.logpdf(seen, 0, 2)).sum(axis=0)
    assert scores == pytest.approx(expected)


def test_a_poisson_batch_is_scored_by_a_mixture():
    seen = np.array([[0.3, 1.4]])
    scores = log_ratios(seen, stddev=0.5, num_steps=1, sample_rate=0.2, unused=0.0)
    drawn = 0.2 * stats.norm.pdf(seen, 1, 0.5) + 0.8 * stats.norm.pdf(seen, 0, 0.5)
    assert scores == pytest.approx(np.log(drawn / stats.norm.pdf(seen, 0, 0.5))[0])


def test_steps_of_a_round_are_scored_by_how_often_a_canary_may_have_been_drawn():
    seen, stddev = np.array([[1.7]]), 1.5
    often = stats.binom.pmf(np.arange(4), 3, 0.4)
    used, unused = (sum(often * stats.norm.pdf(1.7, pull * np.arange(4), stddev)) for pull in (1, -1))
    scores = log_ratios(seen, stddev=stddev, num_steps=3, sample_rate=0.4, unused=-1.0)
    assert scores == pytest.approx(np.log(used / unused))


def test_without_noise_nothing_is_left_to_guess():
    coins = np.array([True, False, True, False])
    scores = log_ratios(coins[None] * 1.0, stddev=0.0, num_steps=1, sample_rate=1.0, unused=0.0)
    assert guesses_of(scores, coins).num_correct == 4


def test_the_clearest_are_guessed_first():
    scores, coins = np.array([3.0, -0.1, 0.2, -4.0]), np.array([True, True, False, False])
    assert guesses_of(scores, coins, 0.5) == guesses_of(scores[[0, 3]], coins[[0, 3]]).__class__(
        num_canaries=4, num_guesses=2, num_correct=2
    )
    assert guesses_of(scores, coins).num_correct == 2


def test_a_threshold_is_tried_on_others_than_chose_it():
    rng = np.random.default_rng(4)
    coins = rng.random(200_000) < 0.5
    scores = rng.normal(size=len(coins)) + 2.0 * coins
    rate = rate_at(scores, coins, 0.01)
    assert rate.accused == pytest.approx(0.01, abs=0.002)
    assert rate.found == pytest.approx(stats.norm.sf(stats.norm.isf(0.01) - 2.0), abs=0.02)
    assert rate.found_interval[0] < rate.found < rate.found_interval[1]
    assert rate.counts[1] + rate.counts[3] == len(scores) // 2


def test_noise_is_measured_where_nothing_else_is():
    rng = np.random.default_rng(6)
    coins = rng.random(1000) < 0.5
    seen = 1.5 * rng.normal(size=(10, 1000)) + coins
    found = measured_noise(seen, coins, 3.0)
    assert found.ratio == pytest.approx(0.5, abs=0.02)
    assert found.interval[0] < 0.5 < found.interval[1] < 0.55
    assert found.chance < 1e-9
    own = stats.chi2.cdf((seen[:, ~coins] ** 2).sum() / 1.5**2, seen[:, ~coins].size)
    assert measured_noise(seen, coins, 1.5).chance == pytest.approx(own)
    assert measured_noise(seen, coins, np.full(10, 1.5)).chance == pytest.approx(own)
    assert measured_noise(seen, np.ones(1000, bool), 3.0) is None


def test_rounds_whose_noise_differs_are_weighed_as_the_best_attacker_does():
    seen, stddev = np.array([[0.3], [0.9]]), np.array([0.5, 3.0])
    scores = log_ratios(seen, stddev=stddev, num_steps=1, sample_rate=1.0, unused=0.0)
    apart = stats.norm.logpdf(seen[:, 0], 1, stddev) - stats.norm.logpdf(seen[:, 0], 0, stddev)
    assert scores == pytest.approx([apart.sum()])


@pytest.mark.parametrize("rate", [0.01, 0.001])
@pytest.mark.parametrize("number", [200, 360, 420, 1000, 4000, 4800])
def test_a_rate_goes_by_its_name_or_is_not_told(rate, number):
    """Of exchangeable scores, the largest of n is passed by another with probability 1 / (n + 1), as at any rate."""
    rng, coins = np.random.default_rng(1), np.arange(number) % 4 < 2
    found = [rate_at(rng.normal(size=number), coins, rate) for _ in range(300)]
    few = number // 4
    assert all((each is None) == (1 / (few + 1) > 1.1 * rate) for each in found)
    if found[0] is not None:
        accused, unused = (sum(each.counts[place] for each in found) for place in (2, 3))
        assert stats.binomtest(accused, unused, 1.1 * rate, alternative="greater").pvalue > 1e-3


def test_an_interval_over_models_is_that_of_models_where_these_differ_more_than_records_do():
    rng = np.random.default_rng(2)
    coins = rng.random((8, 400)) < 0.5
    alike, apart = rng.normal(size=coins.shape) + 2 * coins, np.zeros(coins.shape)
    apart[:] = rng.normal(size=coins.shape) + 2 * coins * (np.arange(8) % 2)[:, None]
    one, two = (rate_over_models(scores, coins, 0.01) for scores in (alike, apart))
    independent = share_of(*one.counts[:2])[1]
    assert one.found_interval[0] <= independent[0] < independent[1] <= one.found_interval[1]
    assert two.found_interval[1] - two.found_interval[0] > 4 * np.diff(share_of(*two.counts[:2])[1])[0]
    assert rate_over_models(alike[:1], coins[:1], 0.01) is None


def test_a_curve_of_gaussians_is_theirs():
    """Scores N(mu, 1) of the used and N(0, 1) of the others: Phi(Phi^-1(a) + mu), within what so many can tell."""
    rng = np.random.default_rng(11)
    coins = rng.random(400_000) < 0.5
    points = np.array(roc_points(rng.normal(size=len(coins)) + 1.5 * coins, coins))
    assert points[-1].tolist() == [1.0, 1.0]
    assert points[1:, 0] == pytest.approx(np.logspace(-3, 0, 22), abs=1e-5)
    expected = stats.norm.cdf(stats.norm.ppf(points[1:, 0]) + 1.5)
    assert points[1:, 1] == pytest.approx(expected, abs=0.01)
    assert {0.01, 0.1} <= set(points[:, 0].round(4).tolist())


def test_points_lie_on_the_curve_of_scikit_learn_whatever_scores_share():
    rng = np.random.default_rng(12)
    coins = rng.random(3000) < 0.5
    scores = (2 * rng.normal(size=len(coins)) + coins).round(1)
    false, true, _ = roc_curve(coins, scores, drop_intermediate=False)
    points = roc_points(scores, coins)
    assert {(round(x, 6), round(y, 6)) for x, y in zip(false.tolist(), true.tolist(), strict=True)} >= set(points)
    assert list(points) == sorted(points)
    order = rng.permutation(len(coins))
    assert roc_points(scores[order], coins[order]) == points


def test_a_gaussians_promise_allows_its_own_curve():
    profile = Profile(deltas=gaussian_deltas(1.2, EPSILONS), by="pld")
    rates = [0.001, 0.01, 0.2, 1.0]
    most = np.array(allowed_at([(rate, 0.5) for rate in rates], profile))
    exact = stats.norm.cdf(stats.norm.ppf(rates) + 1.2)
    assert (most >= exact - 1e-12).all()
    assert most == pytest.approx(exact, abs=1e-4)
    assert allowed_at((), profile) == ()


def test_few_canaries_show_the_rates_that_they_can_and_scores_that_say_nothing_the_ends_alone():
    coins = np.array([True, True, True, False, False])
    assert roc_points(np.array([5.0, 4.0, 1.0, 3.0, 2.0]), coins) == ((0.0, 0.666667), (0.5, 0.666667), (1.0, 1.0))
    assert roc_points(np.zeros(5), coins) == ((0.0, 0.0), (1.0, 1.0))
    assert roc_points(np.zeros(3), coins[:3]) == ()
