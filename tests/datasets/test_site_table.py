"""A real site's table: nobody moves another between training and test, and nobody else can compute its fingerprint."""

import math
import random
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.config import FederationConfig, schema_from_table
from wardround.datasets import FederatedData, load_federation, load_site_table
from wardround.errors import ConfigError, DataError

KEY, OTHER_KEY = bytes(32), bytes([1] * 32)
SCHEMA = schema_from_table({"died": {"levels": ["no", "yes"]}, "number": {"range": [0, 1_000_000]}})
Rows = list[tuple[str, int, bool]]


def settings(**keys: object) -> FederationConfig:
    return FederationConfig(**{"dataset": "csv", "target": "died", "schema": SCHEMA, "test_fraction": 0.4, **keys})


def site(folder: Path, rows: Rows, key: bytes = KEY, **keys: object) -> FederatedData:
    """Return the federation of one site from rows of (patient, number, died)."""
    path = folder / "site.csv"
    lines = [f"{patient},{number},{'yes' if died else 'no'}" for patient, number, died in rows]
    path.write_text("\n".join(["patient,number,died", *lines]))
    return load_site_table(settings(**keys), path=path, hospital_id="north", key=key)


def split(folder: Path, rows: Rows, key: bytes = KEY, **keys: object) -> tuple[Counter[int], Counter[int]]:
    """Return the numbers in training and in test."""
    (hospital,) = site(folder, rows, key, **keys).hospitals
    halves = (hospital.train_features, hospital.test_features)
    train, test = (Counter(np.rint((half[:, 0] + 1) * 500_000).astype(int).tolist()) for half in halves)
    return train, test


def by_patient(folder: Path, rows: Rows, **keys: object) -> tuple[set[int], set[int]]:
    train, test = split(folder, rows, patient_column="patient", **keys)
    return set(train), set(test)


patients = st.dictionaries(st.integers(0, 999).map(lambda n: f"{n:04d}"), st.booleans(), min_size=20, max_size=40)


@given(patients=patients, others=patients, data=st.data())
def test_no_patient_moves_another(tmp_path_factory: pytest.TempPathFactory, patients, others, data) -> None:
    folder = tmp_path_factory.getbasetemp()
    rows = [(name, int(name), died) for name, died in patients.items()]
    train, test = by_patient(folder, rows)
    assert train | test == {int(name) for name in patients} and not train & test
    added = by_patient(
        folder, rows + [(name, int(name), died) for name, died in others.items() if name not in patients]
    )
    assert train <= added[0] and test <= added[1]
    left = data.draw(st.permutations(rows))[: len(rows) // 2 + 2]
    assert by_patient(folder, [*left, *rows[:1]])[0] <= train
    relabelled = [(name, number, not died if data.draw(st.booleans()) else died) for name, number, died in rows]
    assert by_patient(folder, relabelled) == (train, test)


def test_a_patients_rows_stay_together_and_its_side_follows_from_its_name_alone(tmp_path: Path) -> None:
    rows = [(f"{number % 50}", number, number % 3 == 0) for number in range(200)]
    train, test = by_patient(tmp_path, rows)
    assert {number % 50 for number in train}.isdisjoint(number % 50 for number in test)
    moved = by_patient(tmp_path, [(f" {patient} ", number + 50, True) for patient, number, _ in rows])
    assert {number % 50 for number in moved[0]} == {number % 50 for number in train}
    (hospital,) = site(tmp_path, rows, patient_column="patient").hospitals
    assert hospital.num_train == len({number % 50 for number in train})


rows_without_names = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=30, max_size=60)


@given(rows=rows_without_names, extra=st.tuples(st.integers(0, 3), st.booleans()), place=st.integers(0, 29))
def test_without_names_one_row_moves_no_other(tmp_path_factory: pytest.TempPathFactory, rows, extra, place) -> None:
    """Rows that are equal can't be told apart: what is told is how many of each kind are on each side."""
    folder = tmp_path_factory.getbasetemp()

    def halves(rows: list[tuple[int, bool]]) -> tuple[Counter[tuple[float, int]], ...]:
        (hospital,) = site(folder, [("", *row) for row in rows]).hospitals
        sides = ((hospital.train_features, hospital.train_labels), (hospital.test_features, hospital.test_labels))
        return tuple(Counter(zip(x[:, 0].tolist(), y.tolist(), strict=True)) for x, y in sides)

    before = halves(rows)
    assert halves(rows[::-1]) == before
    after = halves([*rows[:place], extra, *rows[place:]])
    assert all(one <= another for one, another in zip(before, after, strict=True))
    changed = halves([*rows[:place], extra, *rows[place + 1 :]])
    for one, another in zip(before, changed, strict=True):
        assert (one - another).total() <= 1 and (another - one).total() <= 1


def test_a_row_that_names_no_patient_is_one_of_its_own(tmp_path: Path) -> None:
    rows = [("a", 1, True), ("a", 2, True), *[("", 3, True)] * 40]
    federation = site(tmp_path, rows, patient_column="patient")
    (hospital,) = federation.hospitals
    assert federation.record_is == "patient"
    assert 0 < (hospital.test_features[:, 0] == hospital.test_features[-1, 0]).sum() < 40


