"""How far scores may be from those of the patients that test records are drawn from: 95 % intervals.

They are of one model, on so many test records that are taken to be drawn independently; how much training would end
elsewhere with other noise is told by several seeds. What is left out on purpose: the expected calibration error, whose
estimate is too large on average by what an interval would have to tell; an F1 averaged over classes, whose terms share
records; and a user's metrics, of which nothing but the values is known.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wardround.scores import NORMAL_95, ClassCounts, Predictions
from wardround.small_counts import FEWEST_SHOWN

__all__ = [
    "Interval",
    "auc_interval",
    "class_intervals",
    "f1_interval",
    "intervals_of",
    "share_interval",
    "spread_interval",
    "standard_errors",
    "widest_auc_interval",
]

Interval = tuple[float, float]


def intervals_of(counts: ClassCounts, auc_pooled: float | None) -> Mapping[str, Interval]:
    """Return the intervals of a classification's scores by the scores' names; of fewer than ten test records none.

    "accuracy" is the share right of all test records, "auc_pooled" that of two classes, "recall_macro" the mean of the
    classes' shares right (balanced accuracy), where each has ten records or more, and "precision_macro" that of the
    classes' shares right among what is so answered, where each has ten answers or more. Of two classes "precision",
    "recall" and "f1" are of the second one.

    Args:
        counts: of the model on all test records.
        auc_pooled: over these; None or nan where it is not defined.
    """
    right = [row[place] for place, row in enumerate(counts.confusion)]
    numbers = [sum(row) for row in counts.confusion]
    found: dict[str, Interval] = {}
    if sum(numbers) >= FEWEST_SHOWN:
        found["accuracy"] = share_interval(sum(right), sum(numbers))
    if min(numbers) >= FEWEST_SHOWN:
        found["recall_macro"] = _mean_share_interval(right, numbers)
        if len(numbers) == 2 and auc_pooled is not None and not math.isnan(auc_pooled):
            area = auc_interval(auc_pooled, num_positive=numbers[1], num_negative=numbers[0])
            found |= {"auc_pooled": area} if area[0] < area[1] else {}  # of an area of 1 the formula tells no spread
    said = [sum(row[place] for row in counts.confusion) for place in range(len(right))]
    if min(said) >= FEWEST_SHOWN:
        found["precision_macro"] = _mean_share_interval(right, said)
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


def share_interval(right: int, number: int) -> Interval:
    """Return the 95 % interval of a share, of `right` among `number` (>= 1).

    >>> tuple(round(end, 3) for end in share_interval(8, 10))
    (0.49, 0.943)

    Source: Wilson 1927.
    """
    share, z2 = right / number, NORMAL_95**2
    centre = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = NORMAL_95 / (1 + z2 / number) * math.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def auc_interval(auc: float, *, num_positive: int, num_negative: int) -> Interval:
    """Return the 95 % interval of an area under the ROC curve of two classes, each with a record or more.

    Source: Hanley and McNeil 1982, equations 1 and 2.
    """
    both_positive, both_negative = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc)
    spread += (num_positive - 1) * (both_positive - auc**2) + (num_negative - 1) * (both_negative - auc**2)
    half = NORMAL_95 * math.sqrt(max(spread, 0.0) / (num_positive * num_negative))
    return max(0.0, auc - half), min(1.0, auc + half)


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


def f1_interval(right: int, said: int, real: int) -> Interval:
    """Return the interval of an F1, of records that are of a class (`real`), are so answered (`said`), or both.

    With J = right / (said + real - right), the share of those that are either, F1 = 2 J / (1 + J), which grows with J:
    it lies between its values at the ends of the interval of that share.
    """
    low, high = share_interval(right, said + real - right)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def widest_auc_interval(auc: float, first: int, second: int) -> Interval:
    """Return the interval of an area where nobody said which of two classes is the positive one: the wider of both."""
    both = [auc_interval(auc, num_positive=a, num_negative=b) for a, b in ((first, second), (second, first))]
    return min(low for low, _ in both), max(high for _, high in both)


def standard_errors(predictions: Predictions) -> dict[str, float]:
    """Return the standard errors of scores that no counts tell: of the mean loss, and of an r2, of ten records or more.

    The loss is that of each record: the cross-entropy of the probability of its class, or the squared error. An r2 is
    1 - E / V for the mean squared error E and the variance V; to first order its error is that of the mean of
    (e_i - E / V v_i) / V over records (delta method; the mean of the labels moves V to second order alone). Of a
    survival there are none: its predictions don't hold the edges that its loss asks for.
    """
    number = predictions.num_test
    if number < FEWEST_SHOWN or predictions.is_survival:
        return {}
    losses = _losses(predictions)
    found = {"loss": _error_of_mean(losses)}
    if predictions.is_regression:
        apart = (predictions.labels - predictions.labels.mean()) ** 2
        if (spread := float(apart.mean())) > 0:
            found["r2"] = _error_of_mean((losses - losses.mean() / spread * apart) / spread)
    return {name: error for name, error in found.items() if math.isfinite(error)}


def _losses(predictions: Predictions) -> NDArray[np.float64]:
    values, labels = predictions.values, predictions.labels
    if predictions.is_regression:
        return np.asarray((values - labels) ** 2, np.float64)
    if values.ndim == 1:
        values = np.stack([1 - values, values], axis=1)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(values[np.arange(len(labels)), labels]), np.float64)


def _error_of_mean(values: NDArray[np.float64]) -> float:
    if not np.isfinite(values).all():
        return math.nan
    return float(values.std(ddof=1)) / math.sqrt(len(values))
