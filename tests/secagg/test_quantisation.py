"""From numbers to residues and back: within the stated bound of exact fractions, and never around the edge."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wardround.errors import CohortError, UpdateError
from wardround.secagg.quantisation import Quantiser, flattened, saturated, split_like

DOUBLE_PRECISION = 1 + Fraction(1, 100_000)  # the part that the module's text allows for


def quantiser_of(num_members=2, max_update=1.0, max_weight=1.0, is_folded=False):
    return Quantiser(num_members=num_members, max_update=max_update, max_weight=max_weight, is_folded=is_folded)


@st.composite
def federations(draw):
    """Draw a quantiser, and for each of its members a few numbers and a weight in range."""
    num_members = draw(st.integers(1, 8))
    largest = draw(st.sampled_from([1e-30, 1e-3, 1.0, 8.0, 1e30]) | st.floats(1e-6, 1e6))
    heaviest = draw(st.sampled_from([1e-30, 1.0, 5000.0, 1e30]) | st.floats(1e-6, 1e6))
    part = st.sampled_from([0.0, 1.0, -1.0, 0.5]) | st.floats(-1, 1)
    values = [[p * largest for p in draw(st.lists(part, min_size=3, max_size=3))] for _ in range(num_members)]
    share = st.sampled_from([0.0, 1.0, 0.5]) | st.floats(0, 1)
    weights = [draw(share) * heaviest for _ in range(num_members)]
    return quantiser_of(num_members, largest, heaviest), np.array(values), weights


@settings(max_examples=150, deadline=None)
@given(federations())
def test_sums_and_means_are_within_the_stated_bounds_of_the_exact_ones(drawn):
    quantiser, values, weights = drawn
    n, levels = quantiser.num_members, quantiser.levels
    largest, heaviest = Fraction(quantiser.max_update), Fraction(quantiser.max_weight)
    total = sum(
        (quantiser.residues(row, weight) for row, weight in zip(values, weights, strict=True)), np.zeros(4, np.uint32)
    )
    sums, weight = quantiser.sums(total)
    exact_weight = sum(map(Fraction, weights))
    assert abs(Fraction(weight) - exact_weight) <= n * heaviest / (2 * levels) * DOUBLE_PRECISION
    for place, found in enumerate(sums):
        exact = sum(Fraction(row[place]) * Fraction(w) for row, w in zip(values, weights, strict=True))
        assert abs(Fraction(found) - exact) <= n * largest * heaviest / (2 * levels) * DOUBLE_PRECISION
        if exact_weight > 0 and weight > 0:
            mean, decoded = exact / exact_weight, Fraction(weight)
            first = n * (largest + abs(mean)) * heaviest / (2 * levels * decoded)
            second = n**2 * largest * heaviest / ((2**31 - n) * decoded)
            assert first <= second
            assert abs(Fraction(found / weight) - mean) <= first * DOUBLE_PRECISION


def test_the_bound_is_not_a_loose_one():
    """Numbers half way between two levels, all rounded the same way, come as near to it as can be."""
    quantiser = quantiser_of(4)
    half_way = np.full(1, 1.5 / quantiser.levels)  # rounds to 2, the even one
    total = sum((quantiser.residues(half_way, 1.0) for _ in range(4)), np.zeros(2, np.uint32))
    error = quantiser.sums(total)[0][0] - 4 * half_way[0]
    assert error == pytest.approx(4 / (2 * quantiser.levels), rel=1e-6)


@pytest.mark.parametrize("num_members", [1, 2, 3, 10, 1000, 65_535, 65_536])
@pytest.mark.parametrize("value", [8.0, -8.0])
def test_no_sum_wraps_around_at_the_extremes(num_members, value):
    quantiser = quantiser_of(num_members, 8.0, 3.0)
    residues = quantiser.residues(np.full(2, value), 3.0)
    signed = residues.view(np.int32).astype(np.int64)
    assert np.abs(signed).max() * num_members <= 2**31 - 1
    with np.errstate(over="ignore"):
        total = residues * np.uint32(num_members)
    np.testing.assert_array_equal(total.view(np.int32), signed * num_members)
    sums, weight = quantiser.sums(total)
    np.testing.assert_allclose(sums, num_members * value * 3.0, rtol=1e-12)
    assert weight == pytest.approx(num_members * 3.0, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 65_536), st.floats(1e-30, 1e30), st.floats(1e-30, 1e30), st.floats(0, 1), st.floats(-1, 1))
def test_no_residue_exceeds_its_share_of_the_range(num_members, largest, heaviest, share, part):
    quantiser = quantiser_of(num_members, largest, heaviest)
    residues = quantiser.residues(np.array([largest, -largest, part * largest]), heaviest * share)
    assert np.abs(residues.view(np.int32).astype(np.int64)).max() <= quantiser.levels
    assert quantiser.levels * num_members <= 2**31 - 1


@pytest.mark.parametrize("place", [0, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.0000001, -1.5, 1e300])
def test_numbers_out_of_range_are_refused_wherever_they_are(place, value):
    values = np.zeros(70_001)
    values[place] = value
    with pytest.raises(
        UpdateError, match=r"^an update is not finite, or larger than 1 in magnitude .max-update.: raise"
    ):
        quantiser_of().residues(values, 1.0)


@pytest.mark.parametrize(("value", "before"), [(np.inf, np.inf), (1e308, -1e308), (np.nan, 0.0), (2.0, 0.5)])
def test_differences_out_of_range_are_refused_without_a_warning(value, before):
    with pytest.raises(UpdateError, match=r"^an update is not finite, or larger than 1 in magnitude"):
        quantiser_of().residues(np.array([value]), 1.0, np.array([before]))


@pytest.mark.parametrize("weight", [-1e-9, -1.0, 3.0000001, float("inf"), float("nan")])
def test_weights_out_of_range_are_refused(weight):
    with pytest.raises(
        UpdateError, match=r"^the weight of an update must be >= 0 and <= 3, the largest that was agreed"
    ):
        quantiser_of(max_weight=3.0).residues(np.zeros(1), weight)


def test_refusals_do_not_say_what_a_hospital_has():
    """They reach the server, which could set limits so low that every hospital would name its largest number."""
    quantiser = quantiser_of(max_update=1e-30, max_weight=1e-30)
    told = set()
    for values, weight in (([0.25], 1e-30), ([0.75], 1e-30), ([0.0], 303.0), ([0.0], 47.0)):
        with pytest.raises(UpdateError) as refused:
            quantiser.residues(np.array(values), weight)
        told.add(str(refused.value))
    assert len(told) == 2


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_])
def test_numbers_of_any_type_and_a_start_to_subtract(dtype):
    values = np.array([1, 0, 1], dtype)
    quantiser = quantiser_of(1, 2.0, 1.0)
    sums, weight = quantiser.sums(quantiser.residues(values, 1.0, np.array([0, 1, -1], np.float32)))
    np.testing.assert_allclose(sums, [1.0, -1.0, 2.0], atol=1e-9)
    assert weight == 1.0
    assert quantiser.residues(np.zeros(0, dtype), 0.0).tolist() == [0]


def test_arrays_are_laid_end_to_end_and_taken_apart_again():
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.float64(7.0).reshape(()), "c": np.zeros(0)}
    flat = flattened(arrays)
    assert flat.tolist() == [0, 1, 2, 3, 4, 5, 7]
    again = split_like(flat, arrays)
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
    assert flattened({}).shape == (0,)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.array([None]), np.array(["2020"], "M8[D]")])
def test_what_is_no_real_number_is_refused(array):
    with pytest.raises(UpdateError, match=r"parameter weight has dtype .*, which must be a real number type"):
        flattened({"weight": array})


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_order_of_hospitals_does_not_change_a_bit(data):
    quantiser = quantiser_of(5)
    rows = [
        quantiser.residues(np.array(data.draw(st.lists(st.floats(-1, 1), min_size=3, max_size=3))), 0.7)
        for _ in range(5)
    ]
    assume(len({row.tobytes() for row in rows}) > 1)
    there, back = np.zeros(4, np.uint32), np.zeros(4, np.uint32)
    for row in rows:
        there += row
    for row in data.draw(st.permutations(rows)):
        back += row
    assert there.tobytes() == back.tobytes()


@given(
    values=arrays(np.float32, 20, elements=st.floats(width=32)),
    before=arrays(np.float32, 20, elements=st.floats(width=32)),
    bound=st.floats(1e-30, 1e30),
)
def test_what_is_held_to_the_bound_is_always_taken(values: np.ndarray, before: np.ndarray, bound: float) -> None:
    """Whatever a site's update is, infinite and no number included; what was within the bound stays as it is."""
    held, num_beyond = saturated(values, bound, before)
    Quantiser(num_members=3, max_update=bound, max_weight=2.0).residues(held, 2.0)
    with np.errstate(invalid="ignore", over="ignore"):
        moved = values.astype(np.float64) - before
        within = np.abs(moved) <= bound
    np.testing.assert_array_equal(held[within], moved[within])
    assert num_beyond == np.count_nonzero(~within)


