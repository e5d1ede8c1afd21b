"""What is left of a round's sum when it is released, and the plain arithmetic on the way there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.exact_sums import Arrays
from wardround.privacy.clipping import COUNT_NAME
from wardround.rounds import Assignment

__all__ = ["NOTHING", "Memory", "ReleasedSum", "Sums", "like_of", "moved"]

Sums = Mapping[str, NDArray[np.floating[Any]]]
Memory = Mapping[str, NDArray[Any]]
NOTHING: Memory = MappingProxyType({})
"""What a cell whose rounds are independent remembers of earlier ones."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReleasedSum:
    """What is left of a round's sum.

    Attributes:
        arrays: the parameters that the strategy sees as the round's one reply.
        quantile: with adaptive clipping the noisy share of updates within the clip, in [0, 1]; else None.
        memory: what the server's noise of later rounds follows from; nothing where rounds are independent.
    """

    arrays: Arrays
    quantile: float | None = None
    memory: Memory = field(default_factory=lambda: NOTHING)


def like_of(arrays: Arrays, assignments: Sequence[Assignment]) -> dict[str, NDArray[np.float64]]:
    """Return zeros of the names and shapes that are summed: the parameters', and a count's where one travels along."""
    like = {name: np.zeros(np.shape(array)) for name, array in arrays.items()}
    return like | ({COUNT_NAME: np.zeros(())} if assignments[0].adaptive_clipping else {})


def moved(arrays: Arrays, direction: Sums, factor: float) -> Arrays:
    """Return the arrays moved by a factor times a direction, in their own types."""
    return {name: np.asarray(array + factor * direction[name]).astype(array.dtype) for name, array in arrays.items()}
