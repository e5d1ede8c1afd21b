"""How far scores may be from those of the patients that test records are drawn from: 95 % intervals.

They are of one model, on so many test records that are taken to be drawn independently; how much training would end
elsewhere with other noise is told by several seeds. What is left out on purpose: standard errors of scores that don't
follow from counts (see `score_errors`).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wardround.scores import NORMAL_95, NUM_BINS, ClassCounts
from wardround.small_counts import FEWEST_SHOWN

__all__ = [
    "Interval",
    "area_error",
    "calibration_interval",
    "class_intervals",
    "error_of_few",
    "f1_interval",
    "f1_macro_interval",
    "intervals_of",
    "least_area",
    "most_of_absolute_sum",
    "share_interval",
    "share_spread_interval",
    "spread_interval",
]

Interval = tuple[float, float]


def intervals_of(counts: ClassCounts) -> Mapping[str, Interval]:
    """Return the intervals of a classification's scores by the scores' names; of fewer than ten test records none.

    "accuracy" is the share right of all test records, "recall_macro" the mean of the classes' shares right (balanced
    accuracy), where each has ten records or more, "precision_macro" that of the classes' shares right among what is so
    answered, where each has ten answers or more, and "f1_macro" where each has both. Of two classes "precision",
    "recall" and "f1" are of the second one. "calibration_error" is the expected calibration error.

    Args:
        counts: of the model on all test records.
    """
    right = [row[place] for place, row in enumerate(counts.confusion)]
    numbers = [sum(row) for row in counts.confusion]
    found: dict[str, Interval] = {}
    if sum(numbers) >= FEWEST_SHOWN:
        found["accuracy"] = share_interval(sum(right), sum(numbers))
    if min(numbers) >= FEWEST_SHOWN:
        found["recall_macro"] = _mean_share_interval(right, numbers)
    said = [sum(row[place] for row in counts.confusion) for place in range(len(right))]
    if min(said) >= FEWEST_SHOWN:
        found["precision_macro"] = _mean_share_interval(right, said)
    if min(*numbers, *said) >= FEWEST_SHOWN and (middle := f1_macro_interval(counts)) is not None:
        found["f1_macro"] = middle
    if sum(counts.bins) >= FEWEST_SHOWN:
        found["calibration_error"] = calibration_interval(counts)
    if len(right) == 2:
        found |= class_intervals(right[1], said[1], numbers[1])
    return found


def class_intervals(right: int, said: int, real: int) -> dict[str, Interval]:
    """Return the intervals of a class' precision, recall and F1, where they are of ten records or more."""
    found: dict[str, Interval] = {}
    if said >= FEWEST_SHOWN:
        found["precision"] = share_interval(right, said)
    if real >= FEWEST_SHOWN:
        found["recall"] = share_interval(right, real)
    if min(said, real) >= FEWEST_SHOWN:
        found["f1"] = f1_interval(right, said, real)
    return found


def share_interval(right: float, number: float) -> Interval:
    """Return the 95 % interval of a share, of `right` among `number` (> 0).

    >>> tuple(round(end, 3) for end in share_interval(8, 10))
    (0.49, 0.943)

    Source: Wilson 1927.
    """
    share, z2 = right / number, NORMAL_95**2
    centre = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = NORMAL_95 / (1 + z2 / number) * math.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _mean_share_interval(right: Sequence[int], numbers: Sequence[int]) -> Interval:
    """Return the interval of a mean of independent shares: around it, as wide as their intervals' sides in squares.

    Source: Newcombe 1998, method 10, for a mean.
    """
    shares = [part / number for part, number in zip(right, numbers, strict=True)]
    ends = [share_interval(part, number) for part, number in zip(right, numbers, strict=True)]
    mean, size = math.fsum(shares) / len(shares), len(shares)
    below = math.hypot(*(share - low for share, (low, _) in zip(shares, ends, strict=True))) / size
    above = math.hypot(*(high - share for share, (_, high) in zip(shares, ends, strict=True))) / size
    return max(0.0, mean - below), min(1.0, mean + above)


