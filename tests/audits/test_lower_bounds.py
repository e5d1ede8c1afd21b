"""Lower bounds: closed forms, an independent optimum, and how often a promise that holds is refuted."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, special, stats

from wardround.audits.bounds import (
    Guesses,
    epsilon_in_one_run,
    highest_share,
    is_refuted,
    lowest_area,
    lowest_share,
    one_run_p_value,
)
from wardround.audits.lower_bounds import bounded
from wardround.audits.promises import Promise
from wardround.audits.records import ReaderAudit
from wardround.audits.scores import area_of, guesses_of, log_ratios
from wardround.privacy.attackers import largest_area
from wardround.privacy.profiles import gaussian_epsilon
from wardround.step_events import StepEvent


def guesses(canaries, made, right):
    return Guesses(num_canaries=canaries, num_guesses=made, num_correct=right)


@pytest.mark.parametrize(("right", "number"), [(0, 10), (3, 10), (10, 10), (640, 1000)])
def test_shares_are_those_of_clopper_and_pearson(right, number):
    test = stats.binomtest(right, number)
    exact = test.proportion_ci(0.9, method="exact")
    assert lowest_share(right, number, 0.05) == pytest.approx(exact.low)
    assert highest_share(right, number, 0.05) == pytest.approx(exact.high)


def test_more_right_guesses_than_guesses_are_refused():
    with pytest.raises(ValueError, match="5 guesses and 6 right"):
        guesses(10, 5, 6)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_without_delta_one_run_is_refuted_by_the_binomial_tail(epsilon):
    share = math.exp(epsilon) / (1 + math.exp(epsilon))
    tail = stats.binom.sf(79, 100, share)
    assert one_run_p_value(guesses(200, 100, 80), epsilon, 0.0) == pytest.approx(tail)


def test_one_run_is_as_the_paper_sums_it_up():
    """Steinke et al. 2023, appendix D: the loop of their own, term by term."""
    canaries, made, right, epsilon, delta = 1000, 100, 90, 1.2, 1e-4
    share = 1 / (1 + math.exp(-epsilon))
    beta = stats.binom.sf(right - 1, made, share)
    alpha, total = 0.0, 0.0
    for fewer in range(1, right + 1):
        total += stats.binom.pmf(right - fewer, made, share)
        alpha = max(alpha, total / fewer)
    assert one_run_p_value(guesses(canaries, made, right), epsilon, delta) == pytest.approx(
        beta + alpha * delta * 2 * canaries
    )


def test_a_tenth_of_the_guesses_shows_half_of_one_gaussian_step_where_canaries_are_many():
    """One step at noise multiplier 1 is epsilon 4.38. Clearest are signals beyond c, of N(1/2, 1) or N(-1/2, 1)."""

    def beyond(c):
        return stats.norm.sf(c - 0.5), stats.norm.sf(c + 0.5)

    clear = optimize.brentq(lambda c: sum(beyond(c)) - 0.1, 0, 5)
    share = beyond(clear)[0] / 0.1
    whole = gaussian_epsilon(1.0, 1e-5)
    shown = [
        epsilon_in_one_run(guesses(number, number // 10, round(share * number / 10)), 1e-5, 0.05) / whole
        for number in (1000, 5000, 50_000)
    ]
    assert whole == pytest.approx(4.377, abs=1e-3)
    assert shown == sorted(shown)
    assert shown == pytest.approx([0.37, 0.45, 0.49], abs=0.02)
    assert 0.95 < shown[-1] / (special.logit(share) / whole) < 1  # who is right that often has that epsilon at delta 0


def promise(epsilon, delta):
    """Return lines slope x + height: their minimum is the most true positives of an (epsilon, delta) promise at x."""
    growth = math.exp(epsilon)
    return [(growth, delta), (1 / growth, 1 - (1 - delta) / growth)]


def optimum(lines, canaries, made, right):
    """Return the largest probability of so many right guesses that the proof's inequalities leave: a linear program.

    All sets {k - 1, ...} bind, and each line of a promise by itself.
    """
    above, bounds = [], []
    counts = np.arange(made + 1)
    for k in range(1, made + 1):
        rights = np.where(counts >= k, counts, 0) / canaries
        wrongs = np.where(counts >= k - 1, made - counts, 0) / canaries
        for slope, height in lines:
            above.append(rights - slope * wrongs)
            bounds.append(height)
    found = optimize.linprog(
        -(counts >= right).astype(float), A_ub=above, b_ub=bounds, A_eq=[np.ones(made + 1)], b_eq=[1.0], bounds=(0, 1)
    )
    assert found.success
    return -found.fun


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 0.0), (1.0, 1e-3), (2.0, 0.01)])
@pytest.mark.parametrize(("canaries", "made", "right"), [(20, 20, 16), (40, 12, 11), (60, 30, 24)])
def test_what_is_refuted_is_what_a_linear_program_finds_impossible(epsilon, delta, canaries, made, right):
    lines = promise(epsilon, delta)
    most = optimum(lines, canaries, made, right)

    def false_rate_of(rate):
        return max(0.0, *((rate - height) / slope for slope, height in lines))

    seen = guesses(canaries, made, right)
    assert most == pytest.approx(1.0) or is_refuted(seen, false_rate_of, most * 1.02 + 1e-6)
    assert not is_refuted(seen, false_rate_of, most * 0.98)


DELTA = 1e-5


def gaussian(mu):
    return Promise(events=(StepEvent(noise_multiplier=1 / mu, sample_rate=1.0),), target_delta=DELTA)


POISSON = Promise(events=(StepEvent(noise_multiplier=1.2, sample_rate=0.2, num_steps=8),), target_delta=DELTA)


def seen_of(promise, rng, number):
    """Return scores and coins of canaries of a promise of one kind of steps: log-likelihood ratios, as of a twin."""
    (event,) = promise.events
    coins = rng.random(number) < 0.5
    drawn = (rng.random((event.num_steps, number)) < event.sample_rate) & coins
    seen = drawn + event.noise_multiplier * rng.normal(size=drawn.shape)
    rate = event.sample_rate
    return log_ratios(seen, stddev=event.noise_multiplier, num_steps=1, sample_rate=rate, unused=0.0), coins


def found_of(scores, coins, epsilon=math.inf):
    area, every, clearest = area_of(scores, coins), guesses_of(scores, coins), guesses_of(scores, coins, 0.1)
    return ReaderAudit(
        epsilon=epsilon,
        epsilon_lower=0.0,
        num_canaries=every.num_canaries,
        num_correct=every.num_correct,
        num_used=area.num_used,
        auc=area.area,
        auc_error=area.error,
        num_clearest=clearest.num_guesses,
        num_clearest_correct=clearest.num_correct,
    )


def test_every_way_finds_less_the_less_it_assumes():
    found = bounded(found_of(*seen_of(gaussian(1.0), np.random.default_rng(1), 4000)), gaussian(1.0), 0.05)
    bounds = found.epsilon_lower, found.epsilon_lower_one_run, found.epsilon_lower_any
    assert gaussian_epsilon(1.0, DELTA) > bounds[0] > bounds[1] > bounds[2] > 0
    # An area that is given once more, by what a promise of Gaussians allows: one step's noise apart at most.
    assert bounds[0] == pytest.approx(gaussian_epsilon(found.mu_lower, DELTA), rel=0.01)
    assert bounds[0] <= gaussian_epsilon(found.mu_lower, DELTA)


@pytest.mark.parametrize("promise", [gaussian(0.3), gaussian(0.7), gaussian(4.0), POISSON])
@pytest.mark.parametrize("number", [40, 1000])
def test_an_area_is_above_what_a_promise_allows_as_seldom_as_was_said(promise, number):
    """A thousand twins: more that are too large than are allowed for have a chance of one in a thousand."""
    scores, coins = seen_of(promise, np.random.default_rng(number), 1000 * number)
    most, num_too_large = largest_area(promise.profile), {0.05: 0, 0.002: 0}
    for own, used in zip(scores.reshape(1000, number), coins.reshape(1000, number), strict=True):
        area = area_of(own, used)
        for level in num_too_large:
            ends = area.area, area.error, area.num_used, number - area.num_used
            num_too_large[level] += lowest_area(*ends, level) > most
    assert all(count <= stats.binom.ppf(0.999, 1000, level) for level, count in num_too_large.items())
    # And not out of mere caution, but where areas are near 1, or bills cover two orders of neighbours at once.
    assert number < 1000 or most > 0.9 or promise == POISSON or num_too_large[0.05] >= 20


@pytest.mark.parametrize(("promise", "share"), [(gaussian(0.7), 1.0), (gaussian(3.0), 1.0), (POISSON, 0.95)])
def test_the_area_that_is_allowed_is_that_of_the_best_score(promise, share):
    """Of what is beyond chance; a few steps of drawn batches tell less in one order of the neighbours."""
    area = area_of(*seen_of(promise, np.random.default_rng(4), 200_000))
    most = largest_area(promise.profile)
    assert 0.5 + share * (most - 0.5) - 4 * area.error < area.area < most + 4 * area.error


def test_scores_that_say_little_of_a_canary_are_never_above_a_promise():
    """Of a release that tells one in twenty all, and the others nothing, the area is that of the bound."""
    rng = np.random.default_rng(7)
    coins = rng.random(100_000) < 0.5
    told = rng.random(100_000) < 0.05
    area = area_of(np.where(told, 2.0 * coins - 1, 0.0), coins)
    assert area.area == pytest.approx(1 / 2 + 0.05 - 0.05**2 / 2, abs=4 * area.error)


def test_an_area_of_one_and_one_of_nothing_are_bounded_too():
    assert lowest_area(1.0, 0.0, 10, 10, 0.05) < lowest_area(1.0, 0.0, 1000, 1000, 0.05) < 1
    assert lowest_area(1.0, 0.0, 1, 50, 0.05) == lowest_area(0.5, 0.01, 50, 50, 0.05) == 0
    nobody = area_of(np.ones(4), np.zeros(4, bool))
    assert (nobody.area, nobody.num_used) == (0.5, 0)


@pytest.mark.parametrize("promise", [gaussian(0.7), POISSON])
def test_more_is_shown_of_a_release_with_less_noise_than_is_billed(promise):
    """The bound is of the bill's own steps: with half of the noise it comes near what those cost."""
    (event,) = promise.events
    halved = replace(promise, events=(replace(event, noise_multiplier=event.noise_multiplier / 2),))
    found = found_of(*seen_of(halved, np.random.default_rng(8), 20_000), epsilon=promise.epsilon)
    assert bounded(found, promise, 0.05).epsilon_lower == promise.epsilon
    refuted = bounded(replace(found, is_refuted=True), promise, 0.05)
    assert promise.epsilon < 0.75 * halved.epsilon < refuted.epsilon_lower < halved.epsilon


