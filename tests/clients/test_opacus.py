"""One private step beside Opacus' own optimizer: the same clipped sum without noise, and noise of the same scale."""

import copy

import numpy as np
import pytest
import torch
from made_up import flat_assignment
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from scipy.stats import ks_2samp
from small_runs import CommonStreams
from torch.nn import functional

from wardround.clients.clipped_sums import CLIP_MARGIN
from wardround.clients.gradients import quiet_hooks
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.models import build_model, parameters_of
from wardround.streams import Draw

NUM_RECORDS, NUM_FEATURES, NUM_CLASSES = 60, 700, 5
SAMPLE_RATE, EXPECTED, CLIP, LEARNING_RATE = 0.4, 24.0, 30.0, 0.5
FLOAT32 = 2.0**-22
"""Relative, of what comes of sums in float32 and of parameters that are rounded to it."""


def data():
    """Records on both sides of the clip."""
    generator = np.random.default_rng(3)
    sizes = np.geomspace(0.5, 8, NUM_RECORDS)[:, None]
    features = (generator.normal(size=(NUM_RECORDS, NUM_FEATURES)) * sizes).astype(np.float32)
    return torch.from_numpy(features), torch.from_numpy(generator.integers(0, NUM_CLASSES, NUM_RECORDS))


def model():
    built, _ = build_model(ModelConfig(name="logistic"), input_shape=(NUM_FEATURES,), num_outputs=NUM_CLASSES, seed=1)
    return built


def batch_of(seed):
    """Return the Poisson batch that a hospital draws."""
    return np.flatnonzero(CommonStreams(seed).drawn(Draw.SAMPLING).random(NUM_RECORDS) < SAMPLE_RATE)


def our_step(noise_multiplier, seed, max_grad_norm=CLIP):
    """Return the gradient that a step of the product takes, flat."""
    features, labels = data()
    tensors = HospitalTensors(
        train_features=features, train_labels=labels, test_features=features[:0], test_labels=labels[:0]
    )
    task = flat_assignment(
        hospital_id="north",
        round_number=1,
        sample_rate=SAMPLE_RATE,
        expected_batch_size=EXPECTED,
        num_steps=1,
        noise_multiplier=noise_multiplier,
        max_grad_norm=max_grad_norm,
        weight=1.0,
    )
    training = TrainingConfig(grad_sample_mode="hooks", optimizer="sgd", learning_rate=LEARNING_RATE)
    local = LocalTrainer(model(), training, task="classification", source=CommonStreams(seed))
    before = parameters_of(local.model)
    after, _, _ = local.train(before, tensors, task)
    return gradient_of(before, after)


def opacus_step(noise_multiplier, seed):
    """Return the gradient that Opacus' optimizer takes a step with on the same batch, flat."""
    wrapped = GradSampleModule(copy.deepcopy(model()))
    optimizer = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=LEARNING_RATE),
        noise_multiplier=noise_multiplier,
        max_grad_norm=CLIP,
        expected_batch_size=EXPECTED,
        generator=torch.Generator().manual_seed(seed),
    )
    before = parameters_of(wrapped._module)
    features, labels = data()
    rows = batch_of(seed)
    with quiet_hooks():
        functional.cross_entropy(wrapped(features[rows]), labels[rows]).backward()
    optimizer.step()
    return gradient_of(before, parameters_of(wrapped._module))


def gradient_of(before, after):
    moved = [(np.asarray(before[name], float) - after[name]).reshape(-1) for name in before]
    return np.concatenate(moved) / LEARNING_RATE


def test_a_step_without_noise_is_that_of_opacus_up_to_the_margin_of_the_clip():
    for seed in range(3):
        ours, theirs = our_step(0.0, seed), opacus_step(0.0, seed)
        # Each record's clipped gradient is shorter by the margin, and all of them by what float32 rounds.
        room = len(batch_of(seed)) * CLIP * (CLIP_MARGIN + FLOAT32) / EXPECTED
        assert np.linalg.norm(ours - theirs) <= room
        # A clip that is another by 1 % is no step of theirs.
        assert np.linalg.norm(our_step(0.0, seed, max_grad_norm=1.01 * CLIP) - theirs) > 100 * room


@pytest.mark.parametrize(("factor", "is_theirs"), [(1.0, True), (2 / 3, False), (3 / 2, False)])
def test_the_noise_of_a_step_is_that_of_opacus_and_of_no_other_scale(factor, is_theirs):
    noise_multiplier, seed = 1.3, 5
    ours = (our_step(noise_multiplier * factor, seed) - our_step(0.0, seed)) * EXPECTED
    theirs = (opacus_step(noise_multiplier, seed) - opacus_step(0.0, seed)) * EXPECTED
    assert (ks_2samp(ours, theirs).pvalue > 0.01) == is_theirs
    assert (abs(ours.std() / theirs.std() - 1) < 0.05) == is_theirs
    assert theirs.std() == pytest.approx(noise_multiplier * CLIP, rel=0.05)
