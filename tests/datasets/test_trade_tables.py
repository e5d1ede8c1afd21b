"""Tables of the shapes that R's packages have: survival with status codes, visits of patients numbered by centre."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from table_files import csv_of, on_command_line

from wardround.config import FederationConfig
from wardround.datasets import load_dataset, load_federation
from wardround.errors import DataError


def survival() -> dict[str, list[object]]:
    """As `survival::cancer`: institutions, status 1 censored and 2 dead, NA among numbers, row names in front."""
    random = Random(7)
    rows = range(150)
    return {
        "rownames": [row + 1 for row in rows],
        "inst": [random.choice([1, 3, 11, 12]) if row != 13 else "NA" for row in rows],
        "time": [random.randrange(5, 1_000) for _ in rows],
        "status": [1 + (random.random() < 0.7) for _ in rows],
        "age": [random.randrange(39, 83) for _ in rows],
        "sex": [random.choice([1, 2]) for _ in rows],
        "meal.cal": [random.choice(["NA", f"{random.randrange(90, 2600) / 2}"]) for _ in rows],
    }


def respiratory() -> dict[str, list[object]]:
    """As `geepack::respiratory`: two centres, whose patients are numbered from 1 in each, four visits a patient."""
    random = Random(8)
    visits = [(centre, number, visit) for centre in (1, 2) for number in range(1, 31) for visit in range(1, 5)]
    traits = {(centre, number): random.choice("AP") for centre in (1, 2) for number in range(1, 31)}
    return {
        "rownames": [row + 1 for row in range(len(visits))],
        "center": [centre for centre, _, _ in visits],
        "id": [number for _, number, _ in visits],
        "treat": [traits[centre, number] for centre, number, _ in visits],
        "visit": [visit for _, _, visit in visits],
        "outcome": [int(random.random() < 0.5) for _ in visits],
    }


def registry() -> dict[str, list[object]]:
    """As `survival::cgd`: centres by name, dates of admission, several infections a patient."""
    random = Random(9)
    centres = ("Scripps Institute", "NIH", "L.A. Children's Hosp", "Univ. of Zurich")
    rows = range(160)
    return {
        "": [row + 1 for row in rows],
        "id": [1 + row // 2 for row in rows],
        "center": [centres[row // 40] for row in rows],
        "random": [f"1989-{1 + row // 2 % 12:02d}-{1 + row % 28 // 2:02d}" for row in rows],
        "treat": [("placebo", "rIFN-g")[row // 2 % 2] for row in rows],
        "height": [f"{random.randrange(800, 1900) / 10}" for _ in rows],
        "status": [int(random.random() < 0.4) for _ in rows],
    }


def written(folder: Path, table: dict[str, list[object]], *, second: bool = False) -> Path:
    """Write a table as R's write.csv does, or as write.csv2: semicolons, and commas before decimals."""
    rows = {name: [str(cell).replace(".", ",") if second else cell for cell in cells] for name, cells in table.items()}
    path = folder / "export.csv"
    path.write_text(csv_of(rows, ";" if second else ","))
    return path


CASES = {
    "survival": (survival, {"target": "status", "hospital_column": "inst"}, 4),
    "respiratory": (
        respiratory,
        {"target": "outcome", "hospital_column": "center", "patient_column": "id", "patient_scope": "hospital"},
        2,
    ),
    "registry": (registry, {"target": "status", "hospital_column": "center", "patient_column": "id"}, 4),
}


