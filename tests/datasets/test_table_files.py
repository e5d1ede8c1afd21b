"""Where a user's table can be: text of any separator and encoding, Parquet, Excel, one file a hospital, a DataFrame."""

import builtins
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import csv_of, load, patients, settings

from wardround.datasets import Dataset, load_dataset
from wardround.datasets.own_tables import dataset_of_frame
from wardround.errors import ConfigError, DataError

KEPT = ("features", "labels", "hospitals", "patients")


def assert_same(one: Dataset, other: Dataset) -> None:
    for name in KEPT:
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    for name in ("task", "class_names", "feature_names", "numbers", "groups", "columns"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.notes[1:] == other.notes[1:]


def frame_of(seed: int, number: int = 60) -> pd.DataFrame:
    """Return a table of every kind of column that pandas has."""
    rng = np.random.default_rng(seed)
    day = pd.Timestamp("2020-01-01")
    frame = pd.DataFrame(
        {
            "hospital": pd.Categorical(rng.choice(["St. Mary", "Hill", "é"], number)),
            "patient": rng.integers(0, 40, number) + 10**17,
            "age": rng.normal(60, 10, number),
            "small": rng.normal(size=number).astype(np.float32),
            "stage": pd.array(rng.choice(["I", "II", None], number), dtype="string"),
            "grade": pd.array(rng.choice([1, 2, None], number), dtype="Int64"),
            "smokes": rng.random(number) > 0.5,
            "object": rng.choice(np.array(["a", "b ", None, 1.5], dtype=object), number),
            "admitted": day + pd.to_timedelta(rng.integers(0, 900, number), unit="D"),
            "seen": day + pd.to_timedelta(rng.integers(0, 9**8, number), unit="s"),
            "tiny": rng.normal(size=number) * 1e-300,
            "died": rng.integers(0, 2, number),
        }
    )
    frame.loc[frame.index % 7 == 0, ["age", "admitted"]] = None
    return frame


KEYS = {"date_columns": ("admitted", "seen"), "categorical_columns": ("object",)}


@given(seed=st.integers(0, 999))
def test_a_frame_is_the_file_that_it_writes(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    frame, folder = frame_of(seed), tmp_path_factory.getbasetemp()
    frame.to_csv(folder / "frame.csv", index=False)
    of_frame = dataset_of_frame(frame, settings(None, **KEYS), source="frame.csv")
    assert_same(of_frame, load_dataset(settings(folder / "frame.csv", **KEYS)))
    frame.set_index("patient", drop=False).to_csv(folder / "comma.csv", index=False, sep=";", decimal=",")
    # Texts keep their points, and are no numbers where decimals have commas.
    assert_same(of_frame, load_dataset(settings(folder / "comma.csv", decimal=",", **KEYS)))


def test_a_frame_in_parquet_is_the_frame(tmp_path: Path) -> None:
    frame = frame_of(1).drop(columns=["object"])
    frame.to_parquet(tmp_path / "own.parquet")
    keys = {"date_columns": ("admitted", "seen")}
    of_frame = dataset_of_frame(frame, settings(None, **keys), source="own.parquet")
    assert_same(of_frame, load_dataset(settings(tmp_path / "own.parquet", **keys)))
    frame.set_index("patient").to_parquet(tmp_path / "indexed.parquet")
    assert load_dataset(settings(tmp_path / "indexed.parquet", **keys)).patients is not None


def test_a_spreadsheet_is_the_table_that_it_shows(tmp_path: Path) -> None:
    text = patients(age=["", *range(30, 89)])
    (tmp_path / "own.csv").write_text(text)
    frame = pd.read_csv(tmp_path / "own.csv")
    with pd.ExcelWriter(tmp_path / "own.xlsx") as book:
        frame.to_excel(book, index=False)
        frame.head(1).to_excel(book, index=False, sheet_name="more")
    of_text, of_sheet = (load_dataset(settings(tmp_path / f"own.{kind}")) for kind in ("csv", "xlsx"))
    assert_same(of_sheet, of_text)
    frame["patient"] = 110101199001011230 + np.arange(60)
    frame.to_excel(tmp_path / "ids.xlsx", index=False)
    with pytest.raises(DataError, match=r"ids.xlsx, row 2: patient = .* is a number that a program has rounded"):
        load_dataset(settings(tmp_path / "ids.xlsx"))


@pytest.mark.parametrize(("name", "package"), [("own.parquet", "pyarrow"), ("own.xlsx", "openpyxl")])
def test_a_missing_package_is_named_with_the_way_to_have_it(tmp_path: Path, monkeypatch, name, package) -> None:
    (tmp_path / name).write_bytes(b"PAR1")
    known = builtins.__import__
    import importlib

    def without(wanted: str, *rest: object) -> object:
        if wanted.partition(".")[0] == package:
            raise ImportError(wanted)
        return known(wanted, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ConfigError, match=rf'needs the package {package} .*: pip install "wardround\[tables\]"'):
        load_dataset(settings(tmp_path / name))


@pytest.mark.parametrize(("name", "kind"), [("own.parquet", "Parquet"), ("own.xlsx", "Excel")])
def test_a_file_that_is_none_of_its_kind_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"no such thing")
    with pytest.raises(DataError, match=f"cannot read .*{name} as {kind}"):
        load_dataset(settings(tmp_path / name))
    with pytest.raises(ConfigError, match=f"separator goes with files of text, and {name} is none"):
        load_dataset(settings(tmp_path / name, separator=";"))


@pytest.mark.parametrize("name", ["own.xls", "own.sav", "own.zip", "own.csv.bz2", "own.json"])
def test_a_kind_that_is_not_read_is_refused_with_a_way_on(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"is not read .*: save it as CSV, Parquet or .xlsx, .* or hand it over"):
        load_dataset(settings(tmp_path / name))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", [None, "utf-8", "cp1252", "utf-16"])
def test_separators_and_encodings_change_nothing(tmp_path: Path, separator: str, encoding: str | None) -> None:
    text = patients(sex=["é", "m"] * 30)
    keys = {"encoding": encoding, "separator": separator if separator == "|" else None}
    data = text.replace(",", separator).replace("\n", "\r\n").encode(encoding or "utf-8-sig")
    assert_same(load(tmp_path, data, **keys), load(tmp_path, text))
    packed = tmp_path / "own.csv.gz"
    packed.write_bytes(gzip.compress(data))
    assert_same(load_dataset(settings(packed, **keys)), load(tmp_path, text))


def test_a_spreadsheets_line_on_its_separator_is_no_header(tmp_path: Path) -> None:
    text = patients()
    assert_same(load(tmp_path, "sep=;\n" + text.replace(",", ";")), load(tmp_path, text))
    with pytest.raises(DataError, match=r"own.csv, line 3: age = '\?'"):
        load(tmp_path, "sep=;\n" + patients(age=["?", *range(30, 89)]).replace(",", ";"))


def test_decimal_commas_are_read_where_they_are_said(tmp_path: Path) -> None:
    text = patients(crp=[f"{row / 4 + 0.25}" for row in range(60)])
    comma = text.replace(",", ";").replace(".", ",")
    with pytest.raises(DataError, match=r"line 2: crp = '0,25' is no number.*: set \[federation\] decimal = \",\""):
        load(tmp_path, comma)
    assert_same(load(tmp_path, comma, decimal=","), load(tmp_path, text))
    with pytest.raises(DataError, match=r"crp = '0.25' is no number.*: set \[federation\] decimal = \"\.\""):
        load(tmp_path, text, decimal=",")


@pytest.mark.parametrize(
    "text",
    ["north,p001,85,f,88.6,1\nsouth,p002,77,m,49.7,1\n", "1,2\n3,4\n", "2020-01-01,a\n2020-01-02,b\n"],
)
def test_a_first_line_that_is_no_header_is_recognised(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"own.csv: the first line holds '.* and is no header: write a first line"):
        load(tmp_path, text)


def test_one_file_a_hospital_is_read_from_a_folder_or_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "sites"
    folder.mkdir()
    for name in ("North Clinic", "south"):
        (folder / f"{name}.csv").write_text(patients(30, [name]))
    (folder / "readme.md").write_text("no table")
    for path in (folder, folder / "*.csv"):
        dataset = load_dataset(settings(path, hospital_column=None, drop_columns=("hospital",)))
        assert dataset.hospitals is not None
        assert np.unique(dataset.hospitals, return_counts=True)[0].tolist() == ["north-clinic", "south"]
        assert "one file a hospital: 2 files" in dataset.notes
    (folder / "west.xls").write_bytes(b"an older spreadsheet")
    with pytest.raises(ConfigError, match=r"west.xls is not read .* a pattern such as \*.csv leaves it out"):
        load_dataset(settings(folder))
    (folder / "west.xls").unlink()
    named = load_dataset(settings(folder))
    assert named.hospitals is not None and named.hospitals.tolist() == dataset.hospitals.tolist()
    bad = patients(30, ["west"], age=["?", *range(30, 59)])
    (folder / "west.csv").write_text(bad)
    with pytest.raises(DataError, match=r"west.csv, line 2: age = '\?'"):
        load_dataset(settings(folder))
    (folder / "west.csv").write_text(bad.replace("crp", "CRP"))
    with pytest.raises(DataError, match=r"west.csv lacks crp, which .*North Clinic.csv has: give all files the same"):
        load_dataset(settings(folder))
    (folder / "west.csv").rename(folder / "south.tsv")
    with pytest.raises(DataError, match="has two files of the name 'south'"):
        load_dataset(settings(folder))
    with pytest.raises(ConfigError, match=r"no file is at .* that could be a table"):
        load_dataset(settings(folder / "*.parquet"))


def test_a_file_of_one_hospital_is_no_federation_by_itself(tmp_path: Path) -> None:
    assert load(tmp_path, patients(), hospital_column=None, drop_columns=("hospital",)).hospitals is None


def test_a_frame_says_what_does_not_go_with_it(tmp_path: Path) -> None:
    frame = frame_of(2)
    for key, value in (("separator", ";"), ("encoding", "cp1252")):
        with pytest.raises(ConfigError, match=rf"{key} goes with files, and my table is a DataFrame"):
            dataset_of_frame(frame, settings(None, **{key: value}), source="my table")
    with pytest.raises(DataError, match="my table has no row"):
        dataset_of_frame(frame.head(0), settings(None), source="my table")
    with pytest.raises(DataError, match="my table has columns of several levels"):
        dataset_of_frame(pd.concat({"a": frame}, axis=1), settings(None), source="my table")
    twice = pd.concat([frame, frame[["died"]]], axis=1)
    with pytest.raises(DataError, match="my table names a column twice: died"):
        dataset_of_frame(twice, settings(None), source="my table")
    floats = frame.assign(patient=frame["patient"].astype(float))
    with pytest.raises(DataError, match=r"my table, row 1: patient = .* is a number that a program has rounded"):
        dataset_of_frame(floats, settings(None, **KEYS), source="my table")
    small = frame.assign(patient=(frame["patient"] - 10**17).astype(float))
    small.loc[3, "patient"] = None
    patients_of = dataset_of_frame(small, settings(None, **KEYS), source="my table").patients
    assert patients_of is not None and patients_of[3] == "row 3"
    assert patients_of[0] == f"id {int(small.loc[0, 'patient'])}"


def test_rows_without_any_cell_are_none(tmp_path: Path) -> None:
    text = patients()
    assert_same(load(tmp_path, text + "\n,,,,,\n\n,,,,,\n"), load(tmp_path, text))


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    lines = csv_of({"died": ["0", "1", "0"], "x": ["1", "2", "?"], "note": ['"a\nb"', "c", "d"]}).splitlines()
    text = "\n\n" + "\n".join([*lines[:2], "", *lines[2:]])
    with pytest.raises(DataError, match=r"own.csv, line 8: x = '.' is no number"):
        load(tmp_path, text, hospital_column=None, patient_column=None)


def quoted(text: str) -> str:
    return text.replace("south", '"south', 1)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda text: "Ward 3, April\n\n" + text,
            r"line 3 has 6 cells .* 2 names: remove what stands above the header",
        ),
        (lambda text: "# by SAP\n" + text, r"line 2 has 6 cells .* 1 name: remove what stands above the header"),
        (lambda text: text + "in all 60\n", r"line 62 has 1 cell .* remove the line if it is no record"),
        (
            lambda text: text.replace("\n", ",\n").replace(",\n", "\n", 1),
            "line 2 has 7 cells .* give every column a name",
        ),
        (quoted, r'line 22: a quote \("\) begins a cell and does not end it'),
        (
            lambda text: quoted(text) + "a," * 100_000,
            r"line 22: a cell has more than 131,072 characters: .* remove the quote",
        ),
        (lambda text: text.replace("south", "so\0uth", 1), "line 22 holds a character 0"),
        (lambda text: text.replace("south", '"so"uth', 1), r'line 22: a quote \("\) begins a cell'),
    ],
)
def test_a_line_that_is_no_row_is_named_with_the_way_to_mend_it(tmp_path: Path, made, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, made(patients()))


