"""The best of a random number of repetitions: the laws, and the bound against exact divergences and dp-accounting."""

import math

import numpy as np
import pytest
from dp_accounting import dp_event as events
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wardround.errors import ConfigError
from wardround.privacy.renyi import ORDERS, epsilon_from_rdp, rdp
from wardround.privacy.selection import LAWS, repetition_law, selected_rdp

NEGATIVE_BINOMIAL, POISSON = LAWS
NO_END = 4000
"""So many repetitions that what lies beyond has no probability that a float can hold."""


def ended(probabilities, most):
    return probabilities[:most] / probabilities[:most].sum()


@pytest.mark.parametrize("most", [1, 3, 40])
@pytest.mark.parametrize("mean", [1.5, 4.0, 30.0])
def test_the_laws_are_those_of_the_paper_up_to_their_end(mean, most):
    counts = np.arange(1, most + 1)
    geometric = repetition_law(NEGATIVE_BINOMIAL, mean, 1.0, most)
    np.testing.assert_allclose(geometric, ended(stats.geom(1 / mean).pmf(counts), most), rtol=1e-9)
    poisson = repetition_law(POISSON, mean, 0.0, most)
    np.testing.assert_allclose(poisson, ended(stats.poisson(mean).pmf(counts), most), rtol=1e-9)
    assert math.isclose(sum(geometric), 1) and math.isclose(sum(poisson), 1)


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("mean", [1.5, 6.0])
def test_the_negative_binomial_has_its_mean_and_its_shape(mean, shape):
    law = np.array(repetition_law(NEGATIVE_BINOMIAL, mean, shape, NO_END))
    counts = np.arange(1, NO_END + 1)
    assert law @ counts == pytest.approx(mean, rel=1e-9)
    # Definition 1: P(k + 1) / P(k) = (1 - gamma) (k + shape) / (k + 1).
    stay = law[1:20] / law[:19] * (counts[:19] + 1) / (counts[:19] + shape)
    np.testing.assert_allclose(stay, stay[0], rtol=1e-9)


@pytest.mark.parametrize(
    "arguments",
    [("uniform", 2.0, 1.0, 3), (NEGATIVE_BINOMIAL, 1.0, 1.0, 3), (POISSON, 0.5, 1.0, 3), (POISSON, 2, 1, 0)],
)
def test_a_law_that_is_none_is_refused(arguments):
    with pytest.raises(ConfigError, match="must be one of"):
        repetition_law(*arguments)


def slope(points, law):
    return np.polynomial.polynomial.polyval(points, np.arange(1, len(law) + 1) * np.array(law))


def of_two_gaussians(mu, law, order, sign):
    """Return the exact divergence of the best of repetitions, whose score is what is released, or its negative."""
    x = np.linspace(-25, 25 + mu, 200_001)
    below = [dist.cdf(x) if sign > 0 else dist.sf(x) for dist in (stats.norm(mu), stats.norm(0))]
    logs = [
        dist.logpdf(x) + np.log(slope(part, law))
        for dist, part in zip((stats.norm(mu), stats.norm(0)), below, strict=True)
    ]
    both = [np.logaddexp.reduce(order * p - (order - 1) * q) for p, q in (logs, logs[::-1])]
    return (max(both) + math.log(x[1] - x[0])) / (order - 1)


