"""From the sum to what the strategy sees: the right mean, and the noise that was billed, sized by who answered."""

import math

import numpy as np
import pytest
from made_up import changed_assignment, flat_assignment
from scipy.stats import kstest
from small_runs import CommonStreams

from wardround.clients.cells import torch_half
from wardround.clients.residues import noisy_residues
from wardround.errors import UpdateError
from wardround.exact_sums import FixedSum, accumulate
from wardround.privacy.cells import RoundSum, cell_in_words, cell_named
from wardround.privacy.clipping import COUNT_NAME, centred_count
from wardround.streams import SeededSource

SHAPES = {"w": (300, 60), "b": (7,), "temperature": ()}
SIZE = 300 * 60 + 7 + 1
CLIP, NOISE = 0.5, 1.5


def cohort(unit, placement, sizes, *, adaptive=False, num_shares=None, scaled_norm=20_000.0):
    skellam = {}
    if placement == "distributed":
        dimension = SIZE + adaptive
        skellam = {"scaled_norm": scaled_norm, "num_shares": num_shares or len(sizes), "dimension": dimension}
    gradient = unit == "record" and placement != "local"
    return [
        flat_assignment(
            hospital_id=f"hospital-{index:03d}",
            round_number=1,
            sample_rate=0.5,
            expected_batch_size=0.5 * size,
            num_steps=1,
            noise_multiplier=NOISE,
            max_grad_norm=CLIP,
            weight=1 / len(sizes) if gradient else size / sum(sizes),
            unit=unit,
            placement=placement,
            sensitivity=cell_in_words(unit, placement).sensitivity(CLIP, adaptive_clipping=adaptive),
            contribution=size / max(sizes) if (unit, placement) == ("hospital", "distributed") else 1.0,
            adaptive_clipping=adaptive,
            **skellam,
        )
        for index, size in enumerate(sizes)
    ]


def zeros(dtype=np.float32):
    return {name: np.zeros(shape, dtype) for name, shape in SHAPES.items()}


def flat(arrays):
    return np.concatenate([np.asarray(array, float).reshape(-1) for array in arrays.values()])


def summed(tasks, updates):
    """What reaches the server of these hospitals, noise of their own included."""
    total: FixedSum = {}
    for index, (task, update) in enumerate(zip(tasks, updates, strict=True)):
        key, half = CommonStreams(index).key(), torch_half(task.event.cell)
        if not cell_named(task.event.cell).clips_records:
            before = zeros()
            after = {name: (before[name] + update[name]).astype(np.float32) for name in SHAPES}
            arrays, *_ = half.release(before, after, task, key)
        elif cell_named(task.event.cell).needs_secure_sum:
            steps = np.rint(flat(update) * task.event.scaled_norm / CLIP).astype(np.int64)
            arrays, _ = noisy_residues(steps, update, task, key)
        else:
            arrays = update
        cell_named(task.event.cell).add(total, arrays, task)
    return total


def released(tasks, updates=None, answered=None, *, learning_rate=1.0, model=None, total=None, seed=99):
    answered = tasks if answered is None else answered
    updates = [zeros() for _ in answered] if updates is None else updates
    made_of = RoundSum(
        arrays=zeros() if model is None else model,
        total=summed(answered, updates) if total is None else total,
        answered=answered,
        assignments=tasks,
        learning_rate=learning_rate,
        source=SeededSource(seed=seed, job=b""),
    )
    return cell_named(tasks[0].event.cell).release(made_of)


def expected_stddev(unit, placement, sizes, num_shares):
    """Of what is added to the model: notes of the theory, z C / n and 2 z C / sqrt(n) with equal sizes."""
    if unit == "record":
        batch = 0.5 * sum(sizes)
        surplus = len(sizes) / num_shares if placement == "distributed" else 1.0
        return NOISE * CLIP * math.sqrt(surplus) / batch
    if placement == "local":
        return NOISE * 2 * CLIP * math.hypot(*sizes) / sum(sizes)
    surplus = len(sizes) / num_shares if placement == "distributed" else 1.0
    return NOISE * CLIP * math.sqrt(surplus) * max(sizes) / sum(sizes)


