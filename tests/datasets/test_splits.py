"""One hospital's split: exact sizes, every class on both sides where it can be, no patient on both sides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.datasets.splits import first_rows, keep_shares, split_rows


@settings(max_examples=150, deadline=None)
@given(
    strata=st.lists(st.integers(0, 4), min_size=2, max_size=80),
    test_fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_split_is_complete_of_the_size_asked_for_and_even_over_classes(
    strata: list[int], test_fraction: float, seed: int
) -> None:
    labels = np.array(strata)
    train, test = split_rows(labels, np.arange(len(labels)), test_fraction, np.random.default_rng(seed))
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert len(test) == min(max(1, round(test_fraction * len(labels))), len(labels) - 1)
    counts = np.bincount(labels)
    if len(test) <= (np.maximum(counts, 1) - 1).sum():
        assert set(labels[train]) == set(labels)


def test_a_split_takes_the_same_share_of_each_class() -> None:
    labels = np.repeat([0, 1, 2], [500, 100, 10])
    _, test = split_rows(labels, np.arange(len(labels)), 0.2, np.random.default_rng(0))
    assert np.bincount(labels[test]).tolist() == [100, 20, 2]


@settings(max_examples=100, deadline=None)
@given(
    patients=st.lists(st.integers(0, 12), min_size=2, max_size=60),
    test_fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_patient_is_on_both_sides(patients: list[int], test_fraction: float, seed: int) -> None:
    names = np.array([f"p{patient}" for patient in patients])
    strata = np.arange(len(names)) % 2
    train, test = split_rows(strata, names, test_fraction, np.random.default_rng(seed))
    assert sorted([*train, *test]) == list(range(len(names)))
    assert not set(names[train]) & set(names[test])
    num_patients = len(set(patients))
    wanted = min(max(1, round(test_fraction * num_patients)), num_patients - 1)
    assert len(set(names[test])) == wanted


@pytest.mark.parametrize("patients", [np.array([5]), np.array(["a", "a", "a"])])
def test_a_single_patient_goes_to_training(patients: np.ndarray) -> None:
    strata = np.zeros(len(patients))
    train, test = split_rows(strata, patients, 0.5, np.random.default_rng(0))
    assert (len(train), len(test)) == (len(strata), 0)


def test_first_rows_follow_the_order_of_appearance() -> None:
    first, codes = first_rows(np.array(["z", "a", "z", "m", "a"]))
    assert first.tolist() == [0, 1, 3]
    assert codes.tolist() == [0, 1, 0, 2, 1]


def test_keep_shares_keeps_exactly_the_share_of_each_class_and_one_row_at_least() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    kept = keep_shares(labels, (1.0, 0.5, 0.01), np.random.default_rng(0))
    assert np.bincount(labels[kept]).tolist() == [100, 25, 1]
    assert (np.diff(kept) > 0).all()
