"""Local steps: weight decay and schedules are those of the optimizers' papers, and neither touches the noise."""

import numpy as np
import pytest
import torch
from made_up import flat_assignment
from small_runs import CommonStreams

from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.models import build_model, parameters_of

OPTIMIZERS = ("sgd", "adam", "adamw")
NUM_RECORDS, NUM_FEATURES, RATE, DECAY = 24, 5, 0.1, 0.3


def records():
    generator = torch.Generator().manual_seed(2)
    features, labels = torch.randn(NUM_RECORDS, NUM_FEATURES, generator=generator), torch.arange(NUM_RECORDS) % 2
    return HospitalTensors(train_features=features, train_labels=labels, test_features=features, test_labels=labels)


def trainer(**training):
    built, _ = build_model(ModelConfig(), input_shape=(NUM_FEATURES,), num_outputs=2, seed=1)
    config = TrainingConfig(**({"learning_rate": RATE, "num_rounds": 8} | training))
    return LocalTrainer(built, config, task="classification", source=CommonStreams(7))


def task(**changes):
    values = {
        "hospital_id": "north",
        "round_number": 1,
        "sample_rate": 1.0,
        "expected_batch_size": float(NUM_RECORDS),
        "num_steps": 6,
        "noise_multiplier": 0.0,
        "max_grad_norm": 1e3,
        "weight": 1.0,
    }
    return flat_assignment(**(values | changes))


def trained(assignment, **training):
    local = trainer(**training)
    return local.train(parameters_of(local.model), records(), assignment)[0]


def gradients_at(arrays):
    model, data = trainer().model, records()
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), arrays, strict=True):
            parameter.copy_(torch.tensor(array, dtype=torch.float32))
    loss = torch.nn.functional.cross_entropy(model(data.train_features), data.train_labels)
    return [part.double().numpy() for part in torch.autograd.grad(loss, list(model.parameters()))]


def reference(optimizer, num_steps, momentum=0.0):
    """Return the parameters after full-batch steps, written out in NumPy."""
    arrays = [array.astype(float) for array in parameters_of(trainer().model).values()]
    first, second = [0.0] * len(arrays), [0.0] * len(arrays)
    for step in range(1, num_steps + 1):
        for index, gradient in enumerate(gradients_at(arrays)):
            if optimizer != "adamw":
                gradient = gradient + DECAY * arrays[index]
            if optimizer == "sgd":
                first[index] = momentum * first[index] + gradient
                arrays[index] = arrays[index] - RATE * first[index]
                continue
            # Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2, line 12.
            first[index] = 0.9 * first[index] + 0.1 * gradient
            second[index] = 0.999 * second[index] + 0.001 * gradient**2
            moved = (first[index] / (1 - 0.9**step)) / (np.sqrt(second[index] / (1 - 0.999**step)) + 1e-8)
            decoupled = DECAY * arrays[index] if optimizer == "adamw" else 0.0
            arrays[index] = arrays[index] - RATE * (moved + decoupled)
    return arrays


@pytest.mark.parametrize("max_grad_norm", [1e3, None], ids=["clipped", "plain"])
@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", 0.0), ("sgd", 0.9), ("adam", 0.0), ("adamw", 0.0)])
def test_weight_decay_is_in_the_gradient_and_apart_from_it_with_adamw(optimizer, momentum, max_grad_norm):
    got = trained(task(max_grad_norm=max_grad_norm), optimizer=optimizer, momentum=momentum, weight_decay=DECAY)
    for array, want in zip(got.values(), reference(optimizer, 6, momentum), strict=True):
        np.testing.assert_allclose(array, want, atol=2e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_noise_is_the_same_with_and_without_weight_decay(optimizer):
    """One noisy step: what the decay adds to it is a function of the parameters that were there before."""
    noisy = task(num_steps=1, noise_multiplier=2.0, max_grad_norm=0.7)
    before = parameters_of(trainer().model)
    without, decayed = (trained(noisy, optimizer=optimizer, weight_decay=decay) for decay in (0.0, DECAY))
    for name, array in before.items():
        np.testing.assert_allclose(decayed[name] - without[name], -RATE * DECAY * array, atol=1e-6)
        assert np.abs(without[name] - array).max() > 1e-3


@pytest.mark.parametrize("max_grad_norm", [0.7, None], ids=["clipped", "plain"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_round_has_the_rate_of_its_schedule(optimizer, max_grad_norm):
    # The fifth of eight rounds: half of them are over.
    fifth = task(round_number=5, max_grad_norm=max_grad_norm, noise_multiplier=1.0 if max_grad_norm else 0.0)
    for schedule, share in (("constant", 1.0), ("linear", 0.5), ("cosine", 0.5), ("step", 0.1)):
        got = trained(fifth, optimizer=optimizer, learning_rate_schedule=schedule)
        want = trained(fifth, optimizer=optimizer, learning_rate=share * RATE)
        for name, array in want.items():
            np.testing.assert_allclose(got[name], array, atol=1e-6)


def test_the_same_noise_is_billed_and_drawn_with_every_optimizer():
    executed = set()
    for optimizer in OPTIMIZERS:
        local = trainer(optimizer=optimizer, weight_decay=DECAY, learning_rate_schedule="cosine")
        noisy = task(noise_multiplier=1.5, max_grad_norm=0.7)
        executed.add(local.train(parameters_of(local.model), records(), noisy).execution)
    (execution,) = executed
    assert execution.num_noise_draws == 6
    assert execution.noise_multiplier == pytest.approx(1.5)
