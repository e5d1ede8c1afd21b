"""What was done to one hospital's data, as an accountant needs it: steps of one kind, and how many.

Left out on purpose: what they cost (see `accounting`).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError
from wardround.privacy.mechanisms import mechanism_of
from wardround.privacy.renyi import check_rate_and_noise, rdp
from wardround.privacy.skellam import choose_scaled_norm, skellam_rdp

__all__ = ["KIND_FIELDS", "Kind", "Phase", "Release", "dp_event", "merged", "phase_of", "step_rdp"]

Kind = tuple[float, float, str, str, str, float, int, int]
"""The fields of a Phase but the number of steps, in the order of KIND_FIELDS."""

KIND_FIELDS = (
    *("noise_multiplier", "sample_rate", "unit", "relation", "placement"),
    *("scaled_norm", "dimension", "num_shares"),
)


_MOST_STEPS = 2**53
"""Beyond them a float can't count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Steps of one kind on one hospital's data.

    Attributes:
        noise_multiplier: noise stddev / sensitivity (>= 0, finite); 0 means no noise and infinite epsilon.
        sample_rate: probability that a record is in a step's Poisson batch, in (0, 1].
        num_steps: noisy steps (>= 0), empty batches included.
        unit: what is protected.
        relation: which data are neighbours; figures of different units or relations are never added.
        placement: where noise is added; "local" noise of different hospitals is independent.
        scaled_norm: sensitivity in integer steps before rounding, of Skellam noise; 0 for Gaussian noise.
        dimension: coordinates of the integer vector, of Skellam noise; else 0.
        num_shares: replies guaranteed, each with a share of the noise, of Skellam noise; else 0.
    """

    noise_multiplier: float
    sample_rate: float
    num_steps: int
    unit: str = "record"
    relation: str = "zero-out-one-record"
    placement: str = "local"
    scaled_norm: float = 0.0
    dimension: int = 0
    num_shares: int = 0

    def __post_init__(self) -> None:
        check_rate_and_noise(self.noise_multiplier, self.sample_rate)
        if not 0 <= self.num_steps <= _MOST_STEPS:
            raise ConfigError(
                f"num-steps = {self.num_steps} must be >= 0 and <= {_MOST_STEPS}: count the steps that were taken"
            )

    @property
    def kind(self) -> Kind:
        """What kind of steps these are: hashable and sortable."""
        return (
            *(self.noise_multiplier, self.sample_rate, self.unit, self.relation, self.placement),
            *(self.scaled_norm, self.dimension, self.num_shares),
        )

    def against(self, reader: str) -> "Phase":
        """Return the steps as a reader sees them, who may know part of the noise or see the sum without it."""
        if self.placement in ("local", "none"):
            return self
        cell = mechanism_of(self.unit, self.placement)
        return replace(
            self, noise_multiplier=cell.noise_against(reader, self.noise_multiplier, max(1, self.num_shares))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What one hospital releases in one step, except for the amount of noise.

    Attributes:
        sample_rate: in (0, 1].
        unit: see `Phase`.
        relation: see `Phase`.
        placement: see `Phase`.
        dimension: coordinates, of Skellam noise; 0 for Gaussian noise.
        num_shares: replies guaranteed, of Skellam noise; else 0.
        most_contributions: vectors that one sum may have at most, of Skellam noise; else 0.
        most_shares: replies that there may be at most, of Skellam noise; else 0.
    """

    sample_rate: float
    unit: str = "record"
    relation: str = "zero-out-one-record"
    placement: str = "local"
    dimension: int = 0
    num_shares: int = 0
    most_contributions: int = 0
    most_shares: int = 0

    def phase(self, noise_multiplier: float, num_steps: int) -> Phase:
        """Return that many steps with that much noise, and the scale to round at.

        Raises:
            ConfigError: the sum would not fit 32 bits.
        """
        scaled_norm = 0.0
        if self.dimension:
            scaled_norm = choose_scaled_norm(
                noise_multiplier,
                self.dimension,
                most_contributions=self.most_contributions,
                most_shares=self.most_shares / self.num_shares,
            )
        return Phase(
            noise_multiplier=noise_multiplier,
            sample_rate=self.sample_rate,
            num_steps=num_steps,
            unit=self.unit,
            relation=self.relation,
            placement=self.placement,
            scaled_norm=scaled_norm,
            dimension=self.dimension,
            num_shares=self.num_shares,
        )


def phase_of(kind: Kind, num_steps: int) -> Phase:
    """Return so many steps of a kind."""
    return Phase(**dict(zip(KIND_FIELDS, kind, strict=True)), num_steps=num_steps)  # type: ignore[arg-type]


def merged(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """Return the phases of equal kind added up, those without steps left out, in a fixed order."""
    steps: defaultdict[Kind, int] = defaultdict(int)
    for phase in phases:
        steps[phase.kind] += phase.num_steps
    return tuple(phase_of(kind, count) for kind, count in sorted(steps.items()) if count)


def step_rdp(kind: Kind, *, cached: bool = True) -> NDArray[np.float64]:
    """Return the Renyi divergence of one step of a kind: shape (len(ORDERS),), float64, nats, read-only.

    Args:
        kind: of a Phase.
        cached: False for kinds that are only tried out, which would fill the cache.
    """
    noise_multiplier, sample_rate, _, _, _, scaled_norm, dimension, _ = kind
    if dimension:
        divergence = skellam_rdp if cached else skellam_rdp.__wrapped__
        return divergence(noise_multiplier, scaled_norm, dimension, sample_rate)
    return (rdp if cached else rdp.__wrapped__)(noise_multiplier, sample_rate)


def dp_event(phase: Phase) -> Any:
    """Return dp-accounting's event for the phase; None for Skellam noise, which it has none for.

    Read it under REPLACE_SPECIAL, dp-accounting's name for zero-out, which is the relation of records. (Its accountants
    take the same pair of distributions under ADD_OR_REMOVE_ONE.) Where hospitals are the unit the noise multiplier is
    relative to how far apart neighbours are, of whatever relation, so that the same reading holds; REPLACE_ONE would
    count that distance twice.
    """
    from dp_accounting import dp_event as events

    if phase.dimension:
        return None
    step: Any = events.GaussianDpEvent(phase.noise_multiplier)
    if phase.sample_rate < 1:
        step = events.PoissonSampledDpEvent(phase.sample_rate, step)
    return events.SelfComposedDpEvent(step, phase.num_steps)
