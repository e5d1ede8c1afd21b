"""The models of sequences: one clipped gradient a record, the one of the record alone, in every private cell."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from central_steps import clipped, sum_of
from made_up import PRIVATE, flat_assignment
from small_runs import CommonStreams, small_config
from torch.nn import functional

from wardround.clients.clipped_sums import CLIP_MARGIN
from wardround.clients.trainers import build_trainer
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.datasets import FederatedData, HospitalData
from wardround.errors import ConfigError
from wardround.models import build_model, parameters_of
from wardround.simulations.prepared import plan
from wardround.simulations.runs import run

MODELS = {
    "lstm": ModelConfig(name="lstm", width=8),
    "lstm of two layers": ModelConfig(name="lstm", width=8, num_layers=2),
    "transformer": ModelConfig(name="transformer", width=8, num_heads=2),
    "transformer of two layers": ModelConfig(name="transformer", width=8, num_heads=4, num_layers=2),
}
SHAPE, NUM_RECORDS, CLIP = (4, 3), 10, 0.4


def records(shape: tuple[int, ...] = SHAPE, owners: torch.Tensor | None = None) -> HospitalTensors:
    features = torch.randn(NUM_RECORDS, *shape, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(NUM_RECORDS) % 2
    return HospitalTensors(
        train_features=features,
        train_labels=labels,
        test_features=features,
        test_labels=labels,
        train_owners=owners,
    )


def trainer(name: str, shape: tuple[int, ...] = SHAPE, **training: Any) -> LocalTrainer:
    built, notes = build_model(MODELS[name], input_shape=shape, num_outputs=2, seed=1)
    assert notes == ()
    return LocalTrainer(built, TrainingConfig(**training), task="classification", source=CommonStreams(7))


def one_by_one(local: LocalTrainer, data: HospitalTensors) -> Any:
    """Return each row's gradient (n, p), of a batch of it alone."""
    rows = []
    for feature, label in zip(data.train_features, data.train_labels, strict=True):
        loss = functional.cross_entropy(local.model(feature[None]), label[None])
        parts = torch.autograd.grad(loss, local.parameters)
        rows.append(torch.cat([part.reshape(-1) for part in parts]).double().numpy())
    return np.stack(rows)


