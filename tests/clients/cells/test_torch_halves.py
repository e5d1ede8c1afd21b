"""What every torch half of a cell keeps to: what is sent is the reference's, with the noise billed and no other."""

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from small_runs import CommonStreams
from torch import nn

from wardround.clients.cells import TORCH_HALVES, torch_half
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.errors import ConfigError, ProtocolError
from wardround.models import build_model, parameters_of
from wardround.privacy.cells import CELLS, cell_named
from wardround.privacy.integers import from_residues, skellam_share
from wardround.rounds import Assignment, Schedule
from wardround.step_events import StepEvent
from wardround.streams import Draw

NAMES = tuple(cell.name for cell in CELLS)
NUM_RECORDS, NUM_FEATURES = 40, 6
CLIP, NOISE, LEARNING_RATE, SCALED_NORM, NUM_SHARES, PART = 0.7, 1.5, 0.5, 3_000.0, 4, 0.8
STREAMS = CommonStreams(7)


def task_of(name, *, num_features=NUM_FEATURES, sample_rate=0.3, hospital_id="north", num_steps=3):
    """Return what a hospital is asked in a cell, billed as the cell says."""
    cell = cell_named(name)
    schedule = Schedule(
        sample_rate=sample_rate,
        expected_batch_size=sample_rate * NUM_RECORDS,
        num_steps=1 if cell.sends_sum else num_steps,
    )
    billed_steps, billed_rate = cell.billed(schedule)
    integers = {"scaled_norm": SCALED_NORM, "num_shares": NUM_SHARES, "dimension": 2 * num_features + 2}
    event = StepEvent(
        noise_multiplier=NOISE if cell.is_private else 0.0,
        sample_rate=billed_rate,
        num_steps=billed_steps,
        cell=name,
        **(integers if cell.payload == "residues" else {}),
    )
    return Assignment(
        hospital_id=hospital_id,
        round_number=1,
        schedule=schedule,
        event=event,
        weight=1.0,
        max_grad_norm=CLIP if cell.is_private else None,
        sensitivity=cell.sensitivity(CLIP) if cell.is_private else None,
        contribution=cell.contribution(int(100 * PART), 100),
    )


def data(seed=0, num_features=NUM_FEATURES, scale=3.0):
    generator = np.random.default_rng(seed)
    features = (generator.normal(size=(NUM_RECORDS, num_features)) * scale).astype(np.float32)
    labels = generator.integers(0, 2, NUM_RECORDS)
    part = {"features": torch.tensor(features), "labels": torch.tensor(labels)}
    return HospitalTensors(**{f"{side}_{key}": rows for side in ("train", "test") for key, rows in part.items()})


def trainer_of(name, model="logistic", num_features=NUM_FEATURES, source=STREAMS):
    if isinstance(model, str):
        model, _ = build_model(ModelConfig(name=model), input_shape=(num_features,), num_outputs=2, seed=1)
    config = TrainingConfig(learning_rate=LEARNING_RATE)
    apart = cell_named(name).clips_records
    return LocalTrainer(model, config, task="classification", source=source, protects_records=apart)


def flat(arrays):
    return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in arrays.values()])


