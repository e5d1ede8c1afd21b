"""Shadow models: the run again and again, each time without the half of the records that a coin leaves out.

A record that is left out is drawn and counted like any other, and has no part in any sum: its data set is the neighbour
of the one with it, by the relation of the bill. What is attacked is the model that comes out, as whoever receives it
has it. Left out on purpose: the attacks (see `membership`).
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.audits.bounds import epsilon_from_rates
from wardround.audits.membership import lira, rmia, sureness
from wardround.audits.readers import Bill
from wardround.audits.records import CONFIDENCE, AttackResult, Membership
from wardround.audits.scores import Rate, rate_at
from wardround.config import FEWEST_MODELS, Config
from wardround.datasets import FederatedData, load_federation
from wardround.datasets.records import SURVIVAL, HospitalData
from wardround.errors import ConfigError
from wardround.scores import macro_auc
from wardround.simulations import runs
from wardround.streams import SetUp, stream

__all__ = ["Shadows", "attack_models", "train_shadows"]

_ATTACKS = {"lira": lira, "rmia": rmia}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shadows:
    """What models are sure of, and which records each was trained on.

    Attributes:
        sure: (models, rows) as `membership.sureness` has it.
        used: (models, rows), whether the row's record was.
        hospitals: (rows,) the place of each row's hospital among the names.
        names: of the hospitals.
    """

    sure: NDArray[np.float64]
    used: NDArray[np.bool_]
    hospitals: NDArray[np.int64]
    names: tuple[str, ...]


def train_shadows(config: Config, *, num_models: int, seed: int) -> Shadows:
    """Train shadow models and return what they are sure of.

    Args:
        config: of the run.
        num_models: how many (>= FEWEST_MODELS).
        seed: of the coins, in 0..2**63 - 1; each model has batches and noise of its own.

    Raises:
        ConfigError: records can't be left out of such a run, or models are not sure of anything.
    """
    if reason := _unshadowed_because(config, num_models):
        raise ConfigError(reason)
    federation = load_federation(config.federation, config.features)
    if federation.task == SURVIVAL:
        raise ConfigError(
            "shadow models of a survival are not attacked: no model is sure of a time that was censored "
            "([audit] shadow-models): remove it"
        )
    settings = config.change(
        training={"evaluate_every": config.training.num_rounds},
        evaluation={"patience": None, "keep": "last", "public": None},
        simulation={"engine": "stacked"},
        audit={"canaries": None, "shadow_models": None},
    )
    sure, used = [], []
    for number in range(num_models):
        coins = [_coins(each, seed, number) for each in federation.hospitals]
        sure.append(_sureness_of(settings, _half(federation, coins)))
        used.append(np.concatenate([_by_row(each, own) for each, own in zip(federation.hospitals, coins, strict=True)]))
    sizes = [len(each.train_labels) for each in federation.hospitals]
    return Shadows(
        sure=np.array(sure),
        used=np.array(used),
        hospitals=np.repeat(np.arange(len(sizes)), sizes),
        names=tuple(each.hospital_id for each in federation.hospitals),
    )


def attack_models(shadows: Shadows, bills: Mapping[str, Bill], most_false_alarms: float) -> dict[str, Membership]:
    """Return by hospital what attacks on every model get, each with the others as shadows.

    Args:
        shadows: at least FEWEST_MODELS of them.
        bills: of whoever receives the model, by hospital.
        most_false_alarms: probability of an alarm where all bills hold.
    """
    scores = {name: attack(shadows.sure, shadows.used) for name, attack in _ATTACKS.items()}
    most = most_false_alarms / (len(scores) * len(shadows.names))
    found = {}
    for place, name in enumerate(shadows.names):
        own = shadows.hospitals == place
        coins = shadows.used[:, own].T.ravel()
        results = {attack: _result(each[:, own].T.ravel(), coins, bills[name], most) for attack, each in scores.items()}
        found[name] = Membership(num_models=len(shadows.sure), num_records=int(own.sum()), attacks=results)
    return found


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


def _by_row(hospital: HospitalData, of_records: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return of_records if hospital.train_owners is None else of_records[hospital.train_owners]


def _half(federation: FederatedData, coins: Sequence[NDArray[np.bool_]]) -> FederatedData:
    """Return a federation without some records, whose test records are all training records."""
    hospitals = tuple(
        replace(each, left_out=~own, test_features=each.train_features, test_labels=each.train_labels)
        for each, own in zip(federation.hospitals, coins, strict=True)
    )
    return replace(federation, hospitals=hospitals)


def _sureness_of(settings: Config, federation: FederatedData) -> NDArray[np.float64]:
    """Return what the model of a run is sure of, of every training row, hospital by hospital."""
    num_rows = sum(len(each.test_labels) for each in federation.hospitals)
    seen: list[NDArray[np.float64]] = []

    def keep(values: NDArray[Any], labels: NDArray[Any]) -> float:
        if len(labels) == num_rows:  # of all hospitals, in their order, and not of one of them
            seen[:] = [sureness(values, labels)]
        return 0.0

    with tempfile.TemporaryDirectory() as folder:
        runs.run(
            settings,
            out=Path(folder) / "shadow",
            load=lambda *_: federation,
            metrics={"sureness": keep},
            is_synced=False,
        )
    return seen[0]


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
