"""The exact sums: against rational arithmetic, whatever the order and the grouping, and within the stated bound."""

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.errors import UpdateError
from wardround.exact_sums import LARGEST_VALUE, FixedSum, accumulate, check_alike, mean, merge


def draw_updates(seed: int, num: int, scale: float = 3.0, dtype: str = "float32") -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(seed)
    return [
        {"w": (generator.standard_normal((7, 3)) * scale).astype(dtype), "b": np.asarray(generator.normal() * scale)}
        for _ in range(num)
    ]


def shares(seed: int, num: int) -> list[float]:
    sizes = np.random.default_rng(seed + 1).integers(1, 500, num).astype(float)
    return [float(share) for share in sizes / sizes.sum()]


def total_of(updates: list[dict[str, np.ndarray]], weights: list[float]) -> FixedSum:
    total: FixedSum = {}
    for update, weight in zip(updates, weights, strict=True):
        accumulate(total, update, weight)
    return total


def same_bits(left: FixedSum, right: FixedSum) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


@given(seed=st.integers(0, 2**32), num=st.integers(1, 40), exponent=st.integers(-30, 20))
@settings(max_examples=40, deadline=None)
def test_mean_is_within_the_stated_bound_of_rational_arithmetic(seed: int, num: int, exponent: int) -> None:
    updates, weights = draw_updates(seed, num, 2.0**exponent, "float64"), shares(seed, num)
    total_weight = sum(weights)
    result = mean(total_of(updates, weights), total_weight, updates[0])
    exact_weight = sum(map(Fraction, weights))
    largest = max(float(np.abs(array).max()) for update in updates for array in update.values())
    bound = Fraction(num, 2**41) / Fraction(total_weight) + Fraction(largest) / 2**51
    for name in ("w", "b"):
        for place in np.ndindex(updates[0][name].shape):
            products = (
                Fraction(float(update[name][place])) * Fraction(weight)
                for update, weight in zip(updates, weights, strict=True)
            )
            exact = sum(products) / exact_weight
            assert abs(Fraction(float(result[name][place])) - exact) <= bound * Fraction(1001, 1000)


@given(seed=st.integers(0, 2**32), num=st.integers(2, 30), num_workers=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_order_and_grouping_change_no_bit(seed: int, num: int, num_workers: int) -> None:
    updates, weights = draw_updates(seed, num), shares(seed, num)
    straight = total_of(updates, weights)
    order = random.Random(seed).sample(range(num), num)
    partials: list[FixedSum] = [{} for _ in range(num_workers)]
    for place, index in enumerate(order):
        accumulate(partials[place % num_workers], updates[index], weights[index])
    merged: FixedSum = {}
    for partial in partials:
        merge(merged, partial)
    assert same_bits(straight, merged)


def test_float_sums_do_depend_on_the_order() -> None:
    """The reason for all this: what the test above asks for is false for float addition of the same numbers."""
    updates, weights = draw_updates(3, 30), shares(3, 30)
    terms = [update["w"] * np.float32(weight) for update, weight in zip(updates, weights, strict=True)]
    assert not np.array_equal(sum(terms), sum(reversed(terms)))


def test_largest_values_do_not_overflow() -> None:
    just_below = np.nextafter(np.float64(LARGEST_VALUE), 0)
    arrays = {"w": np.array([just_below, -just_below])}
    total: FixedSum = {}
    for _ in range(1000):
        accumulate(total, arrays, 1e-3)
    assert mean(total, 1.0, arrays)["w"] == pytest.approx(arrays["w"], rel=1e-12)


def test_blocks_cover_long_and_strided_arrays() -> None:
    long = np.arange(3 * 65_536 + 17, dtype=np.float32) / 1024
    strided = {"w": long[::2], "f": np.asfortranarray(long[:60_000].reshape(200, 300)), "e": np.zeros((0, 4))}
    total: FixedSum = {}
    accumulate(total, strided, 0.5)
    accumulate(total, strided, 0.5)
    result = mean(total, 1.0, strided)
    assert all(np.array_equal(result[name], strided[name]) for name in strided)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "int32", "uint8", "bool"])
def test_every_dtype_comes_back(dtype: str) -> None:
    arrays = {"scalar": np.asarray(1, dtype), "row": np.array([0, 1, 1], dtype)}
    total: FixedSum = {}
    for weight in (0.25, 0.75):
        accumulate(total, arrays, weight)
    result = mean(total, 1.0, arrays)
    for name, array in arrays.items():
        assert result[name].dtype == array.dtype
        assert result[name].shape == array.shape
        assert np.array_equal(result[name], array)


