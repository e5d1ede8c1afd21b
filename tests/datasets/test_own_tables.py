"""A user's own file: what is made of it, what is said about it, and every way it can be wrong."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wardround.config import FederationConfig, load_config
from wardround.datasets import Dataset, load_dataset, load_federation
from wardround.errors import ConfigError, DataError

REPOSITORY = Path(__file__).parents[2]
GOOD = """site,person,age,stage,alive,score,same
St. Mary,p1,50,I,True,1.5,x
St. Mary,p1,51,II,False,2.5,x
Hill,p2,,I,True,3.25,x
Hill,,70,,False,4.5,x
"""


def _load(tmp_path: Path, text: str | bytes, target: str = "alive", **keys: str) -> Dataset:
    path = tmp_path / "own.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_dataset(FederationConfig(dataset="csv", path=str(path), target=target, **keys))


def test_a_good_file_becomes_features_labels_hospitals_and_patients(tmp_path: Path) -> None:
    dataset = _load(tmp_path, GOOD, hospital_column="site", patient_column="person")
    assert dataset.task == "classification"
    assert dataset.class_names == ("False", "True")
    assert dataset.labels.tolist() == [1, 0, 1, 0]
    names = ("age", "age is missing", "stage=(missing)", "stage=I", "stage=II", "score")
    assert dataset.feature_names == names
    assert dataset.features[:, 1:5].tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 1, 0], [0, 1, 0, 0]]
    assert [number.column for number in dataset.numbers] == [0, 5]
    assert dataset.groups == (0, 0, 1, 1, 1, 2)
    assert np.isnan(dataset.features[2, 0])
    assert dataset.hospitals is not None
    assert dataset.hospitals.tolist() == ["st-mary", "st-mary", "hill", "hill"]
    assert dataset.patients is not None
    assert dataset.patients.tolist() == ["id p1", "id p1", "id p2", "row 3"]


def test_what_was_done_is_said(tmp_path: Path) -> None:
    notes = " | ".join(_load(tmp_path, GOOD, hospital_column="site", patient_column="person").notes)
    for part in (
        "columns dropped because they never vary: same",
        "missing values: age (<10), stage (<10)",
        "training and test rows are disjoint by patient",
        "<10 rows name no patient",
    ):
        assert part in notes


def test_rows_without_target_or_hospital_are_counted(tmp_path: Path) -> None:
    text = "h,x,y\na,1,0\na,2,1\nb,3,\n,4,1\nb,5,0\n"
    dataset = _load(tmp_path, text, "y", hospital_column="h")
    assert len(dataset.labels) == 3
    assert "rows dropped because y is missing: <10" in dataset.notes
    assert "rows dropped because h is missing: <10" in dataset.notes


@pytest.mark.parametrize(
    ("values", "task", "expected", "classes"),
    [
        (["3", "1", "2"], None, "classification", ("1", "2", "3")),
        (["0", "1", "1"], None, "classification", ("0", "1")),
        (["yes", "no", "yes"], None, "classification", ("no", "yes")),
        (["0.5", "1.5", "1.5"], None, "regression", ()),
        ([str(number) for number in range(21)], None, "regression", ()),
        ([str(number) for number in range(20)], None, "classification", tuple(map(str, range(20)))),
        (["0.5", "1.5", "1.5"], "classification", "classification", ("0.5", "1.5")),
        (["0", "1", "1"], "regression", "regression", ()),
        ([str(number) for number in range(150)], None, "regression", ()),
    ],
)
def test_the_task_follows_the_target(
    tmp_path: Path, values: list[str], task: str | None, expected: str, classes: tuple[str, ...]
) -> None:
    text = "x,y\n" + "".join(f"{row}.5,{value}\n" for row, value in enumerate(values))
    keys = {} if task is None else {"task": task}
    dataset = _load(tmp_path, text, "y", **keys)
    assert (dataset.task, dataset.class_names) == (expected, classes)
    assert dataset.labels.dtype == (np.int64 if expected == "classification" else np.float64)
    if expected == "classification":
        assert [classes[label] for label in dataset.labels] == values


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_byte_order_mark_are_understood(tmp_path: Path, separator: str) -> None:
    dataset = _load(tmp_path, b"\xef\xbb\xbf" + GOOD.replace(",", separator).encode(), hospital_column="site")
    assert len(dataset.labels) == 4


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.csv.gz"
    path.write_bytes(gzip.compress(GOOD.encode()))
    assert len(load_dataset(FederationConfig(dataset="csv", path=str(path), target="alive")).labels) == 4
    path.write_bytes(gzip.compress(GOOD.encode() * 50)[:-30])
    with pytest.raises(DataError, match=r"cannot read .*own.csv.gz as CSV"):
        load_dataset(FederationConfig(dataset="csv", path=str(path), target="alive"))


def test_numbers_as_hospitals_become_plain_ids_even_beside_empty_cells(tmp_path: Path) -> None:
    dataset = _load(tmp_path, "h,x,y\n10,1,a\n2,2,b\n,3,a\n", "y", hospital_column="h")
    assert dataset.hospitals is not None
    assert dataset.hospitals.tolist() == ["hospital-10", "hospital-2"]


MANY = "x,y\n" + "".join(f"{row},name{row}\n" for row in range(101))
NAMES = "d,y\n" + "".join(f"day{row},{row % 2}\n" for row in range(101))


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("", {}, r"own.csv is empty: it needs a header line"),
        ("alive,x\n", {}, r"has a header but no row"),
        ("alive,x\n,1\n,2\n", {}, r"no row with a alive"),
        ("alive,x\n1,1\n1,2\n", {}, r"target 'alive' is always 1"),
        ("alive,x\n1,5\n0,5\n", {}, r"no feature column with two different values"),
        ("alive,x\n1,2\n0,3,4\n0,5,6,7\n", {}, r"own.csv, line 3 has 3 cells and the header 2 names"),
        ("alive,x\n1,2,3\n0,3,4\n", {}, r"line 2 has 3 cells and the header 2 names: .* give every column a name"),
        ("alive,x,z\n1,2,3\n0,3\n", {}, r"line 3 has 2 cells and the header 3 names"),
        ('alive,x\n1,"2\n"\n0,3,4\n', {}, r"line 4 has 3 cells and the header 2 names"),
        ("alive,x,x \n1,2,3\n0,3,4\n", {}, r"names a column twice: x"),
        (b"alive,x\n1,\xff\xfe\n0,b\n", {}, r"cannot read .* as CSV .*: check that it is a table in UTF-8"),
        (
            "alive,x\ninf,1\n2.5,2\n",
            {},
            r"line 2: alive = 'inf' is no number, and alive holds 1 numbers and 1 cell that is none",
        ),
        (MANY, {"target": "y"}, r"target 'y' has 101 classes, more than 100: name another target"),
        (
            MANY.replace("name", ""),
            {"target": "y", "task": "classification"},
            r"set \[federation\] task = 'regression'",
        ),
        (MANY, {"target": "y", "task": "regression"}, r"target 'y' is text, not a number"),
        (NAMES, {"target": "y"}, r"d: names or free text: its texts are different in every row"),
        ("h,x,alive\nA b,1,0\na-B,2,1\n", {"hospital_column": "h"}, r"'A b' and 'a-B' both become a-b"),
    ],
)
def test_a_wrong_file_is_an_error_with_a_next_step(
    tmp_path: Path, text: str | bytes, keys: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _load(tmp_path, text, **keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target": "alife"}, r"no column 'alife' \(\[federation\] target\): did you mean alive\? its columns"),
        ({"hospital_column": "sites"}, r"\[federation\] hospital-column\): did you mean site\?"),
        ({"patient_column": "zzz"}, r"no column 'zzz' \(\[federation\] patient-column\): its columns are site, "),
    ],
)
def test_a_column_that_is_not_there_is_a_wrong_setting(tmp_path: Path, keys: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _load(tmp_path, GOOD, **keys)


def test_one_column_for_two_purposes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hospital-column = 'alive' is already the target"):
        _load(tmp_path, GOOD, hospital_column="alive")


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [("none.csv", ConfigError, "no file .*none.csv"), ("", ConfigError, "no file is at .* that could be a table")],
)
def test_a_path_that_is_no_file_is_an_error(tmp_path: Path, path: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_dataset(FederationConfig(dataset="csv", path=str(tmp_path / path), target="y"))


def test_the_example_is_what_its_script_writes_and_trains_four_hospitals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "again.csv"
    subprocess.run([sys.executable, REPOSITORY / "examples" / "make_own_data.py", written], check=True)
    assert written.read_bytes() == (REPOSITORY / "examples" / "own-data.csv").read_bytes()
    monkeypatch.chdir(REPOSITORY)
    federation = load_federation(load_config("examples/own-csv.toml").federation)
    assert [h.hospital_id for h in federation.hospitals] == [
        "hill-hospital",
        "lakeside",
        "north-clinic",
        "south-clinic",
    ]
    assert federation.excluded == ()
    for hospital in federation.hospitals:
        assert np.isfinite(hospital.train_features).all()
        assert hospital.num_train < len(hospital.train_labels)