class Reference:
    """Softmax regression in float64, its gradients written down: parameters are one vector, weights before biases."""

    def __init__(self, start, tensors, task):
        self.start, self.task = start, task
        self.features = tensors.train_features.numpy().astype(np.float64)
        self.labels = tensors.train_labels.numpy()
        self.batches = STREAMS.drawn(Draw.SAMPLING, hospital_id=task.hospital_id)
        self.noise = STREAMS.drawn(Draw.NOISE, hospital_id=task.hospital_id)

    def gradients(self, parameters):
        """Return one gradient for each record of the next Poisson batch."""
        batch = self.batches.random(len(self.labels)) < self.task.schedule.sample_rate
        features, labels = self.features[batch], self.labels[batch]
        weight, bias = parameters[:-2].reshape(2, -1), parameters[-2:]
        logits = features @ weight.T + bias
        residual = np.exp(logits - logits.max(1, keepdims=True))
        residual = residual / residual.sum(1, keepdims=True) - np.eye(2)[labels]
        return np.concatenate([np.einsum("no,ni->noi", residual, features).reshape(len(labels), -1), residual], axis=1)

    def clipped_sum(self, parameters):
        gradients = self.gradients(parameters)
        norms = np.linalg.norm(gradients, axis=1, keepdims=True)
        return (gradients * np.minimum(1, CLIP / (norms + 1e-6))).sum(axis=0)

    def trained(self, summed):
        parameters = self.start.copy()
        for _ in range(self.task.schedule.num_steps):
            parameters -= LEARNING_RATE * summed(parameters) / self.task.schedule.expected_batch_size
        return parameters

    def plain(self):
        return self.trained(lambda parameters: self.gradients(parameters).sum(axis=0))

    def noisy_sum(self, parameters):
        drawn = [
            self.noise.standard_normal(size, dtype=np.float32).reshape(-1) for size in [(2, len(self.features[0])), 2]
        ]
        return self.clipped_sum(parameters) + NOISE * self.task.distance * np.concatenate(drawn)

    def clipped_update(self):
        update = self.plain() - self.start
        return update * min(1, CLIP / np.linalg.norm(update))

    def residues_less_noise(self, sent):
        variance = (NOISE * SCALED_NORM) ** 2 / NUM_SHARES
        return from_residues(flat(sent).astype(np.int64)) - skellam_share(len(self.start), variance, self.noise)


def none(reference, sent):
    return flat(sent), reference.plain(), 2e-5


def record_local(reference, sent):
    return flat(sent), reference.trained(reference.noisy_sum), 2e-5


def record_central(reference, sent):
    return flat(sent), reference.clipped_sum(reference.start), 2e-5


def record_distributed(reference, sent):
    # Rounded one by one: a variance of a quarter of a step for each record at most.
    wanted = reference.clipped_sum(reference.start) * SCALED_NORM / CLIP
    return reference.residues_less_noise(sent), wanted, 5 * math.sqrt(NUM_RECORDS / 4)


def hospital_local(reference, sent):
    noise = np.concatenate([reference.noise.standard_normal(size).reshape(-1) for size in [(2, NUM_FEATURES), (2,)]])
    return flat(sent), reference.start + reference.clipped_update() + NOISE * 2 * CLIP * noise, 2e-5


def hospital_distributed(reference, sent):
    return reference.residues_less_noise(sent), reference.clipped_update() * PART * SCALED_NORM / CLIP, 1.1


def hospital_central(reference, sent):
    return flat(sent), reference.clipped_update(), 2e-5


def hospital_correlated(reference, sent):
    return hospital_central(reference, sent)  # what is correlated is the server's noise


def record_local_microbatches(reference, sent):
    return record_local(reference, sent)  # of groups of one, with noise for two clips


def record_central_microbatches(reference, sent):
    return record_central(reference, sent)


REFERENCES = {
    function.__name__.replace("_", "-"): function
    for function in (
        none,
        record_local,
        record_central,
        record_distributed,
        hospital_local,
        hospital_distributed,
        hospital_central,
        hospital_correlated,
        record_local_microbatches,
        record_central_microbatches,
    )
}


def test_every_cell_has_its_half_and_every_half_its_cell_and_reference():
    assert tuple(TORCH_HALVES) == NAMES
    assert set(REFERENCES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_half_holds_nothing(name):
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        torch_half(name).kept = 1


def test_another_cell_has_none():
    with pytest.raises(
        ProtocolError, match='cell = "record-nowhere" is no known cell: choose one of none, record-local'
    ):
        torch_half("record-nowhere")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_sent_is_what_numpy_makes_of_gradients_written_down(name):
    local, tensors, task = trainer_of(name), data(), task_of(name)
    start = parameters_of(local.model)
    sent, *_ = local.train(start, tensors, task)
    assert {key: array.shape for key, array in sent.items()} == {key: array.shape for key, array in start.items()}
    got, wanted, error = REFERENCES[name](Reference(flat(start), tensors, task), sent)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=error)
    assert np.abs(wanted).max() > 100 * error or error > 1


