"""The scores that follow from noisy sums over test records, with intervals that have the noise and the sampling.

Everything here is a pure function of what was released (see `score_sums`), and of numbers that are public. With n test
records, s the standard deviation of the noise in each sum and z = 1.96, 95 % intervals are

- of accuracy and loss, shares p of n: all p with |p_hat - p| <= z sqrt(p (1 - p) / n + (s / n)^2), which is Wilson's
  interval where s is 0. A loss between 0 and 1 has a variance of at most p (1 - p) (Bhatia and Davis 2000), so that the
  interval of the loss is rather too wide;
- of AUC and the Brier score, functions of the counts by bin: the delta method, in which a count c has the variance
  c + s^2 of its sampling and its noise;
- of the calibration error, a sum of absolute values, which noise makes larger: the sum is moved by at most that of the
  absolute errors of its parts, whose 97.5 % quantile, by a normal distribution, is taken on either side. The error
  itself is told with the variance of its parts taken off.

Binned scores are those of the grid: a probability counts as the middle of its bin, and two in one bin as equal. What
is left out on purpose: scores by hospital, each of which would be as noisy as all together.

Source: Wilson 1927; Hanley and McNeil 1982 (AUC); Naeini, Cooper, Hauskrecht 2015 (calibration error).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from wardround.score_sums import MOST_LOSS, NUM_SCORE_BINS, ReleasedSums
from wardround.scores import NORMAL_95, NUM_BINS
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.score_release import epsilon_of_tests
from wardround.server.record.intervals import Interval, most_of_absolute_sum

__all__ = ["ReleasedScores", "ReliabilityBin", "released_scores", "scores_of_release"]

_MIDDLES = (np.arange(NUM_SCORE_BINS) + 0.5) / NUM_SCORE_BINS
_CELLS = NUM_SCORE_BINS // NUM_BINS
"""Bins of the grid in one by which calibration is told."""
_TOLD_APART = 5.0
"""Standard deviations of the noise on a class' number of records, below which no AUC is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """What was predicted and seen in a bin of probabilities.

    Attributes:
        low: where it begins.
        high: where it ends.
        num_records: how many are in it, with the noise; at least 0.
        predicted: their mean probability, by the middles of the grid; None where there are too few beside the noise.
        seen: the share of hits, likewise, in [0, 1].
        interval: of that, 95 %.
    """

    low: float
    high: float
    num_records: float
    predicted: float | None = None
    seen: float | None = None
    interval: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedScores:
    """What summary.json tells of a release of test scores.

    Attributes:
        epsilon: of the release by itself, at the run's smallest delta: what a patient pays who is in test sets alone.
            It is in the run's epsilon, too.
        round: whose model the scores are of.
        num_records: test records.
        num_hospitals: that they are of.
        stddev: of the noise in each sum over records.
        num_attempts: how often it was charged.
        scores: by name: accuracy, loss and calibration_error; of two classes auc and brier.
        intervals: 95 %, by name.
        reliability: by bin of probabilities.
        reason: why there are no scores; "" where there are.
    """

    epsilon: float
    round: int
    num_records: int
    num_hospitals: int
    stddev: float
    num_attempts: int
    scores: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    reliability: tuple[ReliabilityBin, ...] = ()
    reason: str = ""


def scores_of_release(plan: FederationPlan, sums: ReleasedSums | None, kept_round: int) -> ReleasedScores | None:
    """Return what a run's summary tells of a release; None where nothing was released, or not yet.

    Of a release of another model, since the run went on, there are no scores, and what was paid for it is told.

    Args:
        plan: of the run.
        sums: that the ledger has with the run's end.
        kept_round: whose model is the run's.
    """
    if sums is None:
        return None
    if sums.round != kept_round:
        reason = f"what was released is of the model after round {sums.round}, and the run's is that after {kept_round}"
        sums = replace(sums, sums=(), reason=reason)
    num_classes = plan.hospitals[0].profile.num_outputs
    return released_scores(sums, epsilon=epsilon_of_tests(plan, sums.attempt), num_classes=num_classes)


def released_scores(released: ReleasedSums, *, epsilon: float, num_classes: int) -> ReleasedScores:
    """Return the scores of a release.

    Args:
        released: what the ledger has of it.
        epsilon: of the release by itself, over all attempts.
        num_classes: that are told apart (>= 2).
    """
    told = ReleasedScores(
        epsilon=epsilon,
        round=released.round,
        num_records=released.num_records,
        num_hospitals=released.num_hospitals,
        stddev=released.stddev,
        num_attempts=released.attempt,
        reason=released.reason,
    )
    if not released.sums:
        return told
    number, stddev, sums = released.num_records, released.stddev, np.array(released.sums)
    misses, hits = sums[2 : 2 + NUM_SCORE_BINS], sums[2 + NUM_SCORE_BINS :]
    found = {"accuracy": _share(sums[0], number, stddev)}
    loss, ends = _share(sums[1], number, stddev)
    found["loss"] = MOST_LOSS * loss, (MOST_LOSS * ends[0], MOST_LOSS * ends[1])
    if num_classes == 2:
        area = _area(misses, hits, stddev)
        found |= {} if area is None else {"auc": area}
        found["brier"] = _brier(misses, hits, number, stddev)
    found["calibration_error"] = _calibration_error(misses, hits, number, stddev)
    return replace(
        told,
        scores={name: value for name, (value, _) in found.items()},
        intervals={name: ends for name, (_, ends) in found.items()},
        reliability=_reliability(misses, hits, stddev),
    )


def _share(total: float, number: int, stddev: float) -> tuple[float, Interval]:
    """Return a mean of numbers in [0, 1] from their noisy sum, with its interval (see above)."""
    # No share is beyond 0 or 1, and all that the interval of such a mean holds is nearer to the end.
    mean, spread, squared = _held(total / number), (stddev / number) ** 2, NORMAL_95**2
    # (1 + z2 / n) p2 - (2 mean + z2 / n) p + mean2 - z2 spread = 0
    top, middle, last = 1 + squared / number, 2 * mean + squared / number, mean**2 - squared * spread
    root = math.sqrt(max(0.0, middle**2 - 4 * top * last))
    low, high = (middle - root) / (2 * top), (middle + root) / (2 * top)
    return mean, (_held(low), _held(high))


def _area(misses: NDArray[np.float64], hits: NDArray[np.float64], stddev: float) -> tuple[float, Interval] | None:
    """Return the area under the ROC curve of binned scores; None where a class can't be told from the noise."""
    num_hits, num_misses = hits.sum(), misses.sum()
    if min(num_hits, num_misses) <= max(_TOLD_APART * stddev * math.sqrt(NUM_SCORE_BINS), 0.5):
        return None
    below = (np.cumsum(misses) - misses / 2) / num_misses
    above = (num_hits - np.cumsum(hits) + hits / 2) / num_hits
    area = float(hits @ below / num_hits)
    variances = [
        (np.maximum(counts, 0.0) + stddev**2) @ ((share - area) / total) ** 2
        for counts, share, total in ((hits, below, num_hits), (misses, above, num_misses))
    ]
    return _with_normal_interval(area, sum(variances))


