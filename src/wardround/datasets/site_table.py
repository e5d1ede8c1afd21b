"""A real site's own table as a federation of one hospital, split into training and test by the site's key.

What is left out on purpose: other hospitals, of which a site knows nothing, and every choice that would look at labels
or at other records (strata, thinned classes, partitions).
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.hospital_data import make_hospital
from wardround.datasets.own_tables import read_schema_table
from wardround.datasets.records import Dataset, FederatedData
from wardround.datasets.site_keys import are_test_records
from wardround.digests import digest_of
from wardround.errors import DataError

__all__ = ["load_site_table"]


def load_site_table(config: FederationConfig, *, path: Path, hospital_id: str, key: bytes) -> FederatedData:
    """Return a site's own table as a federation of one hospital, with a fingerprint under its key.

    A record is a patient, where a patient column is named, or a row. On which side a patient is follows from the key
    and the patient's name alone; for a row that names none, from what its columns of the schema hold and which copy of
    the same row it is (rows that are equal to the last cell can't be told apart). So nobody moves another.

    Args:
        config: schema, target, patient_column, test_fraction, min_patients and max_records are used; hospital_column
            and path are not.
        path: the site's table, CSV in UTF-8.
        hospital_id: the site's name in the roster.
        key: a secret of the site, at least 32 bytes.

    Raises:
        ConfigError: there is no such file, no schema, or the key is too short.
        DataError: the table does not fit the schema, or has too few or too many records.
    """
    dataset, cells = read_schema_table(path, config, None, place="[site] data")
    is_test = are_test_records(key, _identities(dataset, cells), config.test_fraction)
    number = len(np.unique(dataset.patients_of(np.arange(len(is_test)))))
    if number < config.min_patients:
        raise DataError(
            f"{path} has {number} patients and needs >= {config.min_patients} ([federation] min-patients): add "
            "patients, or agree on fewer"
        )
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    if not len(train):
        raise DataError(
            f"{path} has no training record: test-fraction = {config.test_fraction} and the site's key make test "
            f"records of all {number} patients ([federation] test-fraction): add patients, or agree on a smaller one"
        )
    hospital = make_hospital(dataset, hospital_id, train, test, key=key)
    if config.max_records is not None and hospital.num_train > config.max_records:
        raise DataError(
            f"{path} has {hospital.num_train} training records and may have <= {config.max_records} ([federation] "
            "max-records): agree on more"
        )
    return FederatedData(
        dataset_name=dataset.name,
        task=dataset.task,
        class_names=dataset.class_names,
        feature_names=dataset.feature_names,
        input_shape=dataset.features.shape[1:],
        hospitals=(hospital,),
        excluded=(),
        notes=(*dataset.notes, "which records are for training and which for testing follows from the site's key"),
        partition="natural",
        groups=dataset.groups,
        record_is="row" if dataset.patients is None else "patient",
    )


def _identities(dataset: Dataset, cells: NDArray[np.float64]) -> Iterator[bytes]:
    """Yield for each row what decides on which side it is."""
    patients = dataset.patients
    copies: Counter[bytes] = Counter()
    for number, held in enumerate(cells):
        if patients is not None and patients[number].startswith("id "):
            yield digest_of(b"patient", str(patients[number]).encode())
            continue
        row = held.tobytes()
        yield digest_of(b"row", row, copies[row].to_bytes(8, "big"))
        copies[row] += 1
