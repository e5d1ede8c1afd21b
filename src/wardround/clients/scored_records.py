"""A hospital's test records as a release of test scores has them: a vector each (see `score_sums`).

What is left out on purpose: the release, which is a round like any other (see `agreed.statistics`).
"""

from dataclasses import replace

import numpy as np

from wardround.clients.evaluation import outputs_of
from wardround.clients.losses import loss_per_record
from wardround.clients.trainers import training_tensors
from wardround.clients.training import LocalTrainer
from wardround.config import Config
from wardround.datasets import HospitalData
from wardround.datasets.constants import Constants
from wardround.datasets.moments import hospital_of_vectors
from wardround.exact_sums import Arrays
from wardround.score_sums import vectors_of_scores

__all__ = ["scored_records"]


def scored_records(
    config: Config, hospital: HospitalData, trainer: LocalTrainer, arrays: Arrays, constants: Constants
) -> HospitalData:
    """Return a hospital whose records are the vectors of its test records, the rows of a patient side by side.

    Args:
        config: of the run.
        hospital: with at least one test record, of a classification.
        trainer: of the run's model.
        arrays: its parameters; whatever they are, no record's vector is longer than `score_sums.MOST_NORM`.
        constants: that features are standardised by.
    """
    tensors = training_tensors(config, hospital, constants, trainer.device)
    outputs = outputs_of(trainer.scoring_model(arrays, tensors), tensors.test_features).double()
    losses = loss_per_record("classification")(outputs, tensors.test_labels)
    chances = outputs.softmax(dim=1).cpu().numpy()
    vectors = vectors_of_scores(chances, hospital.test_labels, losses.cpu().numpy())
    hospital = replace(hospital, left_out=None)  # which is of training records
    if hospital.test_owners is None:
        return hospital_of_vectors(hospital, vectors, None)
    order = np.argsort(hospital.test_owners, kind="stable")
    return hospital_of_vectors(hospital, vectors[order], hospital.test_owners[order])
