"""Random flips and shifts of images, several of each, whose gradients are averaged before a record is clipped.

Each of K copies of an image is mirrored with probability 1/2, and moved by up to 4 pixels either way, its border
reflected. A record's gradient is the mean over its copies, clipped as one (De, Berrada, Hayes, Smith, Balle 2022, arXiv
2204.13650, section 3.2): a function of that record and of draws that no other record has a say in, so that it moves a
sum by at most the clip, as ever. A step takes K times as long. What is left out on purpose: tables, and images that
features were extracted from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wardround.errors import ConfigError

__all__ = ["Augmentations", "check_images"]

_MOST_SHIFT = 4
"""Pixels, as De et al. 2022 have it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Augmentations:
    """What makes a batch's augmented rows in one release.

    Attributes:
        multiplicity: K, copies of every row (>= 1).
        generator: of the release.
    """

    multiplicity: int
    generator: np.random.Generator

    def of_batch(self, features: Tensor, labels: Tensor, owners: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return K changed copies of every row one after the other, their labels, and whose they are.

        Args:
            features: (n, channels, height, width).
            labels: (n,).
            owners: (n,) int64, ascending: what is clipped as one; None is each row by itself.

        Returns:
            Shapes (K n, ...), (K n,) and (K n,), on the device of what was given.
        """
        if owners is None:
            owners = torch.arange(len(labels), device=labels.device)
        copied = features.repeat_interleave(self.multiplicity, dim=0)
        labels, owners = (each.repeat_interleave(self.multiplicity) for each in (labels, owners))
        return self._changed(copied), labels, owners

    def _changed(self, images: Tensor) -> Tensor:
        number, _, height, width = images.shape
        is_mirrored = torch.from_numpy(self.generator.random(number) < 0.5)
        shifts = torch.from_numpy(self.generator.integers(-_MOST_SHIFT, _MOST_SHIFT, (2, number), endpoint=True))
        rows, columns = (_reflected(size, shift) for size, shift in zip((height, width), shifts, strict=True))
        columns = torch.where(is_mirrored[:, None], columns.flip(1), columns)
        device, every = images.device, torch.arange(number)[:, None, None, None]
        channels = torch.arange(images.shape[1])[None, :, None, None]
        places = (each.to(device) for each in (every, channels, rows[:, None, :, None], columns[:, None, None, :]))
        return images[tuple(places)]


def _reflected(size: int, shifts: Tensor) -> Tensor:
    """Return where each of `size` pixels in a line is taken from, (n, size), for each of (n,) shifts."""
    places = (torch.arange(size) + shifts[:, None]).abs()
    last = size - 1
    return last - (last - places).abs()


def check_images(multiplicity: int, record_shape: Sequence[int]) -> None:
    """Refuse records that are no images, or too small to be moved.

    Raises:
        ConfigError: naming the shape.
    """
    if len(record_shape) != 3 or min(record_shape[1:]) <= _MOST_SHIFT:
        raise ConfigError(
            f"augmentation-multiplicity = {multiplicity} is for images of {_MOST_SHIFT + 1} pixels or more either way, "
            f"and a record has the shape {tuple(record_shape)} here ([training] augmentation-multiplicity): remove it"
        )