@pytest.mark.parametrize(
    ("written", "encoding", "message", "then"),
    [
        ("utf-16", None, r'begins as text in utf-16 does.*: set \[federation\] encoding = "utf-16"', "utf-16"),
        ("utf-16-le", None, r'begins as text in utf-16-le does.*: set .*encoding = "utf-16-le"', "utf-16-le"),
        ("utf-8-sig", "latin-1", r"begins as text in utf-8 does.*: remove \[federation\] encoding", None),
        ("cp1252", None, r'can\'t decode byte .*name its encoding \(\[federation\] encoding = "cp1252"', "cp1252"),
    ],
)
def test_an_encoding_that_is_not_said_is_refused_and_the_advice_works(
    tmp_path: Path, written: str, encoding: str | None, message: str, then: str | None
) -> None:
    text = patients(sex=["é", "m"] * 30)
    with pytest.raises(DataError, match=message):
        load(tmp_path, text.encode(written), encoding=encoding)
    assert_same(load(tmp_path, text.encode(written), encoding=then), load(tmp_path, text))


@pytest.mark.parametrize("encoding", ["utf_8", "UTF-16LE", "utf-32"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, encoding: str) -> None:
    marked = ("" if encoding == "utf-32" else "\ufeff") + patients()
    assert_same(load(tmp_path, marked.encode(encoding), encoding=encoding), load(tmp_path, patients()))


def test_a_spreadsheets_table_may_begin_below_the_top(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(patients())
    frame = pd.read_csv(tmp_path / "own.csv")
    frame.to_excel(tmp_path / "own.xlsx", index=False, startrow=3)
    assert_same(load_dataset(settings(tmp_path / "own.xlsx")), load_dataset(settings(tmp_path / "own.csv")))
    frame.astype({"age": object}).replace({"age": {30: "?"}}).to_excel(tmp_path / "own.xlsx", index=False, startrow=3)
    with pytest.raises(DataError, match=r"own.xlsx, row 5: age = '\?'"):
        load_dataset(settings(tmp_path / "own.xlsx"))


def test_an_index_that_is_asked_for_is_no_column_and_the_advice_works() -> None:
    frame = frame_of(3).set_index("hospital")
    with pytest.raises(ConfigError, match=r"'hospital' is the index of my table.*frame.reset_index\(\) makes it a col"):
        dataset_of_frame(frame, settings(None, **KEYS), source="my table")
    assert dataset_of_frame(frame.reset_index(), settings(None, **KEYS), source="my table").hospitals is not None
