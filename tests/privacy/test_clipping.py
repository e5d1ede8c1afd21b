"""A hospital's update is clipped as a whole, whatever is in it; the clip follows the quantile it is told to."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from wardround.privacy.clipping import (
    COUNT_NAME,
    JOINT_NORM,
    centred_count,
    clip_factors,
    clip_update,
    next_clip,
    quantile_of,
)


def norm(update):
    return math.sqrt(sum(float((array.astype(float) ** 2).sum()) for array in update.values()))


@settings(max_examples=60, deadline=None)
@given(seed=some.integers(0, 2**32), scale=some.floats(1e-6, 1e6), max_norm=some.floats(1e-3, 1e3))
def test_the_norm_over_all_parameters_is_bounded_even_after_float32(seed, scale, max_norm):
    drawn = np.random.default_rng(seed)
    update = {"w": drawn.normal(size=(3, 4)) * scale, "b": drawn.normal(size=2) * scale, "t": drawn.normal() * scale}
    clipped, within, finite = clip_update(update, max_norm)
    assert finite and within == (norm({k: np.asarray(v) for k, v in update.items()}) <= max_norm)
    assert norm({name: array.astype(np.float32) for name, array in clipped.items()}) <= max_norm * (1 + 1e-7)
    assert {name: array.shape for name, array in clipped.items()} == {"w": (3, 4), "b": (2,), "t": ()}
    if within:
        for name, array in clipped.items():
            np.testing.assert_allclose(array, update[name], rtol=2e-6)


@pytest.mark.parametrize("max_norm", [0.4, 1.0, 3e-7, 1e5])
def test_a_large_float32_update_is_shortened_where_it_is_and_stays_within_the_clip(max_norm):
    drawn = np.random.default_rng(1)
    update = {"w": drawn.normal(size=(400, 500)).astype(np.float32), "b": drawn.normal(size=70_001).astype(np.float32)}
    clipped, within, finite = clip_update(update, max_norm)
    assert finite and within == (max_norm > 1e3)
    assert all(clipped[name] is update[name] and clipped[name].dtype == np.float32 for name in update)
    exact = math.sqrt(math.fsum(value * value for array in clipped.values() for value in array.ravel().tolist()))
    assert exact <= max_norm
    assert within or exact == pytest.approx(max_norm, rel=2e-6)


@pytest.mark.parametrize("max_norm", [1e-30, 2.2e-7, 1e-3, 1.0])
@pytest.mark.parametrize(("size", "value"), [(1, 3e38), (3, 1.7e38), (100_000, 3e38)])
def test_an_update_at_the_end_of_float32_stays_within_the_smallest_clips(size, value, max_norm):
    clipped, within, finite = clip_update({"w": np.full(size, value, np.float32)}, max_norm)
    exact = math.sqrt(math.fsum(number * number for number in clipped["w"].tolist()))
    assert finite and not within and exact <= max_norm
    assert exact == pytest.approx(max_norm, rel=2e-6, abs=math.sqrt(size) * 2.0**-150)


def test_a_zero_update_stays_zero():
    clipped, within, finite = clip_update({"w": np.zeros(3), "t": np.zeros(())}, 1.0)
    assert (norm(clipped), within, finite) == (0.0, True, True)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_update_that_is_not_finite_becomes_the_zero_update(bad):
    clipped, within, finite = clip_update({"w": np.array([1.0, bad]), "t": np.array(2.0)}, 1.0)
    assert (norm(clipped), within, finite) == (0.0, True, False)


def test_huge_updates_have_an_infinite_norm_and_are_still_clipped():
    clipped, within, finite = clip_update({"w": np.array([1e300, 1e300])}, 1.0)
    assert finite and not within and norm(clipped) <= 1.0


def test_the_count_costs_a_tenth_of_the_divergence():
    # Zeroing a hospital out moves the update by at most one clip and the count by half a step.
    moved = float(centred_count(within=True, max_norm=3.0))
    assert moved == -float(centred_count(within=False, max_norm=3.0))
    assert math.hypot(3.0, moved) == pytest.approx(3.0 * JOINT_NORM)
    assert moved**2 / (3.0 * JOINT_NORM) ** 2 == pytest.approx(0.1)
    # Andrew et al. 2021, theorem 1: update noise z_d, count noise s_b and the joint z have z^-2 = z_d^-2 + (2 s_b)^-2.
    z = 1.7
    update_noise = z * JOINT_NORM
    count_noise = z * JOINT_NORM * 3.0 * 0.5 / moved
    assert z**-2 == pytest.approx(update_noise**-2 + (2 * count_noise) ** -2)
    assert COUNT_NAME not in clip_update({"w": np.zeros(1)}, 1.0)[0]


def test_the_quantile_is_read_back_and_kept_in_range():
    counts = [float(centred_count(within=within, max_norm=2.0)) for within in (True, True, True, False)]
    assert quantile_of(sum(counts) / 4, 2.0) == pytest.approx(0.75)
    assert (quantile_of(50.0, 2.0), quantile_of(-50.0, 2.0)) == (1.0, 0.0)


def test_the_clip_finds_the_quantile_of_the_norms():
    norms = np.random.default_rng(0).lognormal(size=2001)
    clip = 20.0
    for _ in range(400):
        clip = next_clip(clip, float((norms <= clip).mean()), 0.7, 0.2)
    assert clip == pytest.approx(np.quantile(norms, 0.7), rel=0.01)


@settings(max_examples=60, deadline=None)
@given(seed=some.integers(0, 2**32), scale=some.floats(1e-30, 1e30), max_norm=some.floats(1e-6, 1e6))
def test_factors_of_several_updates_clip_each_as_it_would_be_by_itself(seed, scale, max_norm):
    updates = (np.random.default_rng(seed).normal(size=(4, 30)) * scale * np.logspace(-3, 3, 4)[:, None]).astype("f4")
    norms = np.linalg.norm(updates.astype(float), axis=1)
    factors, is_finite = clip_factors(norms, np.full(4, max_norm))
    assert is_finite.all()
    shortened = (updates.astype(float) * factors[:, None]).astype(np.float32)
    assert (np.linalg.norm(shortened.astype(float), axis=1) <= max_norm).all()
    for row, update in zip(shortened, updates, strict=True):
        alone, _, _ = clip_update({"w": update.copy()}, max_norm)
        np.testing.assert_allclose(row, alone["w"], rtol=3e-7, atol=1e-44)


def test_the_factor_of_an_update_that_is_not_finite_is_zero():
    factors, is_finite = clip_factors(np.array([np.nan, np.inf, 0.0, 2.0]), np.ones(4))
    assert factors.tolist()[:3] == [0.0, 0.0, 1.0] and 0.49 < factors[3] < 0.5
    assert is_finite.tolist() == [False, False, True, True]
