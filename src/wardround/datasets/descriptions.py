"""What a federation's records are like, from one noisy mean over all hospitals: counts, means and histograms.

A record's vector is its moments, the bin that each of its numbers is in, and its class. What is left out on purpose:
the release (see `simulations.private_description`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wardround.datasets.moments import MomentLayout, groups_of, layout_of, moments_of
from wardround.datasets.records import CLASSIFICATION, FederatedData, HospitalData
from wardround.errors import ConfigError
from wardround.scores import NORMAL_95

__all__ = ["NUM_BINS", "ColumnDescription", "DescriptionLayout", "description_layout", "description_rows", "read_mean"]

NUM_BINS = 8
"""Of a number, equally wide between its bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionLayout:
    """Where the values of a record's vector stand: moments, then the bins of each number, then the classes.

    Attributes:
        moments: see `datasets.moments`.
        num_classes: of the target; 0 where a number is predicted.
        most_norm: the longest that a vector can be, L2 (> 0).
    """

    moments: MomentLayout
    num_classes: int
    most_norm: float

    @property
    def num_values(self) -> int:
        """How many values a vector has."""
        return self.moments.num_values + NUM_BINS * len(self.moments.numbers) + self.num_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDescription:
    """What is told of a feature, or of a class.

    Attributes:
        name: of it.
        kind: "number", "indicator" or "class".
        count: records that have the number, the indicator or the class, as estimated; may be below 0.
        error: half of the 95 % interval of the count, from the noise alone.
        mean: of the number in its own unit, where it is there; None of others, and where too few have it.
        deviation: likewise; None also where noise has made a variance negative.
        histogram: estimated records in each of NUM_BINS bins between the bounds; () of others.
        low: where the first bin begins; None of others.
        high: where the last one ends.
    """

    name: str
    kind: str
    count: float
    error: float
    mean: float | None = None
    deviation: float | None = None
    histogram: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None


def description_layout(federation: FederatedData) -> DescriptionLayout:
    """Return the layout of a federation whose numbers are held by their bounds.

    A number that is there adds one bin to its moments, so that its group is at most the square root of 3 long; a
    record has one class.

    Raises:
        ConfigError: its numbers have no bounds.
    """
    moments = layout_of(federation)
    if moments is None:
        raise ConfigError(
            f'a private description needs standardise = "private", and it is "{federation.standardise}" ([features] '
            "standardise): set it, with bounds of every number"
        )
    groups, of_numbers = groups_of(federation)
    num_classes = len(federation.class_names) if federation.task == CLASSIFICATION else 0
    squared = sum(3 if group in of_numbers else 1 for group in groups) + bool(num_classes)
    return DescriptionLayout(moments=moments, num_classes=num_classes, most_norm=math.sqrt(squared))


def description_rows(hospital: HospitalData, layout: DescriptionLayout) -> NDArray[np.float32]:
    """Return the vectors (rows, num_values) of a hospital's training rows, each a function of its row alone."""
    numbers = hospital.train_features[:, list(layout.moments.numbers)]
    places = np.clip(np.floor((np.nan_to_num(numbers, nan=0.0) + 1) / 2 * NUM_BINS), 0, NUM_BINS - 1)
    is_in = (places[:, :, None] == np.arange(NUM_BINS)) & ~np.isnan(numbers)[:, :, None]
    parts = [moments_of(hospital.train_features, layout.moments), is_in.reshape(len(is_in), -1).astype(np.float32)]
    if layout.num_classes:
        parts.append((hospital.train_labels[:, None] == np.arange(layout.num_classes)).astype(np.float32))
    return np.concatenate(parts, axis=1)


def read_mean(
    mean: ArrayLike, layout: DescriptionLayout, federation: FederatedData, *, num_records: int, stddev: float
) -> tuple[ColumnDescription, ...]:
    """Return what a released mean tells of every feature and class (post-processing of it and of public numbers).

    Args:
        mean: (num_values,), with its noise.
        layout: of it.
        federation: for names.
        num_records: that the mean is over (>= 1).
        stddev: of the noise in each of its coordinates (>= 0).
    """
    values, moments = np.asarray(mean, np.float64), layout.moments
    k, error = len(moments.numbers), NORMAL_95 * stddev * num_records
    missing, first, second = values[:k], values[k : 2 * k], values[2 * k : 3 * k]
    indicators, rest = values[3 * k : moments.num_values], values[moments.num_values :]
    bins = rest[: k * NUM_BINS].reshape(k, NUM_BINS) * num_records
    told: dict[int, ColumnDescription] = {}
    for index, place in enumerate(moments.numbers):
        low, high, there = moments.low[index], moments.high[index], 1 - missing[index]
        middle, reach = (low + high) / 2, (high - low) / 2
        is_known = there > NORMAL_95 * stddev
        centre = float(np.clip(first[index] / there, -1, 1)) if is_known else math.nan
        variance = float(np.clip(second[index] / there, 0, 1)) - centre**2 if is_known else math.nan
        told[place] = ColumnDescription(
            name=federation.feature_names[place],
            kind="number",
            count=float(there * num_records),
            error=error,
            mean=middle + reach * centre if is_known else None,
            deviation=reach * math.sqrt(variance) if is_known and variance >= 0 else None,
            histogram=tuple(bins[index].tolist()),
            low=low,
            high=high,
        )
    for place, share in zip(moments.indicators, indicators.tolist(), strict=True):
        name = federation.feature_names[place]
        told[place] = ColumnDescription(name=name, kind="indicator", count=share * num_records, error=error)
    shares = zip(federation.class_names, rest[k * NUM_BINS :].tolist(), strict=False)
    classes = (
        ColumnDescription(name=name, kind="class", count=share * num_records, error=error) for name, share in shares
    )
    return (*(told[place] for place in sorted(told)), *classes)