def spread_interval(value: float, standard_error: float, number: int) -> Interval:
    """Return the interval of a mean of `number` (>= 2) records, or of what is nearly one, by its standard error.

    >>> tuple(round(end, 3) for end in spread_interval(0.5, 0.1, 10))
    (0.274, 0.726)

    Source: Student 1908.
    """
    from scipy.special import stdtrit

    half = float(stdtrit(number - 1, 0.975)) * standard_error
    return value - half, value + half


def share_spread_interval(value: float, standard_error: float, number: int) -> Interval:
    """Return the interval of a score in [0, 1] of `number` (>= 2) records by its standard error, through its logit.

    At 0 and 1, where the logit is infinite, the ends are those of `spread_interval`, cut at 0 and 1.

    >>> tuple(round(end, 3) for end in share_spread_interval(0.9, 0.05, 50))
    (0.747, 0.965)

    Source: Pepe 2003, The Statistical Evaluation of Medical Tests, section 5.2, for areas under the ROC curve.
    """
    if not 0 < value < 1:
        low, high = spread_interval(value, standard_error, number)
        return max(0.0, low), min(1.0, high)
    logit = math.log(value / (1 - value))
    ends = spread_interval(logit, standard_error / (value * (1 - value)), number)
    return _logistic(ends[0]), _logistic(ends[1])


def error_of_few(error: float, fewest: int, number: int) -> float:
    """Return the error by which an interval of `number` records has the degrees of freedom of fewer, which say most.

    Args:
        error: standard error (>= 0).
        fewest: how many these are (>= 2): of an area the records on its smaller side, of a C the events.
        number: of all records (>= 2).
    """
    from scipy.special import stdtrit

    return error * float(stdtrit(fewest - 1, 0.975) / stdtrit(number - 1, 0.975))


def area_error(area: float, error: float, fewest: int, number: int) -> float:
    """Return the error by which `share_spread_interval` of one class' area reaches as far as each of two intervals.

    One is DeLong's through the logit, whose variance vanishes where few records are out of order. That of the other
    hangs on the area that is asked about and not on the one that was seen: a is z sqrt(V(A)) away from its end A, the
    one nearer to 0.5, with V(A) = A (1 - A) (1 + k (1 - A) / (2 - A) + k A / (1 + A)) / (m n) and k = (m + n) / 2 - 1.

    Args:
        area: a in [0, 1].
        error: DeLong's standard error (>= 0), as `error_of_few` has it.
        fewest: records on the smaller side (>= 2), m.
        number: records on both, m + n.

    Source: Hanley and McNeil 1982 for V, with m and n told apart no more, as Newcombe 2006, Statistics in Medicine 25,
        pages 559 to 573, method 5, has it.
    """
    from scipy.special import logit, stdtrit

    far = max(area, 1 - area)
    near = least_area(far, fewest, number, NORMAL_95)
    to_error = 1 / float(stdtrit(number - 1, 0.975))
    if far == 1:
        return (1 - near) * to_error
    return max(error, float(logit(far) - logit(near)) * far * (1 - far) * to_error)


def least_area(area: float, fewest: int, number: int, num_deviations: float) -> float:
    """Return the smallest area that is no more standard deviations of its own below one that was seen.

    As in `area_error`, where its source is; num_deviations is >= 0.
    """
    near, end = 0.0, area
    for _ in range(50):
        middle = (near + end) / 2
        is_outside = area - middle > num_deviations * math.sqrt(_area_variance(middle, fewest, number))
        near, end = (middle, end) if is_outside else (near, middle)
    return near


def _area_variance(area: float, fewest: int, number: int) -> float:
    pairs, half = fewest * (number - fewest), number / 2 - 1
    return area * (1 - area) * (1 + half * (1 - area) / (2 - area) + half * area / (1 + area)) / pairs


