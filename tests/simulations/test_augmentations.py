"""Images whose gradients are averaged over random copies: what copies are, what a record moves, and whole runs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up import PRIVATE, flat_assignment
from safetensors.numpy import load_file
from small_runs import CommonStreams, interrupted_before_charging, results_of
from torch import nn

import wardround as wr
from wardround.clients.augmentations import Augmentations
from wardround.clients.tensors import HospitalTensors
from wardround.clients.training import LocalTrainer
from wardround.config import Config, TrainingConfig
from wardround.errors import ConfigError
from wardround.models import parameters_of
from wardround.rounds import Assignment
from wardround.server.record.verify import verify_run
from wardround.streams import Draw

COPIES, CLIP, SIDE = 3, 0.7, 6
CELLS = [*PRIVATE, ("record", "none")]


def images(seed: int, number: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(number, channels, SIDE, SIDE)).astype(np.float32)


def changed(image: np.ndarray, generator: np.random.Generator, number: int) -> list[np.ndarray]:
    """Copies of images by NumPy's own padding: all draws of flips first, then of rows, then of columns."""
    mirrored = generator.random(number) < 0.5
    down, right = generator.integers(-4, 4, (2, number), endpoint=True)
    copies = []
    for place in range(number):
        padded = np.pad(image[place], ((0, 0), (4, 4), (4, 4)), mode="reflect")
        top, left = 4 + down[place], 4 + right[place]
        copy = padded[:, top : top + SIDE, left : left + SIDE]
        copies.append(copy[:, :, ::-1] if mirrored[place] else copy)
    return copies


def test_copies_are_flips_and_reflected_shifts() -> None:
    given = torch.tensor(images(0, 5))
    made = Augmentations(multiplicity=COPIES, generator=np.random.default_rng(3))
    features, labels, owners = made.of_batch(given, torch.arange(5), None)
    wanted = changed(np.repeat(given.numpy(), COPIES, axis=0), np.random.default_rng(3), 5 * COPIES)
    np.testing.assert_array_equal(features.numpy(), np.stack(wanted))
    assert labels.tolist() == owners.tolist() == [row for row in range(5) for _ in range(COPIES)]
    assert made.of_batch(given[:0], torch.arange(0), None)[0].shape == (0, 2, SIDE, SIDE)
    patients = made.of_batch(given, torch.arange(5), torch.tensor([1, 1, 4, 7, 7]))[2]
    assert patients.tolist() == [1] * 6 + [4] * 3 + [7] * 6


def trainer() -> LocalTrainer:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * SIDE * SIDE, 2, bias=False))
    config = TrainingConfig(augmentation_multiplicity=COPIES)
    return LocalTrainer(model, config, task="classification", source=CommonStreams(7))


def assignment(number: int, sample_rate: float) -> Assignment:
    return flat_assignment(
        hospital_id="north",
        round_number=1,
        sample_rate=sample_rate,
        expected_batch_size=sample_rate * number,
        num_steps=1,
        noise_multiplier=1.5,
        max_grad_norm=CLIP,
        weight=0.5,
        placement="central",
    )


def summed(features: np.ndarray, labels: np.ndarray, sample_rate: float = 1.0) -> np.ndarray:
    local = trainer()
    rows = {"features": torch.tensor(features), "labels": torch.tensor(labels)}
    tensors = HospitalTensors(**{f"{part}_{key}": row for part in ("train", "test") for key, row in rows.items()})
    sent, *_ = local.train(parameters_of(local.model), tensors, assignment(len(labels), sample_rate))
    return np.asarray(sent["1.weight"], np.float64)


