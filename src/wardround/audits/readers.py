"""What a reader of a run gets of its twin, beside what the bill allows it.

Left out on purpose: what it saw (see `canaries`), and how all readers of all hospitals become one audit (see `audit`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.audits.bounds import Guesses, highest_share
from wardround.audits.canaries import Mechanism, Twin
from wardround.audits.lower_bounds import bounded
from wardround.audits.promises import Promise
from wardround.audits.records import FoundRates, ReaderAudit
from wardround.audits.scores import (
    Noise,
    Rate,
    allowed_at,
    area_of,
    guesses_of,
    log_ratios,
    measured_noise,
    rate_at,
    roc_points,
    share_of,
)
from wardround.privacy.attackers import Attacker, attacker_of, true_positive_rates
from wardround.privacy.cells import READERS, Cell
from wardround.privacy.profiles import Profile
from wardround.privacy.spending import Account

__all__ = ["Bill", "Levels", "Seen", "bills_of", "got", "rates_found", "seen_by"]

_CLEAREST = 0.1
"""Share of the canaries that an attacker guesses where canaries may share anything: fixed before anything is seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bill:
    """What a reader may get: a promise, and its epsilon, its profile and an attacker's figures."""

    promise: Promise
    epsilon: float
    profile: Profile
    attacker: Attacker


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """How often chance alone may say too much of one view of one twin.

    Attributes:
        false_alarm: that a bill which holds raises an alarm, at most.
        too_large: that a lower bound is too large, at most.
    """

    false_alarm: float
    too_large: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What a reader saw of a twin.

    Attributes:
        coins: (canaries,) whether each was used.
        scores: (canaries,) log-likelihood ratios for use.
        noise: measured at canaries that were not used; None where it can't be measured.
    """

    coins: NDArray[np.bool_]
    scores: NDArray[np.float64]
    noise: Noise | None


def bills_of(account: Account) -> dict[str, dict[str, Bill]]:
    """Return by hospital and reader what is allowed, for a patient in that hospital alone."""
    bills: dict[str, dict[str, Bill]] = {name: {} for name in account.places}
    for reader in READERS:
        against = account.against(reader)
        epsilons, events = against.headline_epsilons(), against.events
        for name, delta in account.target_deltas.items():
            promise = Promise(events=events[name], target_delta=delta)
            profile = promise.profile
            attacker = attacker_of(profile, delta)
            bills[name][reader] = Bill(promise=promise, epsilon=epsilons[name], profile=profile, attacker=attacker)
    return bills


def seen_by(twin: Twin, mechanism: Mechanism, cell: Cell) -> dict[str, Seen | None]:
    """Return what each reader sees; None of one that sees everything without noise.

    Another hospital knows its own share of the noise, which is not taken out here: what it gets is under-stated.
    """

    def seen(shown: NDArray[np.float64], stddev: NDArray[np.float64]) -> Seen:
        scores = log_ratios(
            shown,
            stddev=stddev,
            num_steps=mechanism.num_steps,
            sample_rate=mechanism.sample_rate,
            unused=twin.unused,
        )
        # What a canary that is not used adds is known where it is drawn whenever it can be.
        is_known = not twin.unused or mechanism.sample_rate == 1
        noise = measured_noise(shown - twin.unused * mechanism.num_steps, twin.coins, stddev) if is_known else None
        return Seen(coins=twin.coins, scores=scores, noise=noise)

    released = seen(twin.released, twin.released_stddev)
    own = released if twin.own is None else seen(twin.own, twin.own_stddev)
    views = {"server": own, "hospital": released, "recipient": released}
    return {reader: view if cell.noise_against(reader, 1.0, 2) else None for reader, view in views.items()}


def got(seen: Seen | None, bill: Bill, levels: Levels) -> ReaderAudit:
    """Return what a reader got, beside what it may get."""
    if seen is None:
        return ReaderAudit(epsilon=bill.epsilon, epsilon_lower=None)
    guesses, clearest = (guesses_of(seen.scores, seen.coins, share) for share in (1.0, _CLEAREST))
    area = area_of(seen.scores, seen.coins)
    right, right_interval = share_of(guesses.num_correct, guesses.num_guesses)
    one_percent, tenth = rate_at(seen.scores, seen.coins, 0.01), rate_at(seen.scores, seen.coins, 0.001)
    roc = roc_points(seen.scores, seen.coins)
    # Guesses, canaries that are found, and noise may each raise a false alarm in a third of the cases.
    third = levels.false_alarm / 3
    found = ReaderAudit(
        epsilon=bill.epsilon,
        epsilon_lower=0.0,
        mu=bill.attacker.nearest_mu,
        num_canaries=guesses.num_canaries,
        num_correct=guesses.num_correct,
        num_used=area.num_used,
        auc=area.area,
        auc_error=area.error,
        num_clearest=clearest.num_guesses,
        num_clearest_correct=clearest.num_correct,
        coin_toss_accuracy=right,
        coin_toss_interval=right_interval,
        coin_toss_most=bill.attacker.figures.coin_toss_accuracy,
        found=rates_found(one_percent, tenth),
        tpr_at_fpr_1_percent_most=bill.attacker.figures.tpr_at_fpr_1_percent,
        tpr_at_fpr_01_percent_most=bill.attacker.figures.tpr_at_fpr_01_percent,
        noise=None if seen.noise is None else seen.noise.ratio,
        noise_interval=None if seen.noise is None else seen.noise.interval,
        is_noise_low=seen.noise is not None and seen.noise.chance < third,
        is_refuted=_is_refuted(guesses, one_percent, bill, third),
        roc=roc,
        roc_most=allowed_at(roc, bill.profile),
    )
    return bounded(found, bill.promise, levels.too_large)


def rates_found(one_percent: Rate | None, tenth: Rate | None) -> FoundRates:
    """Return what is reported of thresholds of 1 % and 0.1 %."""
    found, found_interval, accused, accused_interval = _told(one_percent)
    at_tenth = _told(tenth)
    return FoundRates(
        tpr_at_fpr_1_percent=found,
        tpr_at_fpr_1_percent_interval=found_interval,
        measured_fpr_1_percent=accused,
        measured_fpr_1_percent_interval=accused_interval,
        tpr_at_fpr_01_percent=at_tenth[0],
        tpr_at_fpr_01_percent_interval=at_tenth[1],
        measured_fpr_01_percent=at_tenth[2],
        measured_fpr_01_percent_interval=at_tenth[3],
    )


_Interval = tuple[float, float]


def _told(rate: Rate | None) -> tuple[float | None, _Interval | None, float | None, _Interval | None]:
    if rate is None:
        return None, None, None, None
    return rate.found, rate.found_interval, rate.accused, rate.accused_interval


def _is_refuted(guesses: Guesses, rate: Rate | None, bill: Bill, most_false_alarms: float) -> bool:
    """Return whether right guesses, or used canaries that are found, are more than the bill allows, beyond chance.

    Both are of independent canaries, and each may raise a false alarm with the probability. The first have the accuracy
    that the bill allows at most. The second are found at most as often as it allows at a false-positive rate, for which
    stands the largest one that those who were falsely accused leave possible.
    """
    from scipy.stats import binom

    allowed = bill.attacker.figures.coin_toss_accuracy
    if binom.sf(guesses.num_correct - 1, guesses.num_guesses, allowed) < most_false_alarms:
        return True
    if rate is None:
        return False
    found, used, accused, unused = rate.counts
    most = np.array([highest_share(accused, unused, most_false_alarms / 2)])
    return bool(binom.sf(found - 1, used, true_positive_rates(bill.profile, most)[0]) < most_false_alarms / 2)
