"""What is spent at least, by what an audit has counted: of a twin's canaries, and of real records.

A pure function of counts and of what is billed, so that whoever has both computes it again. Left out on purpose: how
things came to be counted (see `readers` and `members`), and the bounds' proofs (see `bounds`).
"""

from dataclasses import replace
from functools import lru_cache

from wardround.audits.bounds import Guesses, epsilon_in_one_run, is_refuted, lowest_area
from wardround.audits.promises import Promise
from wardround.audits.records import AttackResult, ReaderAudit
from wardround.privacy.attackers import false_positive_rate, largest_area
from wardround.privacy.profiles import Profile

__all__ = ["bounded", "told_apart"]


def bounded(found: ReaderAudit, promise: Promise, too_large: float) -> ReaderAudit:
    """Return what a reader got with the lower bounds that follow from its counts and the area.

    A bound that chance alone may have carried over the bill is none: it is no larger unless the bill is refuted.

    Args:
        found: with the bill's epsilon.
        promise: of the bill.
        too_large: how often chance alone may make a bound too large, at most.
    """
    from scipy.special import ndtri

    area = (found.auc or 0.0, found.auc_error or 0.0, found.num_used, found.num_canaries - found.num_used)
    clearest = Guesses(
        num_canaries=found.num_canaries,
        num_guesses=found.num_clearest,
        num_correct=found.num_clearest_correct,
    )
    lowest = lowest_area(*area, too_large)
    lower, one_run, anything = (
        epsilon if found.is_refuted else min(epsilon, found.epsilon)
        for epsilon in _lower_bounds(lowest, clearest, promise, too_large)
    )
    return replace(
        found,
        epsilon_lower=lower,
        epsilon_lower_one_run=one_run,
        epsilon_lower_any=anything,
        mu_lower=max(0.0, 2**0.5 * float(ndtri(lowest))),
    )


@lru_cache(maxsize=4096)  # of numbers alone: hospitals that did the same have one twin and one promise
def _lower_bounds(lowest: float, clearest: Guesses, promise: Promise, too_large: float) -> tuple[float, float, float]:
    """Return epsilons that are spent at least, each assuming less than the one before (see `bounds`)."""

    def is_too_often_right(profile: Profile) -> bool:
        return is_refuted(clearest, lambda found: false_positive_rate(profile, found), too_large)

    return (
        promise.largest_refuted(lambda profile: lowest > largest_area(profile)),
        promise.largest_refuted(is_too_often_right),
        epsilon_in_one_run(clearest, promise.target_delta, too_large),
    )


def told_apart(found: AttackResult, epsilon: float, target_delta: float, too_large: float) -> AttackResult:
    """Return an attack's result with the lower bound that follows from its guesses, as in `bounded`."""
    guesses = Guesses(num_canaries=found.num_coins, num_guesses=found.num_guesses, num_correct=found.num_correct)
    lower = epsilon_in_one_run(guesses, target_delta, too_large)
    return replace(found, epsilon_lower=lower if found.is_refuted else min(lower, epsilon))