@pytest.mark.parametrize("mu", [0.3, 1.5])
@pytest.mark.parametrize(
    "kind", [(NEGATIVE_BINOMIAL, 8.0, 1.0, 16), (NEGATIVE_BINOMIAL, 8.0, 0.0, 40), (POISSON, 8.0, 0.0, 16)]
)
def test_the_bound_is_above_the_exact_divergence_and_one_repetition_is_not(mu, kind):
    law, single = repetition_law(*kind), ORDERS * mu**2 / 2
    bound, orders = selected_rdp(single, law), (1.5, 2.0, 8.0)
    exact = [max(of_two_gaussians(mu, law, order, sign) for sign in (1, -1)) for order in orders]
    places = [int(np.flatnonzero(order == ORDERS)[0]) for order in orders]
    assert (bound[places] >= exact).all()
    assert (bound[places] <= 12 * np.array(exact)).all()
    # What selecting costs is no matter of taste: the cost of one run alone would be an under-count.
    assert (single[places] < exact).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.02, 1.0), min_size=3, max_size=6),
    st.lists(st.floats(-0.8, 0.8), min_size=6, max_size=6),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8),
)
def test_the_bound_holds_for_any_scores_and_any_law(weights, shifts, chances):
    p = np.array(weights) / sum(weights)
    q = p * np.exp(shifts[: len(p)])
    q /= q.sum()
    law = tuple(np.array(chances) / sum(chances))

    def divergence(first, second):
        with np.errstate(over="ignore"):
            logs = ORDERS[:, None] * np.log(first) - (ORDERS[:, None] - 1) * np.log(second)
        return np.logaddexp.reduce(logs, axis=1) / (ORDERS - 1)

    def best(dist):
        ends = np.concatenate([[0.0], np.cumsum(dist)])
        whole = np.polynomial.polynomial.polyval(np.minimum(ends, 1.0), np.concatenate([[0.0], law]))
        return np.diff(whole)

    single = np.maximum(np.maximum(divergence(p, q), divergence(q, p)), 0)
    exact = np.maximum(divergence(best(p), best(q)), divergence(best(q), best(p)))
    assert (selected_rdp(single, law) >= exact * (1 - 1e-7) - 1e-12).all()


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("mean", [2.0, 10.0])
@pytest.mark.parametrize("run", [(5.0, 1.0, 10), (2.0, 0.05, 300), (1.0, 1.0, 3)])
def test_a_law_without_an_end_costs_no_more_than_theorems_2_and_6(shape, mean, run):
    noise, rate, steps = run
    step = (
        events.PoissonSampledDpEvent(rate, events.GaussianDpEvent(noise)) if rate < 1 else events.GaussianDpEvent(noise)
    )
    accountant = RdpAccountant(orders=ORDERS.tolist())
    accountant.compose(events.RepeatAndSelectDpEvent(events.SelfComposedDpEvent(step, steps), mean, shape))
    law = repetition_law(
        POISSON if math.isinf(shape) else NEGATIVE_BINOMIAL, mean, 0.0 if math.isinf(shape) else shape, NO_END
    )
    single = steps * rdp(noise, rate)
    ours = selected_rdp(single, law)
    # A Poisson number that is given to be 1 or more has a larger mean, which costs as theorem 6 has it.
    given = -math.log(-math.expm1(-mean)) / (ORDERS - 1) if math.isinf(shape) else 0.0
    assert (ours <= accountant._rdp + given + 2e-3).all()
    mine, theirs, one = (float(epsilon_from_rdp(each, 1e-5)) for each in (ours, accountant._rdp + given, single))
    assert one < mine <= theirs * 1.001
    assert mine > one + 0.5 * (theirs - one) * (shape == math.inf)


def test_more_repetitions_cost_more_and_one_costs_what_it_costs():
    single = 100 * rdp(3.0, 0.1)
    np.testing.assert_allclose(selected_rdp(single, (1.0,)), single, rtol=1e-8)
    epsilons = [
        float(epsilon_from_rdp(selected_rdp(single, repetition_law(NEGATIVE_BINOMIAL, mean, 1.0, 64)), 1e-5))
        for mean in (1.5, 3.0, 9.0, 27.0)
    ]
    assert epsilons == sorted(epsilons)
    # Of a number that is certain no selection is hidden: it is the cost of all of them.
    np.testing.assert_allclose(selected_rdp(single, (0.0, 0.0, 1.0)), 3 * single, rtol=1e-6)
    assert np.isinf(selected_rdp(np.full(len(ORDERS), np.inf), (0.5, 0.5))).all()


def test_the_best_never_costs_more_than_all_that_there_can_be():
    single = 50 * rdp(1.0, 0.3)
    for law in (repetition_law(NEGATIVE_BINOMIAL, 2.0, 1.0, 4), repetition_law(POISSON, 2.0, 0.0, 4)):
        assert (selected_rdp(single, law) <= 4 * single * (1 + 1e-8)).all()