def _logistic(logit: float) -> float:
    return math.exp(min(logit, 0.0)) / (math.exp(-abs(logit)) + 1)


def f1_interval(right: int, said: int, real: int) -> Interval:
    """Return the interval of an F1, of records that are of a class (`real`), are so answered (`said`), or both.

    With J = right / (said + real - right), the share of those that are either, F1 = 2 J / (1 + J), which grows with J:
    it lies between its values at the ends of the interval of that share.
    """
    low, high = share_interval(right, said + real - right)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def f1_macro_interval(counts: ClassCounts) -> Interval | None:
    """Return the interval of the mean of the classes' F1, each with a record and an answer; None where none is seen.

    With shares p_ij of all records by right class i and answer j, F_k = 2 p_kk / (p_k. + p_.k). To first order a record
    of cell (i, j) brings the sum over k of 2 [i = j = k] / (p_k. + p_.k) - F_k ([i = k] + [j = k]) / (p_k. + p_.k) over
    the number of classes, and the error is that of their mean.

    Source: Takahashi, Yamamoto, Kuchiba and Koyama 2022, Applied Intelligence 52, for the macro-averaged F1.
    """
    confusion = np.array(counts.confusion, np.float64)
    number, size = confusion.sum(), len(confusion)
    shares = confusion / number
    both = shares.sum(axis=1) + shares.sum(axis=0)
    scores = 2 * shares.diagonal() / both
    brings = (np.diag(2 / both) - (scores / both)[:, None] - scores / both) / size
    error = math.sqrt(max(float((shares * brings**2).sum() - (shares * brings).sum() ** 2), 0.0) / number)
    mean = float(scores.mean())
    return (max(0.0, mean - NORMAL_95 * error), min(1.0, mean + NORMAL_95 * error)) if error > 0 else None


def calibration_interval(counts: ClassCounts) -> Interval:
    """Return an interval of the expected calibration error that holds at 95 % or more: its estimate is too large.

    The error is sum_b |d_b|, d_b the mean over all records of what came true minus the probability, of those in bin b.
    With the chance part e_b of each d_b the estimate is at most sum_b |e_b| from the truth, on either side (triangle
    inequality). The e_b are taken as normal. A record of a bin of width w in which a share h comes true has a standard
    deviation s of sqrt(h (1 - h)) + w / 2 at most, h with a record of either kind more. How many of N records are in
    the bin is chance, too, which moves d_b by the bin's mean difference g: the variance is
    n_b (s^2 + g^2 (1 - n_b / N)) / N^2, g with one of its own deviations more. The sum of the |e_b| is below its mean
    and 1.645 of its standard deviations in 95 % of cases.
    """
    bins, hits = np.array(counts.bins, np.float64), np.array(counts.hits, np.float64)
    total = bins.sum()
    share = (hits + 1) / (bins + 2)
    deviation = np.sqrt(share * (1 - share)) + 0.5 / NUM_BINS
    counted = np.maximum(bins, 1)
    gap = np.abs(hits - np.array(counts.probabilities)) / counted + deviation / np.sqrt(counted)
    deviations = np.sqrt(bins * (deviation**2 + gap**2 * (1 - bins / total))) / total
    most = most_of_absolute_sum(deviations**2, 1.6448536269514722)
    error = float(np.abs(hits - np.array(counts.probabilities)).sum()) / total
    return max(0.0, error - most), min(1.0, error + most)


def most_of_absolute_sum(variances: NDArray[np.float64], num_deviations: float) -> float:
    """Return the mean and some standard deviations of a sum of absolute values of independent normal numbers.

    The absolute value of a normal number around 0 has the mean sqrt(2 / pi) and the variance 1 - 2 / pi, in its
    deviation and its variance.

    Args:
        variances: (n,) of the numbers (>= 0).
        num_deviations: how many (>= 0).
    """
    mean = math.sqrt(2 / math.pi) * float(np.sqrt(variances).sum())
    return mean + num_deviations * math.sqrt((1 - 2 / math.pi) * float(variances.sum()))
