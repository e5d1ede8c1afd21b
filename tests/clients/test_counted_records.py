"""Records that count several times by their class: in every mode and cell, with noise for as often as one may count."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import flat_assignment
from scipy.stats import kstest
from small_runs import CommonStreams
from stacks import CLIP, assigned, both_ways, check_alike, cohort, records, trainer_of
from torch import nn
from torch.nn import functional

from wardround.clients.clipped_sums import CLIP_MARGIN
from wardround.clients.gradients import ClippedSum, quiet_hooks
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.datasets.constants import Balance
from wardround.errors import ProtocolError
from wardround.models import build_model, parameters_of
from wardround.privacy.integers import from_residues

MODES = ("closed-form", "hooks", "functorch", "ew", "ghost", "per-record")
COPIES = (1, 3, 2)
BALANCE = Balance(loss_weights=(1.0, 1.0, 1.0), copies=COPIES)
NUM_RECORDS, RECORD_CELLS = 20, ("record-local", "record-central", "record-distributed")
CELLS = ("none", "hospital-local", *RECORD_CELLS)


def trainer(mode: str) -> LocalTrainer:
    model, _ = build_model(ModelConfig(name="mlp", hidden_sizes=(7,)), input_shape=(6,), num_outputs=3, seed=1)
    config = TrainingConfig(grad_sample_mode=mode)
    made = LocalTrainer(model, config, task="classification", source=CommonStreams(7))
    made.weigh(BALANCE)
    return made


def clipped_rows(local: LocalTrainer, data: HospitalTensors, owners: torch.Tensor | None = None) -> np.ndarray:
    """Return each record's clipped gradient, by plain differentiation, one row after the other."""
    found = []
    for feature, label in zip(data.train_features, data.train_labels, strict=True):
        loss = functional.cross_entropy(local.model(feature[None]), label[None])
        parts = torch.autograd.grad(loss, local.parameters)
        found.append(torch.cat([part.reshape(-1) for part in parts]).double().numpy())
    rows = np.stack(found)
    if owners is not None:
        rows = np.stack([rows[(owners == owner).numpy()].mean(axis=0) for owner in owners.unique()])
    return rows * np.minimum(1.0, CLIP / np.linalg.norm(rows, axis=1, keepdims=True))


def summed(local: LocalTrainer, data: HospitalTensors) -> np.ndarray:
    total = ClippedSum(local.parameters, CLIP, local.copies)
    module = local.by_record(data, CLIP)
    with quiet_hooks():
        total.add_batch(module, data.train_features, data.train_labels, local.loss, data.train_owners)
    return torch.cat([part.reshape(-1) for part in total.values()]).numpy()


def weighed(cell: str, **training: object) -> LocalTrainer:
    made: LocalTrainer = trainer_of("mlp", cell, **training)
    made.weigh(BALANCE)
    return made


def billed(assignment):
    """Return what is assigned with the sensitivity of records that count three times, where records are clipped."""
    if not assignment.event.cell.startswith("record"):
        return assignment
    return replace(assignment, sensitivity=max(COPIES) * assignment.distance)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_counts_a_clipped_gradient_as_often_as_its_class_says(mode: str) -> None:
    local, data = trainer(mode), records(NUM_RECORDS, 3)
    counts = np.array(COPIES)[data.train_labels.numpy()]
    expected = (counts[:, None] * clipped_rows(local, data)).sum(axis=0)
    np.testing.assert_allclose(summed(local, data), expected, atol=5e-5)


