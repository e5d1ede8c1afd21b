"""What a hospital tells of itself before the first round; neither torch nor Flower is needed to say it.

What is left out on purpose: sending it (see `wire`).
"""

import numpy as np

from wardround.datasets import FederatedData, HospitalData
from wardround.rounds import HospitalProfile, ProfileMeasures
from wardround.scores import r2
from wardround.survival import SURVIVAL, SurvivalReference, check_scoring_library

__all__ = ["hospital_profile", "measures_of", "profile_measures", "survival_reference"]


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


def profile_measures(hospital: HospitalData, task: str, *, is_tested: bool = True) -> ProfileMeasures:
    """Return what is measured of a simulated hospital before the first round.

    Where models are not tested for anyone to see, nothing is computed of the test records but how many there are.

    Raises:
        ConfigError: what scores a survival is not installed.
    """
    check_scoring_library(task)
    if not is_tested:
        return ProfileMeasures(
            num_test=hospital.num_test, fingerprint=hospital.fingerprint, majority_score=float("nan")
        )
    train, test = hospital.train_labels, hospital.test_labels
    baseline, sums = float("nan"), {}
    if len(test) and task == "classification":
        baseline = float(np.mean(test == np.bincount(train).argmax()))
    elif len(test) and task == SURVIVAL:
        baseline = 0.5  # the same answer for all: every pair is a tie
    elif len(test):
        answer, middle = train.mean(dtype=np.float64), test.mean(dtype=np.float64)
        baseline = r2(answer, test)
        sums = {
            "test_mean": float(middle),
            "test_spread": float(((test - middle) ** 2).sum()),
            "majority_error": float(((test - answer) ** 2).sum()),
        }
    return ProfileMeasures(num_test=len(test), fingerprint=hospital.fingerprint, majority_score=baseline, **sums)


def measures_of(federation: FederatedData, *, is_tested: bool) -> dict[str, ProfileMeasures]:
    """Return what is measured of all hospitals of a federation, by name (see `profile_measures`)."""
    task = federation.task
    return {each.hospital_id: profile_measures(each, task, is_tested=is_tested) for each in federation.hospitals}


def survival_reference(federation: FederatedData) -> SurvivalReference | None:
    """Return what the Brier score of a simulated survival is relative to; None of another task."""
    if federation.task != SURVIVAL:
        return None
    labels = np.concatenate([hospital.train_labels for hospital in federation.hospitals])
    return SurvivalReference(edges=federation.time_edges, train=labels)
