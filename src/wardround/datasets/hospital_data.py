"""One hospital's arrays from its row numbers: standardised where the source asks for it, and fingerprinted."""

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.records import Dataset, HospitalData
from wardround.datasets.site_keys import fingerprint_of
from wardround.datasets.splits import first_rows

__all__ = ["make_hospital"]

_CLIP = 5.0


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
    train, owners = _by_owner(dataset, train)
    features = {"train": dataset.features[train], "test": dataset.features[test]}
    if dataset.local_columns:
        features = _standardised(features["train"], features["test"], dataset.local_columns)
    labels = dataset.labels[train]
    told = (features["train"], labels, *(() if owners is None else (owners,)))
    return HospitalData(
        hospital_id=name,
        train_features=features["train"],
        train_labels=labels,
        test_features=features["test"],
        test_labels=dataset.labels[test],
        fingerprint=fingerprint_of(told, key=key),
        train_owners=owners,
    )


def _by_owner(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the rows with those of a patient together, and the patient of each; None where each row is one."""
    if dataset.patients is None:
        return rows, None
    _, owners = first_rows(dataset.patients[rows])
    if owners.max() + 1 == len(rows):
        return rows, None
    order = np.argsort(owners, kind="stable")
    return rows[order], owners[order]


def _standardised(
    train: NDArray[np.float32], test: NDArray[np.float32], columns: tuple[int, ...]
) -> dict[str, NDArray[np.float32]]:
    """Return both with the columns scaled by the training rows' mean and deviation, clipped, and nan made 0."""
    known = train[:, columns].astype(np.float64)
    present = ~np.isnan(known)
    counts = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, known, 0.0).sum(axis=0) / counts
    deviation = np.sqrt((np.where(present, known - mean, 0.0) ** 2).sum(axis=0) / counts)
    # A column that does not vary here carries nothing here; a rounding error must not be blown up to +-1.
    scale = np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-12), deviation, np.inf)
    result = {}
    for side, features in (("train", train), ("test", test)):
        scaled = features.copy()
        values = np.clip((features[:, columns] - mean) / scale, -_CLIP, _CLIP)
        scaled[:, columns] = np.where(np.isnan(values), 0.0, values)
        result[side] = scaled
    return result
