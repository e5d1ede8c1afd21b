"""Records that are clipped by groups: against NumPy, how far one record moves their sum, and runs from end to end."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as some
from made_up import flat_assignment
from small_runs import CommonStreams, interrupted_before_charging, results_of, small_config
from torch import nn

import wardround as wr
from wardround.agreed.schedules import schedule_of
from wardround.clients.tensors import HospitalTensors
from wardround.clients.training import LocalTrainer
from wardround.config import Config, TrainingConfig
from wardround.errors import ConfigError
from wardround.models import parameters_of
from wardround.privacy.accounting import rdp_epsilon
from wardround.privacy.ledger import open_ledger
from wardround.rounds import Assignment
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run
from wardround.step_events import StepEvent
from wardround.streams import Draw

CLIP, SIZE, NUM_FEATURES = 0.7, 3, 5


def tensors(features: np.ndarray, labels: np.ndarray, size: int = SIZE) -> HospitalTensors:
    rows = {"features": torch.tensor(features), "labels": torch.tensor(labels)}
    return HospitalTensors(
        **{f"train_{key}": part for key, part in rows.items()},
        **{f"test_{key}": part[:0] for key, part in rows.items()},
        group_size=size,
    )


def assignment(num_records: int, sample_rate: float = 0.4) -> Assignment:
    """A sum that the server adds noise to; that it is billed as microbatches changes nothing at the hospital."""
    return flat_assignment(
        hospital_id="north",
        round_number=1,
        sample_rate=sample_rate,
        expected_batch_size=sample_rate * math.ceil(num_records / SIZE),
        num_steps=1,
        noise_multiplier=1.5,
        max_grad_norm=CLIP,
        weight=0.5,
        placement="central",
        sensitivity=2 * CLIP,
    )


def trainer(mode: str = "auto") -> LocalTrainer:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(NUM_FEATURES, 2, bias=False))
    config = TrainingConfig(grad_sample_mode=mode)
    return LocalTrainer(model, config, task="classification", source=CommonStreams(7))


def summed(local: LocalTrainer, rows: HospitalTensors, task: Assignment) -> np.ndarray:
    sent, *_ = local.train(parameters_of(local.model), rows, task)
    return np.asarray(sent["1.weight"], np.float64)


def data(seed: int, num_records: int, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = (generator.normal(size=(num_records, NUM_FEATURES)) * scale).astype(np.float32)
    return features, generator.integers(0, 2, num_records)


@pytest.mark.parametrize("mode", ["closed-form", "per-record", "hooks", "functorch", "ew"])
@pytest.mark.parametrize("num_records", [40, 42, 2])
def test_the_sum_is_the_numpy_loops_over_groups_as_they_stand(mode: str, num_records: int) -> None:
    (features, labels), local, task = data(0, num_records), trainer(mode), assignment(num_records)
    weight = parameters_of(local.model)["1.weight"].astype(np.float64)
    drawn = CommonStreams(7).drawn(Draw.SAMPLING).random(math.ceil(num_records / SIZE)) < 0.4
    wanted = np.zeros_like(weight)
    for group in np.flatnonzero(drawn):
        rows = range(SIZE * group, min(SIZE * (group + 1), num_records))
        chances = [np.exp(weight @ features[row]) / np.exp(weight @ features[row]).sum() for row in rows]
        gradient = np.mean(
            [np.outer(p - np.eye(2)[labels[row]], features[row]) for p, row in zip(chances, rows, strict=True)], axis=0
        )
        wanted += gradient * min(1, CLIP / np.linalg.norm(gradient))
    np.testing.assert_allclose(summed(local, tensors(features, labels), task), wanted, atol=2e-5)


@examples(max_examples=40, deadline=None)
@given(seed=some.integers(0, 10_000), scale=some.sampled_from([1e-3, 1.0, 1e4]), place=some.integers(0, 10))
def test_zeroing_a_record_out_moves_the_sum_by_at_most_two_clips(seed: int, scale: float, place: int) -> None:
    features, labels = data(seed, 11)
    features[place] *= scale
    emptied = features.copy()
    emptied[place] = 0.0  # without a bias its gradient is zero
    local, task = trainer(), assignment(11, sample_rate=1.0)
    both = [summed(local, tensors(rows, labels), task) for rows in (features, emptied)]
    assert np.linalg.norm(both[0] - both[1]) <= 2 * CLIP


def test_the_worst_record_moves_it_by_two_clips_and_no_record_of_another_group_counts() -> None:
    """Its group points one way with it, and the other way without it: a bill for one clip would be too small."""
    features = np.tile(np.ones(NUM_FEATURES, np.float32), (9, 1))
    labels = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0])
    features[4] *= 10  # with two of its group 10 / 3 - 2 / 3 one way, without them the other
    features[3], features[5] = 3.0, 0.0
    emptied = features.copy()
    emptied[4] = 0.0
    local, task = trainer(), assignment(9, sample_rate=1.0)
    start = {"1.weight": np.zeros((2, NUM_FEATURES), np.float32)}
    both = [
        np.asarray(local.train(start, tensors(rows, labels), task).arrays["1.weight"]) for rows in (features, emptied)
    ]
    assert 1.99 * CLIP < np.linalg.norm(both[0] - both[1]) <= 2 * CLIP


def test_groups_are_as_records_stand_whoever_is_drawn() -> None:
    rows = tensors(*data(0, 8))
    found, owners = rows.rows_of(torch.tensor([0, 2]))
    assert owners is not None
    assert (found.tolist(), owners.tolist()) == ([0, 1, 2, 6, 7], [0, 0, 0, 2, 2])
    assert (rows.num_drawn, rows.num_train) == (3, 8)
    assert rows.rows_of(torch.tensor([], dtype=torch.int64))[0].tolist() == []


def config_of(placement: str = "local", size: int = SIZE, **sections: Any) -> Config:
    steps = {"local-steps": None} if placement == "central" else {}
    return small_config(
        training={"num-rounds": 3} | steps | sections.get("training", {}),
        privacy={"placement": placement, "microbatch-size": size} | sections.get("privacy", {}),
        aggregation=sections.get("aggregation", {}),
        simulation={"engine": "inline"} | sections.get("simulation", {}),
    )


@pytest.mark.parametrize("protocol", ["plain", "secagg+"])
@pytest.mark.parametrize("placement", ["local", "central"])
def test_a_run_is_billed_resumed_and_in_order(
    placement: str, protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregation = {"protocol": protocol, "min-survivors": 3 if protocol == "secagg+" else 1}
    config = config_of(placement, aggregation=aggregation)
    done = run(config, out=tmp_path / "whole")
    num_steps = 3 * (1 if placement == "central" else 2)
    event = StepEvent(noise_multiplier=math.sqrt(2), sample_rate=0.1, num_steps=2 * num_steps)
    assert done.outcome.epsilon.max == pytest.approx(rdp_epsilon([event], 1e-4), rel=1e-9)
    with open_ledger(done.folder / "ledger.sqlite", read_only=True) as ledger:
        entries = ledger.entries()
    assert {entry.sensitivity for entry in entries} == {2.0}
    assert {entry.event.cell for entry in entries} == {f"record-{placement}-microbatches"}
    assert verify_run(done.folder)[0] == []
    with interrupted_before_charging(monkeypatch, 2):
        run(config, out=tmp_path / "parts")
    resume(tmp_path / "parts")
    assert results_of(tmp_path / "parts") == results_of(done.folder)


def test_engines_agree_and_a_stack_trains_groups_one_by_one(tmp_path: Path) -> None:
    done = [
        run(config_of(simulation={"engine": engine}, training={"num-rounds": 1}), out=tmp_path / engine).folder
        for engine in ("inline", "stacked")
    ]
    assert results_of(done[0]) == results_of(done[1])


def test_a_target_is_met_and_takes_more_noise_than_without_groups() -> None:
    privacy = {"noise-multiplier": None, "target-epsilon": 2.0}
    grouped, alone = (plan(config_of(size=size, privacy=privacy)) for size in (SIZE, 1))
    assert grouped.epsilon_total <= 2.0 and grouped.epsilon_total == pytest.approx(2.0, rel=1e-3)
    noise = [max(each.noise_multipliers.values()) for each in (grouped, alone)]
    assert 2 * noise[0] > 1.5 * noise[1]  # relative to two clips, and to one


def test_a_step_is_divided_by_the_groups_that_are_expected() -> None:
    schedule = schedule_of(config_of(), 40)
    assert (schedule.sample_rate, schedule.expected_batch_size) == (0.1, pytest.approx(1.4))
    assert schedule_of(config_of(size=1), 40).expected_batch_size == pytest.approx(4.0)


def test_patients_of_several_rows_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=40), "y": [0, 1] * 20, "at": ["a", "b"] * 20})
    frame["who"] = [f"p{number // 4}-{number % 2}" for number in range(40)]
    federation = wr.Federation.from_frame(frame, target="y", hospital="at", patient="who")
    with pytest.raises(ConfigError, match=r"microbatch-size = 3 groups records of one row.*: remove it"):
        wr.run(config_of(), federation=federation, out=tmp_path / "run")


def test_groups_that_no_hospital_has_records_for_are_refused() -> None:
    largest = max(plan(config_of()).sizes.values())
    assert plan(config_of(size=largest)).epsilon_total > 0
    with pytest.raises(ConfigError, match=rf"microbatch-size = {largest + 1} must be <= {largest}, the training rec"):
        plan(config_of(size=largest + 1))


def test_groups_of_one_are_records() -> None:
    assert config_of(size=1) == small_config(training={"num-rounds": 3}, privacy={"placement": "local"})


def test_they_give_way_where_nothing_is_clipped_and_are_no_part_of_released_statistics() -> None:
    assert config_of().change(privacy={"placement": "none"}).privacy.microbatch_size == 1
    config = config_of().change(features={"standardise": "private"})
    statistics = plan(config).statistics
    assert statistics is not None and statistics.cell.name == "record-local"
