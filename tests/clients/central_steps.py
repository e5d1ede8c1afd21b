"""One step without noise of a model in a record x central run, for tests of what one record can do to its sum."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from made_up import flat_assignment
from numpy.typing import NDArray
from small_runs import CommonStreams, small_config

from wardround.clients.trainers import build_trainer
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.datasets import FederatedData, HospitalData
from wardround.models import parameters_of


def labels_of(features: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(features)) % 2


def trainer_for(model: str, features: torch.Tensor, mode: str) -> LocalTrainer:
    """Return what trains a "module:factory" on these records, as an app would build it, but for streams in common."""
    arrays = {"features": features.numpy(), "labels": labels_of(features).numpy()}
    records = {f"{part}_{key}": array for part in ("train", "test") for key, array in arrays.items()}
    federation = FederatedData(
        dataset_name="made up",
        task="classification",
        class_names=("a", "b"),
        feature_names=(),
        input_shape=tuple(features.shape[1:]),
        hospitals=(HospitalData(hospital_id="north", fingerprint="0" * 64, **records),),
        excluded=(),
        notes=(),
        partition="natural",
    )
    config = small_config(
        model={"name": model},
        training={"grad-sample-mode": mode, "local-steps": 1, "sample-rate": 1.0},
        privacy={"placement": "central"},
    )
    return build_trainer(config, federation, source=CommonStreams(config.federation.seed))


def sums_of(
    trainer: LocalTrainer, start: Mapping[str, NDArray[Any]], features: torch.Tensor, round_number: int = 1
) -> dict[str, NDArray[Any]]:
    """Return the clipped sum of all records' gradients by parameter, for a clip of 1."""
    labels = labels_of(features)
    tensors = HospitalTensors(train_features=features, train_labels=labels, test_features=features, test_labels=labels)
    return _sums(trainer, start, tensors, max_grad_norm=1.0, round_number=round_number)


def sum_of(trainer: LocalTrainer, tensors: HospitalTensors, max_grad_norm: float) -> NDArray[Any]:
    """Return the clipped sum of all records' gradients as one vector, as record x central sends it."""
    sent = _sums(trainer, parameters_of(trainer.model), tensors, max_grad_norm=max_grad_norm, round_number=1)
    return np.concatenate([array.ravel() for array in sent.values()])


def clipped(rows: NDArray[Any], max_grad_norm: float) -> NDArray[Any]:
    """Return gradients (n, p), each scaled to the clip where it is longer."""
    return rows * np.minimum(1, max_grad_norm / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6))


def _sums(
    trainer: LocalTrainer,
    start: Mapping[str, NDArray[Any]],
    tensors: HospitalTensors,
    *,
    max_grad_norm: float,
    round_number: int,
) -> dict[str, NDArray[Any]]:
    assignment = flat_assignment(
        hospital_id="north",
        round_number=round_number,
        sample_rate=1.0,
        expected_batch_size=1.0,
        num_steps=1,
        noise_multiplier=0.0,
        max_grad_norm=max_grad_norm,
        weight=1.0,
        placement="central",
    )
    return trainer.train(start, tensors, assignment)[0]
