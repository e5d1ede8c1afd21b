"""A table read by its schema: what is made of it, every way it can be wrong, and who gets to know what of it."""

import contextlib
import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround import run
from wardround.config import Config, FederationConfig, config_from_dict, schema_from_table
from wardround.datasets import Dataset, FederatedData, describe, load_dataset, load_federation, load_site_table
from wardround.datasets.own_tables.csv_files import csv_pieces
from wardround.errors import ConfigError, DataError, WardroundError

SCHEMA = schema_from_table(
    {
        "died": {"levels": ["no", "yes"]},
        "age": {"range": [18, 110], "unit": "years"},
        "sex": {"levels": ["female", "male"]},
        "lactate": {"range": [0, 30], "unit": "mmol/l", "missing": True},
        "stage": {"levels": ["I", "II"], "missing": True},
    }
)
GOOD = """name,age,sex,lactate,stage,died
Ada,18,female,15,II,yes
Bob, 110 ,male,,I,no
Eve,64.0,female,3e1,,no
"""
KEY = bytes(range(32))


def settings(path: Path | None = None, **keys: object) -> FederationConfig:
    return FederationConfig(
        **{"dataset": "csv", "target": "died", "schema": SCHEMA, "path": path and str(path), **keys}
    )


def load(folder: Path, text: str | bytes, **keys: object) -> Dataset:
    path = folder / "own.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_dataset(settings(path, **keys))


def load_site(folder: Path, text: str, key: bytes = KEY, name: str = "north", **keys: object) -> FederatedData:
    path = folder / f"{name}.csv"
    path.write_text(text)
    return load_site_table(settings(**keys), path=path, hospital_id=name, key=key)


def test_a_good_table_becomes_what_its_schema_says(tmp_path: Path) -> None:
    dataset = load(tmp_path, GOOD)
    assert (dataset.name, dataset.task, dataset.class_names) == ("csv", "classification", ("no", "yes"))
    assert dataset.feature_names == SCHEMA.feature_names("died")
    assert dataset.features.dtype == np.float32
    assert dataset.features.tolist() == [
        [-1, 1, 0, 0, 0, 0, 1, 0],
        [1, 0, 1, 0, 1, 1, 0, 0],
        [0, 1, 0, 1, 0, 0, 0, 1],
    ]
    assert (dataset.labels.dtype, dataset.labels.tolist()) == (np.int64, [1, 0, 0])
    assert dataset.numbers == ()
    assert (dataset.hospitals, dataset.patients) == (None, None)
    assert not dataset.features.flags.writeable
    for start in ("source: own.csv", "normalisation: "):
        assert sum(note.startswith(start) for note in dataset.notes) == 1
    assert "columns that the schema does not name, which were not read: 'name'" in dataset.notes


def test_a_target_with_a_range_is_a_regression_on_the_same_scale(tmp_path: Path) -> None:
    dataset = load(tmp_path, GOOD, target="age")
    assert (dataset.task, dataset.class_names) == ("regression", ())
    assert (dataset.labels.dtype, dataset.labels.tolist()) == (np.float32, [-1, 1, 0])
    assert dataset.feature_names[:2] == ("died no", "died yes")
    assert any("the target age is scaled to [-1, 1]" in note for note in dataset.notes)


def test_order_and_further_columns_and_rows_of_the_file_change_no_value(tmp_path: Path) -> None:
    names, *rows = [line.split(",") for line in GOOD.splitlines()]
    turned = "\n".join(";".join(reversed(cells)) for cells in [names, *rows, *rows])
    dataset, other = load(tmp_path, GOOD), load(tmp_path, turned.replace("Ada", "no, number"))
    assert other.feature_names == dataset.feature_names
    assert other.features[:3].tolist() == dataset.features.tolist()
    assert other.labels[:3].tolist() == dataset.labels.tolist()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_byte_order_marks_line_ends_and_packing_change_nothing(tmp_path: Path, separator: str) -> None:
    data = b"\xef\xbb\xbf" + GOOD.replace(",", separator).replace("\n", "\r\n\r\n").encode()
    assert load(tmp_path, data).features.tolist() == load(tmp_path, GOOD).features.tolist()
    packed = tmp_path / "own.csv.gz"
    packed.write_bytes(gzip.compress(data))
    assert load_dataset(settings(packed)).features.tolist() == load(tmp_path, GOOD).features.tolist()