@pytest.mark.parametrize("shape", [SHAPE, (2, 4, 3)], ids=["sequences", "images"])
@pytest.mark.parametrize("name", MODELS)
def test_the_sum_is_of_gradients_taken_and_clipped_one_by_one(name: str, shape: tuple[int, ...]) -> None:
    local, data = trainer(name, shape), records(shape)
    rows = one_by_one(local, data)
    assert np.linalg.norm(rows, axis=1).min() > CLIP / 2
    assert np.linalg.norm(rows, axis=1).max() > CLIP
    np.testing.assert_allclose(sum_of(local, data, CLIP), clipped(rows, CLIP).sum(axis=0), atol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_a_patients_sequences_are_averaged_and_clipped_as_one(name: str) -> None:
    local, data = trainer(name), records(owners=torch.arange(NUM_RECORDS) // 2)
    means = one_by_one(local, data).reshape(NUM_RECORDS // 2, 2, -1).mean(axis=1)
    np.testing.assert_allclose(sum_of(local, data, CLIP), clipped(means, CLIP).sum(axis=0), atol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_a_record_moves_the_sum_by_no_more_than_the_clip(name: str) -> None:
    local, data = trainer(name), records()
    for size in (1e-3, 1.0, 1e3):
        features = data.train_features * size
        sums = []
        for broken in (features, features.index_fill(0, torch.tensor(2), torch.nan)):
            each = HospitalTensors(
                train_features=broken,
                train_labels=data.train_labels,
                test_features=features,
                test_labels=data.test_labels,
            )
            sums.append(sum_of(local, each, CLIP))
        assert np.linalg.norm(sums[0] - sums[1]) <= CLIP * (1 + CLIP_MARGIN)


@pytest.mark.parametrize("mode", ["hooks", "functorch", "ew", "ghost"])
def test_modes_for_known_layers_are_refused_in_a_sentence(mode: str) -> None:
    config = small_config(
        federation={"dataset": "digits"}, model={"name": "lstm", "width": 8}, training={"grad-sample-mode": mode}
    )
    for start in (plan, lambda config: run(config)):
        with pytest.raises(ConfigError, match=r'set "auto" or "per-record", which runs every record by itself'):
            start(config)


def test_what_is_no_sequence_is_refused_before_anything_is_charged(tmp_path: Path) -> None:
    for name in ("lstm", "transformer"):
        config = small_config(model={"name": name})
        for start in (plan, lambda config: run(config, out=tmp_path / "run")):
            with pytest.raises(ConfigError, match=rf'"{name}" needs sequences .* have shape \(30,\): use "logistic"'):
                start(config)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="width = 10 must be a multiple of num-heads = 4"):
        ModelConfig(name="transformer", width=10)


def waves(num_hospitals: int = 2, num_rows: int = 120) -> FederatedData:
    """Return noisy waves of eight steps and two features, rising or falling: no single step tells which."""
    generator = np.random.default_rng(4)
    hospitals = []
    for index in range(num_hospitals):
        labels = generator.integers(0, 2, num_rows)
        starts = generator.uniform(0, 2 * np.pi, (num_rows, 1))
        turns = starts + np.where(labels, 1, -1)[:, None] * np.arange(8) * 0.7
        features = np.stack([np.sin(turns), np.cos(turns)], axis=2) + generator.normal(0, 0.1, (num_rows, 8, 2))
        parts = {"train": slice(0, 90), "test": slice(90, None)}
        arrays = {f"{part}_features": features[rows].astype(np.float32) for part, rows in parts.items()}
        arrays |= {f"{part}_labels": labels[rows] for part, rows in parts.items()}
        hospitals.append(HospitalData(hospital_id=f"hospital-{index:02d}", fingerprint=f"{index:064d}", **arrays))
    return FederatedData(
        dataset_name="waves",
        task="classification",
        class_names=("falling", "rising"),
        feature_names=(),
        input_shape=(8, 2),
        hospitals=tuple(hospitals),
        excluded=(),
        notes=(),
        partition="natural",
    )


@pytest.mark.parametrize("name", ["lstm", "transformer"])
@pytest.mark.parametrize("is_private", [True, False], ids=["private", "plain"])
def test_they_learn_an_order_that_no_step_shows(name: str, is_private: bool) -> None:
    federation = waves(num_hospitals=1)
    privacy = {"noise-multiplier": 0.5} if is_private else {"placement": "none", "noise-multiplier": None}
    config = small_config(
        model={"name": name, "width": 16},
        training={"optimizer": "adam", "learning-rate": 0.03, "sample-rate": 0.5, "local-steps": 70},
        privacy=privacy | {"target-delta": 1e-3},
    )
    local = build_trainer(config, federation, source=CommonStreams(1))
    hospital = federation.hospitals[0]
    tensors = HospitalTensors(
        **{
            f"{part}_{key}": torch.tensor(getattr(hospital, f"{part}_{key}"))
            for part in ("train", "test")
            for key in ("features", "labels")
        }
    )
    assignment = flat_assignment(
        hospital_id="north",
        round_number=1,
        sample_rate=0.5,
        expected_batch_size=45.0,
        num_steps=70,
        noise_multiplier=0.5 if is_private else 0.0,
        max_grad_norm=1.0 if is_private else None,
        weight=1.0,
    )
    arrays, *_ = local.train(parameters_of(local.model), tensors, assignment)
    scoring = local.scoring_model(arrays, tensors)
    with torch.no_grad():
        right = (scoring(tensors.test_features).argmax(dim=1) == tensors.test_labels).double().mean()
    assert float(right) >= 0.85


CELLS = [*PRIVATE, ("record", "none")]


@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_every_cell_trains_them_on_images_row_by_row(unit: str, placement: str, tmp_path: Path) -> None:
    name = "transformer"
    privacy = {"unit": unit, "placement": placement, "target-delta": 1e-4, "noise-multiplier": 1.0}
    config = small_config(
        federation={"dataset": "digits"},
        model={"name": name, "width": 8, "num-heads": 2},
        training={"num-rounds": 1, "local-steps": 1},
        privacy=privacy | ({"noise-multiplier": None} if placement == "none" else {}),
        aggregation={"protocol": "secure-sum", "min-survivors": 2},
    )
    summary = run(config, out=tmp_path / "run").summary
    assert np.isfinite(summary["loss"])
    clips_records = unit == "record" and placement != "none"
    assert summary.get("grad_sample_mode") == ("per-record" if clips_records else None)
    assert summary["num_parameters"] == plan(config).num_parameters
