"""Averages of models over rounds: what is tested and kept is the average, and everything else is as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import PRIVATE
from public_cases import breast_cancer
from safetensors.numpy import load_file, save_file
from small_runs import (
    charges_of,
    draw_in_common,
    interrupted_before_charging,
    interrupted_in_training,
    results_of,
    small_config,
)

from wardround.clients.initial_models import built_model
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.errors import ConfigError
from wardround.models import load_parameters
from wardround.privacy.ledger import open_ledger
from wardround.server.plan.alternatives import plan_notes
from wardround.server.plan.average import averaged, like
from wardround.server.record.averages import average_findings
from wardround.server.record.beginnings import committed_rounds
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import Run, resume, run
from wardround.simulations.studies.baselines import evaluate_baseline

DECAY, ROUNDS = 0.7, 4
PUBLIC = breast_cancer()
INTERRUPTIONS = [(1, interrupted_before_charging), (3, interrupted_before_charging), (3, interrupted_in_training)]
CELLS = [*PRIVATE, ("record", "none")]


def settings(unit: str = "record", placement: str = "local", rounds: int = ROUNDS, **sections: Any) -> Config:
    privacy: dict[str, Any] = {"unit": unit, "placement": placement, "target-delta": 1e-4}
    if placement == "none":
        privacy |= {"noise-multiplier": None}
    training = {"num-rounds": rounds, "local-steps": 1} | sections.get("training", {})
    aggregation = {"protocol": "secure-sum", "min-survivors": 2} | sections.get("aggregation", {})
    return small_config(
        training=training,
        privacy=privacy,
        aggregation=aggregation,
        **{name: table for name, table in sections.items() if name not in ("training", "aggregation")},
    )


def runs_of(folder: Path, config: Config) -> list[Run]:
    """Return runs that keep their last model and end after each of the rounds."""
    return [
        run(config.change(training={"num_rounds": rounds, "ema_decay": None}), out=folder / f"{rounds}")
        for rounds in range(1, config.training.num_rounds + 1)
    ]


def weighted(models: list[dict[str, Any]], decay: float) -> dict[str, Any]:
    weights = [decay ** (len(models) - 1 - place) for place in range(len(models))]
    return {
        name: sum(w * m[name].astype(np.float64) for w, m in zip(weights, models, strict=True)) / sum(weights)
        for name in models[0]
    }


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30),
    st.one_of(st.floats(1e-6, 1 - 1e-6), st.just(0.9999)),
)
def test_the_average_is_the_weighted_mean_of_the_models_so_far(numbers: list[float], decay: float) -> None:
    average = None
    for round_number, number in enumerate(numbers, start=1):
        average = averaged(average, {"w": np.asarray([number], np.float32)}, round_number, decay)
    assert average is not None
    want = weighted([{"w": np.asarray([number])} for number in numbers], decay)["w"]
    np.testing.assert_allclose(average["w"], want, rtol=1e-9, atol=1e-9 * max(map(abs, numbers)))


def test_there_is_no_average_without_a_decay_or_before_round_1() -> None:
    arrays = {"w": np.zeros(2, np.float32)}
    assert averaged(None, arrays, 0, 0.5) is None and averaged(None, arrays, 1, None) is None
    assert like(arrays, None) is arrays
    kept = like(arrays, averaged(None, arrays, 1, 0.5))
    assert kept["w"].dtype == np.float32


@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_the_model_is_the_average_and_nothing_else_changes(
    unit: str, placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_common(monkeypatch)
    config = settings(unit, placement, training={"ema-decay": DECAY})
    done = run(config, out=tmp_path / "run")
    *_, plain = ended = runs_of(tmp_path, config)
    models = [load_file(each.folder / "model.safetensors") for each in ended]
    found = load_file(done.folder / "model.safetensors")
    for name, want in weighted(models, DECAY).items():
        np.testing.assert_allclose(found[name], want, rtol=1e-6, atol=1e-7)
        assert found[name].dtype == np.float32 and not np.array_equal(found[name], models[-1][name])
    assert charges_of(done.folder, "released") == charges_of(plain.folder, "released")
    assert done.outcome.epsilon == plain.outcome.epsilon
    assert (
        done.rounds["loss"][1] == plain.rounds["loss"][1]
        and done.rounds["loss"][ROUNDS] != plain.rounds["loss"][ROUNDS]
    )
    assert verify_run(done.folder)[0] == []


@pytest.mark.parametrize("evaluation", [{}, {"keep": "best"}, {"patience": 1, "keep": "best"}])
@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
def test_one_that_is_taken_up_again_ends_in_the_same_bits(
    evaluation: dict[str, Any], strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(
        training={"ema-decay": DECAY, "local-steps": 2}, evaluation=evaluation, aggregation={"strategy": strategy}
    )
    whole = run(config, out=tmp_path / "whole", public=PUBLIC)
    for number, interrupted in (
        (1, interrupted_before_charging),
        (3, interrupted_before_charging),
        (3, interrupted_in_training),
    ):
        if number > whole.outcome.num_rounds:
            continue
        folder = tmp_path / f"{interrupted.__name__}-{number}"
        with interrupted(monkeypatch, number):
            run(config, out=folder, public=PUBLIC)
        assert verify_run(folder)[0] == []
        resume(folder, public=PUBLIC)
        if interrupted is interrupted_before_charging:  # else noise is drawn anew
            assert results_of(folder) == results_of(whole.folder)
        assert verify_run(folder)[0] == []


def test_public_records_judge_the_average(tmp_path: Path) -> None:
    config = settings(training={"ema-decay": DECAY, "learning-rate": 3.0}, evaluation={"keep": "best"})
    done = run(config, out=tmp_path / "run", public=PUBLIC)
    module, _ = built_model(config, (30,), 2)
    load_parameters(module, load_file(done.folder / "model.safetensors"))
    features, labels = torch.tensor(PUBLIC[0], dtype=torch.float32), torch.tensor(PUBLIC[1])
    with torch.no_grad():
        loss = float(torch.nn.functional.cross_entropy(module.eval()(features), labels))
    assert done.outcome.public_loss == pytest.approx(loss, rel=1e-5) == done.rounds["public_loss"].min()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_engines_agree(tmp_path: Path) -> None:
    training = {"ema-decay": DECAY, "num-rounds": 2}
    done = {
        engine: run(settings(training=training, simulation={"engine": engine}), out=tmp_path / engine)
        for engine in ("inline", "ray", "stacked")
    }
    assert results_of(done["ray"].folder) == results_of(done["inline"].folder)
    # A stack has noise of its own, so that its models are others.
    assert done["stacked"].outcome.epsilon == done["inline"].outcome.epsilon
    assert verify_run(done["stacked"].folder)[0] == []


def test_a_changed_average_is_found(tmp_path: Path) -> None:
    done = run(settings(training={"ema-decay": DECAY}), out=tmp_path / "run")
    arrays = load_file(done.folder / "model.safetensors")
    name = next(iter(arrays))
    save_file(arrays | {name: arrays[name] + 1}, done.folder / "model.safetensors")
    assert any("model.safetensors is not the model" in found for found in verify_run(done.folder)[0])


def test_an_average_that_does_not_follow_is_found_though_its_file_was_committed_so(tmp_path: Path) -> None:
    done = run(settings(training={"ema-decay": DECAY}), out=tmp_path / "run")
    folder = RunFolder(done.folder)
    with open_ledger(folder.ledger, read_only=True) as ledger:
        records = committed_rounds(ledger)
    assert list(average_findings(folder, records, DECAY)) == []
    tensors, values = folder.read_checkpoint(records[ROUNDS].saved.checkpoint, records[ROUNDS].saved.sha256)
    name = next(key for key in tensors if key.startswith("average/"))
    _, sha256 = folder.write_checkpoint(ROUNDS, tensors | {name: tensors[name] + 1e-6}, values)
    last = replace(records[ROUNDS], saved=replace(records[ROUNDS].saved, sha256=sha256))
    (found,) = average_findings(folder, [*records[:ROUNDS], last], DECAY)
    assert found.startswith(f"the average model of round {ROUNDS} does not follow")


def test_hospitals_own_models_are_not_averaged_over_rounds() -> None:
    plain = {"protocol": "plain", "min-survivors": 1}
    with pytest.raises(ConfigError, match=r"ema-decay = 0\.7 averages one model of all over rounds .*: remove one"):
        settings(training={"ema-decay": DECAY}, personal={"method": "local-head"}, aggregation=plain)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, 2.0])
def test_a_decay_is_between_0_and_1(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"ema-decay = .* must be > 0 and < 1"):
        settings(training={"ema-decay": decay})


def test_the_plan_says_what_the_model_is() -> None:
    assert any(
        "ema-decay = 0.7" in note and "no epsilon" in note
        for note in plan_notes(plan(settings(training={"ema-decay": DECAY})))
    )


def test_baselines_average_theirs_too() -> None:
    config = settings(placement="none", training={"ema-decay": 1e-9, "sample-rate": 1.0})
    federation = load_federation(config.federation)
    close = evaluate_baseline(config, federation, "pooled")
    plain = evaluate_baseline(config.change(training={"ema_decay": None}), federation, "pooled")
    slow = evaluate_baseline(config.change(training={"ema_decay": 0.99}), federation, "pooled")
    losses = [next(iter(each.evaluations.values())).loss for each in (close, plain, slow)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and losses[2] != pytest.approx(losses[1], rel=1e-3)
