"""Runs that stop early, or keep their best model, by public records: what is kept, charged, refused, taken up again."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from public_cases import breast_cancer
from small_runs import charges_of, interrupted_before_charging, interrupted_in_training, results_of, small_config

from wardround.clients.initial_models import built_model
from wardround.config import Config
from wardround.digests import array_digest
from wardround.errors import ConfigError
from wardround.models import load_parameters
from wardround.reports.folder import read_run
from wardround.reports.words import status_sentence
from wardround.server.plan.best import Best, best_after
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import Run, resume, run
from wardround.simulations.studies.study import Study

PUBLIC = breast_cancer()
ROUNDS = 12


def config_of(training: dict[str, Any] | None = None, **evaluation: Any) -> Config:
    rounds = {"num-rounds": ROUNDS, "learning-rate": 1.0, **(training or {})}
    return small_config(training=rounds, evaluation=evaluation)


def model_of(done: Run) -> str:
    arrays = RunFolder(done.folder).read_model()[0]
    assert arrays is not None
    return array_digest(arrays).hex()


def public_loss_of(done: Run, config: Config) -> float:
    """Return the loss of model.safetensors on the public records, computed afresh."""
    arrays = RunFolder(done.folder).read_model()[0]
    assert arrays is not None
    module, _ = built_model(config, (30,), 2)
    load_parameters(module, arrays)
    features, labels = torch.tensor(PUBLIC[0], dtype=torch.float32), torch.tensor(PUBLIC[1])
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(module.eval()(features), labels))


def test_the_best_model_is_the_one_with_the_least_public_loss(tmp_path: Path) -> None:
    config = config_of(keep="best")
    done = run(config, out=tmp_path / "run", public=PUBLIC)
    losses = done.rounds["public_loss"]
    best = int(losses.idxmin())
    assert done.outcome.kept_round == best < ROUNDS
    assert done.outcome.public_loss == losses[best] == pytest.approx(public_loss_of(done, config), rel=1e-5)
    assert (done.outcome.num_rounds, done.outcome.status) == (ROUNDS, "done")
    assert done.summary["accuracy"] == done.rounds["accuracy"][best]
    assert verify_run(done.folder)[0] == []


def test_what_is_kept_changes_no_round_and_no_charge(tmp_path: Path) -> None:
    best = run(config_of(keep="best"), out=tmp_path / "best", public=PUBLIC)
    last = run(config_of(), out=tmp_path / "last", public=PUBLIC)
    assert charges_of(best.folder, "released") == charges_of(last.folder, "released")
    assert best.outcome.epsilon == last.outcome.epsilon
    assert last.outcome.kept_round is None
    assert last.outcome.public_loss == last.rounds["public_loss"].iloc[-1]


@pytest.mark.parametrize("privacy", [{}, {"noise-multiplier": None, "target-epsilon": 3.0}, {"placement": "central"}])
def test_a_run_that_stops_early_is_charged_what_it_was_planned_for(tmp_path: Path, privacy: dict[str, Any]) -> None:
    """When to stop follows from the models: an epsilon of the rounds done alone would be chosen after the fact."""
    rounds = {"num-rounds": ROUNDS, "learning-rate": 1.0, "local-steps": 1}
    config = small_config(training=rounds, evaluation={"patience": 2}, privacy=privacy)
    done = run(config, out=tmp_path / "run", public=PUBLIC)
    stopped, losses = done.outcome.num_rounds, done.rounds["public_loss"]
    assert done.outcome.status == "stopped-early" and stopped < ROUNDS
    assert int(losses.idxmin()) == stopped - 2 and len(losses) == stopped + 1
    assert {number for number, _ in charges_of(done.folder, "released")} == set(range(1, stopped + 1))
    planned = charges_of(done.folder, "planned")
    assert {number for number, _ in planned} == set(range(1, ROUNDS + 1))
    assert done.outcome.epsilon.total == pytest.approx(plan(config, public=PUBLIC).epsilon_total)
    assert verify_run(done.folder)[0] == []
    assert f"Stopped early after {stopped} of {ROUNDS} rounds" in status_sentence(read_run(done.folder))


def test_one_that_is_taken_up_again_ends_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(keep="best", patience=3)
    whole = run(config, out=tmp_path / "whole", public=PUBLIC)
    stopped = whole.outcome.num_rounds
    assert whole.outcome.status == "stopped-early"
    for number in sorted({1, whole.outcome.kept_round + 1, stopped, stopped + 1}):
        folder = tmp_path / f"parts-{number}"
        with interrupted_before_charging(monkeypatch, number):
            run(config, out=folder, public=PUBLIC)
        parts = resume(folder, public=PUBLIC)
        assert results_of(folder) == results_of(whole.folder)
        assert (parts.outcome.status, parts.outcome.kept_round) == ("stopped-early", whole.outcome.kept_round)
        assert charges_of(folder, "planned") == charges_of(whole.folder, "planned")
        assert parts.outcome.epsilon == whole.outcome.epsilon
        assert verify_run(folder)[0] == []
    again = resume(whole.folder, public=PUBLIC)
    assert charges_of(whole.folder, "planned") == charges_of(folder, "planned")
    assert (again.outcome.status, again.outcome.epsilon) == ("stopped-early", whole.outcome.epsilon)


def test_one_killed_in_training_keeps_its_best_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(keep="best")
    with interrupted_in_training(monkeypatch, ROUNDS - 1):
        run(config, out=tmp_path / "run", public=PUBLIC)
    assert verify_run(tmp_path / "run")[0] == []
    done = resume(tmp_path / "run", public=PUBLIC)
    assert done.outcome.kept_round == int(done.rounds["public_loss"].idxmin())
    assert done.outcome.public_loss == pytest.approx(public_loss_of(done, config), rel=1e-5)
    assert verify_run(done.folder)[0] == []


def test_a_loader_that_settings_name_is_the_same_as_its_records(tmp_path: Path) -> None:
    named = run(config_of(keep="best", public="public_cases:breast_cancer"), out=tmp_path / "named")
    given = run(config_of(keep="best"), out=tmp_path / "given", public=PUBLIC)
    assert named.rounds["public_loss"][0] == given.rounds["public_loss"][0]
    resume(named.folder)
    assert verify_run(named.folder)[0] == []


def test_without_privacy_the_test_records_may_decide(tmp_path: Path) -> None:
    privacy = {"placement": "none", "noise-multiplier": None, "target-delta": None}
    config = small_config(
        training={"num-rounds": ROUNDS, "learning-rate": 8.0},
        privacy=privacy,
        evaluation={"keep": "best", "patience": 2},
    )
    done = run(config, out=tmp_path / "run")
    losses = done.rounds["loss"]
    assert done.outcome.kept_round == int(losses.idxmin()) == done.outcome.num_rounds - 2
    assert {number for number, _ in charges_of(done.folder, "planned")} == set(range(1, done.outcome.num_rounds + 1))
    assert verify_run(done.folder)[0] == []


def test_patience_counts_evaluated_rounds(tmp_path: Path) -> None:
    done = run(config_of(patience=1, training={"evaluate-every": 3}), out=tmp_path / "run", public=PUBLIC)
    losses = done.rounds["public_loss"]
    assert done.outcome.num_rounds % 3 == 0
    assert losses[1:3].isna().all() and losses.iloc[-1] >= losses.dropna().iloc[-2]
    assert verify_run(done.folder)[0] == []


@pytest.mark.parametrize("evaluation", [{"patience": 2}, {"keep": "best"}])
def test_a_choice_by_private_test_records_is_refused_by_run_and_plan(
    tmp_path: Path, evaluation: dict[str, Any]
) -> None:
    config = config_of(**evaluation)
    for refusing in (lambda: run(config, out=tmp_path / "run"), lambda: plan(config)):
        with pytest.raises(ConfigError, match=r"needs public records .* a release of theirs that nobody accounts for"):
            refusing()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("public", "reason"),
    [
        ((PUBLIC[0][:, :29], PUBLIC[1]), r"features \(40, 29\) and labels \(40,\), and must have \(n, 30\)"),
        ((PUBLIC[0], PUBLIC[1][:39]), "labels \\(39,\\)"),
        ((PUBLIC[0][:0], PUBLIC[1][:0]), "with n >= 1"),
        ((PUBLIC[0], PUBLIC[1] + 1), r"labels \[1, 2\], and must have class indices 0 to 1"),
        ((np.where(PUBLIC[0] > 3, math.inf, PUBLIC[0]), PUBLIC[1]), "a number that is not finite"),
        ((np.full((2, 30), "x"), PUBLIC[1][:2]), "must be \\(features, labels\\) of numbers"),
        (PUBLIC[0], "must be \\(features, labels\\) of numbers"),
    ],
)
def test_public_records_that_do_not_fit_are_refused(tmp_path: Path, public: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        run(config_of(keep="best"), out=tmp_path / "run", public=public)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("public_cases:broken", "could not be loaded: OSError: no such bucket"),
        ("public_cases:odd", "returned int, and must return"),
        ("public_cases:nothing", "could not be loaded: AttributeError"),
        ("no_such_module:load", "could not be loaded: ModuleNotFoundError"),
    ],
)
def test_a_loader_that_fails_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        run(config_of(public=name), out=tmp_path / "run")


@pytest.mark.parametrize("evaluation", [{"patience": 0}, {"keep": "first"}, {"public": "loader"}, {"patienc": 3}])
def test_settings_out_of_range_are_refused(evaluation: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"\[evaluation\]"):
        config_of(**evaluation)


def test_records_are_given_once_and_the_same_when_a_run_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        run(config_of(public="public_cases:breast_cancer"), out=tmp_path / "twice", public=PUBLIC)
    with interrupted_before_charging(monkeypatch, 3):
        run(config_of(keep="best"), out=tmp_path / "run", public=PUBLIC)
    with pytest.raises(ConfigError, match="public records are not those that the run began with"):
        resume(tmp_path / "run", public=(PUBLIC[0] + 1, PUBLIC[1]))
    with pytest.raises(ConfigError, match="needs public records"):
        resume(tmp_path / "run")


def test_baselines_that_keep_their_last_model_are_not_compared_with_runs_that_keep_their_best() -> None:
    base = config_of(keep="best", public="public_cases:breast_cancer")
    for baseline in ("alone", "pooled"):
        with pytest.raises(ConfigError, match=f"the baseline {baseline} trains all rounds and keeps the last model"):
            Study(base=base, baselines=(baseline,)).runs()
    assert len(Study(base=base, baselines=("federated", "majority")).runs()) == 2
    assert Study(base=config_of(public="public_cases:breast_cancer"), baselines=("alone",)).runs()
    with pytest.raises(ConfigError, match="needs public records"):
        Study(base=config_of(keep="best"), placements=("local",), noise_multipliers=(1.0,)).runs()


def test_a_loss_that_is_no_number_is_no_improvement_and_an_unknown_one_is_nothing() -> None:
    best = None
    for number, value in enumerate([math.nan, 2.0, None, math.nan, 2.0, 1.0, 3.0]):
        best = best_after(best, number, value)
        if number == 4:
            assert best == Best(round_number=1, value=2.0, num_since=2)
    assert best == Best(round_number=5, value=1.0, num_since=1)
