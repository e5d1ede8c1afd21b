"""Labelled images as a data set: pixels scaled by public constants, the official test images last."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.errors import DataError

__all__ = ["image_dataset", "scaled_pixels"]


def image_dataset(
    name: str,
    pixels: list[NDArray[np.uint8]],
    labels: list[NDArray[Any]],
    *,
    class_names: tuple[str, ...],
    source: str,
    path: Path,
) -> Dataset:
    """Return the images of several parts, pixels in [-1, 1]; those of the last part are the official test images.

    Args:
        name: as in [federation] dataset.
        pixels: of each part, (n, channels, height, width) of the same image shape.
        labels: of each part, (n,) class indices.
        class_names: one name per label, from 0.
        source: sentence on where the data comes from.
        path: of the labels, for messages.

    Raises:
        DataError: a label is beyond the classes.
    """
    all_labels = np.concatenate(labels).astype(np.int64)
    if all_labels.max(initial=0) >= len(class_names):
        raise DataError(
            f"{path} has label {all_labels.max()}, beyond the {len(class_names)} classes of {name}: get the official "
            "file"
        )
    return Dataset(
        name=name,
        task=CLASSIFICATION,
        features=scaled_pixels(pixels),
        labels=all_labels,
        class_names=class_names,
        feature_names=(),
        is_test=np.arange(len(all_labels)) >= len(all_labels) - len(labels[-1]),
        notes=(source, "normalisation: public constants (pixels 0 to 255 scaled to [-1, 1])"),
    )


def scaled_pixels(parts: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the parts under one another with pixel p as (p / 255 - 0.5) / 0.5, computed in place to save memory.

    Args:
        parts: uint8 arrays (n, channels, height, width) of the same image shape.
    """
    features = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=np.float32)
    np.concatenate(parts, out=features, casting="unsafe")
    features /= 255
    features -= 0.5
    features /= 0.5
    return features