@pytest.mark.parametrize("case", CASES)
def test_a_table_of_the_trade_is_read_and_trained_on_at_first_try(
    tmp_path: Path, monkeypatch, capfd, case: str
) -> None:
    table, keys, num_hospitals = CASES[case]
    path = written(tmp_path, table())
    federation = load_federation(FederationConfig(dataset="csv", path=str(path), **keys))
    assert len(federation.hospitals) == num_hospitals
    assert federation.max_hospitals_per_patient == 1
    assert federation.columns[0].reason.startswith("it is different in every row and looks like a number of the row")
    options = {"dataset": "csv", "path": str(path), **keys}
    words = [
        word for key, value in options.items() for word in ("--set", f"federation.{key.replace('_', '-')}={value}")
    ]
    words += ["--set", "training.num-rounds=1", "--set", "privacy.target-delta=1e-3", "--engine", "inline"]
    code, out, err = on_command_line(monkeypatch, capfd, "run", *words, "--out", str(tmp_path / "run"))
    assert code == 0, err
    assert f"all {num_hospitals}" in out


@pytest.mark.parametrize("case", ["survival", "registry"])
def test_decimal_commas_are_one_clear_refusal_whose_next_step_works(tmp_path: Path, case: str) -> None:
    table, keys, _ = CASES[case]
    points = load_dataset(FederationConfig(dataset="csv", path=str(written(tmp_path, table())), **keys))
    path = str(written(tmp_path, table(), second=True))
    with pytest.raises(DataError, match=r"line \d+: .* is no number.*: set \[federation\] decimal = \",\" if that"):
        load_dataset(FederationConfig(dataset="csv", path=path, **keys))
    commas = load_dataset(FederationConfig(dataset="csv", path=path, decimal=",", **keys))
    number = points.feature_names.index("meal.cal" if case == "survival" else "height")
    assert commas.features[:, number].tobytes() == points.features[:, number].tobytes()
    assert commas.feature_names == points.feature_names


def test_status_codes_are_classes_and_say_which_is_positive(tmp_path: Path) -> None:
    path = written(tmp_path, survival())
    keys = {"dataset": "csv", "path": str(path), "target": "status", "hospital_column": "inst"}
    dataset = load_dataset(FederationConfig(**keys))
    assert dataset.class_names == ("1", "2") and len(dataset.labels) == 149
    assert "the positive class is 2, the other one 1; [federation] positive-class chooses" in dataset.notes
    assert "rows dropped because inst is missing: <10" in dataset.notes
    assert (
        "NA is read as an empty cell where all else in a column are numbers or dates: inst, meal.cal" in dataset.notes
    )


def test_numbers_that_restart_at_every_centre_are_asked_about(tmp_path: Path, monkeypatch, capfd) -> None:
    path = written(tmp_path, respiratory())
    keys = {"dataset": "csv", "path": str(path), "target": "outcome", "hospital_column": "center"}
    one = load_federation(FederationConfig(patient_column="id", **keys))
    assert one.max_hospitals_per_patient == 2
    assert any('[federation] patient-scope = "hospital"' in note for note in one.notes)
    options = [
        f"federation.{key.replace('_', '-')}={value}" for key, value in (keys | {"patient_column": "id"}).items()
    ]
    words = ["plan", "--set", "privacy.target-delta=1e-3", *(word for pair in options for word in ("--set", pair))]
    code, _, err = on_command_line(monkeypatch, capfd, *words)
    assert code == 2 and 'set [federation] patient-scope = "hospital"' in err
    assert on_command_line(monkeypatch, capfd, *words, "--set", "federation.patient-scope=hospital")[0] == 0
    dataset = load_dataset(FederationConfig(patient_column="id", patient_scope="hospital", **keys))
    assert dataset.patients is not None and len(np.unique(dataset.patients)) == 60


def test_dates_of_a_registry_are_features_where_they_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, registry())
    keys = {"dataset": "csv", "path": str(path), "target": "status", "hospital_column": "center"}
    usual = load_dataset(FederationConfig(patient_column="id", **keys))
    assert "random" not in usual.feature_names
    named = load_dataset(FederationConfig(patient_column="id", date_columns=("random",), **keys))
    days = named.features[:, named.feature_names.index("random")]
    assert days[0] == -4017  # from 1989-01-01 to 2000-01-01 there are 4,017 days
