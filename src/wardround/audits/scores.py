"""How far what was seen speaks for each canary, and what an attacker makes of it: guesses, and rates at a threshold.

Left out on purpose: what follows from guesses (see `bounds`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.audits.bounds import Guesses, highest_share, lowest_share
from wardround.privacy.attackers import true_positive_rates
from wardround.privacy.profiles import Profile
from wardround.scores import auc_parts

__all__ = [
    "Area",
    "Noise",
    "Rate",
    "allowed_at",
    "area_of",
    "guesses_of",
    "log_ratios",
    "measured_noise",
    "rate_at",
    "rate_over_models",
    "roc_points",
    "share_of",
]

_FloatArray = NDArray[np.float64]
_LEAST_STDDEV = 1e-9
_ROUNDED = 1.1
"""A threshold of a rate up to so many times what was asked for still goes by its name."""
_ROC_RATES = np.concatenate([[0.0], np.logspace(-3, 0, 22)])
"""False-positive rates of a ROC curve's points, 7 a decade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Shares of canaries of which it is said that they were used, at a threshold that other canaries chose.

    Attributes:
        found: of those that were used, in [0, 1].
        found_interval: its 95 % interval.
        accused: of those that were not.
        accused_interval: likewise.
        counts: found, used, accused and not used, as numbers.
    """

    found: float
    found_interval: tuple[float, float]
    accused: float
    accused_interval: tuple[float, float]
    counts: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """How often a canary that was used stands above one that was not.

    Attributes:
        area: in [0, 1]; 0.5 where there is no canary of either kind.
        error: DeLong's standard error of it.
        num_used: canaries that were used.
    """

    area: float
    error: float
    num_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Noise that was measured, as a share of what is billed, of standard deviations.

    Attributes:
        ratio: of the two.
        interval: its 99.9 % interval, if noise is Gaussian and independent.
        chance: that so little is measured where there is as much as is billed.
    """

    ratio: float
    interval: tuple[float, float]
    chance: float


def log_ratios(
    seen: _FloatArray, *, stddev: float | _FloatArray, num_steps: int, sample_rate: float, unused: float
) -> _FloatArray:
    """Return the logarithm of the likelihood ratio that each canary was used to that it was not, (canaries,).

    In a round a canary is drawn K times of `num_steps`, each time with probability `sample_rate`; then its coordinate
    shows K times where it pulls, 1 or `unused`, and Gaussian noise. Rounds are independent. No test is better at any
    false-positive rate (Neyman and Pearson 1933).

    Args:
        seen: (rounds, canaries), in what a canary moves its coordinate by whenever it is drawn.
        stddev: of the noise of every round, or of each, (rounds,), in the same unit (>= 0).
        num_steps: of a round (>= 1).
        sample_rate: in (0, 1].
        unused: where a canary pulls that is not used.
    """
    from scipy.special import logsumexp
    from scipy.stats import binom

    drawn = np.arange(num_steps + 1)
    weights = binom.logpmf(drawn, num_steps, sample_rate)
    spreads = np.broadcast_to(np.maximum(stddev, _LEAST_STDDEV), len(seen))

    def likelihood(shown: _FloatArray, pull: float, spread: float) -> _FloatArray:
        apart = (shown[:, None] - pull * drawn) / spread
        return np.asarray(logsumexp(weights - apart**2 / 2, axis=1))

    scores = np.zeros(seen.shape[1])
    for shown, spread in zip(seen, spreads.tolist(), strict=True):  # all rounds at once may be more than memory holds
        scores += likelihood(shown, 1.0, spread) - likelihood(shown, unused, spread)
    return scores


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


def area_of(scores: _FloatArray, coins: NDArray[np.bool_]) -> Area:
    """Return the area under the ROC curve of scores (canaries,), the higher, the more speaks for a canary's use."""
    num_used = int(coins.sum())
    if not 0 < num_used < len(coins):
        return Area(area=0.5, error=0.0, num_used=num_used)
    (area,), parts, _ = auc_parts(scores[:, None], (~coins).astype(np.int64), [len(scores)])
    return Area(area=float(area), error=float(np.linalg.norm(parts)) / len(scores), num_used=num_used)


def rate_at(scores: _FloatArray, coins: NDArray[np.bool_], false_positive_rate: float) -> Rate | None:
    """Return what a threshold finds that accuses such a share of the others falsely; None where too few choose it.

    Canaries at even places choose it, and it is tried on those at odd ones. Above the k-th largest of n scores of
    canaries that were not used another such score stands with probability k / (n + 1), which is to be at most the rate;
    the largest of all serves where that is nearly so.

    Args:
        scores: (canaries,) the higher, the more speaks for a canary's use.
        coins: (canaries,) whether each was used.
        false_positive_rate: in (0, 1).
    """
    counts = _counts(scores[None], coins[None], false_positive_rate)
    if counts is None:
        return None
    parts = counts.sum(axis=1).tolist()
    return _rate(parts, share_of(*parts[:2])[1], share_of(*parts[2:])[1])