def test_another_key_gives_another_split(tmp_path: Path) -> None:
    rows = [(str(number), number, False) for number in range(500)]
    one, other = (by_patient(tmp_path, rows, key=key)[1] for key in (KEY, OTHER_KEY))
    # Independent sets of 0.4 share 0.16 of all: 80 of 500, standard deviation 8.2.
    assert abs(len(one & other) - 80) < 5 * 8.2


@pytest.mark.parametrize("column", [None, "patient"])
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9])
def test_the_share_of_test_records_is_right(tmp_path: Path, fraction: float, column: str | None) -> None:
    generator = random.Random(7)
    total, kept = 0, 4_000
    for key in (KEY, OTHER_KEY, bytes([2] * 32)):
        # Few different numbers: without names most rows are copies of others.
        rows = [(str(number), generator.randrange(20), generator.random() < 0.3) for number in range(kept)]
        total += split(tmp_path, rows, key, patient_column=column, test_fraction=fraction)[1].total()
    deviation = math.sqrt(3 * kept * fraction * (1 - fraction))
    assert abs(total - 3 * kept * fraction) < 5 * deviation


def test_a_larger_fraction_only_adds_test_records(tmp_path: Path) -> None:
    rows = [(str(number), number, False) for number in range(300)]
    small, large = (by_patient(tmp_path, rows, test_fraction=fraction)[1] for fraction in (0.2, 0.5))
    assert small < large


def test_the_fingerprint_is_of_the_training_data_and_the_key(tmp_path: Path) -> None:
    rows = [(str(number), number, number % 2 == 0) for number in range(50)]
    train, test = by_patient(tmp_path, rows)

    def fingerprint(rows: Rows, key: bytes = KEY) -> str:
        return site(tmp_path, rows, key, patient_column="patient").hospitals[0].fingerprint

    plain = fingerprint(rows)
    assert len(plain) == 64 and fingerprint(rows) == plain

    def changed(place: int) -> Rows:
        return [(name, number, died != (number == place)) for name, number, died in rows]

    assert all(fingerprint(changed(place)) == plain for place in test)
    assert len({plain, *(fingerprint(changed(place)) for place in train)}) == len(train) + 1
    assert fingerprint([*rows, ("0", 0, True)]) != plain


def test_who_knows_every_record_but_not_the_key_can_not_compute_the_fingerprint(tmp_path: Path) -> None:
    """Under two keys the same rows, all in training, have two fingerprints, and neither is the plain digest."""
    rows = [(str(number), number, True) for number in range(50)]
    told = {}
    for key in (KEY, OTHER_KEY):
        (hospital,) = site(tmp_path, rows, key, test_fraction=1e-12).hospitals
        told[hospital.fingerprint] = hospital.train_features.tobytes() + hospital.train_labels.tobytes()
    assert len(told) == 2 and len(set(told.values())) == 1
    public = load_federation(
        settings(path=str(tmp_path / "site.csv"), num_hospitals=1, partition="iid", test_fraction=1e-12)
    )
    guesses = {hospital.fingerprint for hospital in public.hospitals}
    guesses |= {sha256(data).hexdigest() for data in told.values()}
    assert guesses.isdisjoint(told)


def test_a_site_is_a_federation_of_itself(tmp_path: Path) -> None:
    rows = [(str(number), number, number % 2 == 0) for number in range(50)]
    federation = site(tmp_path, rows, patient_column="patient")
    assert [hospital.hospital_id for hospital in federation.hospitals] == ["north"]
    assert federation.class_names == ("no", "yes") and federation.input_shape == (1,)
    assert (federation.max_hospitals_per_patient, federation.own_statistics) == (1, False)
    assert federation.record_is == "patient"
    assert site(tmp_path, rows).record_is == "row"
    assert "which records are for training and which for testing follows from the site's key" in federation.notes
    # Settings for a simulation's hospitals are not a site's business.
    other = site(tmp_path, rows, patient_column="patient", hospital_column="hospital", seed=7, path="/nowhere")
    assert other.hospitals[0].fingerprint == federation.hospitals[0].fingerprint


def test_a_site_with_one_class_is_no_worse_than_others(tmp_path: Path) -> None:
    federation = site(tmp_path, [(str(number), number, True) for number in range(50)])
    assert federation.num_classes == 2 and set(federation.hospitals[0].train_labels.tolist()) == {1}


@pytest.mark.parametrize(
    ("number", "keys", "error", "message"),
    [
        (50, {"max_records": 10}, DataError, r"training records and may have <= 10 \(\[federation\] max-records\)"),
        (1, {}, DataError, r"has 1 patients and needs >= 2 \(\[federation\] min-patients\)"),
        (9, {"min_patients": 10}, DataError, "has 9 patients and needs >= 10"),
        (5, {"test_fraction": 1 - 1e-12}, DataError, r"has no training record: test-fraction = .* all 5 patients"),
        (50, {"key": b"short"}, ConfigError, r"a site's key has 5 bytes and must have >= 32 \(\[site\] key\)"),
    ],
)
def test_what_a_site_can_not_be_is_refused(tmp_path: Path, number, keys, error, message) -> None:
    with pytest.raises(error, match=message):
        site(tmp_path, [(str(row), row, True) for row in range(number)], patient_column="patient", **keys)
