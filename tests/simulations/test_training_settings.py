"""The settings of training mean the same in every cell: without noise or clip, all of them are gradient descent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up import PRIVATE
from safetensors.numpy import load_file
from small_runs import draw_in_common, small_config
from torch.nn import functional

from wardround.config import Config
from wardround.datasets import load_federation
from wardround.models import build_model, load_parameters, parameters_of
from wardround.server.plan.target_reach import reach_notes
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import run
from wardround.simulations.studies.baselines import evaluate_baseline

WEIGHTS, DECAY, RATE = (0.5, 3.0), 0.05, 0.4
CELLS = [("record", "none"), *PRIVATE]
TRAINING: dict[str, Any] = {"num-rounds": 4, "local-steps": 1, "sample-rate": 1.0, "learning-rate": RATE}
TRAINING |= {"weight-decay": DECAY, "loss-weights": list(WEIGHTS)}


def settings(unit: str, placement: str, **training: Any) -> Config:
    privacy = {"unit": unit, "placement": placement, "noise-multiplier": 0.0, "max-grad-norm": 1e3}
    if placement == "none":
        privacy["noise-multiplier"] = None
    aggregation = {}
    if placement == "distributed":  # whose integers are as fine as the clip is low
        privacy |= {"max-grad-norm": 100.0 if unit == "record" else 20.0}
        aggregation = {"protocol": "secure-sum", "min-survivors": 3}
    delta = 1e-4 if unit == "record" else 1e-2
    privacy |= {"target-delta": delta}
    return small_config(training=TRAINING | training, privacy=privacy, aggregation=aggregation)


def reference(config: Config) -> dict[str, Any]:
    """Return the parameters after full-batch steps of torch's SGD on all hospitals' rows together."""
    federation = load_federation(config.federation)
    model, _ = build_model(config.model, input_shape=federation.input_shape, num_outputs=2, seed=config.federation.seed)
    x = torch.cat([torch.tensor(np.array(hospital.train_features)) for hospital in federation.hospitals])
    y = torch.cat([torch.tensor(np.array(hospital.train_labels)) for hospital in federation.hospitals])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, weight_decay=DECAY)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for _ in range(4):
        optimizer.zero_grad()
        total = functional.cross_entropy(model(x), y, weight=torch.tensor(WEIGHTS), reduction="sum")
        torch.autograd.backward(total / len(y))
        optimizer.step()
        scheduler.step()
    return parameters_of(model)


@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_schedule_decay_and_weights_are_those_of_plain_training(unit: str, placement: str, tmp_path: Path) -> None:
    config = settings(unit, placement, **{"learning-rate-schedule": "cosine"})
    folder = run(config, out=tmp_path / "run").folder
    found = load_file(folder / "model.safetensors")
    for name, want in reference(config).items():
        np.testing.assert_allclose(found[name], want, atol=2e-3 if placement == "distributed" else 2e-5)
    assert verify_run(folder)[0] == []


@pytest.mark.parametrize(("unit", "placement"), [cell for cell in PRIVATE if cell[1] != "local"])
def test_the_servers_noise_and_the_hospitals_shares_are_the_same_whatever_the_decay(
    unit: str, placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one round the models differ by the decay of the first, as far as the clip lets it through."""
    draw_in_common(monkeypatch)
    found, epsilons = {}, set()
    for decay in (0.0, DECAY):
        config = small_config(
            training={"num-rounds": 1, "local-steps": 1, "weight-decay": decay},
            privacy={"unit": unit, "placement": placement, "max-grad-norm": 50.0, "target-delta": 1e-4},
            aggregation={"protocol": "secure-sum", "min-survivors": 2},
        )
        finished = run(config, out=tmp_path / str(decay))
        found[decay] = load_file(finished.folder / "model.safetensors")
        epsilons.add(finished.summary["epsilon"]["max"])
    assert len(epsilons) == 1
    first, _ = build_model(config.model, input_shape=(30,), num_outputs=2, seed=7)
    rounding = 0.02 if placement == "distributed" else 1e-5
    for name, array in parameters_of(first).items():
        moved = found[DECAY][name] - found[0.0][name]
        np.testing.assert_allclose(moved, -config.training.learning_rate * DECAY * array, atol=rounding)


@pytest.mark.parametrize("baseline", ["alone", "pooled"])
def test_baselines_train_by_the_same_settings(baseline: str) -> None:
    config = settings("record", "none", **{"learning-rate-schedule": "cosine"})
    federation = load_federation(config.federation)
    plain = small_config(
        training={key: value for key, value in TRAINING.items() if key not in ("weight-decay", "loss-weights")},
        privacy={"placement": "none", "noise-multiplier": None},
    )
    ours, others = (evaluate_baseline(each, federation, baseline).evaluations for each in (config, plain))
    assert all(ours[name].loss != others[name].loss for name in ours)
    if baseline == "pooled":
        model, _ = build_model(config.model, input_shape=federation.input_shape, num_outputs=2, seed=7)
        load_parameters(model, reference(config))
        for hospital in federation.hospitals:
            with torch.no_grad():
                outputs = model(torch.tensor(np.array(hospital.test_features)))
            want = functional.cross_entropy(outputs, torch.tensor(np.array(hospital.test_labels)))
            assert ours[hospital.hospital_id].loss == pytest.approx(float(want), abs=1e-5)


def test_the_warning_of_targets_out_of_reach_follows_the_schedule() -> None:
    def notes(schedule: str, clip: float) -> tuple[str, ...]:
        config = small_config(
            federation={"dataset": "synthetic-regression"},
            training={"num-rounds": 8, "learning-rate-schedule": schedule},
            privacy={"max-grad-norm": clip, "target-delta": 1e-6},
        )
        federation = load_federation(config.federation)
        return reach_notes(config, federation, plan(config))

    federation = load_federation(small_config(federation={"dataset": "synthetic-regression"}).federation)
    sizes = np.concatenate([np.abs(hospital.train_labels) for hospital in federation.hospitals])
    # 8 rounds of 2 steps at rate 0.5 and a clip of 1; the schedule leaves 4.22 of the 8 rounds' rates.
    reach = 8 * 2 * 0.5 * np.sqrt(federation.input_shape[0] + 1)
    clip = 1.5 * float(np.median(sizes)) / reach
    assert notes("constant", clip) == ()
    (note,) = notes("step", clip)
    assert "x learning-rate 0.26375 each" in note
