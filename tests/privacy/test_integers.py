"""Rounding keeps its norm, shares add up to the right noise, and residues to the exact sum."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import chisquare, norm, skellam

from wardround.errors import ConfigError, UpdateError
from wardround.exact_sums import FixedSum, accumulate
from wardround.privacy.integers import (
    MODULUS,
    from_residues,
    round_factors_within,
    round_within,
    skellam_share,
    to_residues,
)
from wardround.privacy.skellam import norm_bound_squared


def vectors(seed, number, dimension, norm):
    drawn = np.random.default_rng(seed).normal(size=(number, dimension))
    return drawn * (norm / np.linalg.norm(drawn, axis=1, keepdims=True))


@settings(max_examples=60, deadline=None)
@given(
    seed=some.integers(0, 2**32),
    dimension=some.integers(1, 300),
    norm=some.floats(0.01, 1e5),
    number=some.integers(0, 40),
)
def test_the_norm_bound_holds_for_every_vector(seed, dimension, norm, number):
    bound = norm_bound_squared(norm, dimension)
    rounded = round_within(vectors(seed, number, dimension, norm), bound, np.random.default_rng(seed))
    assert rounded.shape == (number, dimension)
    assert ((rounded**2).sum(axis=1) <= bound).all()


def test_rounding_is_within_a_step_and_right_on_average():
    wanted = vectors(1, 1, 50, 400.0)
    rounded = round_within(np.repeat(wanted, 4000, axis=0), norm_bound_squared(400.0, 50), np.random.default_rng(2))
    assert np.abs(rounded - wanted).max() < 1
    # Five standard errors of a rounding, plus a twentieth of a step for what conditioning on the norm shifts.
    assert np.abs((rounded - wanted).mean(axis=0)).max() < 5 * 0.5 / math.sqrt(4000) + 0.05


def test_what_never_fits_is_rounded_towards_zero():
    # 100 coordinates of one half: almost every rounding has a norm near sqrt(50), and only 30 are allowed.
    rounded = round_within(np.full((3, 100), 0.5), 30, np.random.default_rng(1))
    assert not rounded.any()
    long = round_within(np.full((2, 4), 100.0), 4 * 50**2, np.random.default_rng(1))
    assert ((long**2).sum(axis=1) <= 4 * 50**2).all() and (long >= 49).all()


def test_whole_numbers_stay_as_they_are():
    whole = np.array([[3.0, -4.0, 0.0]])
    np.testing.assert_array_equal(round_within(whole, 25, np.random.default_rng(0)), whole.astype(int))


def products(factors):
    """The vectors (number, dimension) that pairs of factors stand for."""
    parts = [left[:, :, None] * right[:, None, :] for left, right in factors]
    return np.concatenate([part.reshape(len(part), part[0].size if len(part) else 0) for part in parts], axis=1)


def pairs(seed, number, sizes, norm):
    """Factors of vectors that are so long: each part has as long a product."""
    share = norm / math.sqrt(len(sizes))
    return [
        (vectors([seed, k, 0], number, m, 7.0), vectors([seed, k, 1], number, n, share / 7.0)) for k, (m, n) in sizes
    ]


@settings(max_examples=60, deadline=None)
@given(
    seed=some.integers(0, 2**32),
    sizes=some.lists(some.tuples(some.integers(1, 12), some.integers(1, 200)), min_size=1, max_size=3),
    norm=some.floats(0.01, 1e5),
    number=some.integers(0, 40),
    room=some.floats(0.3, 1.1),
)
def test_the_norm_bound_holds_for_every_vector_whose_factors_are_rounded(seed, sizes, norm, number, room):
    bound = math.floor((room * norm) ** 2)
    rounded = round_factors_within(
        pairs(seed, number, list(enumerate(sizes)), norm), bound, np.random.default_rng(seed)
    )
    for left, right in rounded:
        assert (left == np.rint(left)).all() and (right == np.rint(right)).all()
    assert ((products(rounded).astype(np.int64) ** 2).sum(axis=1) <= bound).all()


def test_rounded_factors_are_right_on_average():
    wanted = pairs(1, 1, [(0, (3, 20)), (1, (2, 5))], 400.0)
    many = [(np.repeat(left, 4000, axis=0), np.repeat(right, 4000, axis=0)) for left, right in wanted]
    errors = products(round_factors_within(many, 10**7, np.random.default_rng(2))) - products(wanted)
    assert (np.abs(errors.mean(axis=0)) < 5 * errors.std(axis=0) / math.sqrt(4000) + 1e-9).all()
    assert errors.std() < 400.0 / 7


def test_factors_that_never_fit_are_rounded_towards_zero_and_zeros_stay():
    many = [(np.full((3, 2), 0.5), np.full((3, 50), 0.5))]
    left, right = round_factors_within(many, 1, np.random.default_rng(1))[0]
    assert not products([(left, right)]).any()
    zero = [(np.zeros((50, 3)), vectors(1, 50, 7, 4.0))]
    assert not products(round_factors_within(zero, 40, np.random.default_rng(1))).any()


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e200])
@pytest.mark.parametrize("place", [0, 1])
def test_no_number_passes_the_norm_bound(wrong, place):
    pair = [np.ones((3, 4)), np.full((3, 5), 2.0)]
    pair[place][1, 2] = wrong
    rounded = products(round_factors_within([(pair[0], pair[1])], 80, np.random.default_rng(1)))
    assert ((rounded**2).sum(axis=1) <= 80).all()
    assert (rounded[[0, 2]] == 2).all()
    zero = [(np.full((1, 2), wrong), np.zeros((1, 3)))]
    assert not products(round_factors_within(zero, 80, np.random.default_rng(1))).any()


def test_norms_beyond_what_float64_counts_are_refused():
    with pytest.raises(ConfigError, match=r"must be <= 4503599627370496: use fewer steps"):
        round_within(np.zeros((1, 2)), 2**52 + 1, np.random.default_rng(1))


def binned(values, variance, num_bins=40):
    """Counts and expected counts in about equally likely bins of the Skellam distribution."""
    # Any edges do; those of the normal distribution are near enough, and found at once.
    edges = np.unique(np.round(norm.ppf(np.linspace(0, 1, num_bins + 1)[1:-1]) * math.sqrt(variance)))
    cumulated = np.concatenate([[0.0], skellam.cdf(edges, variance / 2, variance / 2), [1.0]])
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return counts, np.diff(cumulated) * len(values)


@pytest.mark.parametrize("variance", [0.5, 9.0, 1e4, 2.0**32])
@pytest.mark.parametrize("num_shares", [1, 4])
def test_shares_add_up_to_the_right_noise_and_not_to_two_wrong_ones(variance, num_shares):
    total = sum(skellam_share(20_000, variance / num_shares, np.random.default_rng(seed)) for seed in range(num_shares))
    assert chisquare(*binned(total, variance)).pvalue > 0.01
    for wrong in (2 / 3, 3 / 2):
        assert chisquare(*binned(total, variance * wrong**2)).pvalue < 1e-6


def test_a_share_out_of_range_is_refused():
    assert not skellam_share(5, 0.0, np.random.default_rng(0)).any()
    for variance in (-1.0, math.nan, 2.0**41):
        with pytest.raises(ConfigError, match="noise share of variance"):
            skellam_share(5, variance, np.random.default_rng(0))


@settings(max_examples=40, deadline=None)
@given(seed=some.integers(0, 2**32), number=some.integers(1, 20), size=some.integers(1, 50))
def test_masked_sums_are_exact_and_masks_cancel(seed, number, size):
    generator = np.random.default_rng(seed)
    largest = 2**31 // number - 1
    integers = generator.integers(-largest, largest, (number, size))
    masks = generator.integers(0, MODULUS, (number, size))
    masks[-1] = -masks[:-1].sum(axis=0)
    total: FixedSum = {}
    for k in generator.permutation(number):
        masked = to_residues(integers[k] + masks[k])
        accumulate(total, {"w": masked, "scalar": masked[0].reshape(())}, None)
    np.testing.assert_array_equal(from_residues(total["w"]), integers.sum(axis=0))
    assert from_residues(total["scalar"]) == integers[:, 0].sum()


def test_only_residues_of_the_right_names_and_shapes_are_summed():
    total: FixedSum = {}
    accumulate(total, {"w": np.zeros(2, np.uint32)}, None)
    for wrong in ({"w": np.zeros(2, np.int64)}, {"w": np.zeros(3, np.uint32)}, {"v": np.zeros(2, np.uint32)}):
        with pytest.raises(UpdateError):
            accumulate(total, wrong, None)
    np.testing.assert_array_equal(total["w"], [0, 0])
