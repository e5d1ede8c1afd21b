"""What was done to one hospital's data, as an accountant needs it: steps of one kind, and how many.

Left out on purpose: what they cost, and whom they protect from whom. Both are the cell's, which an event names (see
`privacy.cells`).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from wardround.errors import ConfigError

__all__ = ["EventShape", "StepEvent", "check_rate_and_noise"]

_MOST_COUNT = 2**53
"""Beyond it a float can't count steps, coordinates or replies."""
_MOST_NOISE = 1e150
"""Its square is a float still, which every bill divides by."""

_KINDS = (
    *((name, float) for name in ("noise_multiplier", "sample_rate", "scaled_norm")),
    *((name, int) for name in ("num_steps", "dimension", "num_shares")),
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class StepEvent:
    """Steps of one kind on one hospital's data; hashable, and sorted always in one order.

    Attributes:
        noise_multiplier: noise stddev / sensitivity (>= 0, <= 1e150); 0 means no noise and infinite epsilon.
        sample_rate: probability that a record is in a step's Poisson batch, in (0, 1]; 1 for a whole update.
        num_steps: releases with noise (>= 0), empty batches included.
        cell: name of the cell (see `privacy.cells`): what is protected, which data are neighbours, who adds the noise.
        scaled_norm: sensitivity in integer steps before rounding (<= 1e150), of integer noise; else 0.
        dimension: coordinates of the integer vector, of integer noise; else 0.
        num_shares: replies guaranteed, each with a share of the noise, of integer noise; else 0.
    """

    noise_multiplier: float
    sample_rate: float
    num_steps: int = 1
    cell: str = "record-local"
    scaled_norm: float = 0.0
    dimension: int = 0
    num_shares: int = 0

    def __post_init__(self) -> None:
        check_rate_and_noise(self.noise_multiplier, self.sample_rate)
        if not 0 <= self.num_steps <= _MOST_COUNT:
            raise ConfigError(
                f"num-steps = {self.num_steps} must be >= 0 and <= {_MOST_COUNT}: count the steps that were taken"
            )
        are_counts = 0 <= self.dimension <= _MOST_COUNT and 0 <= self.num_shares <= _MOST_COUNT
        if not (are_counts and 0 <= self.scaled_norm <= _MOST_NOISE):
            raise ConfigError(
                f"scaled-norm = {self.scaled_norm} must be >= 0 and <= {_MOST_NOISE:g}, dimension = {self.dimension} "
                f"and num-shares = {self.num_shares} >= 0 and <= {_MOST_COUNT}: choose others"
            )
        # Digests are taken over JSON, where 1 and 1.0 differ, and NumPy's numbers have no place.
        for name, kind in _KINDS:
            if type(value := getattr(self, name)) is not kind:
                object.__setattr__(self, name, kind(value))

    @property
    def kind(self) -> "StepEvent":
        """One step of these: what steps are added up by."""
        return self if self.num_steps == 1 else _one_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventShape:
    """What a billed step is except for its noise; a cell makes it, and the event of it (`Cell.step_event`).

    Attributes:
        event: one step, without noise.
        most_contributions: vectors that one sum may have at most, of integer noise; else 0.
        most_shares: replies that there may be at most, of integer noise; else 0.
    """

    event: StepEvent
    most_contributions: int = 0
    most_shares: int = 0

    @property
    def cell(self) -> str:
        """The cell's name."""
        return self.event.cell

    def at_rate(self, sample_rate: float) -> "EventShape":
        """Return the same at another sample rate, in (0, 1]."""
        return replace(self, event=replace(self.event, sample_rate=sample_rate))


@lru_cache(maxsize=16384)
def _one_of(event: StepEvent) -> StepEvent:
    return replace(event, num_steps=1)


def check_rate_and_noise(noise_multiplier: float, sample_rate: float) -> None:
    """Raise ConfigError unless noise_multiplier is >= 0, its square finite, and sample_rate in (0, 1]."""
    if not 0 <= noise_multiplier <= _MOST_NOISE:
        raise ConfigError(
            f"noise-multiplier = {noise_multiplier} must be finite, >= 0 and <= {_MOST_NOISE:g}: choose another"
        )
    if not 0 < sample_rate <= 1:
        raise ConfigError(f"sample-rate = {sample_rate} must be in (0, 1]: choose another")
