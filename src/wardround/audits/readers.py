"""What a reader of a run gets of its twin, beside what the bill allows it.

Left out on purpose: what it saw (see `canaries`), and how all readers of all hospitals become one audit (see `audit`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.audits.bounds import (
    Guesses,
    epsilon_in_one_run,
    highest_share,
    mu_if_independent,
    mu_in_one_run,
)
from wardround.audits.canaries import Mechanism, Twin
from wardround.audits.records import CONFIDENCE, ReaderAudit
from wardround.audits.scores import Rate, guesses_of, log_ratios, measured_noise, rate_at, share_of
from wardround.privacy.accounting import headline_profile
from wardround.privacy.attackers import Attacker, attacker_of, true_positive_rates
from wardround.privacy.cells import READERS, Cell
from wardround.privacy.profiles import Profile, gaussian_epsilon
from wardround.privacy.spending import Account

__all__ = ["Bill", "Seen", "bills_of", "got", "seen_by"]

_CLEAREST = 0.1
"""Share of the canaries that an attacker guesses where canaries may share anything: fixed before anything is seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bill:
    """What a bill allows a reader: an epsilon at a delta, an attacker's figures, and what they follow from."""

    epsilon: float
    target_delta: float
    attacker: Attacker
    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What a reader saw of a twin.

    Attributes:
        coins: (canaries,) whether each was used.
        scores: (canaries,) log-likelihood ratios for use.
        noise: measured at canaries that were not used, with its interval; None where it can't be measured.
    """

    coins: NDArray[np.bool_]
    scores: NDArray[np.float64]
    noise: tuple[float, tuple[float, float]] | None


def bills_of(account: Account) -> dict[str, dict[str, Bill]]:
    """Return by hospital and reader what is allowed, for a patient in that hospital alone."""
    bills: dict[str, dict[str, Bill]] = {name: {} for name in account.places}
    for reader in READERS:
        against = account.against(reader)
        epsilons, events = against.headline_epsilons(), against.events
        for name, delta in account.target_deltas.items():
            profile = headline_profile(events[name], delta)
            attacker = attacker_of(profile, delta)
            bills[name][reader] = Bill(epsilon=epsilons[name], target_delta=delta, attacker=attacker, profile=profile)
    return bills


def seen_by(twin: Twin, mechanism: Mechanism, cell: Cell) -> dict[str, Seen | None]:
    """Return what each reader sees; None of one that sees everything without noise.

    Another hospital knows its own share of the noise, which is not taken out here: what it gets is under-stated.
    """

    def seen(shown: NDArray[np.float64], stddev: float) -> Seen:
        scores = log_ratios(
            shown,
            stddev=stddev,
            num_steps=mechanism.num_steps,
            sample_rate=mechanism.sample_rate,
            unused=twin.unused,
        )
        noise = None if twin.unused else measured_noise(shown, twin.coins, stddev)
        return Seen(coins=twin.coins, scores=scores, noise=noise)

    released = seen(twin.released, twin.released_stddev)
    own = released if twin.own is None else seen(twin.own, twin.own_stddev)
    views = {"server": own, "hospital": released, "recipient": released}
    return {reader: view if cell.noise_against(reader, 1.0, 2) else None for reader, view in views.items()}


def got(seen: Seen | None, bill: Bill, most_false_alarms: float) -> ReaderAudit:
    """Return what a reader got, beside what it may get.

    A bound that chance alone may have carried over the bill is none: it is no larger unless the bill is refuted, which
    happens to one that holds with a probability of `most_false_alarms` at most.
    """
    if seen is None:
        return ReaderAudit(epsilon=bill.epsilon, epsilon_lower=None)
    most = bill.attacker.figures
    guesses = guesses_of(seen.scores, seen.coins)
    right, right_interval = share_of(guesses.num_correct, guesses.num_guesses)
    one_percent, tenth = rate_at(seen.scores, seen.coins, 0.01), rate_at(seen.scores, seen.coins, 0.001)
    is_refuted = _is_refuted(guesses, one_percent, bill, most_false_alarms)
    lower, one_run, anything = (
        epsilon if is_refuted else min(epsilon, bill.epsilon) for epsilon in _lower_bounds(seen, bill.target_delta)
    )
    return ReaderAudit(
        epsilon=bill.epsilon,
        epsilon_lower=lower,
        epsilon_lower_one_run=one_run,
        epsilon_lower_any=anything,
        mu_lower=mu_if_independent(guesses, 1 - CONFIDENCE),
        mu=bill.attacker.nearest_mu,
        num_canaries=guesses.num_canaries,
        num_correct=guesses.num_correct,
        coin_toss_accuracy=right,
        coin_toss_interval=right_interval,
        coin_toss_most=most.coin_toss_accuracy,
        tpr_at_fpr_1_percent=one_percent.found,
        tpr_at_fpr_1_percent_interval=one_percent.found_interval,
        tpr_at_fpr_1_percent_most=most.tpr_at_fpr_1_percent,
        tpr_at_fpr_01_percent=tenth.found,
        tpr_at_fpr_01_percent_interval=tenth.found_interval,
        tpr_at_fpr_01_percent_most=most.tpr_at_fpr_01_percent,
        noise=seen.noise[0] if seen.noise else None,
        noise_interval=seen.noise[1] if seen.noise else None,
        is_refuted=is_refuted,
    )


def _is_refuted(guesses: Guesses, rate: Rate, bill: Bill, most_false_alarms: float) -> bool:
    """Return whether right guesses, or used canaries that are found, are more than the bill allows, beyond chance.

    Both are of independent canaries. The first have the accuracy that the bill allows at most. The second are found at
    most as often as it allows at a false-positive rate, for which stands the largest one that those who were falsely
    accused leave possible. Each may raise a false alarm in half of the cases.
    """
    from scipy.stats import binom

    half = most_false_alarms / 2
    if binom.sf(guesses.num_correct - 1, guesses.num_guesses, bill.attacker.figures.coin_toss_accuracy) < half:
        return True
    found, used, accused, unused = rate.counts
    if not (used and unused):
        return False
    allowed = true_positive_rates(bill.profile, np.array([highest_share(accused, unused, half / 2)]))[0]
    return bool(binom.sf(found - 1, used, allowed) < half / 2)


def _lower_bounds(seen: Seen, target_delta: float) -> tuple[float, float, float]:
    """Return epsilons that are spent at least, each assuming less than the one before (see `bounds`)."""
    alpha, clearest = 1 - CONFIDENCE, guesses_of(seen.scores, seen.coins, _CLEAREST)
    return (
        gaussian_epsilon(mu_if_independent(guesses_of(seen.scores, seen.coins), alpha), target_delta),
        gaussian_epsilon(mu_in_one_run(clearest, alpha), target_delta),
        epsilon_in_one_run(clearest, target_delta, alpha),
    )
