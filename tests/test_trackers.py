"""Trackers: what TensorBoard and MLflow read back is what the rounds were, and nothing else is written."""

import csv
import math
import sys
import warnings

import pytest
from small_runs import small_config

from wardround import trackers
from wardround.cli import app
from wardround.door.runs import run
from wardround.errors import ConfigError, WardroundError

# MLflow's own store uses what its database library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore:.*loader strategy is deprecated")
OPTIONS = [
    *("--engine", "inline", "--set", "training.num-rounds=2", "--set", "federation.num-hospitals=3"),
    *("--set", "training.local-steps=1"),
]


@pytest.fixture(scope="module", autouse=True)
def _both_are_installed():
    """Imported by who runs the tests, and not by all who collect them."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")


def rounds_of(folder):
    with (folder / "rounds.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def check(found, folder, column):
    rows = [(int(row["round"]), float(row[column])) for row in rounds_of(folder) if row[column] not in ("", "inf")]
    assert [step for step, _ in found] == [number for number, _ in rows]
    assert [value for _, value in found] == pytest.approx([value for _, value in rows], rel=1e-6)


def test_tensorboard_reads_every_round(tmp_path):
    run(small_config(), out=tmp_path / "run", on_round=trackers.tensorboard(tmp_path / "logs"))
    found = scalars(tmp_path / "logs")
    assert set(found) >= {"loss", "auc", "epsilon_max"}
    for tag in ("loss", "auc", "epsilon_max"):
        check(found[tag], tmp_path / "run", tag)


def test_mlflow_reads_every_round_and_the_settings(tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    config = small_config()
    run(config, out=tmp_path / "run", on_round=trackers.mlflow(uri, "trial", config=config))
    client = MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name("trial").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["training.num-rounds"] == str(config.training.num_rounds)
    for name in ("loss", "auc", "epsilon_max"):
        history = client.get_metric_history(found.info.run_id, name)
        check(sorted((metric.step, metric.value) for metric in history), tmp_path / "run", name)


def test_an_infinite_epsilon_is_left_out(tmp_path):
    config = small_config().change(privacy={"placement": "none"})
    run(config, out=tmp_path / "run", on_round=trackers.tensorboard(tmp_path / "logs"))
    found = scalars(tmp_path / "logs")
    assert all(math.isfinite(value) for values in found.values() for _, value in values)
    assert all(value == 0 for _, value in found.get("epsilon_max", []))


def test_the_command_line_tracks_a_run_and_its_resumption_as_one(tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    options = ["--tensorboard", str(tmp_path / "logs"), "--mlflow", uri]
    for words in (["run", *OPTIONS, "--out", str(tmp_path / "run")], ["resume", str(tmp_path / "run")]):
        app([*words, *options], standalone_mode=False)
    check(scalars(tmp_path / "logs")["loss"], tmp_path / "run", "loss")
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("wardround").experiment_id])
    assert {found.info.run_name for found in runs} == {"run"}


def test_an_unfinished_run_of_the_same_name_is_gone_on_with(tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(KeyboardInterrupt), trackers.mlflow(uri, name="heart"):
        raise KeyboardInterrupt
    client = MlflowClient(uri)
    place = client.get_experiment_by_name("wardround").experiment_id
    assert [found.info.status for found in client.search_runs([place])] == ["KILLED"]
    with trackers.mlflow(uri, name="heart"):
        assert [found.info.status for found in client.search_runs([place])] == ["RUNNING"]
    assert [found.info.status for found in client.search_runs([place])] == ["FINISHED"]


@pytest.mark.parametrize(("option", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")])
def test_without_the_library_nothing_begins(option, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf'pip install "wardround\[{option}\]"'):
        app(
            ["run", *OPTIONS, "--out", str(tmp_path / "run"), f"--{option}", str(tmp_path / "logs")],
            standalone_mode=False,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_made_is_refused_before_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--tensorboard .* can't be made"):
        trackers.tensorboard(tmp_path / "file" / "logs")


def test_mlflow_is_told_to_report_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    with warnings.catch_warnings(), trackers.mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        import os

        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_what_mlflow_does_not_take_ends_the_run_with_the_round_and_the_option(tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with (
        pytest.raises(WardroundError, match=r"MLflow did not take round 0 \(--mlflow\)"),
        trackers.mlflow(uri) as tracker,
    ):
        client = MlflowClient(uri)
        (found,) = client.search_runs([client.get_experiment_by_name("wardround").experiment_id])
        client.delete_run(found.info.run_id)
        run(small_config(), out=tmp_path / "run", on_round=tracker)
