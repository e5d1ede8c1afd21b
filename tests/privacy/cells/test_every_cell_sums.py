"""Every cell: what comes out of a sum, its noise, and how far neighbours are apart in it, against plain NumPy."""

import math

import numpy as np
import pytest
from made_up import cohort_of, sum_of
from scipy import stats

from wardround.privacy.cells import CELLS, PlannedSum, RoundSum
from wardround.privacy.clipping import COUNT_NAME, clip_update
from wardround.simulations.studies.noise_on_average import draw_average
from wardround.streams import SeededSource

PRIVATE = [cell for cell in CELLS if cell.is_private]
SIZES = [30, 100, 250]
CLIP = 0.5
SHAPES = {"w": (2, 2), "b": (2,)}
every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
every_private_cell = pytest.mark.parametrize("cell", PRIVATE, ids=lambda cell: cell.name)


def arrays_of(seed, scale=1.0):
    generator = np.random.default_rng(seed)
    return {name: scale * generator.normal(size=shape) for name, shape in SHAPES.items()}


def released(cell, assignments, contributions, answered=None, model=None):
    answered = assignments if answered is None else answered
    summed = RoundSum(
        arrays=arrays_of(0) if model is None else model,
        total=sum_of(cell, answered, contributions),
        answered=answered,
        assignments=assignments,
        learning_rate=0.7,
        source=SeededSource(seed=5, job=b""),
        memory=begun(cell),
    )
    return cell.release(summed)


def begun(cell):
    """What the noise of a first round goes on from."""
    return cell.noise_memory({}, round_number=1, attempt=1, rounds_left=6, scales=[1.0, 1.0])


def expected(cell, assignments, contributions, answered):
    """The released model without noise, in plain float64: what a cell's docstring says, in three lines."""
    model = arrays_of(0)
    if not cell.shares_noise:
        total = sum(a.weight for a in answered)
        return {
            name: sum(a.weight * c[name] for a, c in zip(answered, contributions, strict=True)) / total
            for name in model
        }
    if cell.sends_sum:
        batch = sum(a.schedule.expected_batch_size for a in assignments)
        return {name: model[name] - 0.7 * sum(c[name] for c in contributions) / batch for name in model}
    records = [SIZES[assignments.index(a)] for a in answered]
    return {
        name: model[name] + sum(n * c[name] for n, c in zip(records, contributions, strict=True)) / sum(records)
        for name in model
    }


@every_cell
@pytest.mark.parametrize("num_answered", [3, 2, 1])
def test_without_noise_the_release_is_the_plain_computation(cell, num_answered):
    assignments = cohort_of(cell, SIZES, noise_multiplier=0.0)
    contributions = [clip_update(arrays_of(seed), CLIP)[0] for seed in range(1, num_answered + 1)]
    answered = assignments[:num_answered]
    result = released(cell, assignments, contributions, answered)
    wanted = expected(cell, assignments, contributions, answered)
    # Integers are as coarse as the noise allows: a step of the rounding is a 2^-17th of the clip or finer.
    slack = 2**-14 if cell.needs_secure_sum else 1e-9
    for name, array in wanted.items():
        np.testing.assert_allclose(result.arrays[name], array, rtol=0, atol=slack)
    assert result.quantile is None
    assert bool(result.memory) == bool(begun(cell))


@every_cell
def test_a_release_keeps_the_models_types(cell):
    assignments = cohort_of(cell, SIZES, noise_multiplier=1.0 if cell.is_private else 0.0)
    model = {name: array.astype(np.float32) for name, array in arrays_of(0).items()}
    result = released(cell, assignments, [arrays_of(k, 0.01) for k in (1, 2, 3)], model=model)
    assert {name: (array.dtype, array.shape) for name, array in result.arrays.items()} == {
        name: (array.dtype, array.shape) for name, array in model.items()
    }


# Noise that goes on from earlier rounds has other rows than the first (`tests/server/round/test_correlated_noise.py`).
@pytest.mark.parametrize("cell", [cell for cell in PRIVATE if not begun(cell)], ids=lambda cell: cell.name)
def test_the_noise_really_on_the_average_has_the_billed_scale_and_no_other(cell):
    """Drawn with the code that hospitals and server run, from contributions of zero."""
    num_hospitals, noise_multiplier = 4, 2.0
    drawn = draw_average(
        cell.unit,
        cell.placement,
        num_hospitals,
        noise_multiplier=noise_multiplier,
        microbatch_size=3 if cell.clips_groups else 1,
    )
    stddev = cell.stddev_on_average(
        [noise_multiplier * cell.sensitivity(1.0)] * num_hospitals,
        [100] * num_hospitals,
        [1.0] * num_hospitals,
        most_records=100,
        num_shares=num_hospitals,
    )
    # Of gradient sums the average is over hospitals here, each of whom expects a batch of one.
    assert stats.kstest(drawn / stddev, "norm").pvalue > 1e-3
    for wrong in (2 / 3, 3 / 2):
        assert stats.kstest(drawn / (stddev * wrong), "norm").pvalue < 1e-6


