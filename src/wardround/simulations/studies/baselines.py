"""What a federation with privacy is compared with: nobody's work, everybody alone, everything in one place.

All three are without privacy, and exist in simulation only. The fourth baseline, the same federation without privacy,
is an ordinary run. Training is the federation's own: the same model, steps, rate and optimizer, round by round.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from wardround.clients.evaluation import evaluate
from wardround.clients.initial_models import initial_model
from wardround.clients.profiles import hospital_profile, profile_measures, survival_reference
from wardround.clients.trainers import build_trainer, training_tensors
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import AggregationConfig, Config, PrivacyConfig, releases_shares
from wardround.datasets import FederatedData, HospitalData
from wardround.datasets.constants import NO_CONSTANTS, Constants, constants_from
from wardround.datasets.moments import layout_of, vectors_of
from wardround.exact_sums import Arrays
from wardround.identity import source_of
from wardround.rounds import Evaluation, HospitalProfile
from wardround.scores import Predictions, together
from wardround.server.plan.planning import assign_round, plan_federation
from wardround.server.record.evaluated import Evaluated
from wardround.server.record.tables import mean_over_tests
from wardround.server.record.warm_starts import warm_started
from wardround.server.round.evaluating import pooled_columns, pooled_counts, pooled_score
from wardround.simulations.engines.nodes import one_torch_thread
from wardround.survival import kaplan_meier

__all__ = ["evaluate_baseline"]


_Scored = dict[str, tuple[Evaluation, Predictions]]


def evaluate_baseline(config: Config, federation: FederatedData, baseline: str) -> Evaluated:
    """Return what "majority", "alone" or "pooled" comes to, under settings without privacy.

    Its columns are those that every run of the task has.
    """
    if baseline == "majority":
        scored = {hospital.hospital_id: _majority(hospital, federation) for hospital in federation.hospitals}
    else:
        with one_torch_thread():
            scored = _trained(config, federation, baseline)
    evaluations = {name: evaluation for name, (evaluation, _) in scored.items()}
    everybody = together(predictions for _, predictions in scored.values())
    if everybody is None:
        return Evaluated(evaluations=evaluations, columns=())
    mean_score, reference = mean_over_tests(evaluations, "score"), survival_reference(federation)
    return Evaluated(
        evaluations=evaluations,
        pooled_score=pooled_score(everybody),
        columns=tuple(pooled_columns(everybody, mean_score, reference).values()),
        class_counts=pooled_counts(everybody),
    )


def _trained(config: Config, federation: FederatedData, baseline: str) -> _Scored:
    trainer = build_trainer(config, federation, source=source_of(config))
    constants, tensors = _constants(config, federation, baseline), dict[str, HospitalTensors]()
    for told, hospital in zip(constants, federation.hospitals, strict=True):
        tensors[hospital.hospital_id] = training_tensors(config, hospital, told, trainer.device)
    profiles = {hospital.hospital_id: hospital_profile(hospital, federation) for hospital in federation.hospitals}
    initial, models = _initial(config, federation, trainer), dict[str, Arrays]()
    if baseline == "pooled":
        everything, profile = _pooled(list(tensors.values()), list(profiles.values()))
        models = dict.fromkeys(tensors, _train(config, trainer, constants[0], initial, everything, profile))
    else:
        for (name, own), told in zip(tensors.items(), constants, strict=True):
            models[name] = _train(config, trainer, told, initial, own, profiles[name])
    return {
        name: evaluate(
            trainer.scoring_model(arrays, own), own, hospital_id=name, task=federation.task, edges=federation.time_edges
        )
        for (name, own), arrays in zip(tensors.items(), models.values(), strict=True)
    }


def _initial(config: Config, federation: FederatedData, trainer: LocalTrainer) -> Arrays:
    built = initial_model(config, trainer.model, task=federation.task, changes=(), mode=None)
    return warm_started(config, built, {hospital.fingerprint for hospital in federation.hospitals}).arrays


def _constants(config: Config, federation: FederatedData, baseline: str) -> Sequence[Constants]:
    """Return by which constants each hospital's model takes its features and classes.

    Where a federation would release statistics with noise, they are exact here: of a hospital by itself its own, and
    else those of all training rows.
    """
    layout = layout_of(federation, has_shares=releases_shares(config))
    if layout is None:
        return [NO_CONSTANTS] * len(federation.hospitals)
    sums = [vectors_of(hospital, layout).sum(axis=0, dtype=np.float64) for hospital in federation.hospitals]
    rows = [len(hospital.train_labels) for hospital in federation.hospitals]
    if baseline == "pooled":
        sums, rows = [np.sum(sums, axis=0)] * len(sums), [sum(rows)] * len(rows)
    means = [total / number for total, number in zip(sums, rows, strict=True)]
    return [constants_from(config.imbalance, layout, mean, stddev=0.0) for mean in means]


def _train(
    config: Config,
    trainer: LocalTrainer,
    constants: Constants,
    arrays: Arrays,
    tensors: HospitalTensors,
    profile: HospitalProfile,
) -> Arrays:
    """Return the parameters after all rounds of one hospital alone, the optimizer afresh in every round."""
    if constants.balance is not None:
        trainer.weigh(constants.balance)
    # One trainer: no strategy of a server has a part in it, and nobody has to answer.
    # Nor does a delta, which is checked against the number of records, have a meaning without privacy.
    privacy = PrivacyConfig(placement="none", target_delta=0.5 / profile.num_train)
    plan = plan_federation(replace(config, aggregation=AggregationConfig(), privacy=privacy), [profile])
    noise = {profile.hospital_id: 0.0}
    for round_number in range(1, config.training.num_rounds + 1):
        (assignment,) = assign_round(plan, [profile.hospital_id], round_number, noise)
        arrays, *_ = trainer.train(arrays, tensors, assignment)
    return arrays


def _pooled(tensors: list[HospitalTensors], profiles: list[HospitalProfile]) -> tuple[HospitalTensors, HospitalProfile]:
    """Return all hospitals' training records as one hospital's, synthetic ones as each has made them."""
    owners = None
    if any(part.train_owners is not None for part in tensors):
        starts = np.cumsum([0, *(part.num_train for part in tensors[:-1])])
        owners = torch.cat([_owners(part) + int(start) for part, start in zip(tensors, starts, strict=True)])
    pooled = HospitalTensors(
        train_features=torch.cat([part.train_features for part in tensors]),
        train_labels=torch.cat([part.train_labels for part in tensors]),
        test_features=tensors[0].test_features[:0],
        test_labels=tensors[0].test_labels[:0],
        train_owners=owners,
        num_synthetic=sum(part.num_synthetic for part in tensors),
    )
    return pooled, replace(profiles[0], hospital_id="pooled", num_train=pooled.num_train - pooled.num_synthetic)


def _owners(tensors: HospitalTensors) -> torch.Tensor:
    if tensors.train_owners is not None:
        return tensors.train_owners
    return torch.arange(tensors.num_train, device=tensors.train_labels.device)


def _majority(hospital: HospitalData, federation: FederatedData) -> tuple[Evaluation, Predictions]:
    """Return the score of always giving the most frequent training class, the training mean, or one survival curve."""
    test = hospital.test_labels
    reference = survival_reference(federation)
    is_regression = federation.task == "regression"
    both = federation.task == "classification" and len(np.unique(test)) > 1
    evaluation = Evaluation(
        hospital_id=hospital.hospital_id,
        num_examples=len(test),
        loss=float("nan"),
        score=profile_measures(hospital, federation.task).majority_score,
        auc=0.5 if both else float("nan"),  # one answer for all: every pair is a tie
    )
    if reference is not None:
        # That of all hospitals' training records: the same for everyone, so that every pair is a tie.
        curves = np.tile(kaplan_meier(reference), (len(test), 1))
        return evaluation, Predictions(values=curves, labels=test.astype(np.float64))
    if is_regression:
        values = np.full(len(test), hospital.train_labels.mean(dtype=np.float64))
        return evaluation, Predictions(values=values, labels=test.astype(np.float64))
    # Sure of its class: hospitals may answer differently, so that over all of them not every pair is a tie.
    sure = np.zeros((len(test), federation.num_classes))
    sure[:, np.bincount(hospital.train_labels).argmax()] = 1.0
    return evaluation, Predictions(values=sure[:, 1] if sure.shape[1] == 2 else sure, labels=test.astype(np.int64))
