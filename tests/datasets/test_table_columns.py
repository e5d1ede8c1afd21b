"""What a column of a user's table becomes: a number, levels, a date, or a name on the list of what was left out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import described, load, on_command_line, patients, settings, words_for

from wardround.datasets import Dataset, load_federation
from wardround.errors import ConfigError, DataError

DATES = [f"20{10 + row % 14}-{1 + row % 12:02d}-{1 + row % 28:02d}" for row in range(60)]


def reasons(dataset: Dataset) -> dict[str, str]:
    return {use.name: use.reason for use in dataset.columns if use.kind == "left out"}


def test_names_dates_and_identifiers_are_left_out_by_name_and_all_else_is_listed(
    tmp_path: Path, monkeypatch, capfd
) -> None:
    path = tmp_path / "own.csv"
    people = [f"Person {row}" for row in range(60)]
    text = patients(name=people, admitted=DATES, id=[900 + 3 * row for row in range(60)], same=["x"] * 60)
    path.write_text(text)
    told = described(monkeypatch, capfd, path)
    assert told["features"] == [
        {"feature": "age", "column": "age", "kind": "number"},
        {"feature": "sex=f", "column": "sex", "kind": "levels"},
        {"feature": "sex=m", "column": "sex", "kind": "levels"},
        {"feature": "crp", "column": "crp", "kind": "number"},
    ]
    kinds = {row["column"]: row["kind"] for row in told["columns"]}
    assert list(kinds) == text.partition("\n")[0].split(",")
    left = {name for name, kind in kinds.items() if kind == "left out"}
    assert left == {"name", "admitted", "id", "same"}
    assert (kinds["died"], kinds["hospital"], kinds["patient"]) == ("classification target", "hospital", "patient")
    notes = " | ".join(told["notes"])
    for name in ("name", "admitted", "id"):
        assert f"column {name} is left out: it" in notes.replace("by its name it", "it")
    assert "columns dropped because they never vary: same" in notes
    assert "Person" not in notes
    _, out, _ = on_command_line(monkeypatch, capfd, "data", "describe", *words_for(path))
    assert all(name in out for name in (*kinds, "sex=f, sex=m", "4 features"))


def test_a_data_set_that_is_no_users_table_lists_its_features_too(monkeypatch, capfd) -> None:
    code, out, _ = on_command_line(monkeypatch, capfd, "data", "describe", "breast-cancer")
    assert code == 0 and out.startswith("30 features: mean radius, ")


@pytest.mark.parametrize(
    ("name", "cells", "reason"),
    [
        ("note", [f"text {row % 40}" for row in range(60)], "names or free text: 40 different texts"),
        ("born", [f"{1 + row % 28}.{1 + row % 12}.19{50 + row % 40}" for row in range(60)], "it holds dates"),
        (
            "born",
            [f"19{50 + row % 40}{1 + row % 12:02d}{1 + row % 28:02d}" for row in range(60)],
            "dates without signs",
        ),
        ("when", [*DATES[:40], *["NA"] * 20], "it holds dates"),
        ("insurance", [10**9 + 77 * row for row in range(60)], "whole numbers of up to 10 digits"),
        ("study_id", [f"{row // 2}" for row in range(60)], "by its name it says who a row is of"),
        ("PatientID", [f"P{row // 2}" for row in range(60)], "by its name it says who a row is of"),
        ("last_name", [f"N{row % 25}" for row in range(60)], "by its name it holds names"),
        ("counter", list(range(60)), "it counts the rows from 0"),
        ("empty", [""] * 60, "it never varies"),
        ("words", ["NA"] * 60, "it never varies"),
    ],
)
def test_what_hardly_is_a_feature_is_left_out_with_the_reason(tmp_path: Path, name, cells, reason) -> None:
    assert reason in reasons(load(tmp_path, patients(**{name: cells})))[name]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("platelets", [150_000 + 1_237 * row for row in range(60)]),
        ("body mass index", [20 + row % 17 for row in range(60)]),
        ("day", [row % 31 for row in range(60)]),
        ("score", [row * 1.5 for row in range(60)]),
        ("ward", [f"ward {row % 15}" for row in range(60)]),
    ],
)
def test_what_is_a_feature_stays_one(tmp_path: Path, name: str, cells: list[object]) -> None:
    assert name not in reasons(load(tmp_path, patients(**{name: cells})))


def test_what_the_settings_name_is_a_feature_whatever_it_looks_like(tmp_path: Path) -> None:
    ids = list(range(60))
    text = patients(counter=ids, note=[f"text {row}" for row in range(60)])
    assert load(tmp_path, text, columns=("counter",)).feature_names == ("counter",)
    assert len(load(tmp_path, text, categorical_columns=("note",)).feature_names) == 4 + 60
    only = load(tmp_path, text, columns=("crp", "age"))
    assert only.feature_names == ("age", "crp")
    assert reasons(only)["sex"] == "columns does not name it"


def test_features_that_may_be_the_target_or_an_identifier_are_pointed_at(tmp_path: Path) -> None:
    died = [row % 2 for row in range(60)]
    notes = load(
        tmp_path, patients(died=died, death=died, platelets=[150_000 + 1_237 * row for row in range(60)])
    ).notes
    assert any(note.startswith("death is equal to the target in every row") for note in notes)
    assert any(note.startswith("platelets is another whole number in every row") for note in notes)
    assert not [note for note in load(tmp_path, patients()).notes if "every row" in note]


def test_levels_that_differ_by_capitals_are_pointed_at(tmp_path: Path) -> None:
    notes = load(tmp_path, patients(sex=["f", "F", "m"] * 20)).notes
    assert "levels of sex differ by capitals or blanks alone and are taken for different ones" in notes


def test_notes_name_no_folder(tmp_path: Path) -> None:
    text = patients(patient=["p3", "P3", *(f"q{row}" for row in range(58))])
    notes = " ".join(load(tmp_path, text + text.splitlines()[1]).notes)
    assert "own.csv, line 62" in notes and str(tmp_path) not in notes


def test_dates_become_days_since_the_year_2000(tmp_path: Path) -> None:
    dates = ["2000-01-01", "1999-12-31", "2000-02-01 12:00:00", *["2000-01-11"] * 57]
    dataset = load(tmp_path, patients(admitted=dates), date_columns=("admitted",))
    place = dataset.feature_names.index("admitted")
    assert dataset.features[:4, place].tolist() == [0, -1, 31.5, 10]
    assert place in [number.column for number in dataset.numbers]
    german = ["31.12.1999", "", *["11.01.2000"] * 58]
    dataset = load(tmp_path, patients(admitted=german), date_columns={"admitted": "%d.%m.%Y"})
    place = dataset.feature_names.index("admitted")
    assert dataset.features[[0, 2], place].tolist() == [-1, 10] and np.isnan(dataset.features[1, place])
    assert dataset.feature_names[place + 1] == "admitted is missing"


def test_dates_that_are_named_as_features_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"admitted holds dates: name it in \[federation\] date-columns"):
        load(tmp_path, patients(admitted=DATES), columns=("age", "admitted"))


@pytest.mark.parametrize("cell", ["soon", "31.12.1999", "2000-13-01", "2000-01-01T00:00:00+01:00"])
def test_what_is_no_such_date_is_refused_by_its_row(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match=rf"line 3: admitted = '{cell[:4]}.*' is no date as in 2024-01-31"):
        load(tmp_path, patients(admitted=["2000-01-01", cell, *DATES[2:]]), date_columns=("admitted",))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sex=f": ["a", "b"] * 30}, r"columns 'sex' and 'sex=f' both make 'sex=f': rename one"),
        ({"age": ["", *range(30, 89)], "age is missing": [1.5, 2] * 30}, "both make 'age is missing'"),
        ({"sex": ["", "(missing)"] * 30}, r"sex has both empty cells and '\(missing\)'"),
    ],
)
def test_names_that_two_features_would_have_are_refused(tmp_path: Path, columns, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, patients(**columns))


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan", "NULL", "N/A"])
def test_words_for_nothing_are_missing_among_numbers_and_names_anywhere_else(tmp_path: Path, word: str) -> None:
    ages = [word, *range(30, 89)]
    dataset = load(tmp_path, patients(age=ages, sex=[word, "f", "m"] * 20, hospital=[word, "b"] * 30))
    assert np.isnan(dataset.features[0, 0]) and f"sex={word}" in dataset.feature_names
    assert dataset.hospitals is not None and len(np.unique(dataset.hospitals)) == 2
    assert f"{word} is read as an empty cell where all else in a column are numbers or dates: age" in dataset.notes
    assert [note for note in dataset.notes if note.startswith(f"{word} is taken for a hospital of that name")]
    classes = load(tmp_path, patients(died=[word, "yes"] * 30))
    assert set(classes.class_names) == {word, "yes"}
    gone = load(tmp_path, patients(died=[word, "yes", "no"] * 20), missing_values=(word,))
    assert (set(gone.class_names), len(gone.labels)) == ({"no", "yes"}, 40)
    status = load(tmp_path, patients(died=[word, 1, 2] * 20))
    assert (status.class_names, len(status.labels)) == (("1", "2"), 40)


def test_markers_of_missing_numbers_are_found_in_any_spelling(tmp_path: Path) -> None:
    dataset = load(tmp_path, patients(age=["-9.0", "-9", *range(30, 88)]), missing_values=("-9",))
    assert np.isnan(dataset.features[:2, 0]).all() and not np.isnan(dataset.features[2:, 0]).any()
    with pytest.raises(DataError, match="has no row with a died"):
        load(tmp_path, patients(), missing_values=("0", "1"))


def test_codes_with_leading_zeros_are_levels(tmp_path: Path) -> None:
    dataset = load(tmp_path, patients(ward=[f"{row % 12:02d}" for row in range(60)]))
    assert {"ward=00", "ward=11"} <= set(dataset.feature_names)


@pytest.mark.parametrize(("text", "name"), [("12.0", "12"), ("12,0", "12")])
def test_whole_numbers_that_a_program_wrote_as_floats_are_the_same_names(tmp_path: Path, text: str, name: str) -> None:
    ids = [text, *(f"{row}{text[2:]}" for row in range(100, 158)), ""]
    dataset = load(tmp_path, patients(patient=ids))
    assert dataset.patients is not None and dataset.patients[0] == f"id {name}"
    for column, key in (("patient", "patient-column"), ("hospital", "hospital-column")):
        mixed = patients(**{column: [text, name, *(f"q{row}" for row in range(58))]})
        with pytest.raises(DataError, match=rf"line 2: {column} = '{text}', and another row has '12': .*{key}"):
            load(tmp_path, mixed)


@pytest.mark.parametrize("cell", ["1.10101199001011E+17", "1.1e+17", "9007199254740992.0", "9007199254740994.0"])
def test_identifiers_that_a_program_rounded_are_refused(tmp_path: Path, cell: str) -> None:
    for column in ("patient", "hospital"):
        ids = [cell, *("7.0" for row in range(59))]
        with pytest.raises(DataError, match=rf"line 2: {column} = '{cell[:3]}.* a program has rounded"):
            load(tmp_path, patients(**{column: ids}))


def test_the_positive_class_is_the_second_and_can_be_chosen(tmp_path: Path) -> None:
    text = patients(died=["dead", "alive"] * 30)
    usual, turned = load(tmp_path, text), load(tmp_path, text, positive_class="alive")
    assert (usual.class_names, turned.class_names) == (("alive", "dead"), ("dead", "alive"))
    assert (usual.labels + turned.labels == 1).all()
    assert load(tmp_path, patients(died=[1, 2] * 30), positive_class="1").class_names == ("2", "1")
    with pytest.raises(ConfigError, match=r"no class 'live' \(\[federation\] positive-class\): did you mean alive"):
        load(tmp_path, text, positive_class="live")
    with pytest.raises(ConfigError, match="goes with two classes, and died has 3"):
        load(tmp_path, patients(died=["a", "b", "c"] * 20), positive_class="a")


def test_a_patients_number_holds_where_the_settings_say(tmp_path: Path) -> None:
    text = patients(patient=[f"{row % 20}" for row in range(60)])
    one = load_federation(settings(_written(tmp_path, text)))
    assert one.max_hospitals_per_patient == 3
    assert any('(then set [federation] patient-scope = "hospital")' in note for note in one.notes)
    each = load_federation(settings(tmp_path / "own.csv", patient_scope="hospital"))
    assert each.max_hospitals_per_patient == 1
    assert [hospital.num_train for hospital in each.hospitals] == [16, 16, 16]
    with pytest.raises(ConfigError, match='patient-scope = "hospital" needs rows whose hospital is known'):
        load(tmp_path, text, hospital_column=None, patient_scope="hospital")


def _written(folder: Path, text: str) -> Path:
    (folder / "own.csv").write_text(text)
    return folder / "own.csv"


@given(far=st.sampled_from([1e6, 1e9, 1e12]), seed=st.integers(0, 99))
def test_precision_is_lost_after_centring_alone(tmp_path_factory: pytest.TempPathFactory, far: float, seed) -> None:
    folder = tmp_path_factory.getbasetemp()
    near = np.random.default_rng(seed).integers(0, 64, 60) / 4
    made = []
    for offset in (0.0, far):
        path = _written(folder, patients(age=[repr(float(value + offset)) for value in near]))
        made.append(load_federation(settings(path)).hospitals[0].train_features[:, 0])
    assert made[0].dtype == np.float32
    np.testing.assert_allclose(made[1], made[0], atol=2e-3 if far > 1e9 else 1e-5)


def test_commas_between_thousands_are_not_taken_for_decimals(tmp_path: Path) -> None:
    text = patients(cost=[f"{row * 1234 + 5000:,}" for row in range(60)])
    with pytest.raises(DataError, match=r"or write 5000 for 5,000 if it stands between thousands"):
        load(tmp_path, text.replace("5,000", '"5,000"') if '"5,000"' not in text else text)


def test_a_range_for_a_target_of_texts_is_the_thing_to_remove(tmp_path: Path) -> None:
    text = patients(died=["no", "yes"] * 30)
    with pytest.raises(DataError, match=r"'died' is text, not a number: remove \[federation\] target-range"):
        load(tmp_path, text, target_range=(0.0, 1.0))
    with pytest.raises(DataError, match=r"'died' is text, not a number: set \[federation\] task = 'classification'"):
        load(tmp_path, text, task="regression")


def test_a_positive_class_among_many_is_refused_without_a_list_of_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"positive-class = 'yes' goes with two classes, and age has 59"):
        load(tmp_path, patients(), target="age", positive_class="yes")
