"""Weights of classes: each record's gradient is that of its weighted loss, clipped alone, in every mode and cell."""

import numpy as np
import pytest
import torch
from central_steps import clipped, sum_of
from made_up import flat_assignment
from safetensors.numpy import load_file
from small_runs import CommonStreams, small_config
from torch.nn import functional

from wardround.clients.clipped_sums import CLIP_MARGIN
from wardround.clients.evaluation import evaluate
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig, check_agreement, check_loss_weights
from wardround.errors import ConfigError
from wardround.models import build_model, parameters_of
from wardround.simulations.prepared import plan
from wardround.simulations.runs import run

MODES = ("closed-form", "hooks", "functorch", "ew", "ghost", "per-record")
NUM_RECORDS, CLIP, WEIGHTS = 20, 0.6, (0.2, 1.0, 7.5)
SHAPES = {"logistic": (4,), "mlp": (4,), "cnn": (1, 6, 6)}


def records(shape, owners=None):
    generator = torch.Generator().manual_seed(2)
    features, labels = torch.randn(NUM_RECORDS, *shape, generator=generator), torch.arange(NUM_RECORDS) % 3
    return HospitalTensors(
        train_features=features,
        train_labels=labels,
        test_features=features,
        test_labels=labels,
        train_owners=owners,
    )


def trainer(mode, model="logistic", weights=WEIGHTS):
    built, _ = build_model(ModelConfig(name=model), input_shape=SHAPES[model], num_outputs=3, seed=1)
    config = TrainingConfig(grad_sample_mode=mode, loss_weights=weights)
    return LocalTrainer(built, config, task="classification", source=CommonStreams(7))


def gradients(local, data):
    """Return each row's gradient of its weighted loss, by plain differentiation, one row after the other."""
    found = []
    for feature, label in zip(data.train_features, data.train_labels, strict=True):
        loss = WEIGHTS[int(label)] * functional.cross_entropy(local.model(feature[None]), label[None])
        parts = torch.autograd.grad(loss, local.parameters)
        found.append(torch.cat([part.reshape(-1) for part in parts]).double().numpy())
    return np.stack(found)


@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_clips_the_gradient_of_the_weighted_loss(mode, model):
    local, data = trainer(mode, model), records(SHAPES[model])
    rows = gradients(local, data)
    # Weights bite before the clip: some gradients are clipped, and others are below it.
    norms = np.linalg.norm(rows, axis=1)
    assert norms.min() < CLIP < norms.max()
    np.testing.assert_allclose(sum_of(local, data, CLIP), clipped(rows, CLIP).sum(axis=0), atol=2e-5)


@pytest.mark.parametrize("mode", ["hooks", "per-record"])
def test_a_patients_rows_are_averaged_with_their_weights_and_clipped_as_one(mode):
    owners = torch.arange(NUM_RECORDS) // 4
    local = trainer(mode)
    data = records(SHAPES["logistic"], owners)
    means = gradients(local, data).reshape(-1, 4, local.num_parameters).mean(axis=1)
    np.testing.assert_allclose(sum_of(local, data, CLIP), clipped(means, CLIP).sum(axis=0), atol=2e-5)


@pytest.mark.parametrize("mode", MODES)
def test_whatever_its_weight_a_record_moves_the_sum_by_no_more_than_the_clip(mode):
    local, data = trainer(mode, weights=(1e-3, 1.0, 1e6)), records(SHAPES["logistic"])
    whole = sum_of(local, data, CLIP)
    for index in range(3):
        features = data.train_features.clone()
        features[index] = torch.nan  # a record without a gradient counts as zeroed out
        without = HospitalTensors(
            train_features=features,
            train_labels=data.train_labels,
            test_features=features,
            test_labels=data.train_labels,
        )
        assert np.linalg.norm(whole - sum_of(local, without, CLIP)) <= CLIP * (1 + CLIP_MARGIN)


