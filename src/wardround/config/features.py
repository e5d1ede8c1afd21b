"""The section [features]: by which constants the hospitals' numbers are standardised, and what images become.

What is left out on purpose: which columns are numbers, and what None comes to, which the data say (see
`datasets.standardising`); what an image is (see `datasets.extraction`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wardround.config.federation import FederationConfig, composed
from wardround.config.limits import check_section, setting
from wardround.errors import ConfigError
from wardround.names import shown_name

__all__ = [
    "HOSPITAL",
    "MOST_DEVIATIONS",
    "NONE",
    "PRIVATE",
    "PUBLIC",
    "SCATTERING",
    "FeaturesConfig",
    "check_features_use",
]

PUBLIC = "public"
"""Constants that come with the data."""
PRIVATE = "private"
"""Means and deviations over all hospitals, released with noise before round 1."""
HOSPITAL = "hospital"
"""Those of each hospital's own rows, which no noise covers."""
NONE = "none"
"""Numbers in their own unit; images as they are."""
SCATTERING = "scattering"
"""Of images: their scattering transform."""
MOST_DEVIATIONS = 5.0
"""From its mean that a feature is held to where it is standardised by means and deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesConfig:
    """By which constants numbers are standardised, None being decided by the data; and what images become.

    "public" takes constants that come with the data, "private" means and deviations of all hospitals' training rows
    that are released with noise before round 1, "hospital" those of each hospital's own rows, without noise; "none"
    leaves numbers in their own unit. `bounds` are (lowest, highest) by the name of a column, from public knowledge;
    `statistics_share` is the release's part of the budget.

    `extract` "scattering" makes of each image, by itself, its scattering transform, and `group_norm` is the number of
    groups of channels that each image's features are then normalised by; None normalises none.
    """

    standardise: str | None = setting(None, choices=(PUBLIC, PRIVATE, HOSPITAL, NONE), unwritten=True)
    bounds: dict[str, tuple[float, float]] | None = setting(None, unwritten=True)
    statistics_share: float = setting(0.1, above=0, below=1, unwritten=True)
    extract: str = setting(NONE, choices=(NONE, SCATTERING), unwritten=True)
    group_norm: int | None = setting(None, least=1, unwritten=True)

    @property
    def is_private(self) -> bool:
        """Whether the mode is "private": bounds without a name for the mode are of no other one, or refused."""
        return self.standardise == PRIVATE or self.bounds is not None

    def __post_init__(self) -> None:
        given = self.bounds
        object.__setattr__(self, "bounds", composed(given) if isinstance(given, dict) else given)
        check_section("features", self)
        if self.group_norm is not None and self.extract != SCATTERING:
            raise ConfigError(
                f"group-norm = {self.group_norm} is of features that are extracted, and none are ([features] "
                f'group-norm): remove it, or set extract = "{SCATTERING}"'
            )
        if self.bounds is not None:
            self._check_bounds(given, self.bounds)

    def _check_bounds(self, given: Any, bounds: Mapping[str, tuple[float, float]]) -> None:
        """Refuse bounds that name no columns, or are none."""
        if not bounds or not isinstance(given, dict) or len(bounds) < len(given):
            raise ConfigError(
                f"bounds must name columns, each once ([features] bounds): {shown_name(list(given or ()))} does not"
            )
        for name, (low, high) in bounds.items():
            if not (isinstance(name, str) and name and low < high and math.isfinite(high - low)):
                raise ConfigError(
                    f"bounds of {shown_name(name)} = [{low:g}, {high:g}] must be two numbers, the lowest first, of a "
                    "column's name ([features] bounds)"
                )
        if self.standardise not in (None, PRIVATE):
            raise ConfigError(
                f'bounds go with standardise = "private", not "{self.standardise}" ([features] bounds): remove one of '
                "them"
            )


def check_features_use(features: FeaturesConfig, federation: FederationConfig) -> None:
    """Refuse what has no meaning with a schema, whose ranges are the public constants of its numbers.

    Raises:
        ConfigError: naming the key and the next step.
    """
    if federation.schema is None:
        return
    if features.standardise not in (None, PUBLIC):
        raise ConfigError(
            f'standardise = "{features.standardise}" can\'t be with a schema, whose numbers are scaled by its ranges, '
            "which are public constants ([features] standardise): remove it"
        )
    if features.extract == SCATTERING:
        raise ConfigError(
            f'extract = "{features.extract}" is for images, and a schema is of a table ([features] extract): remove it'
        )
    if features.bounds is not None:
        raise ConfigError("bounds can't be with a schema, whose ranges are its bounds ([features] bounds): remove them")
