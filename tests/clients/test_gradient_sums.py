"""The clipped gradient sum of a Poisson batch: the same in every mode, bounded for every record, rounded one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from made_up import changed_assignment, flat_assignment
from small_runs import CommonStreams
from torch import nn

from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.models import build_model, parameters_of
from wardround.privacy.integers import from_residues
from wardround.privacy.skellam import norm_bound_squared
from wardround.streams import Draw

NUM_RECORDS, NUM_FEATURES, CLIP, STEPS = 40, 6, 0.7, 900.0
DIMENSION = 2 * NUM_FEATURES + 2


def tensors(features, labels, owners=None):
    return HospitalTensors(
        train_features=torch.tensor(features),
        train_labels=torch.tensor(labels),
        test_features=torch.tensor(features[:0]),
        test_labels=torch.tensor(labels[:0]),
        train_owners=None if owners is None else torch.tensor(owners),
    )


def data(seed=0, num_records=NUM_RECORDS):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(num_records, NUM_FEATURES)).astype(np.float32) * 3
    return features, generator.integers(0, 2, num_records)


def trainer(mode="hooks", seed=7, most_floats=2**27):
    built, _ = build_model(ModelConfig(name="logistic"), input_shape=(NUM_FEATURES,), num_outputs=2, seed=1)
    config = TrainingConfig(grad_sample_mode=mode)
    return LocalTrainer(built, config, task="classification", source=CommonStreams(seed), most_floats=most_floats)


def assignment(placement, **changes):
    values = {
        "hospital_id": "north",
        "round_number": 1,
        "sample_rate": 0.4,
        "expected_batch_size": 0.4 * NUM_RECORDS,
        "num_steps": 1,
        "noise_multiplier": 1.5,
        "max_grad_norm": CLIP,
        "weight": 0.5,
        "placement": placement,
        "sensitivity": CLIP,
    }
    if placement == "distributed":
        values |= {"scaled_norm": STEPS, "num_shares": 3, "dimension": DIMENSION, "noise_multiplier": 0.0}
    return flat_assignment(**(values | changes))


def reference(features, labels, task, seed=7):
    """The clipped sum of the drawn batch's gradients of softmax regression, in NumPy."""
    arrays = parameters_of(trainer().model)
    batch = CommonStreams(seed).drawn(Draw.SAMPLING).random(len(labels)) < task.schedule.sample_rate
    logits = features[batch] @ arrays["1.weight"].T.astype(float) + arrays["1.bias"]
    residual = np.exp(logits - logits.max(1, keepdims=True))
    residual = residual / residual.sum(1, keepdims=True) - np.eye(2)[labels[batch]]
    gradients = np.concatenate(
        [np.einsum("no,ni->noi", residual, features[batch]).reshape(batch.sum(), -1), residual], axis=1
    )
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    return (gradients * np.minimum(1, CLIP / (norms + 1e-6))).sum(axis=0)


def flat(arrays):
    return np.concatenate([arrays["1.weight"].reshape(-1), arrays["1.bias"]])


@pytest.mark.parametrize("mode", ["closed-form", "hooks", "functorch", "ew", "ghost", "per-record"])
def test_the_central_sum_is_the_numpy_loops_without_noise(mode):
    features, labels = data()
    local, task = trainer(mode), assignment("central")
    before = parameters_of(local.model)
    arrays, execution, _ = local.train(before, tensors(features, labels), task)
    np.testing.assert_allclose(flat(arrays), reference(features, labels, task), atol=2e-5)
    assert (execution.num_steps, execution.num_noise_draws, execution.noise_multiplier) == (1, 0, 0.0)
    for name, array in parameters_of(local.model).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("mode", ["closed-form", "hooks", "functorch", "ew", "per-record"])
def test_the_distributed_sum_is_the_same_within_a_step_a_record(mode):
    features, labels = data()
    local, task = trainer(mode), assignment("distributed")
    arrays, execution, _ = local.train(parameters_of(local.model), tensors(features, labels), task)
    integers = from_residues(flat(arrays).astype(np.int64))
    batch = int((CommonStreams(7).drawn(Draw.SAMPLING).random(NUM_RECORDS) < 0.4).sum())
    error = integers * (CLIP / STEPS) - reference(features, labels, task)
    assert np.abs(error).max() <= batch * CLIP / STEPS
    # Unbiased rounding: a quarter of a step's variance a record at most, so five deviations are far below a step each.
    assert np.abs(error).max() <= 5 * 0.5 * np.sqrt(batch) * CLIP / STEPS
    assert execution.num_noise_draws == 1


@settings(max_examples=25, deadline=None)
@given(seed=some.integers(0, 10_000), scale=some.sampled_from([1e-3, 1.0, 1e4]), sign=some.sampled_from([1, -1]))
def test_zeroing_out_a_record_moves_the_float_sum_by_at_most_the_clip(seed, scale, sign):
    features, labels = data(seed, 12)
    features[-1] *= scale * sign
    task = assignment("central", sample_rate=1.0, expected_batch_size=12.0)
    local = trainer()
    start = parameters_of(local.model)
    used, *_ = local.train(start, tensors(features, labels), task)
    emptied = features.copy()
    emptied[-1] = np.nan
    empty, *_ = local.train(start, tensors(emptied, labels), task)
    assert np.linalg.norm(flat(used) - flat(empty)) <= CLIP