@pytest.mark.parametrize("sample_rate", [0.3, 1.0, 1e-9])
@pytest.mark.parametrize("name", NAMES)
def test_what_was_executed_is_what_was_assigned(name, sample_rate):
    local, task = trainer_of(name), task_of(name, sample_rate=sample_rate)
    _, execution, measures = local.train(parameters_of(local.model), data(), task)
    draws = cell_named(name).num_noise_draws(task)
    assert (execution.num_steps, execution.num_noise_draws) == (task.schedule.num_steps, draws)
    assert execution.noise_multiplier == pytest.approx(NOISE if draws else 0.0)
    assert (execution.sample_rate, measures.num_examples, measures.num_scrubbed) == (sample_rate, NUM_RECORDS, 0)
    assert math.isnan(measures.loss) == (sample_rate < 1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_noise_of_one_step_has_the_billed_scale_and_no_other(name):
    """Features of zero leave the weights where they are: what has moved is noise."""
    local, task = trainer_of(name, num_features=3_000), task_of(name, num_features=3_000, sample_rate=1.0, num_steps=1)
    start, cell = parameters_of(local.model), cell_named(name)
    sent, *_ = local.train(start, data(num_features=3_000, scale=0.0), task)
    weights = np.asarray(sent["1.weight"], np.float64).reshape(-1)
    scale = NOISE * task.distance
    if cell.payload == "residues":
        weights, scale = from_residues(weights.astype(np.int64)), NOISE * SCALED_NORM / math.sqrt(NUM_SHARES)
    if cell.payload == "parameters":
        weights = weights - start["1.weight"].reshape(-1)
    if cell.clips_records and not cell.sends_sum:
        weights = weights * task.schedule.expected_batch_size / LEARNING_RATE
    if not cell.num_noise_draws(task):
        assert not weights.any()
        return
    assert kstest(weights, "norm", args=(0, scale)).pvalue > 0.01
    for wrong in (2 / 3, 3 / 2):
        assert kstest(weights, "norm", args=(0, scale * wrong)).pvalue < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_noise_alone_is_the_noise_of_training(name):
    task = replace(task_of(name, num_steps=1, sample_rate=1.0), contribution=1.0)
    zeros = {"w": np.zeros((2, NUM_FEATURES)), "b": np.zeros(2)}
    alone = torch_half(name).noise_alone(zeros, task, STREAMS.key())
    assert {key: array.shape for key, array in alone.items()} == {key: array.shape for key, array in zeros.items()}
    draws = cell_named(name).num_noise_draws(task)
    assert flat(alone).any() == bool(draws)


class Remembers(nn.Module):
    """Keeps a mean of what it has seen, as layers that normalise do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.head = nn.Linear(NUM_FEATURES, 2)
        self.register_buffer("seen", torch.zeros(NUM_FEATURES))

    def forward(self, records):
        if self.training:
            self.seen += records.detach().mean(dim=0)
        return self.head(records - self.seen)


class Draws(nn.Module):
    """Is no known forward, and drops at random."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.head = nn.Linear(NUM_FEATURES, 2)

    def forward(self, records):
        return self.head(nn.functional.dropout(records, 0.5, self.training))


@pytest.mark.parametrize("model", ["logistic", Draws, Remembers])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_stays_in_the_model_for_the_next_hospital(name, model):
    def made():
        return trainer_of(name, model if isinstance(model, str) else model())

    if model is Remembers and cell_named(name).clips_records:
        local = made()
        with pytest.raises(ConfigError, match="writes"):
            local.train(parameters_of(local.model), data(), task_of(name))
        return
    used, fresh = made(), made()
    start = {key: array.copy() for key, array in parameters_of(fresh.model).items()}
    used.train(start, data(seed=5, scale=50.0), task_of(name))
    after, _, measured = used.train(start, data(), task_of(name, hospital_id="south"))
    alone, _, wanted = fresh.train(start, data(), task_of(name, hospital_id="south"))
    for key in alone:
        np.testing.assert_array_equal(after[key], alone[key])
    assert measured.loss == wanted.loss
    scores = [local.scoring_model(start, data())(data().test_features).detach() for local in (used, fresh)]
    assert torch.equal(*scores)