CELLS = [
    ("record", "distributed"),
    ("record", "central"),
    ("hospital", "local"),
    ("hospital", "distributed"),
    ("hospital", "central"),
]


@pytest.mark.parametrize("sizes", [[100] * 4, [30, 100, 250]])
@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_the_noise_on_the_average_is_what_was_billed_and_of_no_other_scale(unit, placement, sizes):
    values = flat(released(cohort(unit, placement, sizes)).arrays)
    stddev = expected_stddev(unit, placement, sizes, len(sizes))
    assert kstest(values, "norm", args=(0, stddev)).pvalue > 0.01
    for wrong in (2 / 3, 3 / 2):
        assert kstest(values, "norm", args=(0, stddev * wrong)).pvalue < 1e-6


@pytest.mark.parametrize("n", [4, 10, 20, 100])
def test_noise_on_the_average_falls_with_n_where_it_is_shared_and_with_its_root_where_it_is_local(n):
    theory = {
        ("hospital", "local"): 2 * NOISE * CLIP / math.sqrt(n),
        ("hospital", "distributed"): NOISE * CLIP / n,
        ("hospital", "central"): NOISE * CLIP / n,
        ("record", "distributed"): NOISE * CLIP / (n * 50),
        ("record", "central"): NOISE * CLIP / (n * 50),
    }
    for (unit, placement), stddev in theory.items():
        values = flat(released(cohort(unit, placement, [100] * n)).arrays)
        # 18,008 coordinates: the standard error of a stddev is half a percent.
        assert values.std() == pytest.approx(stddev, rel=0.03), (unit, placement)


def test_fewer_shares_than_replies_make_more_noise_than_billed():
    values = flat(released(cohort("hospital", "distributed", [100] * 9, num_shares=4)).arrays)
    assert values.std() == pytest.approx(NOISE * CLIP / 9 * math.sqrt(9 / 4), rel=0.03)


@pytest.mark.parametrize("n", [10])
def test_dp_sgd_at_the_hospital_follows_the_root_of_n(n):
    # Each hospital's own noise on its mean gradient, z C / B, is averaged with equal weights.
    generator = np.random.default_rng(0)
    updates = [{k: generator.normal(size=s) * NOISE * CLIP / 50 for k, s in SHAPES.items()} for _ in range(n)]
    values = flat(released(cohort("record", "local", [100] * n), updates).arrays)
    assert values.std() == pytest.approx(NOISE * CLIP / (50 * math.sqrt(n)), rel=0.03)


@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_without_noise_it_is_the_weighted_mean_or_the_gradient_step(unit, placement):
    sizes = [30, 100, 250]
    tasks = [changed_assignment(task, noise_multiplier=0.0) for task in cohort(unit, placement, sizes)]
    generator = np.random.default_rng(5)
    updates = [{name: generator.normal(size=shape) * 1e-3 for name, shape in SHAPES.items()} for _ in sizes]
    model = {name: np.full(shape, 0.25, np.float32) for name, shape in SHAPES.items()}
    if (unit, placement) == ("hospital", "local"):
        model = zeros()  # whole parameters are averaged, and the updates above are relative to zero
    for missing in (None, 1):
        answered = [task for index, task in enumerate(tasks) if index != missing]
        kept = [update for index, update in enumerate(updates) if index != missing]
        values = flat(released(tasks, kept, answered, learning_rate=0.7, model=model).arrays)
        if unit == "record":
            wanted = flat(model) - 0.7 * sum(flat(update) for update in kept) / (0.5 * sum(sizes))
        else:
            shares = np.array([task.weight for task in answered])
            wanted = flat(model) + sum(s * flat(u) for s, u in zip(shares, kept, strict=True)) / shares.sum()
        # Every hospital's rounding moves a coordinate of the sum by less than a step.
        steps = len(answered) / sum(task.contribution for task in answered)
        atol = 1e-7 + (CLIP / 20_000 * steps if placement == "distributed" else 0.0)
        if (unit, placement) == ("record", "distributed"):
            atol = 0.7 * 3 * CLIP / 20_000 / (0.5 * sum(sizes)) + 3e-8
        np.testing.assert_allclose(values, wanted, atol=atol)