def test_a_promise_of_nothing_and_of_next_to_nothing_has_bounds_too():
    step = StepEvent(noise_multiplier=1e6, sample_rate=0.2, num_steps=10, cell="record-distributed", scaled_norm=1e3)
    quiet = replace(step, dimension=50, num_shares=3)
    for events in ((), (quiet,)):
        promise = Promise(events=events, target_delta=2e-3)
        assert promise.largest_refuted(lambda profile: False) == 0.0
        assert promise.largest_refuted(lambda profile: largest_area(profile) < 0.5) == 0.0


def test_promises_of_integer_noise_are_ordered_as_the_same_steps_with_gaussian_noise_are():
    step = StepEvent(
        noise_multiplier=5.0,
        sample_rate=1.0,
        cell="record-distributed",
        scaled_norm=1000.0,
        dimension=100,
        num_shares=4,
    )
    promise = Promise(events=(replace(step, num_steps=4),), target_delta=DELTA)
    assert promise.profile.by == "renyi"
    assert promise.largest_refuted(lambda profile: True) > promise.epsilon
    assert promise.largest_refuted(lambda profile: False) == 0.0
    half = promise.largest_refuted(lambda profile: largest_area(profile) < stats.norm.cdf(0.2))
    assert half == pytest.approx(gaussian_epsilon(0.2 * 2**0.5, DELTA), rel=0.01)
    # Four steps of rate 1 with noise 5 are two Gaussians 0.4 apart.
    as_billed = promise.largest_refuted(lambda profile: largest_area(profile) <= largest_area(gaussian(0.4).profile))
    assert as_billed == pytest.approx(gaussian_epsilon(0.4, DELTA), rel=0.01)
    assert as_billed < promise.epsilon


def test_a_promise_is_refuted_no_more_often_where_all_canaries_share_one_fate():
    """Where one coin in thirty gives everything away, only the first way, which assumes independence, falls for it."""
    rng = np.random.default_rng(3)
    number, made, fatal = 300, 300, 1 / 30
    shares = np.where(rng.random(300) < fatal, 1.0, 0.5)
    tries = [guesses(number, made, int(each)) for each in rng.binomial(made, shares)]
    # The release is (0, 1 / 30) private: with that probability it tells all, else nothing.
    refuted = np.mean([one_run_p_value(each, 0.0, fatal) <= 0.05 for each in tries])
    assert refuted <= 0.05
    assert np.mean([lowest_share(each.num_correct, made, 0.001) > 0.8 for each in tries]) > 0.01


def test_blind_guessing_shows_nothing():
    rng = np.random.default_rng(6)
    found = bounded(found_of(rng.normal(size=1000), rng.random(1000) < 0.5), gaussian(0.7), 0.01)
    assert (found.epsilon_lower, found.epsilon_lower_one_run, found.epsilon_lower_any) == (0.0, 0.0, 0.0)
