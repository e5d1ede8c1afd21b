"""What a data set's images become before anything else is done with them: features that nothing was learned for.

What is left out on purpose: features that are learned or fitted, which would tell of other records.
"""

from dataclasses import replace

from wardround.config import SCATTERING, FeaturesConfig
from wardround.datasets.records import Dataset
from wardround.datasets.scattering import ANGLES, LEAST_PIXELS, SCALES, scattered, scattered_shape
from wardround.errors import ConfigError

__all__ = ["extracted"]


def extracted(dataset: Dataset, features: FeaturesConfig) -> Dataset:
    """Return a data set with what [features] extract makes of its images, of each by itself; else as it is.

    Args:
        dataset: loaded, in its own order.
        features: extract and group_norm are used.

    Raises:
        ConfigError: its records are no images, or too small ones, or group-norm does not divide the channels.
    """
    if features.extract != SCATTERING:
        return dataset
    shape = dataset.features.shape[1:]
    if len(shape) != 3 or min(shape[1:]) < LEAST_PIXELS or dataset.numbers:
        raise ConfigError(
            f'extract = "{features.extract}" needs images, records of shape (channels, height, width) with at least '
            f"{LEAST_PIXELS} pixels along height and width, and those of {dataset.name} have shape {shape} ([features] "
            "extract): remove it"
        )
    channels = scattered_shape(shape)[0]
    if features.group_norm is not None and channels % features.group_norm:
        near = [number for number in range(1, channels + 1) if channels % number == 0]
        raise ConfigError(
            f"group-norm = {features.group_norm} must divide the {channels} channels that are extracted from an image "
            f"of {dataset.name} ([features] group-norm): set one of {', '.join(map(str, near))}"
        )
    normed = "" if features.group_norm is None else f", normalised in {features.group_norm} groups of channels"
    note = (
        f"features: the scattering transform of each image by itself ({SCALES} scales, {ANGLES} angles, order 2: "
        f"{channels} channels){normed}; nothing of it is learned, so that it costs no epsilon"
    )
    made = scattered(dataset.features.astype("float32", copy=False), features.group_norm)
    return replace(dataset, features=made, notes=(*dataset.notes, note))
