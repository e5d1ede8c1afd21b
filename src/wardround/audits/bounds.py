"""Lower bounds from guesses: what an attack that was seen to succeed so often says against a promise.

An attacker guesses of each of m canaries whether it was used; a fair coin had decided for each by itself. A promise
bounds how often such guesses are right, so that guesses which are right more often refute it. Three ways are here,
which assume ever less: that canaries are hit or missed independently of each other (`mu_if_independent`); that promises
have the shape of a Gaussian's, whatever canaries have to do with each other (`mu_in_one_run`); and nothing but epsilon
and delta (`epsilon_in_one_run`). The less is assumed, the lower the bound.

A lower bound of 0 says that this attack found nothing, never that there is nothing to be found. What is left out on
purpose: the attack (see `canaries`, `membership`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Guesses",
    "epsilon_in_one_run",
    "highest_share",
    "is_refuted",
    "lowest_share",
    "mu_if_independent",
    "mu_in_one_run",
    "one_run_p_value",
]

_MOST_MU, _MU_TOLERANCE = 40.0, 1e-4
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


def mu_if_independent(guesses: Guesses, significance: float) -> float:
    """Return the mu below which no Gaussian promise is left, where canaries are hit independently of each other.

    Who tells N(0, 1) from N(mu, 1), each having the same chance, is right with probability Phi(mu / 2) at most: a
    mu-Gaussian promise allows no more, and what is seen bounds the probability from below.

    >>> round(mu_if_independent(Guesses(num_canaries=1000, num_guesses=1000, num_correct=640), 0.05), 3)
    0.581

    Canaries are independent where each has coordinates of its own, noise is independent by coordinate, and everybody
    is sampled independently, as is billed. Whether the noise is as large as it is billed is
    measured beside (see `scores.measured_noise`).

    Source: Dong, Roth, Su 2019 (arXiv 1905.02383), equation 6; Nasr et al. 2023 (arXiv 2302.07956) audit by it.
    """
    from scipy.special import ndtri

    share = lowest_share(guesses.num_correct, guesses.num_guesses, significance)
    return max(0.0, float(2 * ndtri(share)))


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


def mu_in_one_run(guesses: Guesses, significance: float) -> float:
    """Return the mu below which no Gaussian promise is left, whatever canaries have to do with each other."""
    from scipy.special import ndtr, ndtri

    def refutes(mu: float) -> bool:
        return is_refuted(guesses, lambda rate: float(ndtr(ndtri(rate) - mu)), significance)

    return _largest(refutes, _MOST_MU, _MU_TOLERANCE)


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