@pytest.mark.parametrize("max_grad_norm", [1e3, None], ids=["clipped", "plain"])
def test_local_steps_are_those_on_torchs_weighted_loss(max_grad_norm):
    local, data = trainer("hooks"), records(SHAPES["logistic"])
    assignment = flat_assignment(
        hospital_id="north",
        round_number=1,
        sample_rate=1.0,
        expected_batch_size=float(NUM_RECORDS),
        num_steps=3,
        noise_multiplier=0.0,
        max_grad_norm=max_grad_norm,
        weight=1.0,
    )
    got, *_ = local.train(parameters_of(local.model), data, assignment)
    model = trainer("hooks").model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        outputs = model(data.train_features)
        total = functional.cross_entropy(outputs, data.train_labels, weight=torch.tensor(WEIGHTS), reduction="sum")
        (total / NUM_RECORDS).backward()
        optimizer.step()
    for name, array in parameters_of(model).items():
        np.testing.assert_allclose(got[name], array, atol=1e-5)


def test_weights_of_one_change_no_bit():
    data = records(SHAPES["logistic"])
    ones, none = (sum_of(trainer("hooks", weights=weights), data, CLIP) for weights in ((1.0, 1.0, 1.0), None))
    assert np.array_equal(ones, none)


def test_test_losses_have_no_weights():
    local, data = trainer("hooks"), records(SHAPES["logistic"])
    scoring = local.scoring_model(parameters_of(local.model), data)
    scored, _ = evaluate(scoring, data, hospital_id="north", task="classification")
    with torch.no_grad():
        plain = functional.cross_entropy(local.model(data.test_features), data.test_labels)
    assert scored.loss == pytest.approx(float(plain), rel=1e-5)


def test_another_number_of_classes_or_a_regression_is_refused_by_name_before_anything_is_charged(tmp_path):
    three = TrainingConfig(loss_weights=(1.0, 2.0, 3.0))
    with pytest.raises(ConfigError, match="must have 2 numbers, one for each class in this order: no, yes "):
        check_loss_weights(three, ("no", "yes"))
    check_loss_weights(three, ("a", "b", "c"))
    wrong = small_config(training={"loss-weights": [1.0, 2.0, 3.0]})
    for start in (plan, lambda config: run(config, out=tmp_path / "run")):
        with pytest.raises(
            ConfigError, match="must have 2 numbers, one for each class in this order: benign, malignant"
        ):
            start(wrong)
    regression = small_config(federation={"dataset": "synthetic-regression"}, training={"loss-weights": [1.0, 2.0]})
    for start in (plan, lambda config: run(config, out=tmp_path / "run")):
        with pytest.raises(
            ConfigError, match=r"loss-weights = \[1.0, 2.0\] is for classes, and none are told apart here"
        ):
            start(regression)
    assert not (tmp_path / "run").exists()


def test_real_sites_are_refused_another_number_by_their_schema_before_anyone_is_asked():
    def settings(target, weights):
        schema = {"died": {"levels": ["no", "yes"]}, "age": {"range": [0, 100]}}
        return small_config(
            federation={"dataset": "csv", "num-hospitals": None, "target": target, "max-records": 50, "schema": schema},
            training={"loss-weights": weights},
            aggregation={"protocol": "secagg+", "min-survivors": 3},
        )

    check_agreement(settings("died", [1.0, 4.0]))
    with pytest.raises(ConfigError, match="must have 2 numbers, one for each class in this order: no, yes"):
        check_agreement(settings("died", [1.0, 4.0, 2.0]))
    with pytest.raises(ConfigError, match="is for classes, and none are told apart here"):
        check_agreement(settings("age", [1.0, 4.0]))


def test_weights_shift_what_a_run_predicts(tmp_path):
    def lead_of_the_first_class(weights):
        config = small_config(
            training={"loss-weights": weights, "num-rounds": 2},
            privacy={"placement": "none", "noise-multiplier": None},
        )
        folder = run(config, out=tmp_path / f"run-{weights[0]:g}").folder
        bias = load_file(folder / "model.safetensors")["1.bias"]
        return bias[0] - bias[1]

    assert lead_of_the_first_class([20.0, 1.0]) > lead_of_the_first_class([1.0, 20.0])