def test_gradients_are_averaged_before_the_clip() -> None:
    features, labels = images(1, 12), np.arange(12) % 2
    weight = parameters_of(trainer().model)["1.weight"].astype(np.float64)
    drawn = np.flatnonzero(CommonStreams(7).drawn(Draw.SAMPLING).random(12) < 0.5)
    generator = CommonStreams(7).drawn(Draw.AUGMENTATIONS)
    copies = np.stack(changed(np.repeat(features[drawn], COPIES, axis=0), generator, COPIES * len(drawn)))
    wanted = np.zeros_like(weight)
    for place, row in enumerate(drawn):
        gradients = []
        for copy in copies[COPIES * place : COPIES * (place + 1)].reshape(COPIES, -1).astype(np.float64):
            chances = np.exp(weight @ copy) / np.exp(weight @ copy).sum()
            gradients.append(np.outer(chances - np.eye(2)[labels[row]], copy))
        gradient = np.mean(gradients, axis=0)
        wanted += gradient * min(1, CLIP / np.linalg.norm(gradient))
    np.testing.assert_allclose(summed(features, labels, 0.5), wanted, atol=2e-5)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_a_record_zeroed_out_moves_the_sum_by_at_most_the_clip(seed: int, scale: float) -> None:
    features, labels = images(seed, 9), np.arange(9) % 2
    features[seed] *= scale
    emptied = features.copy()
    emptied[seed] = 0.0
    moved = np.linalg.norm(summed(features, labels) - summed(emptied, labels))
    assert moved <= CLIP and (scale < 1 or moved > 0)


def config_of(unit: str, placement: str, copies: int | None = COPIES, **sections: Any) -> Config:
    privacy = {
        "unit": unit,
        "placement": placement,
        "noise-multiplier": 1.0,
        "target-delta": 1e-3,
        "max-grad-norm": 1.0,
    }
    if placement == "none":
        privacy = {"placement": "none"}
    training = {"num-rounds": 2, "local-steps": 1, "sample-rate": 0.5, "learning-rate": 0.1}
    return Config.of(
        {
            "training": training | {"augmentation-multiplicity": copies} | sections.pop("training", {}),
            "privacy": privacy,
            "aggregation": {"protocol": "secure-sum", "min-survivors": 2},
            "simulation": {"engine": "inline"},
            **sections,
        }
    )


def federation(side: int = SIDE) -> wr.Federation:
    data = {name: (images(seed, 20), np.arange(20) % 2) for seed, name in enumerate(("a", "b", "c"))}
    return wr.Federation.from_arrays({name: (rows[:, :, :side], labels) for name, (rows, labels) in data.items()})


@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_a_run_costs_what_it_did_and_engines_agree(unit: str, placement: str, tmp_path: Path) -> None:
    config = config_of(unit, placement)
    done = {
        engine: wr.run(config.change(simulation={"engine": engine}), federation=federation(), out=tmp_path / engine)
        for engine in ("inline", "stacked")
    }
    plain = wr.run(config_of(unit, placement, None), federation=federation(), out=tmp_path / "plain")
    assert results_of(done["inline"].folder) == results_of(done["stacked"].folder)
    assert done["inline"].epsilon == plain.epsilon
    one, other = (load_file(each.folder / "model.safetensors") for each in (done["inline"], plain))
    assert any(not np.allclose(one[name], other[name]) for name in one)
    assert verify_run(done["inline"].folder)[0] == []


def test_a_run_that_is_taken_up_again_ends_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("record", "local")
    whole = wr.run(config, federation=federation(), out=tmp_path / "whole")
    with interrupted_before_charging(monkeypatch, 2):
        wr.run(config, federation=federation(), out=tmp_path / "parts")
    wr.resume(tmp_path / "parts", federation=federation())
    assert results_of(tmp_path / "parts") == results_of(whole.folder)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    config = config_of("record", "local")
    with pytest.raises(ConfigError, match=r"augmentation-multiplicity = 3 is for images of 5 pixels or more"):
        wr.run(config, federation=federation(side=4), out=tmp_path / "small")
    with pytest.raises(ConfigError, match=r"a record has the shape \(30,\) here .*: remove it"):
        wr.run(config.change(federation={"dataset": "breast-cancer"}), out=tmp_path / "table")
    with pytest.raises(ConfigError, match=r"features are extracted from them once.*: remove one of them"):
        config.change(features={"extract": "scattering"})
    with pytest.raises(ConfigError, match=r"can't average over augmentations.*: set .auto., or remove"):
        config.change(training={"grad_sample_mode": "ghost"})


def test_more_copies_are_counted_where_an_engine_is_chosen() -> None:
    from wardround.simulations.engines.choosing import estimated_seconds
    from wardround.simulations.prepared import plan

    digits = {"dataset": "digits", "num-hospitals": 3}
    seconds = []
    for copies in (1, 100):
        config = config_of("record", "local", copies, federation=digits, model={"name": "cnn"})
        seconds.append(estimated_seconds(config, plan(config), (1, 8, 8)))
    assert seconds[1] > 20 * seconds[0] and math.isfinite(seconds[1])
