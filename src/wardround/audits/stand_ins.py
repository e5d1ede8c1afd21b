"""Stand-ins: made-up records that reconstruction is tried on and that may be shown, since nobody's data is in them.

Rows of a table are drawn from what is publicly known of its columns: uniform within bounds, one level of a group, a
standard normal number otherwise. Images are the handwritten digits that scikit-learn ships, made as large as the run's.
No record of a hospital has a part in either. Left out on purpose: how columns hang together, which only data tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wardround.config import HOSPITAL, MOST_DEVIATIONS, PRIVATE, PUBLIC, FederationConfig
from wardround.datasets import FederatedData
from wardround.datasets.loading import load_dataset
from wardround.datasets.records import NumberColumn
from wardround.errors import ConfigError

__all__ = ["StandIns", "stand_ins_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StandIns:
    """Made-up records as a model takes them.

    Attributes:
        features: (n, d) or (n, channels, height, width).
        labels: (n,) class indices.
        names: of the features; () of images.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def part(self, rows: slice) -> "StandIns":
        """Return some of them."""
        return replace(self, features=self.features[rows], labels=self.labels[rows])


def stand_ins_of(data: FederatedData, number: int, generator: np.random.Generator) -> StandIns:
    """Return made-up records like those of a federation.

    Args:
        data: its shapes and names, and what is publicly known of its numbers, are used, and no record.
        number: of records (1 to 1,797 of images).
        generator: that they are drawn with.

    Raises:
        ConfigError: nothing is publicly known of a column that is in its own unit.
    """
    if len(data.input_shape) == 3:
        return _images(data, number, generator)
    width = data.input_shape[0]
    return StandIns(
        features=_rows(data, number, generator).astype(np.float32),
        labels=generator.integers(data.num_classes, size=number),
        names=data.feature_names or tuple(f"feature {place + 1}" for place in range(width)),
    )


def _rows(data: FederatedData, number: int, generator: np.random.Generator) -> NDArray[np.float64]:
    rows = generator.normal(size=(number, data.input_shape[0])).clip(-MOST_DEVIATIONS, MOST_DEVIATIONS)
    places = {each.column for each in data.numbers}
    for each in data.numbers:
        rows[:, each.column] = _numbers(data, each, rows[:, each.column], generator)
    for levels in _levels(data.groups, places):
        chosen = generator.integers(len(levels) + (len(levels) == 1), size=number)
        rows[:, levels] = chosen[:, None] == np.arange(len(levels))
    return rows


def _numbers(
    data: FederatedData, column: NumberColumn, drawn: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return one column of numbers, as the mode of standardising leaves them, of standard normal ones."""
    if data.standardise == HOSPITAL or (data.standardise == PUBLIC and column.constants is not None):
        return drawn
    if data.standardise not in (PUBLIC, PRIVATE):  # in its own unit
        if column.bounds is not None:
            return generator.uniform(*column.bounds, size=len(drawn))
        if column.constants is None:
            name = data.feature_names[column.column]
            raise ConfigError(
                f'nothing is publicly known of {name}, which is in its own unit ([features] standardise = "none"), and '
                "no stand-in can be drawn: give bounds ([features] bounds), or audit without reconstruction"
            )
        centre, scale = column.constants
        return centre + scale * drawn
    return generator.uniform(-1.0, 1.0, size=len(drawn))


def _levels(groups: Sequence[int], numbers: set[int]) -> list[list[int]]:
    """Return the places of each group's indicators."""
    together: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        if place not in numbers:
            together.setdefault(group, []).append(place)
    return list(together.values())


def _images(data: FederatedData, number: int, generator: np.random.Generator) -> StandIns:
    """Return digits, each pixel the mean of those that it lies between, in every channel the same."""
    digits = load_dataset(FederationConfig(dataset="digits"))
    chosen = generator.permutation(len(digits.labels))[:number]
    channels, height, width = data.input_shape
    images = digits.features[chosen, 0]
    for axis, size in ((1, height), (2, width)):
        images = _stretched(images, axis, size)
    return StandIns(
        features=np.repeat(images[:, None], channels, axis=1).astype(np.float32),
        labels=digits.labels[chosen] % data.num_classes,
        names=(),
    )


def _stretched(images: NDArray[np.floating], axis: int, size: int) -> NDArray[np.floating]:
    """Return images of another size along an axis, by linear interpolation."""
    old = images.shape[axis]
    at = np.linspace(0, old - 1, size)
    below = np.minimum(np.floor(at).astype(np.int64), max(old - 2, 0))
    above = np.minimum(below + 1, old - 1)
    share = np.expand_dims(at - below, tuple(each for each in range(images.ndim) if each != axis))
    stretched: NDArray[np.floating] = np.take(images, below, axis) * (1 - share) + np.take(images, above, axis) * share
    return stretched
