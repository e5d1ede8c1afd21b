"""What hospitals release of their records once, before round 1: of features, to standardise them, and of classes.

The moments of a record are a vector of its features as they are held: of a number, which public bounds have brought
between -1 and 1, whether it is missing, the number and its square (both 0 where it is missing); of an indicator the
indicator. Their mean over the records of all hospitals gives every column's mean and deviation. Where the shares of
classes are asked for, with features or by themselves, there is one more indicator for each class. What is left out on
purpose: how the mean is released, which is a round like any other (see `agreed.statistics`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wardround.datasets.records import REGRESSION, FederatedData, HospitalData
from wardround.datasets.scaling import Scaling

__all__ = [
    "MomentLayout",
    "averaged_federation",
    "federation_of_vectors",
    "groups_of",
    "hospital_of_vectors",
    "layout_of",
    "moment_federation",
    "moments_of",
    "scaling_from",
    "shares_from",
    "vectors_of",
]

RowsOf = Callable[[HospitalData], NDArray[np.float32]]
_TOLD_APART = 3.0
"""Standard deviations of the noise: a variance, or the share of a level, below so many can't be told from none."""
_LEAST_VARIANCE = 1e-4
"""Of a column without noise: one that does not vary is not blown up."""
_LEAST_SHARE = 1e-4
"""Of a class without noise: the weight of one that has no record stays a number."""
_LABEL = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentLayout:
    """Where the moments of a record stand, and how long they can be; it follows from public facts alone.

    The order is: whether each number is missing, the numbers, their squares, the indicators, the classes.

    Attributes:
        num_features: d of a record's features (d,); 0 where none of them are released.
        numbers: places of the features that are numbers between -1 and 1; all others are indicators, 0 or 1.
        low: of each number in its own unit, what is held as -1.
        high: likewise, what is held as 1.
        most_norm: the longest that the moments of a record can be, L2 (> 0).
        num_classes: whose shares are released; 0 where none are.
    """

    num_features: int
    numbers: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    most_norm: float
    num_classes: int = 0

    @property
    def indicators(self) -> tuple[int, ...]:
        """Places of the features that are indicators."""
        return tuple(sorted(set(range(self.num_features)) - set(self.numbers)))

    @property
    def num_values(self) -> int:
        """How many moments a record has."""
        return 3 * len(self.numbers) + len(self.indicators) + self.num_classes


def layout_of(federation: FederatedData, *, has_shares: bool = False) -> MomentLayout | None:
    """Return the layout of a federation's moments; None where it releases nothing before round 1.

    Features are in it where they are standardised by released constants, classes where it `has_shares` of them. A
    record has one class, and a patient of several rows the mean of its rows' moments, so that classes add at most 1 to
    the squared length.

    Features of one group are made of one column: a number contributes at most the square root of 2, with an indicator
    that it is missing or without, since then the number is not there; of the levels of one column at most one is 1.
    Where nothing is known of groups, each feature is one.
    """
    num_classes = federation.num_classes if has_shares else 0
    if federation.standardise != "private":
        alone = MomentLayout(num_features=0, numbers=(), low=(), high=(), most_norm=1.0, num_classes=num_classes)
        return alone if has_shares else None
    (num_features,) = federation.input_shape
    groups, of_numbers = groups_of(federation)
    numbers = tuple(number.column for number in federation.numbers)
    low, high = (tuple(float(getattr(number, end)) for number in federation.numbers) for end in ("low", "high"))
    norm = math.sqrt(sum(2 if group in of_numbers else 1 for group in groups) + int(has_shares))
    return MomentLayout(
        num_features=num_features, numbers=numbers, low=low, high=high, most_norm=norm, num_classes=num_classes
    )


def groups_of(federation: FederatedData) -> tuple[frozenset[int], frozenset[int]]:
    """Return the groups of a federation's features, and those of them that are of a number; see `layout_of`."""
    groups = federation.groups or tuple(range(*federation.input_shape))
    return frozenset(groups), frozenset(groups[number.column] for number in federation.numbers)


def moments_of(features: ArrayLike, layout: MomentLayout) -> NDArray[np.float32]:
    """Return the moments (n, values) of features (n, d), classes apart; each row is a function of that row alone."""
    values = np.asarray(features, np.float32)
    numbers = values[:, layout.numbers]
    missing, filled = np.isnan(numbers), np.nan_to_num(numbers, nan=0.0)
    indicators = values[:, layout.indicators]
    return np.concatenate([missing.astype(np.float32), filled, filled**2, indicators], axis=1)


def vectors_of(hospital: HospitalData, layout: MomentLayout) -> NDArray[np.float32]:
    """Return the moments (n, num_values) of a hospital's training rows, classes included, each of its row alone."""
    parts = [moments_of(hospital.train_features, layout)] if layout.num_features else []
    if layout.num_classes:
        classes = np.zeros((len(hospital.train_labels), layout.num_classes), np.float32)
        classes[np.arange(len(classes)), hospital.train_labels] = 1.0
        parts.append(classes)
    return np.concatenate(parts, axis=1)


