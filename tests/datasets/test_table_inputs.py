"""Exports as hospitals make them: each was once read into something that its rows don't say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from table_files import csv_of, described, load, on_command_line, patients, settings, words_for

from wardround.datasets import load_dataset, load_federation
from wardround.errors import ConfigError, DataError

_RUN = ("run", "--engine", "inline", "--set", "training.num-rounds=1", "--set", "privacy.target-delta=1e-3")


def test_a_total_of_counts_that_are_not_shown_is_no_number(tmp_path: Path, monkeypatch, capfd) -> None:
    path = tmp_path / "eight-each.csv"
    path.write_text(patients(120, [f"h{number:02d}" for number in range(1, 13)]))
    code, out, _ = on_command_line(monkeypatch, capfd, "data", "describe", *words_for(path))
    total = next(line for line in out.splitlines() if line.startswith("all 12"))
    assert code == 0 and total.split("  ")[0] == "all 12" and total.count("not shown") == 3
    told = described(monkeypatch, capfd, path)
    assert {row["train"] for row in told["hospitals"]} == {"<10"}
    code, out, _ = on_command_line(monkeypatch, capfd, *_RUN, *words_for(path), "--out", str(tmp_path / "run"))
    assert code == 0
    assert "not shown" in next(line for line in out.splitlines() if line.startswith("all 12"))
    page = re.sub(r"<[^>]*>|\s+", " ", (tmp_path / "run" / "report.html").read_text())
    assert re.search(r"Training patients\s+not shown\s+in 12 hospitals", page)
    assert not re.search(r"\b(?:96|0) (?:in 12 hospitals|patients|records)", page)


@pytest.mark.parametrize("marker", ["?", ".", "<5", "97%", "36,6", "#DIV/0!", "unknown", "1 234", "~50", "1e999"])
def test_a_cell_that_is_no_number_among_numbers_is_refused_by_its_row(tmp_path: Path, marker: str) -> None:
    ages = [30 + row * 7 % 59 for row in range(180)]
    marked = [marker if row in (7, 40, 99, 120, 150, 170) else age for row, age in enumerate(ages)]
    told = "age holds 174 numbers and 6 cells that are none"
    with pytest.raises(DataError, match=rf"own.csv, line 9: age = .* is no number, and {told}: ") as caught:
        load(tmp_path, patients(180, age=marked))
    assert 'drop-columns = ["age"]' in str(caught.value) and 'categorical-columns = ["age"]' in str(caught.value)
    blank = ["" if row in (7, 40, 99, 120, 150, 170) else age for row, age in enumerate(ages)]
    known = load(tmp_path, patients(180, age=marked), missing_values=(marker,))
    assert known.features.tobytes() == load(tmp_path, patients(180, age=blank)).features.tobytes()
    coded = load(tmp_path, patients(180, age=marked), categorical_columns=("age",))
    assert f"age={marker}" in coded.feature_names


def test_the_way_on_that_is_named_first_is_the_likeliest(tmp_path: Path) -> None:
    for marker, first in (
        ("?", r'missing-values = \["\?"\]'),
        ("36,6", 'decimal = ","'),
        ("<5", "write plain numbers"),
    ):
        with pytest.raises(DataError, match=rf"cells? that (?:are|is) none: (?:set \[federation\] )?{first}"):
            load(tmp_path, patients(age=[marker, *range(30, 89)]))


def test_a_column_named_twice_is_refused_as_it_is_and_as_programs_rename_it(tmp_path: Path) -> None:
    text = patients()
    twice = "\n".join(f"{line},{line.rsplit(',', 1)[1]}" for line in text.splitlines())
    with pytest.raises(DataError, match=r"names a column twice: died. Give every column a name of its own"):
        load(tmp_path, twice)
    renamed = twice.replace("died,died", "died,died.1")
    with pytest.raises(DataError, match=r"names a column twice: 'died.1' is how pandas and R call a second 'died'"):
        load(tmp_path, renamed)
    assert "died.1" not in load(tmp_path, renamed, drop_columns=("died.1",)).feature_names
    assert "died.1" in load(tmp_path, renamed, columns=("age", "died.1")).feature_names


def test_leading_zeros_tell_hospitals_and_patients_apart(tmp_path: Path) -> None:
    ids = ["0042", "42", *(f"{row}" for row in range(100, 128))]
    dataset = load(tmp_path, patients(30, ["007", "7", "12"], patient=ids))
    assert dataset.hospitals is not None and dataset.patients is not None
    assert np.unique(dataset.hospitals).tolist() == ["hospital-007", "hospital-12", "hospital-7"]
    assert len(np.unique(dataset.patients)) == 30
    alike = [note for note in dataset.notes if "zeros in front" in note]
    assert [note.split(" that ")[0] for note in alike] == ["names of hospitals", "names of patients"]
    assert "42" not in alike[1].replace("line 2", "")


@pytest.mark.parametrize("blank", ["", "NA"])
def test_eighteen_digits_are_twenty_patients_even_beside_a_row_without_one(tmp_path: Path, blank: str) -> None:
    ids = [str(110101199001011230 + row) for row in range(20)]
    for column in (ids, [*ids[:3], blank, *ids[4:]]):
        dataset = load(tmp_path, patients(20, ["north", "south"], patient=column))
        assert dataset.patients is not None and len(np.unique(dataset.patients)) == 20
    assert "<10 rows name no patient: each counts as a patient of its own" in dataset.notes
    federation = load_federation(settings(tmp_path / "own.csv"))
    assert federation.max_hospitals_per_patient == 1
    hospitals = load(tmp_path, patients(20, [ids[0], ids[1]])).hospitals
    assert hospitals is not None and len(np.unique(hospitals)) == 2


def test_classes_are_never_markup(tmp_path: Path, monkeypatch, capfd) -> None:
    path = tmp_path / "brackets.csv"
    path.write_text(patients(died=[("[benign]", "[malignant]")[row % 2] for row in range(60)]))
    code, out, _ = on_command_line(monkeypatch, capfd, "data", "describe", *words_for(path))
    heading = next(line for line in out.splitlines() if " records " in line)
    assert code == 0 and heading.split()[-2:] == ["[benign]", "[malignant]"]
    assert "share [benign]" in described(monkeypatch, capfd, path)["hospitals"][0]


@pytest.mark.parametrize("names", [("Yes", "YES", "no"), ("no", "No ", "yes"), ("St  age", "st age", "x")])
def test_classes_that_differ_by_capitals_or_blanks_are_refused_as_hospitals_are(tmp_path: Path, names) -> None:
    with pytest.raises(DataError, match=r"classes '.*' and '.*' of died both become .*: spell them alike"):
        load(tmp_path, patients(died=[names[row % 3] for row in range(60)]))


@pytest.mark.parametrize("name", ["rownames", "", "Unnamed: 0", "index", "nr"])
def test_a_row_number_is_no_feature_and_can_be_made_one(tmp_path: Path, name: str) -> None:
    lines = patients().splitlines()
    text = "\n".join([f"{name},{lines[0]}", *(f"{row},{line}" for row, line in enumerate(lines[1:], 1))])
    dataset = load(tmp_path, text)
    shown = name or "(column 1)"
    assert not [made for made in dataset.feature_names if shown in made]
    assert [note for note in dataset.notes if note.startswith(f"column {shown} is left out: it ")]
    assert shown in load(tmp_path, text, columns=(shown, "age")).feature_names
    assert f"column {shown} is left out: drop-columns names it" in load(tmp_path, text, drop_columns=(shown,)).notes


def test_a_target_out_of_reach_is_warned_of_and_one_with_a_public_range_is_reached(
    tmp_path: Path, monkeypatch, capfd
) -> None:
    path = tmp_path / "cost.csv"
    rows = range(180)
    cost = [18_000 + 150 * (30 + row * 7 % 59) + 90 * (row * 37 % 101) for row in rows]
    path.write_text(patients(180, died=cost).replace("died", "cost", 1))
    words = [*_RUN[3:], *words_for(path, target="cost")]
    code, out, _ = on_command_line(monkeypatch, capfd, "plan", *words)
    assert code == 0 and "most targets are further from zero than" in " ".join(out.split())
    code, _, err = on_command_line(monkeypatch, capfd, *_RUN, *words, "--out", str(tmp_path / "run"))
    assert code == 0 and "federation] target-range" in err
    notes = json.loads((tmp_path / "run" / "summary.json").read_text())["notes"]
    assert [note for note in notes if note.startswith("most targets are further from zero than")]
    for more in (["--set", "federation.target-range=[0, 60000]"], ["--set", "privacy.placement=none"]):
        code, out, _ = on_command_line(monkeypatch, capfd, "plan", *words, *more)
        assert code == 0 and "most targets" not in out


def test_a_target_is_scaled_from_its_public_range(tmp_path: Path) -> None:
    text = patients(died=[25_000 + 1_000 * row for row in range(60)])
    dataset = load(tmp_path, text, target_range=(0.0, 100_000.0))
    assert dataset.task == "regression"
    assert dataset.labels.tolist() == pytest.approx([-0.5 + 0.02 * row for row in range(60)], abs=1e-12)
    assert any("scaled from target-range, 0 to 100000, to [-1, 1]" in note for note in dataset.notes)
    with pytest.raises(DataError, match=r"line 7: target died = 30000 is outside target-range, 0 to 29999"):
        load(tmp_path, text, target_range=(0.0, 29_999.0))


def test_blanks_behind_names_are_no_part_of_them(tmp_path: Path) -> None:
    names = [f"north{' ' * (row % 3)}" if row < 30 else f"{' ' * (row % 2)}south" for row in range(60)]
    ids = [f"p{row // 2} {' ' * (row % 2)}" for row in range(60)]
    classes = [f"{' ' * (row % 3)}{'yes' if row % 2 else 'no'}" for row in range(60)]
    dataset = load(tmp_path, patients(hospital=names, patient=ids, died=classes))
    assert dataset.hospitals is not None and dataset.patients is not None
    assert np.unique(dataset.hospitals).tolist() == ["north", "south"]
    assert (len(np.unique(dataset.patients)), dataset.class_names) == (30, ("no", "yes"))


def test_advice_on_too_many_hospitals_can_be_followed(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(patients(61))
    keys = {"hospital_column": None, "partition": "iid"}
    with pytest.raises(ConfigError, match=r"ask for at most 30 hospitals \(\[federation\] num-hospitals\)"):
        load_federation(settings(path, num_hospitals=61, **keys))
    assert len(load_federation(settings(path, num_hospitals=30, **keys)).hospitals) == 30
    with pytest.raises(ConfigError, match="lower min-patients, or ask for at most 12 hospitals"):
        load_federation(settings(path, num_hospitals=61, min_patients=5, **keys))
    path.write_text(patients(6, [f"h{number}" for number in range(6)]))
    with pytest.raises(ConfigError, match=r"choose another partition than the data's own hospitals"):
        load_federation(settings(path))


def test_duplicated_rows_are_pointed_at_by_their_place(tmp_path: Path) -> None:
    text = csv_of({"died": [0, 1, 0, 1], "x": [1.5, 2.5, 1.5, 3.5]})
    notes = load(tmp_path, text, hospital_column=None, patient_column=None).notes
    assert [note for note in notes if "equal to an earlier one in every column: <10, the first at" in note]
    assert [note for note in notes if "own.csv, line 4; each is a record of its own" in note]


def test_patients_spelled_nearly_alike_are_pointed_at_without_their_names(tmp_path: Path) -> None:
    ids = ["p3", "P3", *(f"q{row}" for row in range(58))]
    dataset = load(tmp_path, patients(patient=ids))
    assert dataset.patients is not None and len(np.unique(dataset.patients)) == 60
    (note,) = (note for note in dataset.notes if note.startswith("names of patients"))
    assert "line 2 and" in note and "line 3" in note and "p3" not in note.casefold()


def test_the_same_data_are_the_same_with_and_without_the_package_for_texts(tmp_path: Path, monkeypatch) -> None:
    import pandas as pd

    made = []
    for storage in ("python", "pyarrow"):
        with pd.option_context("mode.string_storage", storage):
            made.append(load(tmp_path, patients(sex=[("f", "m", "")[row % 3] for row in range(60)])))
    assert made[0].features.tobytes() == made[1].features.tobytes()
    assert made[0].feature_names == made[1].feature_names
    assert load_dataset(settings(tmp_path / "own.csv")).columns == made[0].columns
