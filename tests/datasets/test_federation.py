"""From a data set to hospitals: partitions, exclusions, splits, fingerprints, and what is said about them."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.config import FederationConfig
from wardround.datasets import Dataset, FederatedData, NumberColumn, build_federation, describe, load_federation
from wardround.errors import ConfigError


def _dataset(num_rows: int = 120, **changes: object) -> Dataset:
    rows = np.arange(num_rows)
    values: dict[str, object] = {
        "name": "invented",
        "task": "classification",
        "features": np.stack([rows, rows % 7], axis=1).astype(np.float32),
        "labels": (rows % 3 == 0).astype(np.int64),
        "class_names": ("no", "yes"),
        "feature_names": ("row", "rest"),
        "notes": ("source: invented",),
    }
    return Dataset(**(values | changes))


def _rows(federation: FederatedData) -> list[int]:
    """Return every row number of the federation, read off the first feature."""
    parts = [array for h in federation.hospitals for array in (h.train_features, h.test_features)]
    return sorted(int(row) for row in np.concatenate(parts)[:, 0])


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "quantity", "shards"])
def test_every_row_is_at_one_hospital_on_one_side(partition: str) -> None:
    federation = build_federation(_dataset(), FederationConfig(partition=partition, num_hospitals=6, min_patients=2))
    lost = 120 - len(_rows(federation))
    assert lost == sum(int(sentence.split()[2]) for sentence in federation.excluded)
    assert len(set(_rows(federation))) == 120 - lost
    assert federation.partition == partition
    assert all(h.hospital_id.startswith("hospital-0") for h in federation.hospitals)


def test_the_partition_is_natural_where_the_data_names_hospitals_and_iid_elsewhere() -> None:
    hospitals = np.array(["north", "south"] * 60)
    natural = build_federation(_dataset(hospitals=hospitals), FederationConfig())
    assert natural.partition == "natural"
    assert [h.hospital_id for h in natural.hospitals] == ["north", "south"]
    assert build_federation(_dataset(), FederationConfig()).partition == "iid"


def test_natural_without_hospitals_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r'partition = "natural" needs data that names its hospitals.*choose iid'):
        build_federation(_dataset(), FederationConfig(partition="natural"))


def test_names_are_padded_to_the_width_of_the_largest() -> None:
    federation = build_federation(_dataset(300), FederationConfig(num_hospitals=100))
    assert federation.hospitals[0].hospital_id == "hospital-001"
    assert federation.hospitals[-1].hospital_id == "hospital-100"


def test_small_hospitals_are_left_out_by_name() -> None:
    hospitals = np.repeat(np.array(["large", "small", "alone"]), [90, 29, 1])
    federation = build_federation(_dataset(hospitals=hospitals), FederationConfig(min_patients=30))
    assert [h.hospital_id for h in federation.hospitals] == ["large"]
    assert federation.excluded == (
        "alone has <10 patients, fewer than min-patients = 30",
        "small has 29 patients, fewer than min-patients = 30",
    )


def test_a_hospital_with_one_patient_in_many_rows_is_left_out() -> None:
    hospitals = np.repeat(np.array(["many", "single"]), [100, 20])
    patients = np.array([f"p{row}" if row < 100 else "the one" for row in range(120)])
    federation = build_federation(_dataset(hospitals=hospitals, patients=patients), FederationConfig())
    assert federation.excluded == ("single has <10 patients, fewer than min-patients = 2",)


def test_nobody_left_is_an_error_with_the_largest_size() -> None:
    with pytest.raises(ConfigError, match=r"no hospital of invented is left: min-patients = 500.*has 24 patients"):
        build_federation(_dataset(), FederationConfig(min_patients=500))


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "quantity", "shards"])
def test_more_hospitals_than_rows_names_the_setting(partition: str) -> None:
    with pytest.raises(ConfigError, match=r"num-hospitals = 121 must be <= 120.*\[federation\] num-hospitals"):
        build_federation(_dataset(), FederationConfig(num_hospitals=121, partition=partition))


def test_a_hospital_with_one_class_is_kept_and_named() -> None:
    hospitals = np.repeat(np.array(["mixed", "uniform"]), 60)
    labels = np.where(np.arange(120) < 60, np.arange(120) % 2, 1)
    federation = build_federation(_dataset(hospitals=hospitals, labels=labels), FederationConfig())
    assert len(federation.hospitals) == 2
    assert "only one class at uniform: AUC undefined there" in federation.notes


def test_a_class_missing_from_the_test_rows_is_said_without_the_hospital() -> None:
    labels = (np.arange(120) == 5).astype(np.int64)
    federation = build_federation(
        _dataset(hospitals=np.array(["rare"] * 120), labels=labels), FederationConfig(test_fraction=0.1)
    )
    assert "only one class among the test rows of a hospital: AUC undefined there" in federation.notes


def test_official_test_rows_stay_test_rows_and_who_has_only_those_is_left_out() -> None:
    is_test = np.arange(120) >= 80
    hospitals = np.repeat(np.array(["a", "b", "c"]), [40, 60, 20])
    federation = build_federation(_dataset(is_test=is_test, hospitals=hospitals), FederationConfig())
    assert [(h.hospital_id, len(h.train_labels), len(h.test_labels)) for h in federation.hospitals] == [
        ("a", 40, 0),
        ("b", 40, 20),
    ]
    assert federation.excluded == ("c has no training row: all its rows are official test rows",)
    assert "no test rows at a: nothing to evaluate there" in federation.notes


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), extra=st.integers(1, 40))
def test_a_hospitals_split_does_not_depend_on_other_hospitals(seed: int, extra: int) -> None:
    alone = _dataset(60, hospitals=np.array(["steady"] * 60))
    company = _dataset(60 + extra, hospitals=np.array(["steady"] * 60 + ["other"] * extra))
    config = FederationConfig(seed=seed)
    first = build_federation(alone, config).hospitals[0]
    second = next(h for h in build_federation(company, config).hospitals if h.hospital_id == "steady")
    assert np.array_equal(first.train_features, second.train_features)
    assert first.fingerprint == second.fingerprint


def test_the_seed_moves_the_split_and_the_fingerprint() -> None:
    dataset = _dataset(hospitals=np.array(["a"] * 120))
    prints = {build_federation(dataset, FederationConfig(seed=seed)).hospitals[0].fingerprint for seed in (1, 2, 1)}
    assert len(prints) == 2


def test_the_fingerprint_is_the_sha256_of_the_training_arrays() -> None:
    hospital = build_federation(_dataset(hospitals=np.array(["a"] * 120)), FederationConfig()).hospitals[0]
    features, labels = hospital.train_features, hospital.train_labels
    text = b"<f4(96, 2)" + features.tobytes() + b"<i8(96,)" + labels.tobytes()
    assert hospital.fingerprint == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "quantity", "shards"])
def test_an_artificial_partition_keeps_a_patient_at_one_hospital(partition: str) -> None:
    patients = np.array([f"p{row // 3}" for row in range(120)])
    federation = build_federation(
        _dataset(patients=patients), FederationConfig(partition=partition, num_hospitals=5, test_fraction=0.3)
    )
    assert federation.max_hospitals_per_patient == 1
    for hospital in federation.hospitals:
        sides = [{int(row) // 3 for row in part[:, 0]} for part in (hospital.train_features, hospital.test_features)]
        assert not sides[0] & sides[1]
        assert hospital.train_owners.tolist() == [row // 3 for row in range(len(hospital.train_labels))]
    assert len(_rows(federation)) == 120 - sum(3 for _ in federation.excluded)


def test_a_patient_at_several_hospitals_is_noticed() -> None:
    patients = np.array([f"p{row % 50}" for row in range(120)])
    hospitals = np.array(["a"] * 60 + ["b"] * 60)
    federation = build_federation(_dataset(patients=patients, hospitals=hospitals), FederationConfig())
    assert federation.max_hospitals_per_patient == 2
    assert any("set [privacy] patient-overlap = 2" in note for note in federation.notes)


def test_class_weights_keep_their_share_of_training_and_of_official_test_rows() -> None:
    dataset = _dataset(is_test=np.arange(120) >= 60)
    federation = build_federation(dataset, FederationConfig(class_weights=(1.0, 0.5), num_hospitals=2))
    train, test = (
        np.bincount(np.concatenate([getattr(h, side) for h in federation.hospitals]))
        for side in ("train_labels", "test_labels")
    )
    assert (train.tolist(), test.tolist()) == ([40, 10], [40, 10])
    assert "class-weights kept 100 of 120 rows (no 80, yes 20)" in federation.notes


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (_dataset(), r"class-weights has 3 numbers but must be 2 numbers, one per class in invented .*no, yes"),
        (
            _dataset(task="regression", class_names=(), labels=np.arange(120, dtype=np.float32)),
            r"class-weights has 3 numbers but must be left out: no classes in invented",
        ),
    ],
)
def test_class_weights_that_do_not_fit_are_refused(dataset: Dataset, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_federation(dataset, FederationConfig(class_weights=(1.0, 0.5, 0.5)))


def test_numbers_without_constants_are_standardised_by_the_hospitals_own_training_rows() -> None:
    generator = np.random.default_rng(0)
    features = np.stack([generator.normal(50, 9, 120), generator.normal(size=120), np.full(120, 3.7)], axis=1)
    features[::10, 0] = np.nan
    features[7, 0] = 1e6
    dataset = _dataset(
        features=features.astype(np.float32),
        numbers=(NumberColumn(column=0), NumberColumn(column=2)),
        feature_names=("a", "b", "c"),
    )
    for hospital in build_federation(dataset, FederationConfig(num_hospitals=3)).hospitals:
        scaled = hospital.train_features[:, 0]
        assert np.isfinite(scaled).all()
        assert np.abs(scaled).max() <= 5
        assert (hospital.train_features[:, 2] == 0).all()
        if scaled.max() < 5:
            present = scaled[scaled != 0]
            assert abs(present.mean()) < 1e-6
            assert present.std() == pytest.approx(1, abs=1e-6)
    assert features[7, 0] == 1e6


def test_regression_partitions_say_that_they_see_quantile_bins() -> None:
    dataset = _dataset(task="regression", class_names=(), labels=np.linspace(0, 1, 120, dtype=np.float32))
    federation = build_federation(dataset, FederationConfig(partition="shards", num_hospitals=5))
    assert federation.num_classes == 1
    assert any("ten quantile bins" in note for note in federation.notes)
    spreads = [np.ptp(np.concatenate([h.train_labels, h.test_labels])) for h in federation.hospitals]
    assert min(spreads) < 0.7


def test_arrays_are_read_only() -> None:
    federation = build_federation(_dataset(), FederationConfig())
    for hospital in federation.hospitals:
        for name in ("train_features", "train_labels", "test_features", "test_labels"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(hospital, name)[...] = 0


def test_describe_has_a_row_per_hospital_and_shares_that_add_up() -> None:
    federation = build_federation(_dataset(), FederationConfig(num_hospitals=4))
    table = describe(federation)
    assert list(table.columns) == ["records", "train", "test", "share no", "share yes"]
    assert table["records"].sum() == 120
    assert (table["records"] == table["train"] + table["test"]).all()
    assert np.allclose(table[["share no", "share yes"]].sum(axis=1), 1)
    weighted = (table["share yes"] * table["records"]).sum()
    assert weighted == pytest.approx(40)


def test_describe_of_a_regression_has_mean_and_deviation() -> None:
    labels = np.arange(120, dtype=np.float32)
    dataset = _dataset(task="regression", class_names=(), labels=labels, hospitals=np.array(["a"] * 120))
    table = describe(build_federation(dataset, FederationConfig()))
    assert table.loc["a", "target mean"] == pytest.approx(59.5)
    assert table.loc["a", "target std"] == pytest.approx(float(np.std(labels)))


def test_the_default_federation_is_five_hospitals_of_breast_cancer() -> None:
    federation = load_federation(FederationConfig())
    assert [len(h.train_labels) + len(h.test_labels) for h in federation.hospitals] == [114, 114, 114, 114, 113]
    assert federation.input_shape == (30,)
    assert federation.num_classes == 2
    again = load_federation(FederationConfig())
    assert [h.fingerprint for h in federation.hospitals] == [h.fingerprint for h in again.hospitals]
    assert replace(federation, excluded=("x",)).excluded == ("x",)