@pytest.mark.parametrize("mode", ["closed-form", "hooks", "ghost", "per-record"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e15])
def test_a_record_among_sixty_thousand_moves_the_sum_by_no_more_than_the_clip(mode, scale):
    num_records, num_features = 60_000, 49
    torch.manual_seed(2)
    features = torch.rand(num_records, num_features) * scale
    labels = torch.zeros(num_records, dtype=torch.int64)  # all pull the same way: the sum is as long as it can be
    model = nn.Sequential(nn.Flatten(), nn.Linear(num_features, 2))
    local = LocalTrainer(model, TrainingConfig(grad_sample_mode=mode), task="classification", source=CommonStreams(7))
    task = assignment("central", sample_rate=1.0, expected_batch_size=float(num_records))
    start = {name: np.zeros_like(array) for name, array in parameters_of(local.model).items()}
    broken = features.clone()
    broken[31_337] = torch.nan
    sums = []
    for rows in (features, broken):
        arrays, _, measures = local.train(start, tensors_like(rows, labels), task)
        sums.append(flat(arrays))
    assert measures.num_scrubbed == 1
    moved = np.linalg.norm(sums[0] - sums[1])
    assert CLIP * (1 - 1e-5) * min(1.0, scale) < moved <= CLIP


def tensors_like(features, labels):
    return HospitalTensors(
        train_features=features, train_labels=labels, test_features=features[:0], test_labels=labels[:0]
    )


@settings(max_examples=25, deadline=None)
@given(seed=some.integers(0, 10_000), scale=some.sampled_from([1e-3, 1.0, 1e4]))
def test_zeroing_out_a_record_moves_the_integer_sum_by_at_most_the_bound(seed, scale):
    # Every record is rounded by itself, and an empty one to zero: the sum moves by what the record comes to alone.
    features, labels = data(seed, 1)
    task = assignment("distributed", sample_rate=1.0, expected_batch_size=1.0)
    local = trainer()
    arrays, *_ = local.train(parameters_of(local.model), tensors(features * np.float32(scale), labels), task)
    moved = from_residues(flat(arrays).astype(np.int64))
    assert (moved**2).sum() <= norm_bound_squared(STEPS, DIMENSION)
    assert moved.any() or scale > 1  # far away, a record that is on the right side has no gradient at all


def test_records_without_finite_gradients_count_as_zero():
    features, labels = data()
    broken = features.copy()
    broken[[2, 5]] = np.nan
    for placement in ("central", "distributed"):
        task = assignment(placement, sample_rate=1.0, expected_batch_size=float(NUM_RECORDS))
        local = trainer()
        arrays, _, measures = local.train(parameters_of(local.model), tensors(broken, labels), task)
        assert measures.num_scrubbed == 2
        kept = np.delete(np.arange(NUM_RECORDS), [2, 5])
        values = flat(arrays).astype(float)
        if placement == "distributed":
            values = from_residues(flat(arrays).astype(np.int64)) * (CLIP / STEPS)
        wanted = reference(features[kept], labels[kept], changed_assignment(task, sample_rate=1.0))
        np.testing.assert_allclose(values, wanted, atol=0.02)


@settings(max_examples=15, deadline=None)
@given(seed=some.integers(0, 10_000))
def test_a_patients_rows_are_one_gradient(seed):
    features, labels = data(seed, 8)
    task = assignment("distributed", sample_rate=1.0, expected_batch_size=1.0)
    local = trainer()
    patient = tensors(features, labels, np.zeros(8, np.int64))
    arrays, _, measures = local.train(parameters_of(local.model), patient, task)
    moved = from_residues(flat(arrays).astype(np.int64))
    assert measures.num_examples == 1
    assert 0 < (moved**2).sum() <= norm_bound_squared(STEPS, DIMENSION)


@pytest.mark.parametrize("placement", ["central", "distributed"])
def test_an_empty_batch_is_a_zero_sum(placement):
    features, labels = data()
    task = assignment(placement, sample_rate=1e-9, expected_batch_size=4e-8)
    local = trainer()
    arrays, *_ = local.train(parameters_of(local.model), tensors(features, labels), task)
    assert not flat(arrays).any()
    noisy, *_ = local.train(
        parameters_of(local.model), tensors(features, labels), changed_assignment(task, noise_multiplier=2.0)
    )
    assert flat(noisy).any() == (placement == "distributed")


def test_a_large_batch_is_worked_off_in_parts():
    """Three blocks of 64 records, and seven records at a time."""
    features, labels = data(num_records=190)
    task = assignment("distributed", sample_rate=1.0, expected_batch_size=190.0)
    sums = []
    for most_floats in (2**27, 7 * DIMENSION):
        local = trainer(most_floats=most_floats)
        arrays, *_ = local.train(parameters_of(local.model), tensors(features, labels), task)
        sums.append(from_residues(flat(arrays).astype(np.int64)))
        wanted = reference(features, labels, task)
        assert np.abs(sums[-1] * (CLIP / STEPS) - wanted).max() <= 5 * 0.5 * np.sqrt(190) * CLIP / STEPS + 2e-4
