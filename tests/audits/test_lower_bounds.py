"""Lower bounds from guesses: closed forms, an independent optimum, and how often a promise that holds is refuted."""

import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from wardround.audits.bounds import (
    Guesses,
    epsilon_in_one_run,
    highest_share,
    is_refuted,
    lowest_share,
    mu_if_independent,
    mu_in_one_run,
    one_run_p_value,
)
from wardround.privacy.profiles import gaussian_epsilon


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


def test_every_way_finds_less_the_less_it_assumes():
    rng = np.random.default_rng(1)
    coins = rng.random(4000) < 0.5
    signal = rng.normal(size=4000) + coins - 0.5  # mu 1
    right = int(((signal > 0) == coins).sum())
    clear = np.argsort(-np.abs(signal))[:400]
    few = guesses(4000, 400, int(((signal > 0) == coins)[clear].sum()))
    independent = gaussian_epsilon(mu_if_independent(guesses(4000, 4000, right), 0.05), 1e-5)
    one_run = gaussian_epsilon(mu_in_one_run(few, 0.05), 1e-5)
    anything = epsilon_in_one_run(few, 1e-5, 0.05)
    assert gaussian_epsilon(1.0, 1e-5) > independent > one_run > anything > 0


def test_a_promise_that_holds_is_refuted_in_one_of_twenty_cases():
    mu, number = 0.7, 400
    counts = np.arange(number + 1)
    chances = stats.binom.pmf(counts, number, stats.norm.cdf(mu / 2))
    is_over = [mu_if_independent(guesses(number, number, int(each)), 0.05) > mu for each in counts]
    assert 0.03 < chances[is_over].sum() <= 0.05


def test_a_promise_is_refuted_no_more_often_where_all_canaries_share_one_fate():
    """Where one coin in thirty gives everything away, only the first way, which assumes independence, falls for it."""
    rng = np.random.default_rng(3)
    number, made, fatal = 300, 300, 1 / 30
    shares = np.where(rng.random(300) < fatal, 1.0, 0.5)
    tries = [guesses(number, made, int(each)) for each in rng.binomial(made, shares)]
    # The release is (0, 1 / 30) private: with that probability it tells all, else nothing.
    refuted = np.mean([one_run_p_value(each, 0.0, fatal) <= 0.05 for each in tries])
    assert refuted <= 0.05
    assert np.mean([mu_if_independent(each, 0.001) > 1 for each in tries]) > 0.01


@pytest.mark.parametrize("way", [lambda seen: mu_in_one_run(seen, 0.05), lambda seen: mu_if_independent(seen, 0.05)])
def test_blind_guessing_shows_nothing(way):
    assert way(guesses(1000, 1000, 500)) == 0.0
