"""One hospital's arrays from its row numbers: standardised, and fingerprinted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import PUBLIC
from wardround.datasets.records import Dataset, HospitalData, NumberColumn
from wardround.datasets.site_keys import fingerprint_of
from wardround.datasets.splits import first_rows
from wardround.datasets.standardising import standardise

__all__ = ["make_hospital"]


def make_hospital(
    dataset: Dataset,
    name: str,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    *,
    numbers: Sequence[NumberColumn] = (),
    mode: str = PUBLIC,
    key: bytes | None = None,
) -> HospitalData:
    """Return one hospital's arrays, its numbers standardised.

    Args:
        dataset: where the rows are.
        name: the hospital's id.
        train: row numbers, at least one.
        test: row numbers.
        numbers: columns in their own unit (see `standardising.standardise`); none where all are features already.
        mode: by which they are standardised.
        key: of a real site, for a fingerprint that nobody else can compute; None for a plain digest, in simulation.
    """
    _, owners = first_rows(dataset.patients_of(train))
    first_of_test, test_owners = first_rows(dataset.patients_of(test))
    told_apart = owners.max() + 1 == len(train)
    if not told_apart:
        order = np.argsort(owners, kind="stable")
        train, owners = train[order], owners[order]
    train_features, test_features = standardise(dataset.features[train], dataset.features[test], numbers, mode)
    labels = _narrow(dataset.labels[train])
    told = (train_features, labels) if told_apart else (train_features, labels, owners)
    return HospitalData(
        hospital_id=name,
        train_features=train_features,
        train_labels=labels,
        test_features=test_features,
        test_labels=_narrow(dataset.labels[test]),
        fingerprint=fingerprint_of(told, key=key),
        train_owners=None if told_apart else owners,
        test_owners=None if len(first_of_test) == len(test) else test_owners,
    )


def _narrow(labels: NDArray[Any]) -> NDArray[Any]:
    return labels.astype(np.float32) if labels.dtype == np.float64 else labels
