"""A survival of one's own: times and events from a file, a frame or arrays, and every way they can be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import wardround as wr
from wardround.config import Config, FederationConfig, config_from_dict, config_to_toml
from wardround.datasets import Dataset, build_federation, load_dataset
from wardround.datasets.loading import resolved
from wardround.datasets.tables import describe
from wardround.errors import ConfigError, DataError
from wardround.survival import times_and_events

EDGES = (0.0, 30.0, 90.0)
KEYS: dict[str, Any] = {"task": "survival", "event_column": "died", "time_edges": EDGES, "target": "days"}
ROWS = ["50,12.5,1,a", "61,0,0,a", "70,90,1,b", "45,200,0,b"]


def _load(tmp_path: Path, rows: list[str], **keys: Any) -> Dataset:
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["age,days,died,site", *rows]) + "\n")
    return load_dataset(
        FederationConfig(**{"dataset": "csv", "path": str(path), "hospital_column": "site"} | KEYS | keys)
    )


def test_a_file_gives_times_events_and_edges(tmp_path: Path) -> None:
    dataset = _load(tmp_path, ROWS)
    times, events = times_and_events(dataset.labels)
    assert (times.tolist(), events.tolist()) == ([12.5, 0.0, 90.0, 200.0], [True, False, True, False])
    assert (dataset.task, dataset.class_names, dataset.feature_names) == ("survival", (), ("age",))
    assert dataset.time_edges == EDGES
    uses = {use.name: use.kind for use in dataset.columns}
    assert uses == {"age": "number", "days": "survival target", "died": "event", "site": "hospital"}
    assert "until the event, which was seen where died is 1" in " ".join(dataset.notes)
    federation = build_federation(dataset, FederationConfig())
    assert federation.num_classes == 2
    assert describe(federation)["share event"].tolist() == [0.5, 0.5]
    assert describe(federation)["median time"].tolist() == [6.25, 145.0]


@pytest.mark.parametrize(
    ("cells", "keys"),
    [
        (["1", "0"], {}),
        (["1.0", "0.0"], {}),
        (["True", "False"], {}),
        (["dead", "alive"], {"positive_class": "dead"}),
        (["2", "1"], {"positive_class": "2"}),
    ],
)
def test_events_are_told_by_a_number_a_truth_value_or_a_class(
    cells: list[str], keys: dict[str, str], tmp_path: Path
) -> None:
    rows = [f"{50 + place},{place},{cells[place % 2]},a" for place in range(6)]
    assert times_and_events(_load(tmp_path, rows, **keys).labels)[1].tolist() == [True, False] * 3


def test_rows_without_a_time_or_an_event_are_dropped_and_said(tmp_path: Path) -> None:
    dataset = _load(tmp_path, [*ROWS, "33,,1,a", "34,5,,a"])
    assert len(dataset.labels) == 4
    assert {"rows dropped because days is missing: <10", "rows dropped because died is missing: <10"} <= {
        *dataset.notes
    }


@pytest.mark.parametrize(
    ("row", "keys", "message"),
    [
        ("33,-1,1,a", {}, r"line 6: time days = '-1' must be a number >= 0, in the unit of time-edges"),
        ("33,soon,1,a", {}, "time days = 'soon' must be a number >= 0"),
        (
            "33,4,lost,a",
            {},
            r"event-column 'died' holds 'lost', and must hold 1 .* name the event by \[federation\] pos",
        ),
        ("33,4,2,a", {"positive_class": "2"}, "'died' holds '1', '0', '2', and must hold two values, of which '2'"),
        ("33,4,0,a", {"positive_class": "x"}, "must hold two values, of which 'x' says that the event was seen"),
    ],
)
def test_a_table_that_does_not_say_who_when_is_refused(
    row: str, keys: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        _load(tmp_path, [*ROWS, row], **keys)


def test_a_survival_in_which_nothing_happens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="event-column 'died' holds '0', and must hold two values"):
        _load(tmp_path, ["33,4,0,a", "34,5,0,a"])
    with pytest.raises(ConfigError, match=r"event-column = 'dies'|no column 'dies' \(\[federation\] event-column\)"):
        _load(tmp_path, ROWS, event_column="dies")
    with pytest.raises(ConfigError, match=r"event-column = 'days' is already the target"):
        _load(tmp_path, ROWS, event_column="days")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"event_column": None}, r'task = "survival" needs \[federation\] event-column'),
        ({"time_edges": None}, r"and time-edges, the ends of the intervals .* never from these data"),
        ({"time_edges": (0.0, 2.0, 1.0)}, r"time-edges = \[0.0, 2.0, 1.0\] must be .* ascend from 0"),
        ({"task": "regression"}, r'event-column goes with task = "survival"'),
        ({"task": None, "event_column": None}, r'time-edges goes with task = "survival"'),
        ({"target_range": (0.0, 9.0)}, "times have time-edges"),
        ({"schema": {"days": {"range": [0, 9]}, "age": {"range": [0, 99]}}}, "has two columns to be predicted"),
        ({"columns": ("died", "age")}, "'died' is in columns and in event-column"),
        ({"drop_columns": ("died",)}, "'died' is in drop-columns and in event-column"),
        ({"dataset": "digits", "path": None, "target": None}, "event-column goes with dataset"),
    ],
)
def test_settings_that_do_not_go_with_times_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FederationConfig(**{"dataset": "csv", "path": "own.csv"} | KEYS | keys)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"federation": {"class-weights": [1.0, 0.5]}}, "class-weights has 2 numbers but must be left out: no classes"),
        ({"training": {"loss-weights": [1.0, 2.0]}}, "is for classes, and none are told apart here"),
        (
            {"imbalance": {"remedy": "duplicate", "copies": [1, 2]}},
            'remedy = "duplicate" is for classes, and none are told apart here',
        ),
    ],
)
def test_what_is_for_classes_is_refused(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wr.plan(config_from_dict(tables), federation=_federation())


def test_public_records_are_refused() -> None:
    with pytest.raises(ConfigError, match="public records are of classes or numbers, and times are predicted here"):
        wr.run(_settings(), federation=_federation(), public=(np.zeros((2, 2)), np.zeros(2)))


def test_edges_of_data_without_times_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"time-edges go with times, and digits is a classification .*: remove it"):
        wr.plan({"federation": {"dataset": "digits", "time_edges": EDGES}})


@pytest.mark.parametrize("partition", ["dirichlet", "shards"])
def test_partitions_by_label_see_events_and_splits_share_them_out(partition: str) -> None:
    dataset = _federation().dataset
    made = build_federation(dataset, FederationConfig(partition=partition, num_hospitals=4, dirichlet_alpha=0.1))
    shares = [float((~np.signbit(hospital.train_labels)).mean()) for hospital in made.hospitals]
    assert max(shares) - min(shares) > 0.3
    assert f"partition {partition} sees the event, and that it was not seen, as two classes" in made.notes
    of_one = build_federation(dataset, FederationConfig(partition="iid", num_hospitals=1))
    train, test = (~np.signbit(part) for part in (of_one.hospitals[0].train_labels, of_one.hospitals[0].test_labels))
    assert train.mean() == pytest.approx(test.mean(), abs=0.02)
    assert "follows from the seed and the events" in " ".join(of_one.notes)


def test_the_edges_that_the_data_have_are_among_the_resolved_settings() -> None:
    config = resolved(Config(), build_federation(_federation().dataset, FederationConfig()))
    assert config.federation.time_edges == EDGES
    assert config_from_dict({"federation": {"dataset": "tcga-brca", "time-edges": [0, 5, 7.5]}}).federation.time_edges
    assert "time-edges" not in config_to_toml(resolved(Config(), build_federation(*_classes())))


def _classes() -> tuple[Dataset, FederationConfig]:
    return load_dataset(FederationConfig()), FederationConfig()


def _settings() -> dict[str, Any]:
    return {"training": {"num_rounds": 1}, "privacy": {"placement": "none"}, "simulation": {"engine": "inline"}}


def _arrays(seed: int = 0) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(seed)
    times, events = rng.integers(0, 200, 120), np.arange(120) % 3 == 0
    features, labels = rng.normal(size=(120, 2)), np.stack([times, events], axis=1)
    return {"north": (features[:60], labels[:60]), "south": (features[60:], labels[60:])}


def _federation() -> wr.Federation:
    return wr.Federation.from_arrays(_arrays(), task="survival", time_edges=EDGES)


def test_arrays_and_a_frame_are_the_same_survival() -> None:
    given = _arrays()
    of_arrays = _federation().dataset
    columns = {name: np.concatenate([x for x, _ in given.values()])[:, place] for place, name in enumerate(("x", "z"))}
    labels = np.concatenate([y for _, y in given.values()])
    frame = pd.DataFrame(
        columns | {"days": labels[:, 0], "died": labels[:, 1] == 1, "site": np.repeat(["north", "south"], 60)}
    )
    framed = wr.Federation.from_frame(frame, target="days", event="died", hospital="site", time_edges=list(EDGES))
    assert np.array_equal(framed.dataset.labels, of_arrays.labels)
    assert np.array_equal(np.signbit(framed.dataset.labels), np.signbit(of_arrays.labels))
    assert framed.dataset.time_edges == of_arrays.time_edges == EDGES
    assert repr(framed) == "Federation(120 rows at 2 hospitals, survival)"


@pytest.mark.parametrize(
    ("labels", "keys", "error", "message"),
    [
        (np.zeros(60), {}, DataError, r"needs \(n, ...\) and \(n, 2\)"),
        (np.full((60, 2), -1.0), {}, DataError, "must be times >= 0, and 1 where the event was seen"),
        (np.full((60, 2), 2.0), {}, DataError, "must be times >= 0, and 1 where the event was seen"),
        (np.zeros((60, 2)), {}, DataError, "which some have"),
        (np.full((60, 2), np.nan), {}, DataError, "of finite numbers"),
        (np.full((60, 2), "1"), {}, DataError, "of finite numbers"),
        (np.ones((60, 2)), {"class_names": ("a", "b")}, DataError, "no class names"),
        (np.ones((60, 2)), {"time_edges": ()}, ConfigError, r"time-edges = \[\] must be 2 to"),
        (np.ones((60, 2)), {"task": "classification"}, DataError, r"needs \(n, ...\) and \(n,\)"),
        (np.arange(60.0), {"task": "regression"}, ConfigError, 'time_edges go with task = "survival"'),
        (np.arange(60.0), {"task": "cox"}, ConfigError, 'must be "classification", "regression" or "survival"'),
    ],
)
def test_arrays_that_are_no_survival_are_refused(
    labels: np.ndarray[Any, Any], keys: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"north": (np.zeros((60, 2)), labels)}
    with pytest.raises(error, match=message):
        wr.Federation.from_arrays(given, **{"task": "survival", "time_edges": EDGES} | keys)


def test_other_edges_are_other_data() -> None:
    handed = [
        wr.Federation.from_arrays(_arrays(), task="survival", time_edges=edges).settings.handed
        for edges in (EDGES, (0.0, 31.0, 90.0))
    ]
    assert handed[0].code != handed[1].code  # type: ignore[union-attr]