@pytest.mark.parametrize("mode", ["closed-form", "hooks", "per-record"])
def test_a_patient_counts_as_often_as_the_row_that_counts_most(mode: str) -> None:
    owners = torch.arange(NUM_RECORDS) // 4
    data = replace(records(NUM_RECORDS, 3), train_owners=owners)
    local = trainer(mode)
    labels = data.train_labels.numpy().reshape(-1, 4)
    counts = np.array(COPIES)[labels].max(axis=1)
    assert len(set(counts)) > 1 or labels.shape[0] < 3
    expected = (counts[:, None] * clipped_rows(local, data, owners)).sum(axis=0)
    np.testing.assert_allclose(summed(local, data), expected, atol=5e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_record_moves_the_sum_by_as_many_clips_as_it_may_count_and_no_more(mode: str) -> None:
    local, data = trainer(mode), records(NUM_RECORDS, 3)
    large = replace(data, train_features=data.train_features * 50)
    whole, moves = summed(local, large), []
    for index in range(NUM_RECORDS):
        features = large.train_features.clone()
        features[index] = torch.nan  # a record without a gradient counts as zeroed out
        moved = float(np.linalg.norm(whole - summed(local, replace(large, train_features=features))))
        assert moved <= COPIES[int(data.train_labels[index])] * CLIP * (1 + CLIP_MARGIN)
        moves.append(moved)
    assert max(moves) == pytest.approx(max(COPIES) * CLIP, rel=1e-4)


class Weights(nn.Module):
    """Only weights, so that records of zeros have no gradient, and all that comes out is noise."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1000, 3, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.linear(features)
        return made


def noise_of(local: LocalTrainer, noise_multiplier: float, sensitivity: float) -> np.ndarray:
    zeros = torch.zeros(4, 1000)
    labels = torch.tensor([0, 1, 2, 1])
    data = HospitalTensors(train_features=zeros, train_labels=labels, test_features=zeros, test_labels=labels)
    assignment = flat_assignment(
        hospital_id="north",
        round_number=1,
        sample_rate=1.0,
        expected_batch_size=4.0,
        num_steps=1,
        noise_multiplier=noise_multiplier,
        max_grad_norm=CLIP,
        sensitivity=sensitivity,
        weight=1.0,
    )
    before = parameters_of(local.model)["linear.weight"]
    trained = local.train(parameters_of(local.model), data, assignment)
    assert trained.execution.noise_multiplier == pytest.approx(noise_multiplier)
    return 4.0 * (before - trained.arrays["linear.weight"]).astype(float).ravel()


def test_the_noise_is_for_as_many_clips_as_a_record_may_count_and_of_no_other_scale() -> None:
    training = TrainingConfig(learning_rate=1.0)
    local = LocalTrainer(Weights(), training, task="classification", source=CommonStreams(3))
    local.weigh(BALANCE)
    values, stddev = noise_of(local, 5.0, max(COPIES) * CLIP), 5.0 * max(COPIES) * CLIP
    assert kstest(values / stddev, "norm").pvalue > 1e-3
    for wrong in (2 / 3, 3 / 2, 1 / max(COPIES)):
        assert kstest(values / (stddev * wrong), "norm").pvalue < 1e-8


def test_noise_for_one_clip_is_refused_where_a_record_counts_more_often() -> None:
    local = LocalTrainer(Weights(), TrainingConfig(), task="classification", source=CommonStreams(3))
    local.weigh(BALANCE)
    with pytest.raises(ProtocolError, match="a record that counts 3 times moves a sum by"):
        noise_of(local, 5.0, CLIP)
    local.weigh(replace(BALANCE, copies=(1, 1, 1)))
    noise_of(local, 5.0, CLIP)


@pytest.mark.parametrize("cell", CELLS)
def test_hospitals_that_train_together_count_as_each_would_by_itself(cell: str) -> None:
    local = weighed(cell)
    asked = [replace(each, assignment=billed(each.assignment)) for each in cohort(cell, local)]
    check_alike(*both_ways(local, asked))


@pytest.mark.parametrize("mode", ["closed-form", "hooks"])
def test_integers_are_records_as_often_as_they_count_in_steps_of_their_sensitivity(mode: str) -> None:
    local, data = trainer(mode), records(200, 5)
    assignment = billed(assigned("record-distributed", 200, rate=1.0, noise=0.0, dimension=local.num_parameters))
    counts = np.array(COPIES)[data.train_labels.numpy()]
    expected = (counts[:, None] * clipped_rows(local, data)).sum(axis=0)
    sent, *_ = local.train(parameters_of(local.model), data, assignment)
    step = assignment.distance / assignment.event.scaled_norm
    found = np.concatenate([from_residues(array.astype(np.int64)).ravel() for array in sent.values()]) * step
    # Each record is rounded by itself, to the next whole number on either side.
    assert np.abs(found - expected).max() < 6 * step * np.sqrt(200 / 4)


@pytest.mark.parametrize("cell", ["none", "hospital-local"])
def test_where_no_record_is_clipped_copies_are_weights_of_losses(cell: str) -> None:
    counted = weighed(cell)
    weights = trainer_of("mlp", cell, loss_weights=tuple(map(float, COPIES)))
    data, assignment = records(40, 1), assigned(cell, 40, noise=0.0)
    start = parameters_of(counted.model)
    one, other = (each.train(start, data, assignment) for each in (counted, weights))
    assert counted.copies is None
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], array)


def test_what_a_record_counts_is_in_the_key_of_a_release() -> None:
    """Two jobs that were told otherwise share no draw."""
    drawn = []
    for copies in ((1, 1, 2), (1, 2, 1)):
        local = trainer_of("mlp", "record-local", source=None)
        local.weigh(replace(BALANCE, copies=copies))
        drawn.append(local.balance_digest)
    assert len({*drawn, b""}) == 3