def test_precision_is_lost_only_after_centring(tmp_path: Path) -> None:
    schema = schema_from_table({"died": {"levels": ["no", "yes"]}, "day": {"range": [1e9, 1e9 + 64]}})
    dataset = load(tmp_path, "day,died\n1000000001,no\n1000000002,yes\n", schema=schema)
    assert dataset.features[:, 0].tolist() == [-1 + 2 / 64, -1 + 4 / 64]


def test_identifiers_are_texts_whatever_they_look_like(tmp_path: Path) -> None:
    text = "h,p,died,age,sex,lactate,stage\n"
    ids = [("007", "0042"), ("7", "42"), ("7 ", "100000000000000001"), ("7", "100000000000000002"), ("7", "0.5")]
    text += "".join(f"{hospital},{patient},no,20,male,,\n" for hospital, patient in ids)
    dataset = load(tmp_path, text + "7,,no,20,male,,\n", hospital_column="h", patient_column="p")
    assert dataset.hospitals is not None and dataset.patients is not None
    assert dataset.hospitals.tolist() == ["hospital-007", *["hospital-7"] * 5]
    assert dataset.patients.tolist() == [*(f"id {patient}" for _, patient in ids), "row 5"]
    assert "<10 rows name no patient: each counts as a patient of its own" in dataset.notes


def test_patients_are_the_same_however_their_accents_were_typed_and_may_differ_by_capitals(tmp_path: Path) -> None:
    rows = [(letter, "no,20,male,,\n") for letter in ("\xe9", "e\u0301", "\xc9")]
    text = "p,died,age,sex,lactate,stage\n" + "".join(f"Ren{letter},{rest}" for letter, rest in rows)
    dataset = load(tmp_path, text, patient_column="p")
    assert dataset.patients is not None
    assert dataset.patients.tolist() == ["id Ren\xe9", "id Ren\xe9", "id Ren\xc9"]
    assert "names of patients that differ by capitals alone are taken for different patients" in dataset.notes


def test_hospitals_named_by_words_are_plain_and_one_with_two_spellings_is_refused(tmp_path: Path) -> None:
    text = "h,died,age,sex,lactate,stage\nSt. Mary,no,20,male,,\n{},no,20,male,,\n"
    assert load(tmp_path, text.format("NA"), hospital_column="h").hospitals.tolist() == ["st-mary", "na"]
    with pytest.raises(DataError, match=r"hospitals 'St. Mary' and 'ST MARY' both become st-mary"):
        load(tmp_path, text.format("ST MARY"), hospital_column="h")


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("age", "", "age is empty, which it may not be: fill the cell, or agree on missing = true"),
        ("died", "", "died is empty"),
        ("sex", " ", "sex is empty"),
        ("age", "17.99", "age is outside its range, 18 to 110 years: correct the cell"),
        ("age", "1e999", "age is outside"),
        ("lactate", "-0.1", "lactate is outside its range, 0 to 30 mmol/l"),
        *[
            ("lactate", cell, "lactate holds something that is no number: write digits with a decimal point")
            for cell in ("?", ".", "<5", "97%", '"36,6"', "#DIV/0!", "NA", "None", "nan", "inf", "1_0", "0x1", "\u0663")
        ],
        ("died", "1", "died holds a text that is none of its levels; they are no, yes"),
        ("died", "Yes", "died holds a text that is none of its levels .it differs from 'yes' by capitals alone."),
        ("sex", "femal", "sex holds a text that is none of its levels; they are female, male"),
        ("stage", "III", "stage holds a text"),
        ("stage", "(missing)", "stage holds a text"),
    ],
)
def test_a_cell_that_does_not_fit_is_refused_by_its_column_and_line(
    tmp_path: Path, column: str, cell: str, message: str
) -> None:
    cells = {"died": "no", "age": "20", "sex": "male", "lactate": "", "stage": "", column: cell}
    text = GOOD + ",".join(["Zoe", *(cells[name] for name in ("age", "sex", "lactate", "stage", "died"))])
    with pytest.raises(DataError, match=rf"own.csv, line 5: {message}") as caught:
        load(tmp_path, text)
    assert "Zoe" not in str(caught.value)


