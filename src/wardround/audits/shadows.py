"""Shadow models: the run again and again, each time without the half of the records that a coin leaves out.

A record that is left out is drawn and counted like any other, and has no part in any sum: its data set is the neighbour
of the one with it, by the relation of the bill. What is attacked is the model that comes out, as whoever receives it
has it. Left out on purpose: the attacks (see `members`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.audits.membership import sureness
from wardround.audits.watched_runs import watched_run
from wardround.config import FEWEST_MODELS, Config, check_scores_of_shadows
from wardround.datasets import FederatedData, load_federation
from wardround.datasets.records import SURVIVAL, HospitalData
from wardround.errors import ConfigError
from wardround.streams import SetUp, stream

__all__ = ["Shadows", "mislabel", "train_shadows"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shadows:
    """What models are sure of, and which patients each was trained on.

    Attributes:
        sure: (models, patients) as `membership.sureness` has it; of a patient with several rows, their mean.
        used: (models, patients), whether the patient was.
        hospitals: (patients,) the place of each patient's hospital among the names.
        names: of the hospitals.
        has_classes: whether labels are classes.
    """

    sure: NDArray[np.float64]
    used: NDArray[np.bool_]
    hospitals: NDArray[np.int64]
    names: tuple[str, ...]
    has_classes: bool = True


def train_shadows(config: Config, *, num_models: int, seed: int) -> Shadows:
    """Train shadow models and return what they are sure of.

    Args:
        config: of the run.
        num_models: how many (>= FEWEST_MODELS).
        seed: of the coins, in 0..2**63 - 1; each model has batches and noise of its own.

    Raises:
        ConfigError: records can't be left out of such a run, or models are not sure of anything.
    """
    federation, settings = _attackable(config, num_models)
    sure, used = [], []
    for number in range(num_models):
        coins = [_coins(each, seed, number) for each in federation.hospitals]
        sure.append(_sureness_of(settings, _half(federation, coins))[-1])
        used.append(np.concatenate(coins))
    return Shadows(
        sure=np.array(sure),
        used=np.array(used),
        hospitals=_places(federation),
        names=tuple(each.hospital_id for each in federation.hospitals),
        has_classes=bool(federation.class_names),
    )


def mislabel(config: Config, *, seed: int) -> Shadows:
    """Train one model on wrong labels of half of the records, and return how much surer it became of them.

    The other half of each hospital's patients is left as it is. Of those with wrong labels, input canaries, a coin says
    which have a part; the model is otherwise trained as in `train_shadows`. There is one model, and patients who are
    no canaries are left out of what is returned.

    Raises:
        ConfigError: see `train_shadows`; or labels are not classes.

    Source: Steinke, Nasr, Jagielski 2023 (arXiv 2305.08846), section 6: canaries with wrong labels, scored by the
    change of their loss in training.
    """
    federation, settings = _attackable(config, FEWEST_MODELS)
    if not federation.class_names:
        raise ConfigError("input canaries are records with wrong classes, and there are none ([audit] shadow-models)")
    chosen = [
        stream(seed, SetUp.SHADOWS, 0, f"{each.hospital_id}/canaries").random(each.num_train) < 0.5
        for each in federation.hospitals
    ]
    coins = [_coins(each, seed, 0) | ~own for each, own in zip(federation.hospitals, chosen, strict=True)]
    hospitals = []
    for each, own in zip(federation.hospitals, chosen, strict=True):
        wrong = (each.train_labels + 1) % len(federation.class_names)
        hospitals.append(replace(each, train_labels=np.where(_of_rows(each, own), wrong, each.train_labels)))
    before, *_, after = _sureness_of(settings, _half(replace(federation, hospitals=tuple(hospitals)), coins))
    are_canaries, used = np.concatenate(chosen), np.concatenate(coins)
    return Shadows(
        sure=(after - before)[None, are_canaries],
        used=used[None, are_canaries],
        hospitals=_places(federation)[are_canaries],
        names=tuple(each.hospital_id for each in federation.hospitals),
    )


def _attackable(config: Config, num_models: int) -> tuple[FederatedData, Config]:
    """Return the run's data, and settings by which it is trained again and tested at the end."""
    if reason := _unshadowed_because(config, num_models):
        raise ConfigError(reason)
    check_scores_of_shadows(config, "shadow models")
    federation = load_federation(config.federation, config.features)
    if federation.task == SURVIVAL:
        raise ConfigError(
            "shadow models of a survival are not attacked: no model is sure of a time that was censored "
            "([audit] shadow-models): remove it"
        )
    return federation, config.change(
        training={"evaluate_every": config.training.num_rounds},
        evaluation={"patience": None, "keep": "last", "public": None, "release": "simulation"},
        simulation={"engine": "stacked"},
        audit={"canaries": None, "shadow_models": None},
    )


def _places(federation: FederatedData) -> NDArray[np.int64]:
    """Return the place of each patient's hospital."""
    sizes = [each.num_train for each in federation.hospitals]
    return np.repeat(np.arange(len(sizes)), sizes)


def _unshadowed_because(config: Config, num_models: int) -> str | None:
    if num_models < FEWEST_MODELS:
        return f"shadow-models = {num_models} must be >= {FEWEST_MODELS}: each is attacked with the others"
    if config.imbalance.remedy == "smote":
        return (
            'remedy = "smote" makes records of others, and one that is left out would have a part in them ([imbalance] '
            "remedy): audit a run with another remedy"
        )
    if config.privacy.microbatch_size > 1:
        return (
            f"microbatch-size = {config.privacy.microbatch_size} clips records in groups, of which none can be left "
            "out by itself ([privacy] microbatch-size): audit a run without it"
        )
    return None


def _coins(hospital: HospitalData, seed: int, number: int) -> NDArray[np.bool_]:
    """Return which of a hospital's records a model is trained on, (num_train,)."""
    return stream(seed, SetUp.SHADOWS, number, hospital.hospital_id).random(hospital.num_train) < 0.5


def _of_rows(hospital: HospitalData, of_records: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return of_records if hospital.train_owners is None else of_records[hospital.train_owners]


def _half(federation: FederatedData, coins: Sequence[NDArray[np.bool_]]) -> FederatedData:
    """Return a federation without some records, whose test records are all training records."""
    hospitals = tuple(
        replace(
            each,
            left_out=~own,
            test_features=each.train_features,
            test_labels=each.train_labels,
            test_owners=each.train_owners,
        )
        for each, own in zip(federation.hospitals, coins, strict=True)
    )
    return replace(federation, hospitals=hospitals)


def _sureness_of(settings: Config, federation: FederatedData) -> list[NDArray[np.float64]]:
    """Return what the models of a run, before and after, are sure of, of every patient, hospital by hospital."""
    num_rows = sum(len(each.test_labels) for each in federation.hospitals)
    of_each = [
        np.arange(each.num_train) if each.test_owners is None else each.test_owners for each in federation.hospitals
    ]
    before = np.cumsum([0, *(each.num_train for each in federation.hospitals)])
    patients = np.concatenate([own + first for own, first in zip(of_each, before, strict=False)])
    seen: list[NDArray[np.float64]] = []

    def keep(values: NDArray[Any], labels: NDArray[Any]) -> float:
        if len(labels) == num_rows:  # of all hospitals, in their order, and not of one of them
            seen.append(np.bincount(patients, sureness(values, labels)) / np.bincount(patients))
        return 0.0

    watched_run(settings, federation, metrics={"sureness": keep})
    return seen
