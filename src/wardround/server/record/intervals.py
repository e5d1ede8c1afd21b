"""How far scores may be from those of the patients that test records are drawn from: 95 % intervals.

They are of one model, on so many test records that are taken to be drawn independently; how much training would end
elsewhere with other noise is told by several seeds. What is left out on purpose: scores that are shown of no interval,
as a loss and a user's metrics, whose records are not in the ledger.
"""

import math
from collections.abc import Mapping, Sequence

from wardround.scores import ClassCounts
from wardround.small_counts import FEWEST_SHOWN

__all__ = ["auc_interval", "intervals_of", "share_interval"]

_NORMAL_95 = 1.959963984540054

Interval = tuple[float, float]


def intervals_of(counts: ClassCounts, auc_pooled: float | None) -> Mapping[str, Interval]:
    """Return the intervals of a classification's scores by the scores' names; of fewer than ten test records none.

    "accuracy" is the share right of all test records, "auc_pooled" that of two classes, "recall_macro" the mean of the
    classes' shares right (balanced accuracy), where each has ten records or more.

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
            found["auc_pooled"] = auc_interval(auc_pooled, num_positive=numbers[1], num_negative=numbers[0])
    return found


def share_interval(right: int, number: int) -> Interval:
    """Return the 95 % interval of a share, of `right` among `number` (>= 1).

    >>> tuple(round(end, 3) for end in share_interval(8, 10))
    (0.49, 0.943)

    Source: Wilson 1927.
    """
    share, z2 = right / number, _NORMAL_95**2
    centre = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = _NORMAL_95 / (1 + z2 / number) * math.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def auc_interval(auc: float, *, num_positive: int, num_negative: int) -> Interval:
    """Return the 95 % interval of an area under the ROC curve of two classes, each with a record or more.

    Source: Hanley and McNeil 1982, equations 1 and 2.
    """
    both_positive, both_negative = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc)
    spread += (num_positive - 1) * (both_positive - auc**2) + (num_negative - 1) * (both_negative - auc**2)
    half = _NORMAL_95 * math.sqrt(max(spread, 0.0) / (num_positive * num_negative))
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
