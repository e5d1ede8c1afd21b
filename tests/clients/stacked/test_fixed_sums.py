"""Sums of several hospitals' arrays, made where they are, have the bits of one addition after the other."""

import numpy as np
import pytest
import torch

from wardround.clients.stacked.fixed_sums import add_weighted
from wardround.errors import UpdateError
from wardround.exact_sums import LARGEST_VALUE, accumulate

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda])]
SHAPES = {"weight": (3, 5), "bias": (4,), "scale": (), "wide": (70_001,), "nothing": (0, 2)}
WEIGHTS = [0.11, 1e-7, 0.3, 0.25, 1 / 3]


def sent(dtype, *, scale=1.0, num_hospitals=5):
    generator = np.random.default_rng(4)
    shapes = SHAPES.items()
    return {name: (generator.normal(size=(num_hospitals, *shape)) * scale).astype(dtype) for name, shape in shapes}


def one_by_one(arrays, weights, places, total=None):
    total = {} if total is None else total
    for place in places:
        accumulate(total, {name: array[place] for name, array in arrays.items()}, weights[place])
    return total


def together(arrays, weights, total, device="cpu"):
    rows = [torch.from_numpy(array.copy()).to(device) for array in arrays.values()]
    return add_weighted(total, list(arrays), rows, weights)


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sum_has_the_bits_of_one_hospital_after_the_other(dtype, scale, device):
    arrays, totals = sent(dtype, scale=scale), [{}, {}]
    for weights in (WEIGHTS, WEIGHTS[::-1]):  # into a total that is there already, too
        assert together(arrays, weights, totals[0], device) == [True] * 5
        one_by_one(arrays, weights, range(5), totals[1])
        assert same(*totals)
    assert all(array.shape == SHAPES[name] and array.dtype == np.int64 for name, array in totals[0].items())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, LARGEST_VALUE, -LARGEST_VALUE])
def test_whose_value_is_not_finite_or_too_large_is_left_out_and_nobody_else(value, device):
    arrays, total = sent(np.float32), {}
    arrays["weight"][2, 1, 4] = value
    assert together(arrays, WEIGHTS, total, device) == [True, True, False, True, True]
    assert same(total, one_by_one(arrays, WEIGHTS, [0, 1, 3, 4]))
    with pytest.raises(UpdateError, match="weight"):
        one_by_one(arrays, WEIGHTS, [2])


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.5, np.nan])
def test_a_weight_that_is_no_share_is_left_out(weight):
    arrays, total = sent(np.float32), {}
    weights = [weight, *WEIGHTS[1:]]
    assert together(arrays, weights, total) == [False, True, True, True, True]
    assert same(total, one_by_one(arrays, weights, range(1, 5)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_summed_stays_as_it_is(dtype):
    arrays = sent(dtype)
    rows = [torch.from_numpy(array.copy()) for array in arrays.values()]
    add_weighted({}, list(arrays), rows, WEIGHTS)
    assert all(np.array_equal(row.numpy(), array) for row, array in zip(rows, arrays.values(), strict=True))


def test_of_nobody_there_is_no_sum():
    arrays, total = sent(np.float32, num_hospitals=2), {}
    arrays["bias"][:] = np.nan
    assert together(arrays, WEIGHTS[:2], total) == [False, False]
    assert total == {}
