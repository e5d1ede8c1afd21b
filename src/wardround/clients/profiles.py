"""What a hospital tells of itself before the first round; neither torch nor Flower is needed to say it.

What is left out on purpose: sending it (see `wire`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.datasets import FederatedData, HospitalData
from wardround.rounds import HospitalProfile, ProfileMeasures

__all__ = ["hospital_profile", "profile_measures", "r2"]


def hospital_profile(hospital: HospitalData, federation: FederatedData) -> HospitalProfile:
    """Return what the server is told of any hospital before the first round."""
    return HospitalProfile(
        hospital_id=hospital.hospital_id,
        num_train=hospital.num_train,
        task=federation.task,
        input_shape=federation.input_shape,
        num_outputs=federation.num_classes,
        hospitals_per_patient=federation.max_hospitals_per_patient,
        record_is=federation.record_is,
        own_statistics=federation.own_statistics,
    )


def profile_measures(hospital: HospitalData, task: str) -> ProfileMeasures:
    """Return what is measured of a simulated hospital before the first round."""
    train, test = hospital.train_labels, hospital.test_labels
    if len(test) == 0:
        baseline = float("nan")
    elif task == "classification":
        baseline = float(np.mean(test == np.bincount(train).argmax()))
    else:
        baseline = r2(train.mean(dtype=np.float64), test)
    return ProfileMeasures(num_test=len(test), fingerprint=hospital.fingerprint, majority_score=baseline)


def r2(predictions: Any, labels: NDArray[np.float32]) -> float:
    """Return the coefficient of determination of predictions (n,), or one for all; nan where labels (n,) don't vary."""
    spread = float(((labels - labels.mean(dtype=np.float64)) ** 2).sum())
    error = float(((np.asarray(predictions, np.float64) - labels) ** 2).sum())
    return 1.0 - error / spread if spread > 0 else float("nan")
