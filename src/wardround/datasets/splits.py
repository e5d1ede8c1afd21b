"""One hospital's training and test rows: by class where there are classes, by patient where there are patients.

Also the thinning of classes (`class-weights`). Official test rows are kept as they are, in `federation`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["first_rows", "keep_shares", "split_rows"]


def split_rows(
    strata: NDArray[Any], patients: NDArray[Any], test_fraction: float, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return sorted training and test rows; no patient is in both, and strata are shared out evenly.

    The test part has round(test_fraction x patients) patients, at least one and never all. A stratum keeps at least
    one patient in training; where there are too few for that rule, chance decides.

    Args:
        strata: (n,) class of each row; all equal where rows are not to be stratified. n >= 1.
        patients: (n,) patient of each row. A patient counts for the first row's stratum.
        test_fraction: in (0, 1).
        generator: where the chance comes from.

    Returns:
        int64 row numbers of training (>= 1 row) and of test (none where there is a single patient).
    """
    first, patient_of_row = first_rows(patients)
    in_test = _choose_test(strata[first], test_fraction, generator)[patient_of_row]
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def first_rows(patients: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each patient's first row, in row order, and the number of each row's patient in that order.

    >>> first_rows(np.array(["b", "a", "b"]))
    (array([0, 1]), array([0, 1, 0]))
    """
    if patients.dtype.kind == "i" and (np.diff(patients) > 0).all():  # every row is another's, as where nobody is named
        return np.arange(len(patients)), np.arange(len(patients))
    _, first, codes = np.unique(patients, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[codes]


def keep_shares(
    labels: NDArray[np.int64], weights: tuple[float, ...], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return the sorted rows left when a random share of each class is kept, at least one row of each class.

    Args:
        labels: (n,) class index of each row, in [0, len(weights)).
        weights: share of each class to keep, in (0, 1].
        generator: where the chance comes from.
    """
    kept = []
    for label, weight in enumerate(weights):
        rows = generator.permutation(np.flatnonzero(labels == label))
        kept.append(rows[: max(1, round(weight * len(rows)))])
    return np.sort(np.concatenate(kept))


def _choose_test(strata: NDArray[Any], test_fraction: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    in_test = np.zeros(len(strata), dtype=np.bool_)
    if len(strata) < 2:
        return in_test
    num_test = min(max(1, round(test_fraction * len(strata))), len(strata) - 1)
    _, codes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    quotas = _share_out(num_test, test_fraction * counts, counts - 1)
    for code, quota in enumerate(quotas):
        in_test[generator.permutation(np.flatnonzero(codes == code))[:quota]] = True
    still_wanted = num_test - int(quotas.sum())
    in_test[generator.permutation(np.flatnonzero(~in_test))[:still_wanted]] = True
    return in_test


def _share_out(total: int, exact: NDArray[np.floating[Any]], most: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return whole quotas near the exact ones, none above most, that sum to total or to as much as most allows."""
    quotas: NDArray[np.int64] = np.minimum(np.floor(exact).astype(np.int64), most)
    while (missing := min(total, int(most.sum())) - int(quotas.sum())) > 0:
        lag = np.where(quotas < most, exact - quotas, -np.inf)
        quotas[np.argsort(-lag, kind="stable")[: min(missing, int((quotas < most).sum()))]] += 1
    return quotas