def test_a_mean_beyond_the_bound_is_refused_and_one_within_rounding_is_the_bound():
    quantiser = Quantiser(num_members=4, max_update=2.0, max_weight=8.0)
    vectors = [quantiser.residues(np.array([2.0, -2.0, 0.5]), weight) for weight in (8.0, 3.0, 0.001, 1.0)]
    total = np.sum(vectors, axis=0, dtype=np.uint32)
    mean, weight = quantiser.mean(total, 4)
    np.testing.assert_allclose(mean, [2.0, -2.0, 0.5], atol=1e-6)
    assert np.abs(mean).max() <= 2.0 and abs(weight - 12.001) < 1e-6
    shifted = total.copy()
    shifted[0] += np.uint32(quantiser.levels // 8)
    with pytest.raises(UpdateError, match=r"a coordinate of the mean is 2\.1.* and must be <= max-update = 2"):
        quantiser.mean(shifted, 4)
    # As many weights as there are hospitals, not as there are members.
    with pytest.raises(UpdateError, match=r"add up to 12\.0.*, and must to 0 to 8 for 1 hospitals"):
        quantiser.mean(total, 1)
    with pytest.raises(CohortError, match="sum to 0"):
        quantiser.mean(total * np.uint32(0), 4)


AROUND_THE_CIRCLE = st.sampled_from([0, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 1])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([1, 2, 7, 1000, 65_536]),
    st.sampled_from([1e-30, 1.0, 5000.0, 1e30]),
    st.floats(0.01, 1.0),
    st.lists(AROUND_THE_CIRCLE | st.integers(0, 2**32 - 1), min_size=3, max_size=3),
    st.lists(st.integers(-3, 3), min_size=3, max_size=3),
)
def test_whatever_a_member_adds_takes_no_two_sums_apart_that_get_their_noise_afterwards(
    num_members, largest, share, places, apart
):
    """Nor is any refused: where the circle was cut open, and at the bound, one step more was another outcome."""
    quantiser = quantiser_of(num_members, largest, 3.0, is_folded=True)
    weight = 3.0 * num_members * share
    step = largest * 3.0 / quantiser.levels
    sums, means = [], []
    for move in (0, 1):
        total = np.array([*(p + move * a for p, a in zip(places, apart, strict=True)), 0]) % 2**32
        sums.append(quantiser.sums(total.astype(np.uint32))[0])
        means.append(quantiser.mean_of(sums[-1].copy(), weight, num_members))
        assert np.abs(means[-1]).max() <= largest
    # Double precision keeps a sum of 2^31 steps to a millionth of one.
    most = (np.abs(apart) + 1e-5) * step
    assert (np.abs(sums[1] - sums[0]) <= most).all()
    assert (np.abs(means[1] - means[0]) * weight <= most).all()


@pytest.mark.parametrize("num_members", [1, 3, 1000, 65_536])
def test_a_folded_sum_of_honest_members_is_what_it_is_unfolded(num_members):
    quantiser = quantiser_of(num_members, 8.0, 3.0, is_folded=True)
    residues = quantiser.residues(np.array([8.0, -8.0, 0.5]), 3.0)
    with np.errstate(over="ignore"):
        sums, weight = quantiser.sums(residues * np.uint32(num_members))
    np.testing.assert_allclose(sums, np.array([8.0, -8.0, 0.5]) * num_members * 3.0, rtol=1e-3)
    assert weight == pytest.approx(num_members * 3.0)
    np.testing.assert_allclose(quantiser.mean_of(sums, weight, num_members), [8.0, -8.0, 0.5], rtol=1e-3)
