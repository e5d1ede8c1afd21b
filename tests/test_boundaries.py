"""Names that could do harm are refused at every place where they come in."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config

from wardround.config import FederationConfig
from wardround.datasets import load_federation
from wardround.datasets.records import HospitalData
from wardround.errors import WardroundError
from wardround.rounds import HospitalProfile
from wardround.secagg import Roster
from wardround.simulations.studies.study import Study

HARMFUL = ("=1+1", "../north", "north\x1b[2J", "north\u202eeno", "x" * 101)


def table(folder: Path, hospital: str = "north", column: str = "age", label: str = "yes") -> None:
    rows = "".join(f"{hospital},{20 + index},{('no', label)[index % 2]}\n" for index in range(20))
    (folder / "table.csv").write_text(f"hospital,{column},died\n{rows}", encoding="utf-8")
    path = str(folder / "table.csv")
    load_federation(FederationConfig(dataset="csv", path=path, target="died", hospital_column="hospital"))


def profile(name: str) -> object:
    return HospitalProfile(hospital_id=name, num_train=9, task="classification", input_shape=(3,), num_outputs=2)


def hospital(name: str) -> object:
    features, labels = np.zeros((2, 3), np.float32), np.zeros(2, np.int64)
    return HospitalData(
        hospital_id=name,
        train_features=features,
        train_labels=labels,
        test_features=features.copy(),
        test_labels=labels.copy(),
        fingerprint="0" * 64,
    )


def roster(name: str) -> object:
    return Roster(federation="trial", verify_keys={name: bytes(32)}, min_survivors=2)


def federation(name: str) -> object:
    return Roster(federation=name, verify_keys={"north": bytes(32)}, min_survivors=2)


def study(name: str) -> object:
    return Study(base=small_config(), name=name, baselines=("majority",))


@pytest.mark.parametrize("enter", [profile, hospital, roster, federation, study], ids=lambda enter: enter.__name__)
@pytest.mark.parametrize("name", HARMFUL, ids=ascii)
def test_harmful_names_are_refused_where_they_enter(name: str, enter: Callable[[str], object]) -> None:
    enter("north")
    with pytest.raises(WardroundError, match=r"^(hospital|site|federation|study) .*: rename it$"):
        enter(name)


@pytest.mark.parametrize(
    "harmful",
    [
        {"hospital": "x" * 101},
        {"hospital": "9" * 5001},
        {"column": "a\u202ege"},
        {"column": "x" * 201},
        {"label": "yes\u200b"},
        {"label": "x" * 201},
    ],
    ids=lambda harmful: next(iter(harmful)),
)
def test_a_table_with_a_harmful_name_is_refused(harmful: dict[str, str], tmp_path: Path) -> None:
    table(tmp_path)
    with pytest.raises(WardroundError, match=r"^(hospital|column|class) .*: rename it$"):
        table(tmp_path, **harmful)


def test_the_line_end_in_a_spreadsheets_heading_is_a_space(tmp_path: Path) -> None:
    table(tmp_path, column='"age\n(years)"')
