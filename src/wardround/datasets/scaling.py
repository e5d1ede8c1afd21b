"""How features are scaled by constants that all hospitals have alike, and were released before round 1.

What is left out on purpose: where the constants come from (see `moments`).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wardround.config import MOST_DEVIATIONS
from wardround.datasets.records import HospitalData
from wardround.errors import ProtocolError

__all__ = ["OwnUnits", "Scaling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnUnits:
    """How features in their own unit become those of a model, by constants that were released before it was trained.

    Attributes:
        numbers: places of the features that are numbers, which are first brought from [low, high] to [-1, 1].
        low: of each of these.
        high: of each of these.
        centre: see `Scaling`.
        scale: likewise.
    """

    numbers: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """One centre and one scale for each feature, as records hold it.

    Attributes:
        centre: what is subtracted, finite.
        scale: what the difference is divided by, finite and > 0.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        are_numbers = len(self.centre) == len(self.scale) and bool(np.isfinite([*self.centre, *self.scale]).all())
        if not are_numbers or min(self.scale, default=1.0) <= 0:
            raise ProtocolError(
                f"a scaling of {len(self.centre)} centres and {len(self.scale)} scales is refused: they must be as "
                "many finite numbers, and scales > 0"
            )

    def of(self, features: ArrayLike) -> NDArray[np.float32]:
        """Return features (n, d) less their centres, divided by their scales, within -5 and 5; a missing one is 0.

        Each row is a function of that row alone.

        Raises:
            ProtocolError: there are more or fewer features than constants.
        """
        values = np.asarray(features, np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.centre):
            raise ProtocolError(
                f"features of shape {values.shape} can't be scaled by {len(self.centre)} constants: the server's data "
                "have other columns"
            )
        scaled = np.clip((values - np.array(self.centre)) / np.array(self.scale), -MOST_DEVIATIONS, MOST_DEVIATIONS)
        return np.where(np.isnan(scaled), 0.0, scaled).astype(np.float32)

    def of_hospital(self, hospital: HospitalData) -> HospitalData:
        """Return the hospital with its training and test features scaled; its fingerprint stays that of its data."""
        return replace(
            hospital, train_features=self.of(hospital.train_features), test_features=self.of(hospital.test_features)
        )