def test_central_noise_at_hospital_level_is_sized_by_the_largest_weight_of_those_who_answered():
    tasks = cohort("hospital", "central", [30, 100, 250])
    for answered in (tasks, tasks[:2], tasks[:1]):
        weights = [task.weight for task in answered]
        assert cell_named("hospital-central").noise_stddev(answered) == pytest.approx(NOISE * CLIP * max(weights))
        values = flat(released(tasks, None, answered).arrays)
        assert values.std() == pytest.approx(NOISE * CLIP * max(weights) / sum(weights), rel=0.03)


@pytest.mark.parametrize("placement", ["central", "distributed"])
def test_zeroing_a_hospital_out_moves_the_sum_by_at_most_the_billed_sensitivity(placement):
    tasks = [changed_assignment(t, noise_multiplier=0.0) for t in cohort("hospital", placement, [30, 100, 250])]
    generator = np.random.default_rng(5)
    updates = [{name: generator.normal(size=shape) for name, shape in SHAPES.items()} for _ in tasks]
    whole = flat(released(tasks, updates).arrays)
    noisy = [changed_assignment(task, noise_multiplier=NOISE) for task in tasks]
    stddev = expected_stddev("hospital", placement, [30, 100, 250], 3)
    assert placement == "distributed" or cell_named("hospital-central").noise_stddev(noisy) / sum(
        t.weight for t in noisy
    ) == pytest.approx(stddev)
    for out in range(3):
        without = flat(released(tasks, [zeros() if k == out else u for k, u in enumerate(updates)]).arrays)
        assert np.linalg.norm(whole - without) <= stddev / NOISE * 1.01


@pytest.mark.parametrize("placement", ["central", "distributed"])
def test_the_count_is_read_with_a_fixed_denominator(placement):
    tasks = cohort("hospital", placement, [100] * 4, adaptive=True)
    tasks = [changed_assignment(task, noise_multiplier=0.0) for task in tasks]
    long = {name: np.ones(shape) for name, shape in SHAPES.items()}
    result = released(tasks, [zeros(), zeros(), zeros(), long])
    assert result.quantile == pytest.approx(0.75, abs=1e-3)
    assert COUNT_NAME not in result.arrays
    # Two of four answer, both within: 1/2 + (1/2 + 1/2) / 4, not 1.
    assert released(tasks, [zeros(), zeros()], tasks[:2]).quantile == pytest.approx(0.75, abs=1e-3)


def test_the_counts_noise_is_its_own_share_of_the_bill():
    tasks = cohort("hospital", "central", [100] * 2, adaptive=True)
    counts = []
    for seed in range(2000):
        total: FixedSum = {}
        for task in tasks:
            count = {COUNT_NAME: centred_count(within=True, max_norm=CLIP)}
            accumulate(total, {"w": np.zeros(2)} | count, task.weight)
        result = released(tasks, model={"w": np.zeros(2)}, total=total, seed=seed)
        counts.append(result.arrays["w"][0])
    assert np.std(counts) == pytest.approx(NOISE * tasks[0].sensitivity / 2, rel=0.06)


def test_a_sum_of_other_names_or_shapes_is_refused():
    tasks = cohort("hospital", "distributed", [100] * 2)
    total = summed(tasks, [zeros(), zeros()])
    total["other"] = total.pop("b")
    with pytest.raises(UpdateError, match="parameter b is missing"):
        released(tasks, total=total)