def moment_federation(federation: FederatedData, layout: MomentLayout) -> FederatedData:
    """Return the same hospitals with the moments of their training records for features, and no test records."""
    return averaged_federation(federation, lambda hospital: vectors_of(hospital, layout), layout.num_values)


def averaged_federation(federation: FederatedData, rows_of: RowsOf, num_values: int) -> FederatedData:
    """Return the same hospitals with vectors of their training records for features, of which a mean is to be released.

    There are no test records, and every label is 1/2: see `agreed.statistics`.

    Args:
        federation: the hospitals.
        rows_of: float32 (num_train rows, num_values) of a hospital, each a function of its row alone.
        num_values: of a record.
    """
    return federation_of_vectors(federation, _AveragedHospitals(federation.hospitals, rows_of), num_values)


def hospital_of_vectors(
    hospital: HospitalData, vectors: NDArray[np.float32], owners: NDArray[np.int64] | None
) -> HospitalData:
    """Return a hospital whose training records are vectors (n, num_values), of owners as `HospitalData` has them.

    Which records have no part in a sum is of its training rows: it stays, where the vectors are theirs.
    """
    return replace(
        hospital,
        train_features=vectors,
        train_labels=np.full(len(vectors), _LABEL, np.float32),
        test_features=vectors[:0],
        test_labels=np.zeros(0, np.float32),
        train_owners=owners,
        test_owners=None,
    )


def federation_of_vectors(
    federation: FederatedData, hospitals: Sequence[HospitalData], num_values: int
) -> FederatedData:
    """Return a federation of hospitals whose records are vectors of num_values (see `hospital_of_vectors`)."""
    return replace(
        federation,
        task=REGRESSION,
        class_names=(),
        feature_names=(),
        input_shape=(num_values,),
        hospitals=hospitals,
        standardise="none",
        numbers=(),
        groups=(),
        columns=(),
        time_edges=(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _AveragedHospitals(Sequence[HospitalData]):
    """Hospitals whose vectors are computed when they are asked for."""

    hospitals: Sequence[HospitalData]
    rows_of: RowsOf

    def __len__(self) -> int:
        return len(self.hospitals)

    @overload
    def __getitem__(self, index: int) -> HospitalData: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[HospitalData, ...]: ...

    def __getitem__(self, index: int | slice) -> HospitalData | tuple[HospitalData, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        hospital = self.hospitals[index]
        return hospital_of_vectors(hospital, self.rows_of(hospital), hospital.train_owners)


def scaling_from(mean: ArrayLike, layout: MomentLayout, *, stddev: float) -> Scaling:
    """Return the constants that a released mean of moments gives (post-processing of it and of public numbers).

    With v the share of records that have a number, its mean is m / v and its variance q / v - (m / v)^2, of the sums m
    of numbers and q of squares; an indicator of share p has variance p (1 - p). What the noise hides is not made large:
    with s the noise on a mean, a variance below 3 s / v counts as that, and a share within 3 s of 0 or 1 as so far from
    it. So a rare level is scaled as one that 3 s of the records have, and no feature by less.

    Args:
        mean: (num_values,), with its noise; what it has of classes is not used.
        layout: of it.
        stddev: s, of the noise in each of its coordinates (>= 0).
    """
    values, k = np.asarray(mean, np.float64)[: layout.num_values - layout.num_classes], len(layout.numbers)
    missing, first, second, shares = values[:k], values[k : 2 * k], values[2 * k : 3 * k], values[3 * k :]
    hidden = max(_TOLD_APART * stddev, _LEAST_VARIANCE)
    there = np.clip(1 - missing, min(hidden, 1.0), 1.0)
    centres = np.clip(first / there, -1.0, 1.0)
    variances = np.clip(second / there, 0.0, 1.0) - centres**2
    # No variance of numbers between -1 and 1 is above 1.
    spreads = np.sqrt(np.minimum(np.maximum(variances, hidden / there), 1.0))
    least = min(hidden, 0.5)
    kept = np.clip(shares, least, 1 - least)
    centre, scale = np.zeros(layout.num_features), np.ones(layout.num_features)
    centre[list(layout.numbers)], scale[list(layout.numbers)] = centres, spreads
    centre[list(layout.indicators)] = np.clip(shares, 0.0, 1.0)
    scale[list(layout.indicators)] = np.sqrt(kept * (1 - kept))
    return Scaling(centre=tuple(centre.tolist()), scale=tuple(scale.tolist()))


def shares_from(mean: ArrayLike, layout: MomentLayout, *, stddev: float) -> tuple[float, ...]:
    """Return the classes' shares that a released mean of moments gives, all > 0, which add up to 1.

    A share below 3 s can't be told from none, with s the noise on it, and counts as that: so no noise, which may also
    be negative, makes a class rarer than what it hides. Noise that hides all differences leaves equal shares.

    Args:
        mean: (num_values,), with its noise.
        layout: of it, with classes.
        stddev: s (>= 0).
    """
    shares = np.asarray(mean, np.float64)[layout.num_values - layout.num_classes :]
    kept = np.clip(shares, min(max(_TOLD_APART * stddev, _LEAST_SHARE), 1.0), 1.0)
    return tuple((kept / kept.sum()).tolist())
