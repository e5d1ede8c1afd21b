"""Hospitals of their own sizes, rates, noise and steps, that train one by one and together, for tests that compare."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from small_runs import CommonStreams
from torch import nn

from wardround.clients.stacked.together import Asked, apart_because, train_together
from wardround.clients.training import HospitalTensors, LocalTrainer, Trained
from wardround.config import ModelConfig, TrainingConfig
from wardround.models import build_model, parameters_of
from wardround.privacy.cells import cell_named
from wardround.privacy.integers import from_residues
from wardround.rounds import Assignment, Schedule
from wardround.step_events import StepEvent

SHAPE, NUM_OUTPUTS, CLIP = (6,), 3, 0.7
SIZES, RATES, STEPS, NOISES = (
    (40, 1, 7, 130, 400),
    (0.3, 0.5, 0.9, 0.1, 1.0),
    (4, 9, 1, 6, 3),
    (1.5, 0.7, 0.0, 2.0, 1.0),
)


def records(num: int, seed: int, *, shape: Sequence[int] = SHAPE, task: str = "classification") -> HospitalTensors:
    """Return made-up records."""
    generator = np.random.default_rng(seed)
    features = torch.tensor(generator.normal(size=(num, *shape)).astype(np.float32) * 2)
    labels = torch.tensor(generator.integers(0, NUM_OUTPUTS, num))
    if task == "regression":
        labels = torch.tensor(generator.normal(size=num).astype(np.float32))
    return HospitalTensors(train_features=features, train_labels=labels, test_features=features, test_labels=labels)


def assigned(cell: str, num: int, **changes: Any) -> Assignment:
    """Return what a hospital with so many records is asked in a cell, billed as the cell says."""
    values = {"hospital_id": "north", "rate": 0.3, "steps": 5, "noise": 1.0, "round_number": 1, "clip": CLIP} | changes
    kind, rate, clip = cell_named(cell), values["rate"], values["clip"]
    schedule = Schedule(
        sample_rate=rate, expected_batch_size=rate * num, num_steps=1 if kind.sends_sum else values["steps"]
    )
    billed_steps, billed_rate = kind.billed(schedule)
    integers = {"scaled_norm": 3_000.0, "num_shares": 4, "dimension": values.get("dimension", 1)}
    event = StepEvent(
        noise_multiplier=values["noise"] if kind.is_private else 0.0,
        sample_rate=billed_rate,
        num_steps=billed_steps,
        cell=cell,
        **(integers if kind.payload == "residues" else {}),
    )
    return Assignment(
        hospital_id=values["hospital_id"],
        round_number=values["round_number"],
        schedule=schedule,
        event=event,
        weight=1.0,
        max_grad_norm=clip if kind.is_private else None,
        sensitivity=kind.sensitivity(clip) if kind.is_private else None,
        contribution=kind.contribution(80, 100),
    )


def cohort(cell: str, trainer: LocalTrainer, *, data: Any = None, mu: float = 0.0, **changes: Any) -> list[Asked]:
    """Return hospitals that are alike in nothing; `changes` holds for all of them."""
    data = [records(num, seed) for seed, num in enumerate(SIZES)] if data is None else data
    found = []
    for index, tensors in enumerate(data):
        own = {"rate": RATES[index % 5], "steps": STEPS[index % 5], "noise": NOISES[index % 5]}
        values = {"hospital_id": f"hospital-{index:02d}", "dimension": trainer.num_parameters, **own} | changes
        assignment = assigned(cell, tensors.num_train, **values)
        found.append(Asked(tensors=tensors, assignment=assignment, proximal_mu=mu))
    return found


def trainer_of(model: Any, cell: str, *, shape: Sequence[int] = SHAPE, source: Any = None, **training: Any) -> Any:
    """Return a trainer of a named model, or of a module."""
    task = training.pop("task", "classification")
    if not isinstance(model, nn.Module):
        outputs = 1 if task == "regression" else NUM_OUTPUTS
        sizes = {"hidden_sizes": (9, 5)} if model == "mlp" else {}
        config = ModelConfig(name=model, channels=(3, 4), width=8, **sizes)
        model, _ = build_model(config, input_shape=tuple(shape), num_outputs=outputs, seed=1)
    config, apart = TrainingConfig(**({"learning_rate": 0.5} | training)), cell_named(cell).clips_records
    return LocalTrainer(model, config, task=task, source=source or CommonStreams(7), protects_records=apart)


def both_ways(trainer: LocalTrainer, asked: Sequence[Asked], start: Any = None) -> tuple[list[Trained], list[Trained]]:
    """Return what hospitals make one by one, and together, from the same parameters."""
    start = parameters_of(trainer.model) if start is None else start
    assert [apart_because(trainer, each.tensors, each.assignment, None) for each in asked] == [None] * len(asked)
    alone = [trainer.train(start, each.tensors, each.assignment, proximal_mu=each.proximal_mu) for each in asked]
    return alone, train_together(trainer, start, asked)


def check_alike(alone: Sequence[Trained], together: Sequence[Trained], tolerance: float = 1e-5) -> None:
    """Hold what came together against what came one by one: what is sent to a tolerance, the bill to the last bit."""
    assert len(alone) == len(together)
    for one, other in zip(alone, together, strict=True):
        assert one.execution == other.execution
        assert one.measures.num_scrubbed == other.measures.num_scrubbed
        assert one.measures.num_examples == other.measures.num_examples
        np.testing.assert_allclose(other.measures.loss, one.measures.loss, rtol=1e-4)
        assert list(one.arrays) == list(other.arrays)
        for name, array in one.arrays.items():
            assert (array.shape, array.dtype) == (other.arrays[name].shape, other.arrays[name].dtype)
            if array.dtype.kind in "iu":  # a rounding may go the other way
                sums = [from_residues(each.arrays[name].astype(np.int64)) for each in (one, other)]
                apart = np.abs(sums[0] - sums[1])
                assert apart.max() <= 1
                assert (apart > 0).mean() < 0.2
            else:
                np.testing.assert_allclose(other.arrays[name], array, rtol=tolerance, atol=tolerance)


def same_bits(one: Trained, other: Trained) -> bool:
    """Return whether two hospitals send the same bits."""
    return all(array.tobytes() == other.arrays[name].tobytes() for name, array in one.arrays.items())
