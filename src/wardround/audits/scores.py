"""How far what was seen speaks for each canary, and what an attacker makes of it: guesses, and rates at a threshold.

Left out on purpose: what follows from guesses (see `bounds`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.audits.bounds import Guesses, highest_share, lowest_share

__all__ = ["Rate", "guesses_of", "log_ratios", "measured_noise", "rate_at", "share_of"]

_FloatArray = NDArray[np.float64]
_LEAST_STDDEV = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Shares of canaries of which it is said that they were used, at a threshold that other canaries chose.

    Attributes:
        found: of those that were used, in [0, 1].
        found_interval: 95 % interval of Clopper and Pearson.
        accused: of those that were not.
        accused_interval: likewise.
        counts: found, used, accused and not used, as numbers.
    """

    found: float
    found_interval: tuple[float, float]
    accused: float
    accused_interval: tuple[float, float]
    counts: tuple[int, int, int, int]


def log_ratios(seen: _FloatArray, *, stddev: float, num_steps: int, sample_rate: float, unused: float) -> _FloatArray:
    """Return the logarithm of the likelihood ratio that each canary was used to that it was not, (canaries,).

    In a round a canary is drawn K times of `num_steps`, each time with probability `sample_rate`; then its coordinate
    shows K times where it pulls, 1 or `unused`, and Gaussian noise. Rounds are independent. No test is better at any
    false-positive rate (Neyman and Pearson 1933).

    Args:
        seen: (rounds, canaries), in what a canary moves its coordinate by whenever it is drawn.
        stddev: of the noise of a round, in the same unit (>= 0).
        num_steps: of a round (>= 1).
        sample_rate: in (0, 1].
        unused: where a canary pulls that is not used.
    """
    from scipy.special import logsumexp
    from scipy.stats import binom

    drawn = np.arange(num_steps + 1)
    weights = binom.logpmf(drawn, num_steps, sample_rate)
    spread = max(stddev, _LEAST_STDDEV)

    def likelihood(pull: float) -> _FloatArray:
        apart = (seen[:, :, None] - pull * drawn) / spread
        return np.asarray(logsumexp(weights - apart**2 / 2, axis=2))

    return np.asarray((likelihood(1.0) - likelihood(unused)).sum(axis=0))


def guesses_of(scores: _FloatArray, coins: NDArray[np.bool_], share: float = 1.0) -> Guesses:
    """Return how often an attacker is right who guesses a share of the canaries, those with the clearest scores.

    Args:
        scores: (canaries,) above 0 where more speaks for a canary's use than against it.
        coins: (canaries,) whether each was used.
        share: in (0, 1].
    """
    number = max(1, round(share * len(scores)))
    clearest = np.argsort(-np.abs(scores), kind="stable")[:number]
    right = (scores[clearest] > 0) == coins[clearest]
    return Guesses(num_canaries=len(scores), num_guesses=number, num_correct=int(right.sum()))


def rate_at(scores: _FloatArray, coins: NDArray[np.bool_], false_positive_rate: float) -> Rate:
    """Return what a threshold finds that accuses at most such a share wrongly of every other canary, of the rest.

    It is the smallest that does so among the canaries at even places, and is tried on those at odd ones.

    Args:
        scores: (canaries,) the higher, the more speaks for a canary's use.
        coins: (canaries,) whether each was used.
        false_positive_rate: in (0, 1).
    """
    choosing, trying = slice(0, None, 2), slice(1, None, 2)
    unused = np.sort(scores[choosing][~coins[choosing]])[::-1]
    allowed = int(false_positive_rate * len(unused))
    threshold = unused[allowed] if allowed < len(unused) else -np.inf
    said, used = scores[trying] > threshold, coins[trying]
    counts = int((said & used).sum()), int(used.sum()), int((said & ~used).sum()), int((~used).sum())
    (found, found_interval), (accused, accused_interval) = share_of(*counts[:2]), share_of(*counts[2:])
    return Rate(
        found=found,
        found_interval=found_interval,
        accused=accused,
        accused_interval=accused_interval,
        counts=counts,
    )


def measured_noise(
    seen: _FloatArray, coins: NDArray[np.bool_], stddev: float
) -> tuple[float, tuple[float, float]] | None:
    """Return the noise seen at the coordinates of canaries that were not used, relative to what is billed.

    Returns:
        The ratio of standard deviations, and its 99.9 % interval if noise is Gaussian and independent; None where no
        noise is billed or every canary was used.
    """
    from scipy.stats import chi2

    alone = seen[:, ~coins]
    if not alone.size or stddev <= 0:
        return None
    total, number = float((alone**2).sum()) / stddev**2, alone.size
    low, high = (total / float(chi2.ppf(level, number)) for level in (0.9995, 0.0005))
    return (total / number) ** 0.5, (low**0.5, high**0.5)


def share_of(part: int, whole: int) -> tuple[float, tuple[float, float]]:
    """Return a share and its 95 % interval of Clopper and Pearson; nan and (0, 1) of nothing."""
    if not whole:
        return float("nan"), (0.0, 1.0)
    return part / whole, (lowest_share(part, whole, 0.025), highest_share(part, whole, 0.025))
