"""Records that are rounded one by one: by coordinates, or by the factors of their gradients where these are large."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wardround.clients.clipped_sums import clipped
from wardround.clients.closed_form.by_record import OuterProducts, clipped_rows, means_by_owner
from wardround.clients.rounded_records import RoundedRecords
from wardround.privacy.skellam import norm_bound_squared

CLIP, STEPS = 0.5, 20_000.0
LARGE, SMALL = (12, 600), (2, 6)


def rounder(dimension, seed=0, steps=STEPS):
    event = SimpleNamespace(scaled_norm=steps, dimension=dimension)
    key = SimpleNamespace(generator=lambda draw: np.random.default_rng(seed))
    return RoundedRecords(
        SimpleNamespace(assignment=SimpleNamespace(event=event, distance=CLIP), clip=CLIP, key=key), dimension
    )


def layer(seed, number, sizes, weight=0, bias=1):
    drawn = torch.Generator().manual_seed(seed)
    outputs, inputs = sizes
    given, gradient = (torch.randn(1, number, size, generator=drawn, dtype=torch.float64) for size in (inputs, outputs))
    return OuterProducts(given, gradient, weight, bias)


def clipping(block):
    norms = torch.stack([part.squared_norms() for part in block]).sum(dim=0).sqrt()
    return (CLIP / norms).clamp(max=1.0)


def dimension_of(block):
    return clipped_rows(block, torch.ones(1, block[0].num_records))[0].shape[1]


BLOCKS = {
    "logistic": [layer(1, 100, LARGE)],
    "mlp": [layer(2, 100, (30, 300)), layer(3, 100, (10, 30), 2, 3)],
    "without bias": [layer(4, 100, LARGE, 0, None)],
    "mlp without bias": [layer(8, 100, (30, 300), 0, None), layer(9, 100, (10, 30), 1, None)],
    "bias first": [layer(5, 100, LARGE, 1, 0)],
    "small": [layer(6, 100, SMALL)],
    "patients": means_by_owner([layer(7, 100, LARGE)], torch.arange(100) // 2),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_sum_is_that_of_the_clipped_gradients_within_the_room_of_rounding(name):
    block = BLOCKS[name]
    summed, factors = rounder(dimension_of(block)), clipping(block)
    summed.add(block, factors)
    wanted = (clipped_rows(block, factors)[0].sum(dim=0) * (STEPS / CLIP)).numpy()
    found = summed.total()
    shorter = found @ wanted / (wanted @ wanted)
    by_factors = name not in ("small", "patients")
    assert (0.96 < shorter < 0.999) if by_factors else abs(shorter - 1) < 1e-4
    # Of every record a few percent in random directions, of all together a few percent of the root of their number.
    assert np.linalg.norm(found - shorter * wanted) < 0.1 * STEPS * 10 * by_factors + 100 * 3


@pytest.mark.parametrize("name", BLOCKS)
def test_every_record_is_a_vector_within_the_norm_that_is_billed(name):
    block = BLOCKS[name]
    dimension, factors = dimension_of(block), clipping(block)
    bound = norm_bound_squared(STEPS, dimension)
    for index in range(20):
        alone = rounder(dimension, seed=index)
        alone.add([part.between(index, index + 1) for part in block], factors[:, index : index + 1])
        squared = int((alone.total() ** 2).sum())
        assert 0.9 * STEPS**2 < squared <= bound
        emptied = rounder(dimension, seed=index)
        emptied.add([part.between(index, index + 1) for part in block], torch.zeros(1, 1))
        assert not emptied.total().any()


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_and_places_that_nobody_has_change_nothing(name):
    block = BLOCKS[name]
    factors, number = clipping(block), block[0].num_records
    whole, parts = rounder(dimension_of(block)), rounder(dimension_of(block))
    whole.add(block, factors)
    drawn = torch.arange(number) % 3 > 0
    kept = drawn.nonzero().squeeze(1)
    sparse = rounder(dimension_of(block))
    sparse.add(block, factors, drawn)
    for start, end in ((0, 1), (1, 40), (40, number)):
        parts.add([part.between(start, end) for part in block], factors[:, start:end])
    np.testing.assert_array_equal(whole.total(), parts.total())
    alone = rounder(dimension_of(block))
    for index in kept.tolist():
        alone.add([part.between(index, index + 1) for part in block], factors[:, index : index + 1])
    np.testing.assert_array_equal(sparse.total(), alone.total())


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "patients"])
@pytest.mark.parametrize("value", [0.0, float("nan"), 3e38])
def test_a_record_of_nothing_or_of_no_number_leaves_the_others_as_they_are(name, value):
    block = [part.between(0, 3) for part in BLOCKS[name]]
    parts = [replace(part, given=part.given.clone(), gradient=part.gradient.clone()) for part in block]
    for part in parts:
        part.given[0, 2] = part.gradient[0, 2] = value
    found, factors, is_lost = clipped(parts, CLIP)
    assert is_lost.tolist() == [[False, False, value != 0]]
    whole, without = rounder(dimension_of(block)), rounder(dimension_of(block))
    whole.add(found, factors)
    without.add([part.between(0, 2) for part in block], clipped(block, CLIP)[1][:, :2])
    # Draws of three records are not those of two: what is left out adds nothing, and the others stay within their norm.
    bound = norm_bound_squared(STEPS, dimension_of(block))
    for summed in (whole.total(), without.total()):
        assert 0 < np.linalg.norm(summed.astype(float)) <= 2 * bound**0.5


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "patients"])
def test_inputs_of_nothing_leave_what_else_a_record_has_within_the_norm(name):
    block = [part.between(0, 1) for part in BLOCKS[name]]
    block[-1] = replace(block[-1], given=torch.zeros_like(block[-1].given))
    found, factors, _ = clipped(block, CLIP)
    alone = rounder(dimension_of(block))
    alone.add(found, factors)
    squared, wanted = (alone.total().astype(float) ** 2).sum(), (clipped_rows(found, factors) ** 2).sum()
    assert squared <= norm_bound_squared(STEPS, dimension_of(block))
    assert squared == pytest.approx(float(wanted) * (STEPS / CLIP) ** 2, rel=0.1)


def test_few_steps_leave_factors_no_room():
    block = BLOCKS["logistic"]
    coarse = rounder(dimension_of(block), steps=30.0)
    coarse.add(block, clipping(block))
    wanted = (clipped_rows(block, clipping(block))[0].sum(dim=0) * (30.0 / CLIP)).numpy()
    assert (
        np.abs(coarse.total() - wanted).max() < 5 * 0.5 * 10 + 1
    )  # every coordinate by itself: within a step a record


def test_nothing_added_is_a_sum_of_zeros():
    assert not rounder(12).total().any()
