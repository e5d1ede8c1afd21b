"""Tables and loaders of a user's: from a frame, from a file and from a module the same run."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import results_of

import wardround as wr
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
    return "own_loaders"


def test_a_loader_is_a_data_set_by_its_name(tmp_path: Path, module: str) -> None:
    keys = {"target": "died", "hospital_column": "site", "patient_column": "number"}
    table = wr.Config(federation={"dataset": f"{module}:frame"} | keys)
    file = wr.Config(federation={"dataset": "csv", "path": str(tmp_path / "table.csv")} | keys)
    by_name, by_file = (load_dataset(config.federation) for config in (table, file))
    assert by_name.features.tobytes() == by_file.features.tobytes()
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
    assert wr.describe_columns(federation=numbers)["kind"]["crp"] in ("number", "levels")


def test_tensors_are_taken_whatever_they_are_a_part_of() -> None:
    features = torch.randn(20, 3, requires_grad=True)
    given = wr.Federation.from_arrays({"north": (features, torch.arange(20) % 2)})
    assert given.dataset.features.tobytes() == features.detach().numpy().tobytes()
    assert repr(given) == "Federation(20 rows at 1 hospital, classification)"


def test_metrics_are_a_mapping() -> None:
    with pytest.raises(wr.ConfigError, match=r"metrics = .* must be a mapping such as"):
        wr.run(wr.Config(**SETTINGS), metrics=[lambda predictions, labels: 1.0])  # type: ignore[arg-type]
