"""One hospital's arrays from its row numbers: standardised where the source asks for it, and fingerprinted."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.records import Dataset, HospitalData
from wardround.datasets.site_keys import fingerprint_of
from wardround.datasets.splits import first_rows

__all__ = ["make_hospital"]

_CLIP = 5.0
_ROUNDING = {4: 1e-6, 8: 1e-13}
"""What the deviation of equal numbers may be, relative to them, by their bytes."""


def make_hospital(
    dataset: Dataset, name: str, train: NDArray[np.int64], test: NDArray[np.int64], *, key: bytes | None = None
) -> HospitalData:
    """Return one hospital's arrays, its local columns standardised by its own training rows.

    Args:
        dataset: where the rows are.
        name: the hospital's id.
        train: row numbers, at least one.
        test: row numbers.
        key: of a real site, for a fingerprint that nobody else can compute; None for a plain digest, in simulation.
    """
    _, owners = first_rows(dataset.patients_of(train))
    told_apart = owners.max() + 1 == len(train)
    if not told_apart:
        order = np.argsort(owners, kind="stable")
        train, owners = train[order], owners[order]
    train_own, test_own = dataset.features[train], dataset.features[test]
    if dataset.local_columns:
        _standardise(train_own, test_own, dataset.local_columns)
    # Numbers in their own unit may need all of float64, as those far from zero do; from here on float32 is enough.
    train_features, test_features = (own.astype(np.float32, copy=False) for own in (train_own, test_own))
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
    )


def _narrow(labels: NDArray[Any]) -> NDArray[Any]:
    return labels.astype(np.float32) if labels.dtype == np.float64 else labels


def _standardise(train: NDArray[Any], test: NDArray[Any], columns: tuple[int, ...]) -> None:
    """Scale the columns by the training rows' mean and deviation, clip them, and make nan 0, in place."""
    known = train[:, columns].astype(np.float64)
    present = ~np.isnan(known)
    counts = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, known, 0.0).sum(axis=0) / counts
    deviation = np.sqrt((np.where(present, known - mean, 0.0) ** 2).sum(axis=0) / counts)
    # A column that does not vary here carries nothing here; a rounding error must not be blown up to +-1.
    largest = np.max(np.abs(known), axis=0, initial=0.0, where=present)
    scale = np.where(deviation > _ROUNDING[train.dtype.itemsize] * np.maximum(largest, 1e-12), deviation, np.inf)
    for features in (train, test):
        values = np.clip((features[:, columns] - mean) / scale, -_CLIP, _CLIP)
        features[:, columns] = np.where(np.isnan(values), 0.0, values)
