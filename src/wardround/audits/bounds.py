"""Lower bounds from guesses: what an attack that was seen to succeed so often says against a promise.

An attacker guesses of each of m canaries whether it was used; a fair coin had decided for each by itself. A promise
bounds how often such guesses are right, so that guesses which are right more often refute it. Three ways are here,
which assume ever less: that canaries are hit or missed independently of each other (`lowest_area`); that promises have
a known shape, whatever canaries have to do with each other (`is_refuted`); and nothing but epsilon and delta
(`epsilon_in_one_run`). The less is assumed, the lower the bound.

A lower bound of 0 says that this attack found nothing, never that there is nothing to be found. What is left out on
purpose: the attack (see `canaries`, `membership`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wardround.server.record.intervals import least_area

__all__ = [
    "Guesses",
    "epsilon_in_one_run",
    "highest_share",
    "is_refuted",
    "lowest_area",
    "lowest_share",
    "one_run_p_value",
]

_MOST_EPSILON, _EPSILON_TOLERANCE = 200.0, 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """How often an attacker was right.

    Attributes:
        num_canaries: of which a coin decided whether each was used (>= 1).
        num_guesses: of how many it guessed; of the others it said nothing.
        num_correct: how many of these guesses were right.
    """

    num_canaries: int
    num_guesses: int
    num_correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.num_correct <= self.num_guesses <= self.num_canaries or self.num_canaries < 1:
            raise ValueError(
                f"of {self.num_canaries} canaries {self.num_guesses} guesses and {self.num_correct} right ones: each "
                "must be >= 0 and at most the one before"
            )


def lowest_share(num_right: int, number: int, significance: float) -> float:
    """Return the smallest probability that so many of a number of independent trials leave possible.

    >>> round(lowest_share(640, 1000, 0.05), 4)
    0.6142

    The bound is one-sided: it is above the probability in a share of at most `significance` of all cases.

    Source: Clopper, Pearson 1934.
    """
    from scipy.special import betaincinv

    return float(betaincinv(num_right, number - num_right + 1, significance)) if num_right else 0.0


def highest_share(num_right: int, number: int, significance: float) -> float:
    """Return the largest probability that so many of a number of independent trials leave possible."""
    return 1 - lowest_share(number - num_right, number, significance)


def lowest_area(area: float, error: float, num_used: int, num_unused: int, significance: float) -> float:
    """Return the smallest area under the ROC curve that scores of independent canaries leave possible.

    It is how often a canary that was used stands above one that was not. Who is given one of each and is to tell which
    is right no more often than the area under the promise's own curve (see `privacy.attackers.largest_area`), whatever
    the score is made of. Every canary's score counts, where a share of right guesses counts on which side of a
    threshold it is: of 1,000 Gaussian scores of mu 0.35 to 1.5 the area's mu has 0.81 to 0.83 of the standard error of
    the guesses', and 1.01 to 1.02 of that of the scores' means and deviations (arXiv 2606.12733), which have to be
    Gaussian for it.

    It is the lower of two ends: DeLong's through the logit, with as many degrees of freedom as the smaller side leaves,
    and Newcombe's, whose variance is of the area that is asked about. Both take areas to be nearly normal.

    Args:
        area: that was seen, in [0, 1].
        error: DeLong's standard error of it (>= 0).
        num_used: canaries that were used.
        num_unused: that were not; with fewer than two of either nothing is shown.
        significance: probability, in (0, 0.5), that the bound is above the area, at most.

    Source: DeLong, DeLong and Clarke-Pearson 1988; Newcombe 2006, Statistics in Medicine 25, pages 559 to 573.
    """
    from scipy.special import expit, logit, ndtri, stdtrit

    fewest, number = min(num_used, num_unused), num_used + num_unused
    if fewest < 2 or area <= 0.5:
        return 0.0
    low = least_area(area, fewest, number, -float(ndtri(significance)))
    if area == 1:
        return low
    away = float(stdtrit(fewest - 1, significance)) * error / (area * (1 - area))
    return min(low, float(expit(logit(area) + away)))


def one_run_p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Return how likely so many right guesses are at most, where the promise holds, whatever canaries share.

    With W right ones of r guesses where each is right with probability e^epsilon / (1 + e^epsilon), by itself, they
    are at least v with probability at most P[W >= v] + 2 m delta max_i (P[W >= v - i] - P[W >= v]) / i.

    Source: Steinke, Nasr, Jagielski 2023 (arXiv 2305.08846), theorem 5.2.
    """
    from scipy.special import expit
    from scipy.stats import binom

    of_right = binom(guesses.num_guesses, expit(epsilon))
    least = float(of_right.sf(guesses.num_correct - 1))
    fewer = np.arange(1, guesses.num_correct + 1)
    growth = (of_right.sf(guesses.num_correct - fewer - 1) - least) / fewer
    return min(1.0, least + 2 * guesses.num_canaries * delta * float(growth.max(initial=0.0)))


def epsilon_in_one_run(guesses: Guesses, delta: float, significance: float) -> float:
    """Return the epsilon below which no promise with this delta is left; nothing else is assumed."""

    def refutes(epsilon: float) -> bool:
        return one_run_p_value(guesses, epsilon, delta) <= significance

    return _largest(refutes, _MOST_EPSILON, _EPSILON_TOLERANCE)


def is_refuted(guesses: Guesses, false_rate_of: Callable[[float], float], significance: float) -> bool:
    """Return whether a promise is refuted that bounds true-positive rates by false-positive ones, whatever is shared.

    Let f(x) be the most true positives at a false-positive rate of x, and p_i the probability of i right guesses. Of
    one canary and any set T of numbers of right guesses among the others, "right, and T" has at most f of the
    probability of "wrong, and T", since what is known of the others is a function of the release and of their coins; f
    is concave, so that the same holds for averages over canaries. With T = {k - 1, ...} and c guesses of m canaries

        r_k = sum_{i >= k} i p_i / m  <=  f(h_{k-1}),    h_k = sum_{i >= k} (c - i) p_i / m.

    Were at least v right with probability `significance`, then r_v and h_v have at least that much; every p_{k-1}
    below is as small as the inequality lets it be; and r_0 + h_0 must not be above c / m, which is what it is.

    Args:
        guesses: what was seen.
        false_rate_of: the smallest x with f(x) >= r, for r in [0, 1]: rising.
        significance: probability with which a promise that holds is refuted, at most.

    Source: Mahloujifar, Melis, Chaudhuri 2024 (arXiv 2410.22235), theorem 3.2 and algorithm 3.
    """
    number, total = guesses.num_canaries, guesses.num_guesses
    right = significance * guesses.num_correct / number
    wrong = significance * (total - guesses.num_correct) / number
    for fewer in range(guesses.num_correct - 1, -1, -1):
        least = max(wrong, false_rate_of(min(right, 1.0)))
        if least == wrong:
            break  # what follows can't move either
        right += fewer / (total - fewer) * (least - wrong)
        wrong = least
        if right + wrong > total / number:
            return True
    return right + wrong > total / number


def _largest(refutes: Callable[[float], bool], most: float, tolerance: float) -> float:
    """Return the largest number that is refuted, as all below it are, down to a tolerance; 0 where none is."""
    if not refutes(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refutes(high):
        low, high = high, 2 * high
        if high > most:
            return low
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if refutes(middle) else (low, middle)
    return low