@pytest.mark.parametrize("column", ["age", "sex", "stage"])
def test_what_a_slipped_cell_holds_is_for_whoever_opens_the_file(tmp_path: Path, column: str) -> None:
    cells = {"died": "no", "age": "20", "sex": "male", "lactate": "", "stage": "", column: "Ann Example"}
    with pytest.raises(DataError, match=f"line 2: {column}") as caught:
        load(tmp_path, ",".join(cells) + "\n" + ",".join(cells.values()))
    assert "Ann" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        (GOOD.replace("lactate", "Lactate"), {}, "needs a column 'lactate', spelled so .*: did you mean Lactate?"),
        (GOOD.replace("lactate", "lactat"), {}, r"\(\[federation.schema\] lactate\): did you mean lactat\?"),
        (GOOD.replace("died", "x"), {}, "needs a column 'died', spelled so .*known: name, age, sex"),
        (GOOD.partition("\n")[2], {}, "needs a column 'died'"),
        (GOOD.replace("name", "age"), {}, "names column 'age' twice"),
        (GOOD, {"patient_column": "patient"}, r"needs a column 'patient', spelled so \(\[federation\] patient-column"),
        (GOOD, {"hospital_column": "hospital"}, r"\(\[federation\] hospital-column\)"),
        (GOOD.replace("Eve", ""), {"hospital_column": "name"}, "line 4: name names no hospital"),
        (GOOD.replace("Eve", "E" * 201), {"patient_column": "name"}, "line 4: name has more than 200 characters"),
        ("", {}, "is empty: it needs a header line"),
        (GOOD.partition("\n")[0], {}, "has a header but no row"),
        (GOOD.replace("Bob,", ""), {}, "line 3 has 5 cells and the header 6 names"),
        (GOOD.replace("Bob,", "Bob,,"), {}, "line 3 has 7 cells"),
        (GOOD.replace("Ada", '"Ada'), {}, "line 2: a quote .* begins a cell"),
        (GOOD.replace("Ada", '"A"da'), {}, "line 2: a quote .* begins a cell"),
        (GOOD.replace("Ada", "A" * 200_000), {}, "line 2: a cell has more than 131,072 characters"),
        (GOOD.replace("Ada", "A" * 2_000_000), {}, "line 2 has more than 1,048,576 characters"),
        (GOOD.encode("utf-16"), {}, "begins as text in utf-16 does.*: set"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_is_wrong(
    tmp_path: Path, text: str | bytes, keys: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, text, **keys)


def test_a_file_that_can_not_be_opened_is_named_with_its_setting(tmp_path: Path) -> None:
    packed = tmp_path / "own.csv.gz"
    packed.write_bytes(gzip.compress(GOOD.encode() * 50)[:-30])
    with pytest.raises(DataError, match=r"cannot read .*own.csv.gz as CSV"):
        load_dataset(settings(packed))
    packed.write_text(GOOD)
    with pytest.raises(DataError, match=r"cannot read .*own.csv.gz as CSV"):
        load_dataset(settings(packed))
    with pytest.raises(ConfigError, match=r"no file .*: check \[federation\] path"):
        load_dataset(settings(tmp_path))
    with pytest.raises(ConfigError, match=r"no file .*: check \[site\] data"):
        load_site_table(settings(), path=tmp_path / "none.csv", hospital_id="north", key=KEY)
    with pytest.raises(ConfigError, match=r"needs \[federation\] path: add path"):
        load_dataset(settings())
    with pytest.raises(ConfigError, match="hospital-column and patient-column are both 'name': name two columns"):
        load(tmp_path, GOOD, hospital_column="name", patient_column="name")
    with pytest.raises(ConfigError, match=r"read by \[federation.schema\]"):
        load_site_table(FederationConfig(), path=tmp_path / "own.csv", hospital_id="north", key=KEY)


def test_cells_are_written_as_the_settings_say(tmp_path: Path) -> None:
    text = GOOD.replace(",", "|").replace(".", ",").replace("||", "|-9|").replace("Eve", "\xc9ve")
    keys = {"separator": "|", "decimal": ",", "encoding": "cp1252", "missing_values": ("-9",)}
    assert load(tmp_path, text.encode("cp1252"), **keys).features.tolist() == load(tmp_path, GOOD).features.tolist()
    with pytest.raises(DataError, match=r"line 4: age holds something that is no number: .* decimal comma"):
        load(tmp_path, GOOD, decimal=",")


def test_a_patients_number_may_hold_at_its_hospital_alone(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(many_rows(90))
    keys = {"hospital_column": "h", "patient_column": "p"}
    assert load_federation(settings(path, **keys)).max_hospitals_per_patient == 2
    assert load_federation(settings(path, patient_scope="hospital", **keys)).max_hospitals_per_patient == 1
    with pytest.raises(ConfigError, match='patient-scope = "hospital" needs rows whose hospital is known'):
        load_dataset(settings(path, patient_column="p", patient_scope="hospital"))


def test_a_table_with_a_schema_is_one_file_of_text(tmp_path: Path) -> None:
    (tmp_path / "own.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"own.parquet is no file of text, which a table with a schema is"):
        load_dataset(settings(tmp_path / "own.parquet"))


def test_every_column_of_the_table_is_listed(tmp_path: Path) -> None:
    uses = {use.name: use for use in load(tmp_path, GOOD, patient_column="name").columns}
    assert (uses["died"].kind, uses["name"].kind) == ("classification target", "patient")
    assert uses["lactate"].features == ("lactate", "lactate is missing")
    left = load(tmp_path, GOOD).columns[-1]
    assert (left.name, left.kind, left.reason) == ("'name'", "left out", "the schema does not name it")


@pytest.mark.parametrize("more", ["\n\n", '"A\nda",20,male,,,no\n', "Ada,20,male,,,no\nBob,20,male,,,no\n"])
def test_what_unpacks_to_more_lines_than_a_table_has_is_refused(tmp_path: Path, more: str) -> None:
    packed = tmp_path / "own.csv.gz"
    packed.write_bytes(gzip.compress((GOOD + more).encode()))
    assert len(list(csv_pieces(packed, most_lines=6))) == 2
    with pytest.raises(DataError, match="has more than 5 lines"):
        list(csv_pieces(packed, most_lines=5))


def test_no_table_is_read_beyond_ten_million_lines(tmp_path: Path) -> None:
    # Before the header and in one compressed file: the shortest way to as many.
    packed = tmp_path / "own.csv.gz"
    packed.write_bytes(gzip.compress(b"\n" * 10_000_000 + GOOD.encode(), compresslevel=1))
    with pytest.raises(DataError, match="has more than 10,000,000 lines"):
        load_dataset(settings(packed))


@given(
    st.one_of(
        st.binary(max_size=200), st.text("age,died;sexnoylactstg\n\"'0123.-\t\x00é", max_size=200).map(str.encode)
    )
)
def test_whatever_a_file_holds_the_error_is_ours(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for start in (b"", GOOD.encode()):
        with contextlib.suppress(WardroundError):
            load(folder, start + data)


ICD = schema_from_table(
    {
        "outcome": {"levels": ["0", "1"]},
        "icd": {"levels": ["I60", "I61", "I63"]},
        "score": {"range": [0, 42]},
    }
)
FITS = "icd,score,outcome\nI60,3,0\nI63,7,1\nI61,20,0\nI63,11,1\n"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (FITS.replace(",0\n", ",survived\n").replace(",1\n", ",died\n"), "outcome holds a text that is none of its"),
        (FITS.replace("I61,20,0", "I62,20,0"), "line 4: icd holds a text that is none of its levels"),
        (FITS.replace("I61,20,0", "20,0,I61"), "line 4: outcome holds a text"),
        (FITS.replace("I61,20,0", ",I61,20"), "line 4: outcome holds a text"),
        (FITS.replace("icd,score", "score,icd"), "line 2: icd holds a text"),
        (FITS.replace("outcome", "died"), "needs a column 'outcome'"),
    ],
)
def test_of_three_sites_the_one_whose_table_is_another_refuses_and_names_the_column(
    tmp_path: Path, wrong: str, message: str
) -> None:
    keys = {"schema": ICD, "target": "outcome"}
    sites = [load_site(tmp_path, FITS, name=name, **keys) for name in ("north", "south")]
    assert len({(site.feature_names, site.class_names, site.input_shape) for site in sites}) == 1
    with pytest.raises(DataError, match=rf"east.csv.*{message}"):
        load_site(tmp_path, wrong, name="east", **keys)


def test_sites_with_other_levels_at_home_make_the_same_features(tmp_path: Path) -> None:
    """Were levels taken from the file, the second site's I63 would be the first one's I61."""
    keys = {"schema": ICD, "target": "outcome", "test_fraction": 1e-9}
    north = load_site(tmp_path, FITS, **keys)
    south = load_site(tmp_path, "icd,score,outcome\nI63,7,1\nI60,7,1\n", name="south", **keys)
    assert (south.class_names, south.feature_names) == (north.class_names, north.feature_names)
    assert south.hospitals[0].train_features.tolist()[0] == north.hospitals[0].train_features.tolist()[1]
    assert south.hospitals[0].train_labels.tolist() == [1, 1]


def many_rows(number: int) -> str:
    rows = [f"h{row % 2},p{row // 3},{20 + row % 80},male,,I,{'yes' if row % 2 else 'no'}" for row in range(number)]
    return "\n".join(["h,p,age,sex,lactate,stage,died", *rows])


def test_a_simulation_with_a_schema_runs_as_a_rehearsal_of_sites(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(many_rows(90))
    config = settings(path, hospital_column="h", patient_column="p", max_records=30)
    federation = load_federation(config)
    assert [hospital.hospital_id for hospital in federation.hospitals] == ["h0", "h1"]
    assert (federation.partition, federation.record_is, federation.own_statistics) == ("natural", "patient", False)
    taken = "which rows are training and which test follows from the seed and the classes, and is taken to be public"
    assert taken in federation.notes
    assert describe(federation) is not None
    tables = {"training": {"num-rounds": 1, "local-steps": 1}, "simulation": {"engine": "inline"}}
    tables["privacy"] = {"target-delta": 1e-3, "patient-overlap": 2}
    finished = run(replace(config_from_dict(tables), federation=config), out=tmp_path / "run")
    assert finished.summary["num_rounds"] == 1
    assert taken in finished.summary["notes"]
    small = replace(config, max_records=23)
    with pytest.raises(ConfigError, match="hospital h0 has 24 training records, and max-records = 23"):
        run(replace(config_from_dict(tables), federation=small), out=tmp_path / "too-small")


def test_the_split_of_a_simulated_regression_does_not_look_at_targets(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(many_rows(90))
    notes = load_federation(settings(path, target="age")).notes
    assert "which rows are training and which test follows from the seed, and is taken to be public" in notes


def test_settings_without_a_path_are_the_server_of_sites_settings() -> None:
    assert Config(federation=settings()).federation.path is None


@pytest.mark.parametrize("written", ["7.0", "1.1E+17", "-3,0"])
def test_a_name_that_a_program_has_rewritten_as_a_number_is_refused_without_what_it_is(
    tmp_path: Path, written: str
) -> None:
    text = GOOD.replace("Bob", f'"{written}"')
    for read in (load, load_site):
        with pytest.raises(DataError, match="line 3: name is a number as a program has rewritten it") as caught:
            read(tmp_path, text, patient_column="name")
        assert written not in str(caught.value).replace("7.0 or 1.1E+17", "")
