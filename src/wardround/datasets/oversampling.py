"""Synthetic training records of a hospital's rare classes, between its own records (SMOTE).

They are made at the hospital, never leave it, and count as nobody's: rates, weights and what is public are of its own
records. What is left out on purpose: whether privacy allows them (see `config.imbalance`).

Source: Chawla, Bowyer, Hall and Kegelmeyer 2002, SMOTE, by imbalanced-learn.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wardround.config import Config, check_remedy
from wardround.datasets.records import FederatedData, HospitalData
from wardround.errors import ConfigError
from wardround.streams import SetUp, stream

__all__ = ["check_classes", "oversampled"]

_FEWEST = 2
"""Records of a class that a synthetic one can lie between."""


def check_classes(config: Config, federation: FederatedData) -> None:
    """Refuse a remedy for imbalance that does not fit the hospitals' records, or the packages that are installed.

    Raises:
        ConfigError: naming the remedy, and what to do.
    """
    largest = max((hospital.num_train for hospital in federation.hospitals), default=0)
    check_remedy(config, federation.class_names, most_records=largest)
    if config.imbalance.remedy != "smote":
        return
    if len(federation.input_shape) != 1:
        raise ConfigError(
            f'remedy = "smote" is for tables, and records of shape {federation.input_shape} are none ([imbalance] '
            'remedy): set "loss-weights" or "duplicate"'
        )
    try:
        import imblearn.over_sampling  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            'remedy = "smote" needs imbalanced-learn ([imbalance] remedy): pip install "wardround[imbalance]"'
        ) from error


def oversampled(hospital: HospitalData, seed: int, neighbours: int) -> tuple[HospitalData, int]:
    """Return a hospital whose classes all have as many training rows as its largest, and how many are synthetic.

    They stand after its own, and each is a patient of its own. A class of one row is left as it is; of few, as many
    neighbours are looked at as there are.

    Args:
        hospital: a table's, as its model takes it.
        seed: of the federation; each hospital has a stream of its own.
        neighbours: of which one is drawn for a synthetic row (>= 1).
    """
    from imblearn.over_sampling import SMOTE

    features, labels = hospital.train_features, hospital.train_labels
    classes, numbers = np.unique(labels, return_counts=True)
    generator = stream(seed, SetUp.OVERSAMPLING, name=hospital.hospital_id)
    made: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    for label, number in zip(classes.tolist(), numbers.tolist(), strict=True):
        state = int(generator.integers(2**31))
        if _FEWEST <= number < numbers.max():
            sampler = SMOTE(
                sampling_strategy={label: int(numbers.max())},
                k_neighbors=min(neighbours, number - 1),
                random_state=state,
            )
            rows, of_class = sampler.fit_resample(features, labels)
            made.append((rows[len(labels) :].astype(np.float32), of_class[len(labels) :].astype(labels.dtype)))
    num_synthetic = sum(len(rows) for rows, _ in made)
    owners = hospital.train_owners
    if owners is not None:
        owners = np.concatenate([owners, hospital.num_train + np.arange(num_synthetic)])
    together = replace(
        hospital,
        train_features=np.concatenate([features, *(rows for rows, _ in made)]),
        train_labels=np.concatenate([labels, *(of_class for _, of_class in made)]),
        train_owners=owners,
    )
    return together, num_synthetic
