"""Tables and loaders of a user's: from a frame, from a file and from a module the same run."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import results_of

import wardround as wr
from wardround.config.unused import unused_settings
from wardround.datasets import load_dataset

SETTINGS: dict[str, dict[str, Any]] = {
    "training": {"num_rounds": 2, "local_steps": 1, "sample_rate": 0.25},
    "privacy": {"noise_multiplier": 1.0, "target_delta": 1e-3},
    "simulation": {"engine": "inline"},
}
LOADER = """
import numpy as np
import pandas as pd
import wardround as wr

def frame():
    return pd.read_csv(r"{path}", dtype=str, keep_default_na=False)

def arrays():
    rng = np.random.default_rng(3)
    return {{name: (rng.normal(size=(30, 2)), np.arange(30) % 2) for name in ("north", "south")}}

def federation():
    return wr.Federation.from_arrays(arrays(), class_names=("well", "ill"))

def nothing():
    return 3

def fails():
    raise KeyError("no such thing")
"""


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    size = 90
    table = pd.DataFrame(
        {
            "site": rng.choice(["north", "NA", "007"], size),
            "number": [f"{100000000000000000 + row}" for row in range(size)],
            "age": rng.integers(20, 90, size).astype(float),
            "sex": rng.choice(["f", "m"], size),
            "crp": rng.normal(20, 5, size).round(2),
            "died": rng.choice(["no", "yes"], size),
        }
    )
    table.loc[3, "age"] = np.nan
    return table


def test_a_frame_is_the_job_of_the_file_that_it_is_written_to(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(tmp_path / "table.csv", index=False)
    federation = wr.Federation.from_frame(frame, target="died", hospital="site", patient="number")
    keys = {
        "target": "died",
        "hospital_column": "site",
        "patient_column": "number",
        "path": str(tmp_path / "table.csv"),
    }
    config = wr.Config(**SETTINGS)
    runs = [
        wr.run(config, federation=federation, out=tmp_path / "frame"),
        wr.run(config.change(federation={"dataset": "csv"} | keys), out=tmp_path / "file"),
    ]
    assert results_of(runs[0].folder) == results_of(runs[1].folder)
    assert set(runs[0].hospitals["hospital"]) == {"north", "na", "007"}
    with pytest.raises(wr.ConfigError, match=r"the federation of .* came from Python"):
        wr.resume(tmp_path / "frame")
    assert wr.resume(tmp_path / "frame", federation=federation).epsilon == runs[0].epsilon
    assert wr.describe_columns(federation=federation)["kind"].to_dict()["age"] == "number"
    assert (
        wr.describe(federation=federation).index.tolist() == wr.plan(config, federation=federation).frame.index.tolist()
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target": "dead"}, "no column 'dead'"),
        ({"target": "died", "hospital": "died"}, "died"),
        ({"target": "died", "colums": ["age"]}, "from_frame has no key colums: did you mean columns"),
        ({"target": "died", "seed": 3}, "from_frame has no key seed"),
        ({"target": "died", "separator": ";"}, "separator goes with files"),
        ({"target": "died", "columns": ["age", "weight"]}, "weight"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(frame: pd.DataFrame, keys: dict[str, Any], message: str) -> None:
    with pytest.raises((wr.ConfigError, wr.DataError), match=message):
        wr.Federation.from_frame(frame, **keys)


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(wr.ConfigError, match="frame must be a pandas DataFrame, not 'list'"):
        wr.Federation.from_frame([1], target="died")  # type: ignore[arg-type]


@pytest.fixture
def module(tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> str:
    frame.to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "own_loaders.py").write_text(LOADER.format(path=tmp_path / "table.csv"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_loaders", raising=False)  # another test's, whose folder is gone
    return "own_loaders"


def test_a_loader_is_a_data_set_by_its_name(tmp_path: Path, module: str) -> None:
    keys = {"target": "died", "hospital_column": "site", "patient_column": "number"}
    table = wr.Config(federation={"dataset": f"{module}:frame"} | keys)
    file = wr.Config(federation={"dataset": "csv", "path": str(tmp_path / "table.csv")} | keys)
    by_name, by_file = (load_dataset(config.federation) for config in (table, file))
    assert by_name.features.tobytes() == by_file.features.tobytes()
    assert unused_settings(table) == ()
    assert wr.Config().change(federation={"dataset": f"{module}:frame"} | keys).federation.target == "died"
    done = wr.run(table.change(**SETTINGS), out=tmp_path / "run")
    assert done.summary["dataset"] == f"{module}:frame"
    assert wr.resume(done.folder).epsilon == done.epsilon  # by its name alone
    for name in ("arrays", "federation"):
        plan = wr.plan(wr.Config(federation={"dataset": f"{module}:{name}"}, privacy={"target_delta": 1e-3}))
        assert plan.frame.index.tolist() == ["north", "south"]


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("frame", {}, r'own_loaders:frame" returned a table, and needs \[federation\] target'),
        ("arrays", {"target": "died"}, 'goes with tables, and "own_loaders:arrays" returned none'),
        ("arrays", {"patient_column": "number"}, "patient-column goes with tables"),
        ("federation", {"hospital_column": "site"}, "hospital-column goes with tables"),
        ("arrays", {"missing_values": ["-9"]}, "missing-values goes with tables"),
        ("nothing", {}, "returned 'int', and must return a pandas DataFrame"),
        ("fails", {}, "could not be loaded: KeyError: 'no such thing'"),
        ("absent", {}, "could not be loaded: AttributeError"),
    ],
)
def test_a_loader_that_does_not_fit_is_refused(module: str, name: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(wr.ConfigError, match=message):
        load_dataset(wr.Config(federation={"dataset": f"{module}:{name}"} | keys).federation)


def test_a_family_of_data_sets_takes_no_keys_of_tables() -> None:
    with pytest.raises(wr.ConfigError, match=r'target goes with dataset = "csv", not "medmnist:pneumoniamnist"'):
        load_dataset(wr.Config(federation={"dataset": "medmnist:pneumoniamnist", "target": "x"}).federation)


def of_patients(north: Any, south: Any) -> list[str]:
    rng = np.random.default_rng(0)
    hospitals = {name: (rng.normal(size=(4, 2)), np.array([0, 1, 0, 1])) for name in ("north", "south")}
    found = wr.Federation.from_arrays(hospitals, patients={"north": north, "south": south}).dataset.patients
    assert found is not None
    return [str(name) for name in found]


def test_a_patient_is_one_of_whatever_types_the_arrays_are() -> None:
    """A number beside one that is missing is a float: 7.0 there and 7 elsewhere are one patient, at two hospitals."""
    whole = of_patients(np.array([7, 7, 8, 9]), np.array([7, 10, 11, 11]))
    assert whole == [f"id {number}" for number in (7, 7, 8, 9, 7, 10, 11, 11)]
    for south in (np.array([7.0, 10, 11, 11]), ["7", 10, 11.0, np.int64(11)], np.array([7, "10", 11.0, " 11"], object)):
        assert of_patients(np.array([7, 7, 8, 9]), south) == whole
    config = wr.Config(privacy={"target_delta": 1e-3}, federation={"min_patients": 2})
    pairs = {name: (np.eye(4), np.array([0, 1, 0, 1])) for name in ("north", "south")}
    patients = {"north": np.arange(4), "south": np.array([3.0, 4.0, 5.0, np.nan])}
    with pytest.raises(wr.ConfigError, match="patient-overlap"):
        wr.plan(config, federation=wr.Federation.from_arrays(pairs, patients=patients))


def test_a_row_of_nobody_is_a_patient_of_its_own() -> None:
    assert of_patients([None, np.nan, "", 5], [pd.NA, pd.NaT, None, " "]) == [
        "row 0", "row 1", "row 2", "id 5", "row 4", "row 5", "row 6", "row 7"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "north",
    [np.array([1.5, 2, 3, 4]), np.array([2.0**53, 1, 2, 3]), np.array([2**24, 1, 2, 3], np.float32), [1, 2, 3, np.inf]],
)
def test_a_patient_whose_number_was_rounded_is_refused(north: Any) -> None:
    with pytest.raises(wr.DataError, match=r"patients of 'north' have the number .* give texts or integers"):
        of_patients(north, [1, 2, 3, 4])


def test_hospitals_may_be_numbers_and_are_each_named_once() -> None:
    pair = (np.eye(4), np.array([0, 1, 0, 1]))
    found = wr.Federation.from_arrays({1: pair, 2: pair}, patients={1: [1, 2, 3, 4], 2: [5, 6, 7, 8]})  # type: ignore[dict-item]
    assert found.dataset.hospitals is not None and set(found.dataset.hospitals) == {"1", "2"}
    with pytest.raises(wr.ConfigError, match="hospitals names a hospital twice"):
        wr.Federation.from_arrays({1: pair, "1": pair})  # type: ignore[dict-item]
    with pytest.raises(wr.ConfigError, match="patients has rows of east"):
        wr.Federation.from_arrays({"north": pair}, patients={"north": [1, 2, 3, 4], "east": [1]})


def test_numbers_that_a_frame_calls_categories_are_codes(frame: pd.DataFrame) -> None:
    frame["ward"] = np.arange(len(frame)) % 3
    roles = {"target": "died", "hospital": "site", "patient": "number"}
    typed = wr.Federation.from_frame(frame.astype({"ward": "category", "sex": "category"}), **roles)
    named = wr.Federation.from_frame(frame, **roles, categorical_columns=["ward"])
    assert typed.dataset.feature_names == named.dataset.feature_names
    assert typed.settings == named.settings
    assert wr.describe_columns(federation=typed)["features"]["ward"] == ["ward=0", "ward=1", "ward=2"]
    left_out = wr.Federation.from_frame(frame.astype({"ward": "category"}), **roles, drop_columns=["ward"])
    assert not any(name.startswith("ward") for name in left_out.dataset.feature_names)
    numbers = wr.Federation.from_frame(frame.astype({"crp": "category"}), **roles)
    assert wr.describe_columns(federation=numbers)["kind"]["crp"] == "levels"
    few = wr.Federation.from_frame(frame.astype({"ward": "category"}), **roles, columns=["age"])
    assert few.dataset.feature_names[0] == "age" and not any("ward" in name for name in few.dataset.feature_names)


def test_tensors_are_taken_whatever_they_are_a_part_of() -> None:
    features = torch.randn(20, 3, requires_grad=True)
    given = wr.Federation.from_arrays({"north": (features, torch.arange(20) % 2)})
    assert given.dataset.features.tobytes() == features.detach().numpy().tobytes()
    assert repr(given) == "Federation(20 rows at 1 hospital, classification)"


def test_metrics_are_a_mapping() -> None:
    with pytest.raises(wr.ConfigError, match=r"metrics = .* must be a mapping such as"):
        wr.run(wr.Config(**SETTINGS), metrics=[lambda predictions, labels: 1.0])  # type: ignore[arg-type]


def test_numbers_of_patients_that_a_small_float_has_rounded_are_refused(frame: pd.DataFrame) -> None:
    frame["number"] = np.arange(2**24 - 50, 2**24 + 40).astype(np.float32)
    with pytest.raises(wr.DataError, match=r"number have the number .* was rounded"):
        wr.Federation.from_frame(frame, target="died", hospital="site", patient="number")
    frame["number"] = np.arange(90).astype(np.float32)
    federation = wr.Federation.from_frame(frame, target="died", hospital="site", patient="number")
    assert federation.dataset.patients is not None and len(set(federation.dataset.patients)) == 90
