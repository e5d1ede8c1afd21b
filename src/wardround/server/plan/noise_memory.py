"""What the server's noise in a round goes on from, as the cell, the hospitals' turns and their weights have it.

What is left out on purpose: the noise itself, which is the cell's (see `privacy.cells`).
"""

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from wardround.agreed.cohorts import draw_cohort, rounds_apart
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState

__all__ = ["noise_memory", "relative_noise"]


def noise_memory(plan: FederationPlan, state: RoundState, round_number: int) -> Mapping[str, NDArray[Any]]:
    """Return what the noise of a round goes on from (see `Cell.noise_memory`); {} in most cells."""
    return plan.cell.noise_memory(
        state.memory,
        round_number=round_number,
        attempt=state.attempt,
        rounds_left=plan.config.training.num_rounds - round_number + 1,
        scales=_scales(plan, round_number, state.left),
    )


def relative_noise(plan: FederationPlan) -> float:
    """Return the error of the model's sums of rounds, relative to that of independent noise, in (0, 1]."""
    return plan.cell.relative_noise(num_rounds=plan.config.training.num_rounds, scales=_scales(plan, 1, ()))


def _scales(plan: FederationPlan, first_round: int, left: Collection[str]) -> list[float]:
    """Return by turn the largest weight in a round's average, by which its noise is sized; 1 where nobody is left."""
    scales = []
    for turn in range(rounds_apart(plan.config, len(plan.drawn_from))):
        cohort = draw_cohort(plan.config, plan.drawn_from, first_round + turn)
        sizes = [plan.sizes[name] for name in cohort if name in plan.sizes and name not in left]
        scales.append(max((plan.cell.cohort_weight(size, sum(sizes), len(sizes)) for size in sizes), default=1.0))
    return scales
