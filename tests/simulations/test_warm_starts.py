"""A model that training begins from: what it must be, that it is held to its digest, and whose epsilon is billed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import PRIVATE
from safetensors.numpy import load_file, save_file
from small_runs import interrupted_before_charging, results_of, small_config

import wardround as wr
from wardround.config import Config, load_config
from wardround.datasets import load_federation
from wardround.digests import array_digest
from wardround.errors import ConfigError
from wardround.identity import job_digest, settings_digest
from wardround.server.record.verify import verify_run
from wardround.server.record.warm_starts import with_initial_digest
from wardround.simulations.prepared import plan, prepare
from wardround.simulations.runs import resume, run
from wardround.simulations.studies.baselines import evaluate_baseline
from wardround.strategies import strategy_of

CELLS = [*PRIVATE, ("record", "none")]


def parameters(**changes: Any) -> dict[str, Any]:
    generator = np.random.default_rng(5)
    arrays = {"1.weight": generator.normal(size=(2, 30)), "1.bias": generator.normal(size=2)}
    return {name: array.astype(np.float32) for name, array in (arrays | changes).items()}


def saved(path: Path, **changes: Any) -> str:
    save_file(parameters(**changes), path)
    return str(path)


def config_of(initial: str | None, unit: str = "record", placement: str = "local", **sections: Any) -> Config:
    privacy: dict[str, Any] = {"unit": unit, "placement": placement, "target-delta": 1e-4}
    if placement == "none":
        privacy |= {"noise-multiplier": None}
    return small_config(
        model={"initial": initial} | sections.pop("model", {}),
        training={"num-rounds": 2, "local-steps": 1} | sections.pop("training", {}),
        privacy=privacy,
        aggregation={"protocol": "secure-sum", "min-survivors": 2},
        **sections,
    )


def initial_of(config: Config) -> dict[str, Any]:
    return prepare(config, strategy_of(config)).initial


@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_a_run_begins_from_the_file_at_the_same_epsilon(unit: str, placement: str, tmp_path: Path) -> None:
    config = config_of(saved(tmp_path / "m.safetensors"), unit, placement)
    for name, array in initial_of(config).items():
        np.testing.assert_array_equal(array, parameters()[name])
    done, plain = run(config, out=tmp_path / "run"), run(config_of(None, unit, placement), out=tmp_path / "plain")
    assert done.outcome.epsilon == plain.outcome.epsilon
    assert done.rounds["loss"][0] != plain.rounds["loss"][0]
    (note,) = [note for note in done.summary["notes"] if "training begins from" in note]
    assert "is in no bill here" in note
    digest = load_config(done.folder / "config.toml").model.initial_digest
    assert digest == array_digest(parameters()).hex()
    assert verify_run(done.folder)[0] == []


def test_engines_agree_and_a_run_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(saved(tmp_path / "m.safetensors"))
    whole = run(config, out=tmp_path / "whole")
    for number in (1, 2):
        folder = tmp_path / f"parts-{number}"
        with interrupted_before_charging(monkeypatch, number):
            run(config, out=folder)
        resume(folder)
        assert results_of(folder) == results_of(whole.folder)
    stacked = run(config.change(simulation={"engine": "stacked"}), out=tmp_path / "stacked")
    assert stacked.rounds["loss"][0] == pytest.approx(whole.rounds["loss"][0], rel=1e-6)


def test_the_file_is_held_to_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    config = config_of(saved(path))
    with interrupted_before_charging(monkeypatch, 2):
        run(config, out=tmp_path / "run")
    saved(path, **{"1.bias": np.zeros(2)})
    with pytest.raises(ConfigError, match=r"is not the model of initial-digest = [0-9a-f]{64} .*: put that back"):
        resume(tmp_path / "run")
    path.unlink()
    with pytest.raises(ConfigError, match=r"must be a file of parameters .* or the folder of a run"):
        resume(tmp_path / "run")


def test_another_model_is_another_job_and_another_path_is_not(tmp_path: Path) -> None:
    files = [saved(tmp_path / "a.safetensors"), saved(tmp_path / "b.safetensors")]
    files.append(saved(tmp_path / "c.safetensors", **{"1.bias": np.zeros(2)}))
    one, same, other = (with_initial_digest(config_of(file)) for file in files)
    assert job_digest(one) == job_digest(same) != job_digest(other)
    assert settings_digest(one) == settings_digest(same) != settings_digest(other)
    assert with_initial_digest(config_of(None)) == config_of(None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"1.weight": np.zeros((2, 29))}, r"has 1.weight of shape \(2, 29\), and the model wants \(2, 30\).*same feat"),
        ({"2.weight": np.zeros(3)}, r"has 2.weight, and the model has the parameters 1.weight, 1.bias"),
        ({"1.bias": np.array([0.0, np.nan])}, r"has 1.bias that is no finite float"),
    ],
)
def test_what_does_not_fit_is_refused_by_run_and_plan(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = config_of(saved(tmp_path / "m.safetensors", **changes))
    for ask in (plan, lambda config: run(config, out=tmp_path / "run")):
        with pytest.raises(ConfigError, match=message):
            ask(config)


def test_what_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no parameters")
    with pytest.raises(ConfigError, match=r"initial = .*text. .*can't be read"):
        plan(config_of(str(tmp_path / "text")))
    with pytest.raises(ConfigError, match=r"must be a file of parameters"):
        plan(config_of(str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match=r"initial-digest = abc is of a model .*name it in initial, or remove this"):
        config_of(None, model={"initial-digest": "abc"})


def patients(seed: int) -> wr.Federation:
    generator = np.random.default_rng(seed)
    return wr.Federation.from_arrays(
        {name: (generator.normal(size=(30, 4)), np.arange(30) % 2) for name in ("north", "south")}
    )


def private(initial: Path | None = None) -> Config:
    table: dict[str, Any] = {
        "training": {"num-rounds": 2, "local-steps": 1, "sample-rate": 0.5},
        "privacy": {"noise-multiplier": 1.0, "target-delta": 1e-3},
        "simulation": {"engine": "inline"},
    }
    return Config.of(table | ({"model": {"initial": str(initial)}} if initial else {}))


def test_another_federations_model_is_taken_and_its_epsilon_told(tmp_path: Path) -> None:
    first = wr.run(private(), federation=patients(1), out=tmp_path / "first")
    second = wr.run(private(tmp_path / "first"), federation=patients(2), out=tmp_path / "second")
    assert second.epsilon.max == first.epsilon.max
    (note,) = [note for note in second.summary["notes"] if "training begins from" in note]
    assert "of a run of 2 hospitals at epsilon " in note and "a patient of both pays both" in note
    wanted = load_file(tmp_path / "first" / "model.safetensors")
    digest = load_config(tmp_path / "second" / "config.toml").model.initial_digest
    assert digest == array_digest(wanted).hex()
    assert verify_run(second.folder)[0] == []


def test_a_run_on_the_same_records_is_refused(tmp_path: Path) -> None:
    wr.run(private(), federation=patients(1), out=tmp_path / "first")
    with pytest.raises(ConfigError, match=r"on the very data of north, south .*spent epsilon .* this run's bill would"):
        wr.run(private(tmp_path / "first"), federation=patients(1), out=tmp_path / "second")
    run(config_of(None), out=tmp_path / "split")
    again = config_of(str(tmp_path / "split"), federation={"seed": 8})
    with pytest.raises(ConfigError, match=r'on the same dataset = "breast-cancer"'):
        plan(again)


def test_a_run_on_the_same_records_is_refused_by_its_models_file_too(tmp_path: Path) -> None:
    wr.run(private(), federation=patients(1), out=tmp_path / "first")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "first" / "model.safetensors")
    for name in ("first/model.safetensors", "link.safetensors"):
        with pytest.raises(ConfigError, match=r"on the very data of north, south"):
            wr.run(private(tmp_path / name), federation=patients(1), out=tmp_path / "second")


def test_a_run_on_the_same_records_is_refused_however_they_are_split(tmp_path: Path) -> None:
    wr.run(private(), federation=patients(1), out=tmp_path / "first")
    again = private(tmp_path / "first").change(federation={"seed": 8, "test-fraction": 0.3})
    with pytest.raises(ConfigError, match=r"on the very data of north, south"):
        wr.run(again, federation=patients(1), out=tmp_path / "second")
    assert wr.run(again, federation=patients(2), out=tmp_path / "others").epsilon.max > 0


def test_a_model_goes_back_to_the_runs_before_it(tmp_path: Path) -> None:
    wr.run(private(), federation=patients(1), out=tmp_path / "first")
    wr.run(private(tmp_path / "first"), federation=patients(2), out=tmp_path / "second")
    with pytest.raises(ConfigError, match=r"second. goes back to a run on the very data of north, south"):
        wr.run(private(tmp_path / "second"), federation=patients(1), out=tmp_path / "third")
    third = wr.run(private(tmp_path / "second"), federation=patients(3), out=tmp_path / "third")
    (note,) = [note for note in third.summary["notes"] if "training begins from" in note]
    assert note.count("of a run of 2 hospitals at epsilon ") == 2
    (tmp_path / "first").rename(tmp_path / "moved")
    fourth = wr.run(private(tmp_path / "second"), federation=patients(3), out=tmp_path / "fourth")
    (note,) = [note for note in fourth.summary["notes"] if "training begins from" in note]
    assert note.endswith('first", of whose records nothing is known here')


def test_baselines_begin_from_it_too(tmp_path: Path) -> None:
    config = config_of(None, placement="none", training={"learning-rate": 1e-9, "sample-rate": 1.0})
    federation = load_federation(config.federation)
    found = []
    for initial in (None, saved(tmp_path / "m.safetensors")):
        config = config.change(model={"initial": initial})
        evaluated = evaluate_baseline(config, federation, "pooled")
        found.append(next(iter(evaluated.evaluations.values())).loss)
    assert found[0] != pytest.approx(found[1], rel=1e-3)
