"""What a hospital sends for its update: bounded, with the noise that is billed, and defined for odd updates."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from made_up import flat_assignment
from scipy.stats import chisquare, kstest, skellam
from small_runs import CommonStreams

from wardround.clients.cells import torch_half
from wardround.privacy.cells import cell_in_words
from wardround.privacy.clipping import COUNT_NAME, JOINT_NORM
from wardround.privacy.integers import from_residues
from wardround.privacy.skellam import norm_bound_squared
from wardround.streams import Draw

SHAPES = {"w": (300, 60), "b": (7,), "temperature": ()}
SIZE = 300 * 60 + 7 + 1


def assignment(placement, *, noise_multiplier=1.5, adaptive=False, **changes):
    values = {
        "hospital_id": "Basel",
        "round_number": 1,
        "sample_rate": 0.2,
        "expected_batch_size": 20.0,
        "num_steps": 7,
        "noise_multiplier": noise_multiplier,
        "max_grad_norm": 0.5,
        "weight": 0.25,
        "unit": "hospital",
        "placement": placement,
        "sensitivity": cell_in_words("hospital", placement).sensitivity(0.5, adaptive_clipping=adaptive),
        "adaptive_clipping": adaptive,
    }
    if placement == "distributed":
        values |= {"scaled_norm": 2000.0, "num_shares": 4, "dimension": SIZE + adaptive}
    return flat_assignment(**(values | changes))


def zeros():
    return {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}


def sent(update, task, seed=1):
    before = {name: np.full(shape, 2.0, np.float32) for name, shape in SHAPES.items()}
    after = {name: (before[name] + update[name]).astype(np.float32) for name in SHAPES}
    return released(before, after, task, seed)


def released(before, after, task, seed):
    """Return what leaves, for which noise multiplier noise was drawn, and whether the update was finite."""
    return torch_half(task.event.cell).release(before, after, task, CommonStreams(seed).key())


def flat(arrays):
    return np.concatenate([np.asarray(array).reshape(-1) for array in arrays.values()])


def random_update(seed, scale):
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=shape) * scale for name, shape in SHAPES.items()}


def test_local_noise_is_that_of_twice_the_clip_and_of_no_other_scale():
    arrays, noise_multiplier, _ = sent(zeros(), assignment("local"))
    values = flat(arrays) - 2.0
    stddev = 1.5 * 2 * 0.5
    assert kstest(values, "norm", args=(0, stddev)).pvalue > 0.01
    for wrong in (2 / 3, 3 / 2):
        assert kstest(values, "norm", args=(0, stddev * wrong)).pvalue < 1e-6
    assert noise_multiplier == pytest.approx(1.5)
    assert {name: (array.shape, str(array.dtype)) for name, array in arrays.items()} == {
        name: (shape, "float32") for name, shape in SHAPES.items()
    }


def test_a_share_of_integer_noise_is_a_quarter_of_the_whole_and_of_no_other_scale():
    arrays, noise_multiplier, _ = sent(zeros(), assignment("distributed"))
    values = from_residues(flat(arrays).astype(np.int64))
    variance = (1.5 * 2000.0) ** 2 / 4
    edges = skellam.ppf(np.linspace(0, 1, 41)[1:-1], variance / 2, variance / 2)
    counted = np.bincount(np.searchsorted(edges, values), minlength=40)
    for factor, accepted in ((1.0, True), (2 / 3, False), (3 / 2, False)):
        wrong = variance * factor**2
        expected = np.diff(np.concatenate([[0.0], skellam.cdf(edges, wrong / 2, wrong / 2), [1.0]])) * len(values)
        pvalue = chisquare(counted, expected).pvalue
        assert pvalue > 0.01 if accepted else pvalue < 1e-6
    assert noise_multiplier == pytest.approx(1.5)
    assert all(array.dtype == np.uint32 for array in arrays.values())


def test_central_updates_carry_no_noise():
    arrays, noise_multiplier, _ = sent(random_update(3, 1e-4), assignment("central"))
    np.testing.assert_allclose(flat(arrays), flat(random_update(3, 1e-4)), atol=3e-7)
    assert noise_multiplier is None


@settings(max_examples=25, deadline=None)
@given(seed=some.integers(0, 2**31), scales=some.tuples(some.floats(1e-4, 10), some.floats(1e-4, 10)))
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("placement", ["local", "distributed", "central"])
def test_two_updates_are_never_further_apart_than_the_sensitivity(placement, adaptive, seed, scales):
    """Neighbours: any two updates (local); an update and none at all (distributed, central)."""
    if placement == "local" and adaptive:
        return
    task = assignment(placement, noise_multiplier=0.0, adaptive=adaptive)
    first, second = (flat(sent(random_update(seed + k, scales[k]), task)[0]) for k in (0, 1))
    if placement == "local":
        assert np.linalg.norm(first.astype(float) - second) <= task.sensitivity * (1 + 1e-4)
    elif placement == "central":
        assert np.linalg.norm(first.astype(float)) <= task.sensitivity
    else:
        integers = from_residues(first.astype(np.int64))
        assert (integers**2).sum() <= norm_bound_squared(2000.0, task.event.dimension)


def test_sensitivity_with_the_count_is_that_of_both_together():
    task = assignment("central", adaptive=True)
    assert task.sensitivity == pytest.approx(0.5 * JOINT_NORM)
    long, *_ = sent(random_update(1, 1.0), task)
    short, *_ = sent(zeros(), task)
    assert float(long[COUNT_NAME]) == -float(short[COUNT_NAME]) == pytest.approx(-0.5 * 2 / 3 * 0.5)
    assert np.linalg.norm(flat(long).astype(float)) == pytest.approx(0.5 * math.hypot(1, 1 / 3), rel=1e-5)


@pytest.mark.parametrize("placement", ["local", "distributed", "central"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_update_that_is_not_finite_is_sent_as_a_zero_update_and_counted(placement, bad):
    broken = zeros()
    broken["b"][3] = bad
    task = assignment(placement)
    arrays, _, is_finite = sent(broken, task)
    wanted, _, is_fine = sent(zeros(), task)
    np.testing.assert_array_equal(flat(arrays), flat(wanted))
    assert (is_finite, is_fine) == (False, True)


def test_a_share_scaled_down_stays_within_the_bound_and_keeps_its_direction():
    update = random_update(5, 1.0)
    task = assignment("distributed", noise_multiplier=0.0, contribution=0.25)
    integers = from_residues(flat(sent(update, task)[0]).astype(np.int64))
    wanted = flat(update) / np.linalg.norm(flat(update)) * 2000.0 * 0.25
    assert np.abs(integers - wanted).max() < 1.001


def test_noise_is_added_before_anything_is_rounded_to_the_steps_of_large_parameters():
    """An update of 0.51 steps in every coordinate would be rounded to one step, and twice the clip be released."""
    step = 2.0**-6
    before = {"w": np.full(16_000, 2.0**52 * step)}
    after = {"w": before["w"] + step * np.where(np.arange(16_000) % 2, 1.0, -1.0)}
    task = assignment("local", max_grad_norm=1.0, sensitivity=1.0)
    arrays, *_ = released(before, after, task, 3)
    noise = 1.5 * CommonStreams(3).drawn(Draw.NOISE).standard_normal(16_000)
    clipped = (after["w"] - before["w"]) / np.linalg.norm(after["w"] - before["w"])
    # Rounded once, what is sent is half a step at most from the sum; rounded twice it is up to a whole one.
    assert np.abs(arrays["w"] - before["w"] - (clipped + noise)).max() <= step / 2 * 1.001
