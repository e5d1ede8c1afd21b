"""All hospitals' rows in one array, in memory or mapped: what a hospital has is the same, and it is sent once."""

import gc
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config

from wardround.clients import hospital_app
from wardround.clients.app import SimulatedHospitals
from wardround.clients.tensors import HospitalTensors
from wardround.config import FederationConfig
from wardround.datasets import FederatedData, load_federation, shared_rows
from wardround.errors import DataError

MANY = FederationConfig(dataset="digits", num_hospitals=40)
FIELDS = ("train_features", "train_labels", "test_features", "test_labels")


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FederatedData:
    """Return a federation that is held to be large."""
    monkeypatch.setattr(shared_rows, "_MOST_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return load_federation(MANY)


def _is_mapped(array: object) -> bool:
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def test_a_large_federation_is_mapped_from_a_file_that_nobody_has_to_remove(
    mapped: FederatedData, tmp_path: Path
) -> None:
    small = load_federation(FederationConfig(dataset="digits", num_hospitals=2))
    assert all(_is_mapped(hospital.train_features) for hospital in (*mapped.hospitals, *small.hospitals))
    assert list(tmp_path.iterdir()) == []


def test_mapped_rows_are_those_that_a_small_federation_has_in_memory(mapped: FederatedData, monkeypatch) -> None:
    monkeypatch.undo()
    held = load_federation(MANY)
    assert not _is_mapped(held.hospitals[0].train_features)
    for one, other in zip(mapped.hospitals, held.hospitals, strict=True):
        assert (one.hospital_id, one.fingerprint) == (other.hospital_id, other.fingerprint)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert not getattr(one, name).flags.writeable


def test_all_rows_are_there_once(mapped: FederatedData) -> None:
    assert sum(len(hospital.train_labels) + len(hospital.test_labels) for hospital in mapped.hospitals) == 1797
    assert [hospital.hospital_id for hospital in mapped.hospitals[1:3]] == ["hospital-02", "hospital-03"]


def test_it_is_sent_as_few_arrays_however_many_hospitals(mapped: FederatedData) -> None:
    """Which an object store shares between processes: an array for each hospital would be found and mapped by each."""
    buffers: list[pickle.PickleBuffer] = []
    told = pickle.dumps(mapped, protocol=5, buffer_callback=buffers.append)
    assert len(buffers) <= 3
    again = pickle.loads(told, buffers=buffers)
    np.testing.assert_array_equal(again.hospitals[7].train_features, mapped.hospitals[7].train_features)


def test_rows_for_which_there_is_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shared_rows, "_MOST_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"bytes of rows can't be written to .*gone: No such file .*TMPDIR"):
        load_federation(MANY)


def test_tensors_of_a_hospital_are_let_go_after_others_were_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = load_federation(MANY)
    hospitals = SimulatedHospitals(small_config(), federation)

    def alive() -> int:
        gc.collect()
        return sum(type(item) is HospitalTensors for item in gc.get_objects())

    before = alive()
    for hospital in federation.hospitals:
        hospitals.tensors(hospital)
    assert alive() - before == len(federation.hospitals)
    three = 3 * hospitals.tensors(federation.hospitals[0]).num_bytes
    monkeypatch.setattr(hospital_app, "_MOST_KEPT_BYTES", {"cpu": three})
    for hospital in federation.hospitals:
        hospitals.tensors(hospital)
    assert 1 <= alive() - before <= 3
