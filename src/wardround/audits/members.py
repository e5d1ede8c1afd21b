"""What whoever receives a run's model tells of real records: attacks on models, with others as their shadows.

Half of the models are shadows, which chose nothing of what they are compared with: whatever is made of them, a model
that is attacked, its noise and the coins of its patients are as though they had never been. All models that are
attacked are one release, of which every coin is of one patient in one model; what is seen of many guesses is held
against the bill by bounds for one run, which hold whatever guesses share (see `bounds.is_refuted`). Nothing is shown
where the bill is of hospitals whose update is there or not: what one record changes in it, it does not say.

Left out on purpose: how models are trained (see `shadows`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wardround.audits.bounds import is_refuted as refutes
from wardround.audits.lower_bounds import told_apart
from wardround.audits.membership import lira, log_likelihoods, rmia
from wardround.audits.readers import Bill, Levels, rates_found
from wardround.audits.records import CONFIDENCE, AttackResult, Membership
from wardround.audits.scores import allowed_at, guesses_of, rate_over_models, roc_points
from wardround.audits.shadows import Shadows
from wardround.privacy.attackers import false_positive_rate
from wardround.scores import macro_auc

__all__ = ["attack_models"]

_CLEAREST = 0.5
"""Share of coins that are guessed: fixed before anything is seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scored:
    """Scores of models that were attacked, above 0 where more speaks for a patient's use, and coins.

    Attributes:
        scores: (models, patients).
        used: (models, patients).
        hospitals: (patients,) places.
    """

    scores: NDArray[np.float64]
    used: NDArray[np.bool_]
    hospitals: NDArray[np.int64]


def attack_models(
    models: Shadows, mislabelled: Shadows | None, bills: Mapping[str, Bill], most_false_alarms: float
) -> dict[str, Membership]:
    """Return by hospital what attacks on the second half of the models get, with the first as shadows.

    Args:
        models: at least FEWEST_MODELS of them.
        mislabelled: of `shadows.mislabel`; None where labels are no classes.
        bills: of whoever receives the model, by hospital; none where they are not of what one record changes.
        most_false_alarms: probability of an alarm where all bills hold.
    """
    attacks = _attacks(models)
    if mislabelled is not None:
        attacks["mislabelled"] = _changes(mislabelled)
    num_tests = len(attacks) * len(models.names)
    levels = Levels(false_alarm=most_false_alarms / num_tests, too_large=(1 - CONFIDENCE) / num_tests)
    return {
        name: Membership(
            num_models=len(models.sure),
            num_attacked=len(attacks["lira"].scores),
            num_records=int((models.hospitals == place).sum()),
            level=levels.too_large,
            attacks={
                attack: _result(scored, place, bills.get(name), levels)
                for attack, scored in attacks.items()
                if (scored.hospitals == place).any()
            },
        )
        for place, name in enumerate(models.names)
    }


def _attacks(models: Shadows) -> dict[str, _Scored]:
    num_shadows = len(models.sure) // 2
    shadows, used = models.sure[:num_shadows], models.used[:num_shadows]
    sure, coins = models.sure[num_shadows:], models.used[num_shadows:]
    ours, theirs = (log_likelihoods(each, shadows, has_classes=models.has_classes) for each in (sure, shadows))
    return {
        name: _Scored(scores=scores, used=coins, hospitals=models.hospitals)
        for name, scores in (("lira", lira(sure, shadows, used)), ("rmia", rmia(ours, theirs, used)))
    }


def _changes(mislabelled: Shadows) -> _Scored:
    """Return how much surer a model became of canaries than of the middle one of their hospital."""
    scores = mislabelled.sure.copy()
    for place in np.unique(mislabelled.hospitals):
        own = mislabelled.hospitals == place
        scores[:, own] -= np.median(scores[:, own])
    return _Scored(scores=scores, used=mislabelled.used, hospitals=mislabelled.hospitals)


def _result(scored: _Scored, place: int, bill: Bill | None, levels: Levels) -> AttackResult:
    own = scored.hospitals == place
    scores, coins = scored.scores[:, own], scored.used[:, own]
    guesses = guesses_of(scores.ravel(), coins.ravel(), _CLEAREST)
    is_refuted = bill is not None and refutes(guesses, partial(false_positive_rate, bill.profile), levels.false_alarm)
    flat = scores.ravel()
    roc = roc_points(flat, coins.ravel())
    found = AttackResult(
        auc=macro_auc(np.stack([-flat, flat], axis=1), coins.ravel().astype(np.int64)),
        num_coins=guesses.num_canaries,
        num_guesses=guesses.num_guesses,
        num_correct=guesses.num_correct,
        found=rates_found(*(rate_over_models(scores, coins, rate) for rate in (0.01, 0.001))),
        epsilon_lower=None,
        is_refuted=is_refuted,
        roc=roc,
        roc_most=None if bill is None else allowed_at(roc, bill.profile),
    )
    if bill is None:
        return found
    return told_apart(found, bill.epsilon, bill.promise.target_delta, levels.too_large)