def rate_over_models(scores: _FloatArray, coins: NDArray[np.bool_], false_positive_rate: float) -> Rate | None:
    """Return the same of (models, records), all of a record at one place; None of one model, which is no sample.

    Records of one model share its noise: an interval is the wider, at either end, of that of independent records and
    of Student's over models.
    """
    counts = _counts(scores, coins, false_positive_rate) if len(scores) > 1 else None
    if counts is None:
        return None
    parts = counts.sum(axis=1).tolist()
    return _rate(parts, _over_models(counts[0], counts[1]), _over_models(counts[2], counts[3]))


def _counts(scores: _FloatArray, coins: NDArray[np.bool_], false_positive_rate: float) -> NDArray[np.int64] | None:
    """Return how many are found, used, accused and not used, (4, models), at odd places of (models, records)."""
    unused = np.sort(scores[:, ::2][~coins[:, ::2]])[::-1]
    rank = int(false_positive_rate * (len(unused) + 1) * (1 + 1e-12)) or 1
    if rank > _ROUNDED * false_positive_rate * (len(unused) + 1):
        return None
    said, used = scores[:, 1::2] > unused[rank - 1], coins[:, 1::2]
    return np.array([each.sum(axis=1) for each in (said & used, used, said & ~used, ~used)])


def _rate(counts: Sequence[int], found: tuple[float, float], accused: tuple[float, float]) -> Rate | None:
    parts = int(counts[0]), int(counts[1]), int(counts[2]), int(counts[3])
    if not (parts[1] and parts[3]):
        return None
    return Rate(
        found=parts[0] / parts[1],
        found_interval=found,
        accused=parts[2] / parts[3],
        accused_interval=accused,
        counts=parts,
    )


def _over_models(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> tuple[float, float]:
    from scipy.stats import t

    _, (low, high) = share_of(int(parts.sum()), int(wholes.sum()))
    shares = parts[wholes > 0] / wholes[wholes > 0]
    if len(shares) < 2:
        return 0.0, 1.0
    width = float(t.ppf(0.975, len(shares) - 1)) * float(shares.std(ddof=1)) / len(shares) ** 0.5
    return max(0.0, min(low, shares.mean() - width)), min(1.0, max(high, shares.mean() + width))


def roc_points(scores: _FloatArray, coins: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Return points of a ROC curve, (false-positive rate, true-positive rate), from the left; none where coins agree.

    They are some two dozen of the empirical curve: for every rate the threshold that accuses the most of those who were
    not used without accusing more than the rate. Thresholds are of the same scores, and rates that so few can't tell
    from 0 are left out. The first point accuses nobody falsely, and the last one is (1, 1).

    Args:
        scores: (canaries,) the higher, the more speaks for a canary's use.
        coins: (canaries,) whether each was used.
    """
    used, unused = (np.sort(-scores[each]) for each in (coins, ~coins))
    if not (len(used) and len(unused)):
        return ()
    thresholds = np.unique(-scores)
    found, accused = (
        np.append(0, np.searchsorted(each, thresholds, side="right")) / len(each) for each in (used, unused)
    )
    places = np.unique(np.searchsorted(accused, _ROC_RATES * (1 + 1e-12), side="right") - 1)
    return tuple(zip(accused[places].round(6).tolist(), found[places].round(6).tolist(), strict=True))


def allowed_at(roc: Sequence[Sequence[float]], profile: Profile) -> tuple[float, ...]:
    """Return the largest true-positive rate that a promise allows at each point's false-positive rate."""
    return tuple(true_positive_rates(profile, np.array([accused for accused, _ in roc], np.float64)).tolist())


def measured_noise(seen: _FloatArray, coins: NDArray[np.bool_], stddev: float | _FloatArray) -> Noise | None:
    """Return the noise seen at the coordinates of canaries that were not used; None where none is billed or all were.

    Args:
        seen: (rounds, canaries), less what such a canary moves its coordinate by.
        coins: (canaries,) whether each was used.
        stddev: that is billed, of every round or of each, (rounds,) (>= 0).
    """
    from scipy.stats import chi2

    alone, billed = seen[:, ~coins], np.broadcast_to(stddev, len(seen))[:, None]
    if not alone.size or billed.min() <= 0:
        return None
    total, number = float(((alone / billed) ** 2).sum()), alone.size
    low, high = (total / float(chi2.ppf(level, number)) for level in (0.9995, 0.0005))
    return Noise(ratio=(total / number) ** 0.5, interval=(low**0.5, high**0.5), chance=float(chi2.cdf(total, number)))


def share_of(part: int, whole: int) -> tuple[float, tuple[float, float]]:
    """Return a share and its 95 % interval of Clopper and Pearson; nan and (0, 1) of nothing."""
    if not whole:
        return float("nan"), (0.0, 1.0)
    return part / whole, (lowest_share(part, whole, 0.025), highest_share(part, whole, 0.025))