def test_whole_numbers_are_rounded_to_the_nearest() -> None:
    total: FixedSum = {}
    accumulate(total, {"n": np.array([1, 4])}, 0.5)
    accumulate(total, {"n": np.array([2, 9])}, 0.25)
    assert mean(total, 0.75, {"n": np.array([0, 0])})["n"].tolist() == [1, 6]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w": np.array([1.0, np.nan]), "b": np.zeros(1)}, "parameter w holds nan"),
        ({"w": np.array([1.0, np.inf]), "b": np.zeros(1)}, "parameter w holds inf"),
        ({"w": np.array([1.0, -np.inf]), "b": np.zeros(1)}, "parameter w holds -inf"),
        ({"w": np.array([1.0, -(2.0**22)]), "b": np.zeros(1)}, "parameter w holds -4194304.0"),
        ({"w": np.zeros(2), "b": np.array([2.0**22])}, "parameter b holds 4194304.0"),
        ({"w": np.zeros(2, complex), "b": np.zeros(1)}, "parameter w has dtype complex128"),
        ({"w": np.array(["a", "b"]), "b": np.zeros(1)}, "parameter w has dtype <U1"),
        ({"w": np.zeros(3), "b": np.zeros(1)}, r"parameter w has shape \(3,\), which must be \(2,\)"),
        ({"w": np.zeros(2)}, "parameter b is missing"),
        ({"w": np.zeros(2), "b": np.zeros(1), "c": np.zeros(1)}, "parameter c is not in the model"),
    ],
)
def test_refused_update_leaves_the_total_untouched(arrays: dict[str, np.ndarray], message: str) -> None:
    total: FixedSum = {}
    accumulate(total, {"w": np.ones(2), "b": np.ones(1)}, 0.5)
    with pytest.raises(UpdateError, match=message):
        accumulate(total, arrays, 0.5)
    assert {name: array.tolist() for name, array in total.items()} == {"w": [2**39, 2**39], "b": [2**39]}


@pytest.mark.parametrize("first", [0.0, 0.5])
def test_an_update_that_is_refused_for_its_last_number_leaves_no_trace_of_the_others(first: float) -> None:
    update = {"w": np.random.default_rng(0).normal(size=200_000).astype(np.float32), "b": np.array([np.nan])}
    total: FixedSum = {}
    if first:
        accumulate(total, {"w": np.full(200_000, 7.25), "b": np.ones(1)}, first)
    before = {name: array.copy() for name, array in total.items()}
    with pytest.raises(UpdateError, match="parameter b holds nan"):
        accumulate(total, update, 0.3)
    assert same_bits(total, before)


@pytest.mark.parametrize("exponent", [-30, 0, 9, 10, 11, 12, 20])
def test_numbers_of_every_size_are_rounded_to_the_nearest_and_halves_to_even(exponent: int) -> None:
    weight = 0.75
    drawn = np.random.default_rng(exponent + 100).uniform(-1, 1, 500) * 2.0**exponent
    halves = (np.arange(-20, 20) + 0.5) * 2.0**-40 / weight
    values = np.concatenate([drawn, halves, [0.0, -0.0]])
    total: FixedSum = {}
    accumulate(total, {"w": values}, weight)
    # Python rounds halves to even, and has whole numbers of any size.
    assert total["w"].tolist() == [round(value) for value in (values * (weight * 2.0**40)).tolist()]


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.0000001, float("nan"), float("inf")])
def test_weights_are_shares(weight: float) -> None:
    with pytest.raises(UpdateError, match=r"must be in \(0, 1\]"):
        accumulate({}, {"w": np.ones(2)}, weight)


@pytest.mark.parametrize("total_weight", [0.0, -1.0, 1.01, float("nan")])
def test_mean_needs_the_weight_that_was_added(total_weight: float) -> None:
    with pytest.raises(UpdateError, match="the weights of a sum"):
        mean({"w": np.ones(2, np.int64)}, total_weight, {"w": np.ones(2)})


def test_merge_copies_and_checks() -> None:
    other: FixedSum = {"w": np.ones(2, np.int64)}
    total: FixedSum = {}
    merge(total, other)
    merge(total, other)
    merge(total, {})
    assert total["w"].tolist() == [2, 2]
    assert other["w"].tolist() == [1, 1]
    with pytest.raises(UpdateError, match="parameter w is missing"):
        merge(total, {"v": np.ones(2, np.int64)})
    with pytest.raises(UpdateError, match="has shape"):
        check_alike({"w": np.ones(3)}, total)
