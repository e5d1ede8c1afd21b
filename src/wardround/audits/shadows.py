"""Shadow models: the run again and again, each time without the half of the records that a coin leaves out.

A record that is left out is drawn and counted like any other, and has no part in any sum: its data set is the neighbour
of the one with it, by the relation of the bill. What is attacked is the model that comes out, as whoever receives it
has it. Left out on purpose: the attacks (see `membership`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.audits.bounds import epsilon_from_rates
from wardround.audits.membership import lira, rmia, sureness
from wardround.audits.readers import Bill
from wardround.audits.records import CONFIDENCE, AttackResult, Membership
from wardround.audits.scores import Rate, rate_at
from wardround.audits.watched_runs import watched_run
from wardround.config import FEWEST_MODELS, Config, check_scores_of_shadows
from wardround.datasets import FederatedData, load_federation
from wardround.datasets.records import SURVIVAL, HospitalData
from wardround.errors import ConfigError
from wardround.scores import macro_auc
from wardround.streams import SetUp, stream

__all__ = ["Shadows", "attack_models", "mislabel", "train_shadows"]

_ATTACKS = {"lira": lira, "rmia": rmia}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shadows:
    """What models are sure of, and which records each was trained on.

    Attributes:
        sure: (models, rows) as `membership.sureness` has it.
        used: (models, rows), whether the row's record was.
        hospitals: (rows,) the place of each row's hospital among the names.
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
        used.append(_by_row(federation, coins))
    return Shadows(
        sure=np.array(sure),
        used=np.array(used),
        hospitals=_places(federation),
        names=tuple(each.hospital_id for each in federation.hospitals),
        has_classes=bool(federation.class_names),
    )


def attack_models(
    shadows: Shadows, mislabelled: Shadows | None, bills: Mapping[str, Bill], most_false_alarms: float
) -> dict[str, Membership]:
    """Return by hospital what attacks on every model get, each with the others as shadows, and input canaries.

    Args:
        shadows: at least FEWEST_MODELS of them.
        mislabelled: of `mislabel`; None where labels are no classes.
        bills: of whoever receives the model, by hospital.
        most_false_alarms: probability of an alarm where all bills hold.
    """
    attacks = {name: (shadows, attack(shadows.sure, shadows.used)) for name, attack in _ATTACKS.items()}
    if mislabelled is not None:
        attacks["mislabelled"] = mislabelled, mislabelled.sure
    most = most_false_alarms / (len(attacks) * len(shadows.names))
    found = {}
    for place, name in enumerate(shadows.names):
        results = {}
        for attack, (attacked, scores) in attacks.items():
            own = attacked.hospitals == place
            results[attack] = _result(*_apart(scores[:, own], attacked.used[:, own]), bills[name], most)
        num_records = int((shadows.hospitals == place).sum())
        found[name] = Membership(num_models=len(shadows.sure), num_records=num_records, attacks=results)
    return found


def mislabel(config: Config, *, seed: int) -> Shadows:
    """Train one model on wrong labels of half of the records, and return how much surer it became of them.

    The other half of each hospital's records is left as it is. Of those with wrong labels, input canaries, a coin says
    which have a part; the model is otherwise trained as in `train_shadows`. There is one model, whose rows of records
    that are no canaries are left out of what is returned.

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
    are_canaries, used = _by_row(federation, chosen), _by_row(federation, coins)
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
    """Return the place of each training row's hospital."""
    sizes = [len(each.train_labels) for each in federation.hospitals]
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


def _by_row(federation: FederatedData, of_records: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return what each hospital's records have for all training rows, hospital by hospital."""
    return np.concatenate([_of_rows(each, own) for each, own in zip(federation.hospitals, of_records, strict=True)])


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
    """Return what the models of a run, before and after, are sure of, of every test row, hospital by hospital."""
    num_rows = sum(len(each.test_labels) for each in federation.hospitals)
    seen: list[NDArray[np.float64]] = []

    def keep(values: NDArray[Any], labels: NDArray[Any]) -> float:
        if len(labels) == num_rows:  # of all hospitals, in their order, and not of one of them
            seen.append(sureness(values, labels))
        return 0.0

    watched_run(settings, federation, metrics={"sureness": keep})
    return seen


def _apart(scores: NDArray[np.float64], used: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores and coins, in which all of a record's stand at even places or all at odd ones.

    So a threshold that even places chose is tried on other records; the last of an odd number of them is left out.
    """
    even = scores.shape[1] - scores.shape[1] % 2
    return scores[:, :even].reshape(-1), used[:, :even].reshape(-1)


def _result(scores: NDArray[np.float64], coins: NDArray[np.bool_], bill: Bill, most_false: float) -> AttackResult:
    one_percent, tenth = rate_at(scores, coins, 0.01), rate_at(scores, coins, 0.001)
    rates = (one_percent, rate_at(scores, coins, 0.1), rate_at(scores, coins, 0.5))
    lower, strict = (_shown_by(rates, bill.target_delta, alpha) for alpha in (1 - CONFIDENCE, most_false))
    return AttackResult(
        auc=macro_auc(np.stack([-scores, scores], axis=1), coins.astype(np.int64)),
        tpr_at_fpr_1_percent=one_percent.found,
        tpr_at_fpr_1_percent_interval=one_percent.found_interval,
        tpr_at_fpr_01_percent=tenth.found,
        tpr_at_fpr_01_percent_interval=tenth.found_interval,
        epsilon_lower=lower if strict > bill.epsilon else min(lower, bill.epsilon),
        is_refuted=strict > bill.epsilon,
    )


def _shown_by(rates: Sequence[Rate], delta: float, significance: float) -> float:
    """Return the epsilon that the best of some thresholds shows, each at its share of the significance."""
    lower = 0.0
    for rate in rates:
        found, used, accused, unused = rate.counts
        if used and unused:
            shown = epsilon_from_rates(
                num_found=found,
                num_used=used,
                num_accused=accused,
                num_unused=unused,
                delta=delta,
                significance=significance / len(rates),
            )
            lower = max(lower, shown)
    return lower
