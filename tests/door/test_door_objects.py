"""Runs on objects from Python: the same on every engine, in a script, resumed, and in a study."""

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.serverapp.strategy import FedYogi
from small_runs import command_line, interrupted_in_training, results_of
from torch import nn

import wardround as wr

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning")]
SETTINGS: dict[str, dict[str, Any]] = {
    "training": {"num_rounds": 3, "local_steps": 2, "sample_rate": 0.25},
    "privacy": {"noise_multiplier": 1.0, "target_delta": 1e-3},
    "simulation": {"engine": "inline"},
}


def arrays(sizes: dict[str, int], seed: int = 0) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=(size, 4)) for name, size in sizes.items()}
    return {name: (part, (part[:, 0] > 0).astype(int)) for name, part in features.items()}


FEDERATION = wr.Federation.from_arrays(arrays({"north": 40, "south": 60}))


def build_of(width: int) -> Callable[..., nn.Module]:
    def build(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(input_shape[0], width), nn.Tanh(), nn.Linear(width, num_outputs))

    return build


def test_the_door_shows_what_it_has() -> None:
    assert {"run", "plan", "compare", "resume", "verify", "report", "Config", "Federation", "Run"} <= set(dir(wr))
    assert set(wr.__all__) <= set(dir(wr))
    for name in wr.__all__:
        assert getattr(wr, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'rum'"):
        wr.rum  # noqa: B018


def test_a_path_a_mapping_and_a_record_are_the_same_settings(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[privacy]\nnoise-multiplier = 3.0\n[simulation]\nengine = "inline"\n')
    given = ({"privacy": {"noise_multiplier": 3.0}, "simulation": {"engine": "inline"}}, str(tmp_path / "c.toml"))
    frames = [wr.plan(settings).frame for settings in (*given, wr.Config(**given[0]))]  # type: ignore[arg-type]
    assert frames[0].equals(frames[1]) and frames[0].equals(frames[2])
    with pytest.raises(wr.ConfigError, match="settings must be a Config, a path or a mapping"):
        wr.plan(3)  # type: ignore[arg-type]


def test_objects_give_the_same_model_on_every_engine(ray_session: Any, tmp_path: Path) -> None:
    seen: list[Any] = []
    given: dict[str, Any] = {"federation": FEDERATION, "model": build_of(5), "strategy": FedYogi(eta=0.1, eta_l=0.1)}
    config = wr.Config(**SETTINGS).change(simulation={"engine": "ray", "num_workers": 1})
    done = wr.run(config, **given, on_round=seen.append, out=tmp_path / "run")
    inline = wr.run(wr.Config(**SETTINGS), **given, out=tmp_path / "inline")
    assert results_of(done.folder) == results_of(inline.folder)
    assert [row.round_number for row in seen] == [0, 1, 2, 3]
    assert set(done.epsilon.hospitals) == {"north", "south"}
    assert done.epsilon.max == max(done.epsilon.hospitals.values())
    assert set(done.epsilon.readers) == {"server", "hospital", "recipient"}
    assert done.report().is_file() and wr.verify(done.folder)
    model = done.model()
    assert isinstance(model[0], nn.Linear) and model[0].out_features == 5
    assert "north" in done._repr_html_() and "epsilon" in done._repr_html_()


def test_another_object_has_other_noise(tmp_path: Path) -> None:
    """Two factories of the same module that differ in a closed-over number, which the model's shape does not show."""

    one_round = wr.Config(**SETTINGS).change(training={"num_rounds": 1})  # later ones have another model in their keys

    def scaled(by: float) -> Callable[..., nn.Module]:
        class Scaled(nn.Linear):
            def forward(self, records: torch.Tensor) -> torch.Tensor:
                return super().forward(records) * by

        return lambda input_shape, num_outputs: Scaled(input_shape[0], num_outputs)

    runs = [
        wr.run(one_round, federation=FEDERATION, model=scaled(by), out=tmp_path / str(by)).model()
        for by in (1.0, 1.0 + 1e-6)
    ]
    moved = torch.cat([(one - other).flatten() for one, other in zip(*(m.parameters() for m in runs), strict=True)])
    assert moved.abs().max() > 0.01


def test_what_a_factory_reads_makes_another_job(tmp_path: Path) -> None:
    """Neither the code nor the parameters tell what a file said as the model was built."""

    one_round = wr.Config(**SETTINGS).change(training={"num_rounds": 1})

    class Scaled(nn.Linear):
        scale = 1.0

        def forward(self, records: torch.Tensor) -> torch.Tensor:
            return super().forward(records) * self.scale

    def build(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
        model = Scaled(input_shape[0], num_outputs)
        model.scale = float((tmp_path / "scale.txt").read_text())
        return model

    models = []
    for name, scale in (("a", 1.0), ("b", 1.0 + 1e-6), ("c", 1.0)):
        (tmp_path / "scale.txt").write_text(str(scale))
        models.append(wr.run(one_round, federation=FEDERATION, model=build, out=tmp_path / name).model())
    first, other, again = (torch.cat([part.flatten() for part in model.parameters()]) for model in models)
    assert (first - other).abs().max() > 0.01
    assert torch.equal(first, again)


def test_a_module_is_taken_with_its_parameters_and_left_as_it_was(tmp_path: Path) -> None:
    module = build_of(3)((4,), 2)
    with torch.no_grad():
        module[0].weight.fill_(0.25)  # type: ignore[index, union-attr, operator]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    config = wr.Config(**SETTINGS).change(training={"num_rounds": 1, "learning_rate": 1e-9})
    trained = wr.run(config, federation=FEDERATION, model=module, out=tmp_path / "run").model()
    assert torch.allclose(trained[0].weight, torch.tensor(0.25), atol=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_an_interrupted_run_goes_on_when_it_is_given_its_objects_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given() -> dict[str, Any]:
        return {"federation": FEDERATION, "model": build_of(5), "strategy": FedYogi(eta=0.1, eta_l=0.1)}

    whole = wr.run(wr.Config(**SETTINGS), **given(), out=tmp_path / "whole")
    with interrupted_in_training(monkeypatch, 2):
        wr.run(wr.Config(**SETTINGS), **given(), out=tmp_path / "run")
    folder = tmp_path / "run"
    for left_out, told in (("federation", "federation"), ("model", "model"), ("strategy", "strategy")):
        with pytest.raises(wr.ConfigError, match=rf"the {told} of .* came from Python .* wardround.resume\(.*{told}="):
            wr.resume(folder, **given() | {left_out: None})
    with pytest.raises(wr.ConfigError, match="model: the run was begun with another"):
        wr.resume(folder, **given() | {"model": "logistic"})
    with pytest.raises(wr.ConfigError, match="strategy: the run was begun with another"):
        wr.resume(folder, **given() | {"strategy": FedYogi(eta=0.2, eta_l=0.1)})
    with pytest.raises(wr.DataError, match="the training data of north, south is not what the run was begun with"):
        wr.resume(folder, **given() | {"federation": wr.Federation.from_arrays(arrays({"north": 40, "south": 60}, 1))})
    done = wr.resume(folder, **given())
    # The round that was under way was charged, and is done again as a charge of its own.
    assert len(done.ledger.query("state == 'released'")) == len(whole.ledger.query("state == 'released'"))
    assert (done.summary["num_rounds"], done.outcome.num_rounds_lost) == (3, 1)
    assert wr.verify(folder)
    opened = wr.Run.open(folder, federation=FEDERATION, model=build_of(5))
    assert opened.epsilon == done.epsilon
    assert all(map(torch.equal, opened.model().parameters(), done.model().parameters()))
    with pytest.raises(wr.ConfigError, match="came from Python"):
        wr.Run.open(folder).model()


def test_one_strategy_object_serves_many_runs(tmp_path: Path) -> None:
    strategy = FedYogi(eta=0.1, eta_l=0.1)
    folders = [
        wr.run(wr.Config(**SETTINGS), federation=FEDERATION, strategy=strategy, out=tmp_path / name).folder
        for name in "ab"
    ]
    assert results_of(folders[0]) == results_of(folders[1])


def test_seeds_and_partitions_are_the_jobs(tmp_path: Path) -> None:
    config = wr.Config(**SETTINGS).change(federation={"partition": "iid", "num_hospitals": 4, "seed": 3})
    assert list(wr.plan(config, federation=FEDERATION).frame.index) == [f"hospital-0{n}" for n in range(1, 5)]
    assert FEDERATION.describe(config)["records"].sum() == 100
    assert "hospital-04" not in FEDERATION._repr_html_() and "south" in FEDERATION._repr_html_()


class Pairs(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, features: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        self.features, self.labels = torch.tensor(features), labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.features[index], int(self.labels[index])


def test_torch_data_sets_are_read_to_the_same_arrays() -> None:
    given = arrays({"north": 30, "south": 20})
    federation = wr.Federation.from_arrays({name: Pairs(*pair) for name, pair in given.items()})
    plain = wr.Federation.from_arrays(given)
    assert federation.settings == plain.settings
    assert federation.dataset.features.tobytes() == plain.dataset.features.tobytes()


def test_rows_that_were_set_apart_and_patients_are_kept() -> None:
    given, test = arrays({"north": 30, "south": 20}), arrays({"north": 10}, 1)
    described = wr.Federation.from_arrays(given, test=test).describe()
    assert described.loc["north", ["train", "test"]].tolist() == [30, 10]
    assert described.loc["south", ["train", "test"]].tolist() == [20, 0]
    patients = {name: [f"{name} {row // 2}" for row in range(len(labels))] for name, (_, labels) in given.items()}
    plan = wr.plan(wr.Config(**SETTINGS), federation=wr.Federation.from_arrays(given, patients=patients))
    assert plan.frame.loc["north", "num_examples"] == 12  # of 15 patients
    assert plan.planned.record_is == "patient"


_GOOD = arrays({"north": 8})["north"]


@pytest.mark.parametrize(
    ("hospitals", "more", "message"),
    [
        ({}, {}, "hospitals must be a mapping"),
        ([], {}, "hospitals must be a mapping"),
        ({"north": _GOOD[0]}, {}, "must be .features, labels. or a torch Dataset of such pairs, not 'ndarray'"),
        ({"north": "ab"}, {}, "must be .features, labels. or a torch Dataset of such pairs, not 'str'"),
        ({"north": (_GOOD[0], _GOOD[1][:-1])}, {}, r"features of shape \(8, 4\) and labels of shape \(7,\)"),
        ({"north": (_GOOD[0][:, 0], _GOOD[1])}, {}, r"features of shape \(8,\)"),
        ({"north": (_GOOD[0][:0], _GOOD[1][:0])}, {}, "for the same n >= 1"),
        ({"north": ([[1], [2, 3]], [0, 1])}, {}, "rows of different shapes"),
        ({"north": _GOOD, "south": (_GOOD[0][:, :3], _GOOD[1])}, {}, r"a row of 'south' has shape \(3,\)"),
        ({"north": (np.full((8, 4), np.nan), _GOOD[1])}, {}, "the features of 'north' have numbers that are missing"),
        ({"north": (np.full((8, 4), 1e300), _GOOD[1])}, {}, "missing or infinite"),
        ({"north": (np.full((8, 4), "a"), _GOOD[1])}, {}, "must be numbers"),
        ({"north": (_GOOD[0], np.zeros(8))}, {}, "all labels are 0"),
        ({"north": (_GOOD[0], np.full(8, np.nan))}, {}, "labels have numbers that are missing"),
        ({"north": (_GOOD[0], ["yes", "no", None, "no"] * 2)}, {}, "labels have values that are missing"),
        (
            {"north": (_GOOD[0], np.array(["a", "b", float("nan"), "a"] * 2, dtype=object))},
            {},
            "values that are missing",
        ),
        ({"=north": _GOOD}, {}, "must begin with a letter or a digit"),
        ({"north": _GOOD}, {"task": "ranking"}, "task = 'ranking' must be \"classification\""),
        ({"north": _GOOD}, {"task": "survival"}, r"labels of shape \(8,\), and needs \(n, ...\) and \(n, 2\)"),
        ({"north": (_GOOD[0], list("abababab"))}, {"task": "regression"}, "a regression needs labels that are numbers"),
        ({"north": _GOOD}, {"class_names": ("one",)}, "labels must be 0 to 0"),
        ({"north": _GOOD}, {"feature_names": ("one",)}, "feature_names has 1 names for 4 features"),
        ({"north": _GOOD}, {"test": {"south": _GOOD}}, "test has rows of south, who train on none"),
        ({"north": _GOOD}, {"patients": {"north": [1, 2]}}, r"patients of 'north' have shape \(2,\)"),
        ({"north": _GOOD}, {"patients": {}, "test": {}}, "give test or patients"),
    ],
)
def test_arrays_that_are_none_are_refused(hospitals: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises((wr.ConfigError, wr.DataError), match=message):
        wr.Federation.from_arrays(hospitals, **more)


def test_what_is_no_federation_model_or_strategy_is_refused(tmp_path: Path) -> None:
    config = wr.Config(**SETTINGS)
    with pytest.raises(wr.ConfigError, match=r"federation must be a wardround.Federation"):
        wr.run(config, federation=arrays({"north": 3}))  # type: ignore[arg-type]
    with pytest.raises(wr.ConfigError, match=r'model name = "python:.*" returned int, not a torch.nn.Module'):
        wr.run(config, model=lambda: 3)
    with pytest.raises(wr.ConfigError, match=r'strategy = "python:.*" returned int, not a flwr Strategy'):
        wr.run(config, strategy=lambda: 3)
    with pytest.raises(wr.ConfigError, match=r'strategy = "python:FedYogi".*|eta is no option of strategy'):
        wr.run(config.change(aggregation={"strategy": "fedyogi", "eta": 0.1}), strategy=FedYogi())


def test_a_study_on_objects_has_the_figures_of_its_runs(ray_session: Any, tmp_path: Path) -> None:
    base = {
        "training": {"num_rounds": 2, "local_steps": 1},
        "privacy": {"target_delta": 1e-3},
        "simulation": {"num_workers": 1},
    }
    keys = {
        "name": "study",
        "placements": ["central"],
        "noise-multipliers": [1.0],
        "baselines": ["pooled"],
        "vary": {"training.learning-rate": [0.1]},
    }
    given = {"federation": FEDERATION, "model": build_of(5), "out": tmp_path / "study"}
    study = wr.compare({"base": wr.Config(**base)} | keys, **given)
    assert study.results["placement"].tolist() == ["none", "central"]
    assert study.results["training.learning-rate"].tolist() == [0.1, 0.1]
    assert (study.num_runs, study.failures) == (2, {})
    assert set(study.hospitals["hospital"]) == {"north", "south"}
    assert (study.folder / "report.html").is_file() and study.report().is_file()
    assert wr.report(study) == study.folder / "report.html"
    assert "central" in study._repr_html_() and "2 of 2 runs" in repr(study)
    # A mapping with any settings and a file of the same keys are the same study, whose runs are done.
    (tmp_path / "study.toml").write_text(
        '[study]\nplacements = ["central"]\nnoise-multipliers = [1.0]\nseeds = [1]\nbaselines = ["pooled"]\n'
        "[study.vary]\n'training.learning-rate' = [0.1]\n[set.simulation]\nnum-workers = 1\n"
        "[set.training]\nnum-rounds = 2\nlocal-steps = 1\n[set.privacy]\ntarget-delta = 1e-3\n"
    )
    for same in ({"base": base} | keys, tmp_path / "study.toml"):
        assert wr.compare(same, **given).results.equals(study.results)
    with pytest.raises(wr.ConfigError, match="was begun with other versions or objects"):
        wr.compare(tmp_path / "study.toml", **given | {"model": build_of(6)})


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (3, "study must be a path or a mapping of the keys"),
        ({"placement": ["local"]}, "unknown key placement of a study: did you mean placements"),
        ({"base": 3, "placements": ["local"]}, "settings must be a Config, a path or a mapping"),
    ],
)
def test_what_is_no_study_is_refused(study: Any, message: str) -> None:
    with pytest.raises(wr.ConfigError, match=message):
        wr.compare(study, federation=FEDERATION)


_SCRIPT = """
import sys
import wardround as wr
from torch import nn

class Net(nn.Module):
    def __init__(self, num_features, num_outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(num_features, 4), nn.ReLU(), nn.Linear(4, num_outputs))

    def forward(self, records):
        return self.layers(records)

def build(input_shape, num_outputs):
    return Net(input_shape[0], num_outputs)

if __name__ == "__main__":
    wr.run("job.toml", model=build, out=sys.argv[1])
"""


def test_a_script_trains_the_model_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, as its main program; in others: test_door_examples.py."""
    (tmp_path / "job.toml").write_text(
        "[training]\nnum-rounds = 2\nlocal-steps = 1\n[federation]\nnum-hospitals = 2\n[privacy]\ntarget-delta = 1e-3\n"
        '[simulation]\nengine = "inline"\n'
    )
    (tmp_path / "my_script.py").write_text(_SCRIPT)
    os.utime(tmp_path / "my_script.py", (0, 0))  # what is written after the start is not what runs
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "argv", ["my_script.py", "own"])
    runpy.run_path("my_script.py", run_name="__main__")
    named = ("--out", "named", "--set", 'model.name="my_script:build"', "--json")
    assert command_line(monkeypatch, "run", "job.toml", *named) == 0
    own, by_name = (tmp_path / name / "model.safetensors" for name in ("own", "named"))
    assert own.read_bytes() == by_name.read_bytes()


def brier(predictions: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    return float(((predictions - labels) ** 2).mean())


def test_metrics_and_public_records_are_given_at_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = arrays({"public": 50}, 5)["public"]
    config = wr.Config(**SETTINGS).change(evaluation={"keep": "best", "patience": 2})
    given: dict[str, Any] = {"metrics": {"brier": brier}, "public": (features.astype(np.float32), labels)}
    seen: list[Any] = []
    with interrupted_in_training(monkeypatch, 2):
        wr.run(config, federation=FEDERATION, **given, on_round=seen.append, out=tmp_path / "run")
    for left_out, message in (("metrics", "brier"), ("public", "public")):
        with pytest.raises(wr.ConfigError, match=message):
            wr.resume(tmp_path / "run", federation=FEDERATION, **given | {left_out: None})
    done = wr.resume(tmp_path / "run", federation=FEDERATION, **given)
    column = done.rounds["brier"].tolist()
    assert len(column) == 4 and all(0 < value < 1 for value in column)
    assert column[:2] == [pytest.approx(row.metrics["brier"]) for row in seen[:2]]


def test_whoever_is_interrupted_is_told_where_the_run_is_and_goes_on(tmp_path: Path) -> None:
    def stop(row: Any) -> None:
        if row.round_number == 1:
            raise KeyboardInterrupt

    config = wr.Config(**SETTINGS)
    with pytest.raises(KeyboardInterrupt) as stopped:
        wr.run(config, federation=FEDERATION, on_round=stop, out=tmp_path / "run")
    assert f"wardround.resume('{tmp_path / 'run'}', ...) goes on with it" in "".join(stopped.value.__notes__)
    whole = wr.run(config, federation=FEDERATION, out=tmp_path / "whole")
    done = wr.resume(tmp_path / "run", federation=FEDERATION)
    assert results_of(done.folder) == results_of(whole.folder)
    with pytest.raises(wr.ConfigError, match="new or empty folder") as refused:
        wr.run(config, federation=FEDERATION, out=tmp_path / "run")
    assert not hasattr(refused.value, "__notes__")  # that run is not the one that was refused


def test_a_run_stands_for_its_folder(tmp_path: Path) -> None:
    done = wr.run(wr.Config(**SETTINGS), federation=FEDERATION, out=tmp_path / "run")
    assert wr.verify(done) and wr.report(done).is_file()
    assert wr.resume(done, federation=FEDERATION).epsilon == done.epsilon
    for ask in (wr.verify, wr.report, wr.resume):
        with pytest.raises(wr.ConfigError, match="must be its path or a Run or Study, not 3"):
            ask(3)  # type: ignore[operator]


def test_what_is_put_in_the_wrong_place_is_told_where_it_goes(tmp_path: Path) -> None:
    for sections, message in (
        ({"num_rounds": 1}, r"unknown section \[num_rounds\]: num-rounds is a key of \[training\]"),
        ({"trainings": {}}, r"unknown section \[trainings\]: did you mean training"),
        ({3: {}}, r"unknown section \[3\]"),
    ):
        with pytest.raises(wr.ConfigError, match=message):
            wr.plan(sections, federation=FEDERATION)  # type: ignore[arg-type]
    with pytest.raises(wr.ConfigError, match=r"num-rounds is a key of \[training\]"):
        wr.Config().change(num_rounds={})
    with pytest.raises(wr.ConfigError, match=r"write federation="):
        wr.describe(FEDERATION)  # type: ignore[arg-type]
    with pytest.raises(wr.ConfigError, match=r"on_round = 3 must be a function"):
        wr.run(wr.Config(**SETTINGS), federation=FEDERATION, on_round=3, out=tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
    with pytest.raises(wr.ConfigError, match=r"metrics = .* must be a mapping such as"):
        wr.run(wr.Config(**SETTINGS), federation=FEDERATION, metrics=[len], out=tmp_path / "run")  # type: ignore[arg-type]
    with pytest.raises(wr.ConfigError, match=r"out = 3 must be the path of a new or empty folder"):
        wr.run(wr.Config(**SETTINGS), federation=FEDERATION, out=3)  # type: ignore[arg-type]
    with pytest.raises(wr.ConfigError, match=r"a file of settings must be a path, not .*Config.of\(mapping\)"):
        wr.Config.load({"training": {}})  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    steps, rate = np.arange(1, 3)[1], np.linspace(0.25, 1.0, 4)[0]
    sections = {"training": {"local_steps": steps, "sample_rate": rate, "num_rounds": np.int32(3)}}
    assert wr.Config.of(sections) == wr.Config(training={"local_steps": 2, "sample_rate": 0.25, "num_rounds": 3})


def test_a_plans_placements_are_a_flat_table_that_says_against_whom_an_epsilon_holds() -> None:
    table = wr.plan(wr.Config(**SETTINGS), federation=FEDERATION).placements
    told = table.set_index(["unit", "placement"])[["epsilon_server", "epsilon_hospital", "epsilon_recipient"]]
    assert np.isinf(told.loc[("record", "central"), "epsilon_server"])
    assert np.isfinite(told.loc[("record", "local")]).all() and np.isfinite(told["epsilon_recipient"]).all()
    assert (table["noise_multiplier_min"] <= table["noise_multiplier_max"]).all()
    assert not any(isinstance(cell, list | dict) for cell in table.to_numpy().ravel())