def _brier(
    misses: NDArray[np.float64], hits: NDArray[np.float64], number: int, stddev: float
) -> tuple[float, Interval]:
    """Return the mean squared distance of probabilities from what was seen."""
    parts = np.concatenate([misses, hits])
    squares = np.concatenate([_MIDDLES**2, (1 - _MIDDLES) ** 2])
    mean = float(squares @ parts / number)
    sampling = max(0.0, float(squares**2 @ np.maximum(parts, 0.0)) / number - mean**2) / number
    return _with_normal_interval(mean, sampling + (stddev / number) ** 2 * float(squares @ squares))


def _calibration_error(
    misses: NDArray[np.float64], hits: NDArray[np.float64], number: int, stddev: float
) -> tuple[float, Interval]:
    """Return the mean distance of probabilities from shares of hits, by bins of which each has some of the grid's."""
    differences = _by_bin(hits * (1 - _MIDDLES) - misses * _MIDDLES)
    variances = _by_bin(
        (np.maximum(hits, 0.0) + stddev**2) * (1 - _MIDDLES) ** 2 + (np.maximum(misses, 0.0) + stddev**2) * _MIDDLES**2
    )
    error = float(np.sqrt(np.maximum(differences**2 - variances, 0.0)).sum()) / number
    most = most_of_absolute_sum(variances, NORMAL_95)
    told = float(np.abs(differences).sum())
    return _held(error), (_held((told - most) / number), _held((told + most) / number))


def _reliability(misses: NDArray[np.float64], hits: NDArray[np.float64], stddev: float) -> tuple[ReliabilityBin, ...]:
    columns = zip(_by_bin(misses + hits), _by_bin(hits), _by_bin((misses + hits) * _MIDDLES), strict=True)
    return tuple(_bin(place, *column, stddev * math.sqrt(_CELLS)) for place, column in enumerate(columns))


def _bin(place: int, count: float, hits: float, chances: float, stddev: float) -> ReliabilityBin:
    """Return a bin, given noisy sums over its records and the noise on its hits, which is that on its misses."""
    low, high = place / NUM_BINS, (place + 1) / NUM_BINS
    if count <= max(_TOLD_APART * math.sqrt(2) * stddev, 0.5):
        return ReliabilityBin(low=low, high=high, num_records=max(0.0, count))
    share = _held(hits / count)
    # Of a quotient of sums: the sampling of hits among the records, and the noise of both sums.
    variance = (share * (1 - share) + stddev**2 * ((1 - share) ** 2 + share**2) / count) / count
    return ReliabilityBin(
        low=low,
        high=high,
        num_records=count,
        predicted=min(max(chances / count, low), high),
        seen=share,
        interval=_with_normal_interval(share, variance)[1],
    )


def _by_bin(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(parts.reshape(NUM_BINS, _CELLS).sum(axis=1))


def _with_normal_interval(value: float, variance: float) -> tuple[float, Interval]:
    half = NORMAL_95 * math.sqrt(variance)
    return _held(value), (_held(value - half), _held(value + half))


def _held(value: float) -> float:
    return float(min(max(value, 0.0), 1.0))
