"""What a run is made of between two rounds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from wardround.datasets.constants import NO_CONSTANTS, Constants
from wardround.exact_sums import Arrays
from wardround.privacy.spending import Account
from wardround.server.plan.best import Best

__all__ = ["RoundState"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundState:
    """Everything the next round follows from, apart from the strategy's own memory.

    `attempt` is the next round's: above 1 where it was charged before and the run was interrupted in it.
    `memory` is what the noise of the next round goes on from, where that hangs on earlier rounds' noise.
    `constants` are what all hospitals are told that was released before round 1.
    `best` is the best of the models so far, where the settings have anything hang on it.
    `other_versions` are of packages that are not what they were when the run began.
    """

    run_id: str
    round_number: int
    attempt: int
    arrays: Arrays
    account: Account
    noise_multipliers: Mapping[str, float]
    max_grad_norm: float
    left: Mapping[str, str]
    stopped: str
    memory: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    constants: Constants = NO_CONSTANTS
    best: Best | None = None
    other_versions: tuple[str, ...] = ()