@every_private_cell
def test_neighbours_are_as_far_apart_as_the_sensitivity_says(cell):
    """The worst neighbours there are: a whole clip and nothing, or two clips that point apart."""
    shortest = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    direction = {"w": np.full((2, 2), 9.0), "b": np.zeros(2)}
    one = clip_update(direction, CLIP)[0]
    other = clip_update({name: -array for name, array in direction.items()}, CLIP)[0]
    neighbour = other if cell.relation.startswith("replace") or cell.clips_groups else shortest
    distance = math.sqrt(sum(((one[name] - neighbour[name]) ** 2).sum() for name in SHAPES))
    assert distance == pytest.approx(cell.sensitivity(CLIP), rel=1e-5) and distance <= cell.sensitivity(CLIP)


@pytest.mark.parametrize("cell", [cell for cell in PRIVATE if cell.shares_noise], ids=lambda cell: cell.name)
@pytest.mark.parametrize("num_answered", [3, 2])
def test_zeroing_one_out_moves_the_released_sum_by_what_its_noise_is_relative_to(cell, num_answered):
    quiet = cohort_of(cell, SIZES, noise_multiplier=0.0)
    answered = quiet[:num_answered]
    zeros = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    one = clip_update({"w": np.full((2, 2), 9.0), "b": np.zeros(2)}, CLIP)[0]
    # A group without one of its records may point anywhere, else nothing is left.
    without = {name: -array for name, array in one.items()} if cell.clips_groups else zeros
    moves = []
    for k in range(num_answered):
        contributions = [one if index == k else zeros for index in range(num_answered)]
        model = released(cell, quiet, contributions, answered).arrays
        contributions[k] = without
        base = released(cell, quiet, contributions, answered).arrays
        moves.append(math.sqrt(sum(((model[name] - base[name]) ** 2).sum() for name in SHAPES)))
    factor = 0.7 / sum(a.schedule.expected_batch_size for a in quiet) if cell.sends_sum else None
    shares = [cell.share(a) for a in answered]
    factor = 1 / math.fsum(shares) if factor is None else factor
    relative_to = cell.sensitivity(CLIP) * (max(shares) if not cell.needs_secure_sum else 1.0)
    assert max(moves) <= factor * relative_to * (1 + 1e-4)
    assert max(moves) == pytest.approx(factor * cell.sensitivity(CLIP) * max(shares), rel=1e-3)


@pytest.mark.parametrize("cell", [cell for cell in PRIVATE if cell.adapts_clip], ids=lambda cell: cell.name)
def test_a_count_is_read_with_a_fixed_denominator(cell):
    assignments = cohort_of(cell, [100] * 4, noise_multiplier=0.0, adaptive_clipping=True)
    zeros = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    within, beyond = (zeros | {COUNT_NAME: np.asarray(sign * CLIP / 3)} for sign in (1, -1))
    result = released(cell, assignments, [within, within, within, beyond])
    assert result.quantile == pytest.approx(0.75, abs=1e-3) and COUNT_NAME not in result.arrays
    # Two of four answer, both within: 1/2 + (1/2 + 1/2) / 4, not 1.
    result = released(cell, assignments, [within, within], assignments[:2])
    assert result.quantile == pytest.approx(0.75, abs=1e-3)


@every_cell
def test_another_sum_has_independent_noise_and_the_same_sum_the_same(cell):
    assignments = cohort_of(cell, SIZES, noise_multiplier=1.0 if cell.is_private else 0.0)
    contributions = [arrays_of(k, 0.01) for k in (1, 2, 3)]
    one, again = (released(cell, assignments, contributions).arrays for _ in range(2))
    assert all((one[name] == again[name]).all() for name in SHAPES)
    moved = [*contributions[:2], {name: array + 1e-3 for name, array in contributions[2].items()}]
    other = released(cell, assignments, moved).arrays
    change = np.concatenate([(other[name] - one[name]).reshape(-1) for name in SHAPES])
    # Without noise of the server's own, all coordinates move by the same.
    assert (np.ptp(change) > 1e-3) == (cell.placement == "central")


@every_cell
def test_weights_of_a_cohort_add_up_and_follow_the_records_or_nothing(cell):
    weights = [cell.cohort_weight(size, sum(SIZES), len(SIZES)) for size in SIZES]
    assert math.fsum(weights) == pytest.approx(1.0)
    vectors = [cell.vector_weight(size) for size in SIZES]
    assert [v / sum(vectors) for v in vectors] == pytest.approx(weights)
    assert all(0 < cell.contribution(size, max(SIZES)) <= 1 for size in SIZES)


@every_cell
def test_only_rounding_before_the_noise_is_covered_by_it(cell):
    in_clear = PlannedSum(sensitivity=CLIP, num_records=SIZES, most_records=250, dimension=1000, levels=None, bound=1.0)
    plain = cell.rounding_distance(in_clear)
    masked = cell.rounding_distance(in_clear._replace(levels=1000))
    assert (masked > plain > 0) if cell.placement == "central" else (masked == plain == 0)
