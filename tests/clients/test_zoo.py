"""No record moves another's gradient, and nothing is carried on: held over models that try, in every mode."""

import copy

import numpy as np
import pytest
import torch
from zoo import ADVERSARIES, NUM_FEATURES, NUM_RECORDS, SOUND

from wardround.clients.clipped_sums import CLIP_MARGIN
from wardround.clients.evaluation import evaluate
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.errors import ConfigError, WardroundError
from wardround.models import build_model, parameters_of
from wardround.rounds import Assignment

MODES = ("auto", "per-record", "hooks", "functorch", "ew", "ghost")
CLIP = 0.7


def assignment(**changes):
    values = {
        "hospital_id": "north",
        "round_number": 1,
        "sample_rate": 1.0,
        "expected_batch_size": float(NUM_RECORDS),
        "num_steps": 1,
        "noise_multiplier": 0.0,
        "max_grad_norm": CLIP,
        "weight": 0.5,
        "placement": "central",
        "sensitivity": CLIP,
    }
    return Assignment(**(values | changes))


def tensors(features):
    labels = torch.arange(len(features)) % 2
    return HospitalTensors(
        train_features=features, train_labels=labels, test_features=features.clone(), test_labels=labels
    )


def probes():
    """Batches of records near and far, alike and single."""
    generator = torch.Generator().manual_seed(3)
    ordinary = torch.randn(NUM_RECORDS, NUM_FEATURES, generator=generator)
    one_large, spikes = ordinary.clone(), torch.zeros_like(ordinary)
    one_large[0] *= 1e3
    spikes.fill_diagonal_(1e3)
    return [1e-3 * ordinary, ordinary, 1e3 * ordinary, torch.ones_like(ordinary), one_large, spikes]


def trainer_of(factory, mode):
    torch.manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        model = factory()
    return LocalTrainer(model, TrainingConfig(grad_sample_mode=mode), task="classification", seed=7)


def random_parameters(trainer):
    """Weights without a zero among them: a head of zeros would hide what is behind it."""
    generator = np.random.default_rng(5)
    return {
        name: generator.normal(size=array.shape, scale=0.5).astype(np.float32)
        for name, array in parameters_of(trainer.model).items()
    }


def sum_of(trainer, arrays, features):
    sent, execution = trainer.train(arrays, tensors(features.clone()), assignment())
    return np.concatenate([array.astype(float).ravel() for array in sent.values()]), execution.num_scrubbed


def largest_movement(factory, mode):
    """How far zeroing out one record moves the sum, in clips; a model that survives nan is held to twice that."""
    trainer = trainer_of(factory, mode)
    arrays = random_parameters(trainer)
    moved = []
    for features in probes():
        whole, scrubbed_before = sum_of(trainer, arrays, features)
        assert scrubbed_before == 0 or not np.isfinite(whole).all() or scrubbed_before <= NUM_RECORDS
        for index in (0, NUM_RECORDS - 1):
            without = features.clone()
            without[index] = torch.nan
            rest, scrubbed = sum_of(trainer, arrays, without)
            moved.append(np.linalg.norm(whole - rest) / CLIP / (1 if scrubbed > scrubbed_before else 2))
    return max(moved)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ADVERSARIES)
def test_a_record_moves_the_sum_by_no_more_than_the_clip_or_the_model_is_refused(name, mode):
    try:
        moved = largest_movement(ADVERSARIES[name], mode)
    except WardroundError:
        return
    assert moved <= 1 + CLIP_MARGIN


def after(factory, mode, *, other_hospital_first):
    trainer = trainer_of(factory, mode)
    arrays = random_parameters(trainer)
    south = tensors(probes()[1].flip(0) * 5 + 1)
    if other_hospital_first:
        for round_number in (1, 2):
            trainer.train(arrays, south, assignment(hospital_id="south", round_number=round_number, placement="local"))
            evaluate(trainer.scoring_model(arrays, south), south, hospital_id="south", task="classification")
    north = tensors(probes()[1])
    trained, _ = trainer.train(arrays, north, assignment(placement="local", num_steps=2))
    scores = evaluate(trainer.scoring_model(trained, north), north, hospital_id="north", task="classification")
    return trained, scores


@pytest.mark.parametrize("mode", ["auto", "hooks"])
@pytest.mark.parametrize("name", ADVERSARIES)
def test_nothing_is_carried_from_hospital_to_hospital(name, mode):
    try:
        alone, scores = after(ADVERSARIES[name], mode, other_hospital_first=False)
    except WardroundError:
        return
    second, second_scores = after(ADVERSARIES[name], mode, other_hospital_first=True)
    for key, array in alone.items():
        np.testing.assert_array_equal(array, second[key])
    assert scores == second_scores


def test_most_adversaries_are_really_run_or_refused_with_a_reason():
    outcomes = {}
    for name, factory in ADVERSARIES.items():
        try:
            trainer = trainer_of(factory, "auto")
            sum_of(trainer, random_parameters(trainer), probes()[1])
            outcomes[name] = "runs"
        except ConfigError as error:
            outcomes[name] = str(error)
    print(outcomes)
