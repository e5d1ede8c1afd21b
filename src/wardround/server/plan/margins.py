"""How far rounding can carry neighbours' sums apart before the server adds its noise, so that the noise covers it.

Here are the numbers of a plan and its rounds; what follows from them is each cell's own (`Cell.rounding_distance`).
"""

from collections.abc import Sequence

from wardround.agreed.cohorts import cohort_sizes
from wardround.errors import ConfigError
from wardround.exact_sums import FRACTION_BITS, LARGEST_VALUE
from wardround.privacy.cells import PlannedSum
from wardround.privacy.ranges import LARGEST_CLIP
from wardround.rounds import Assignment
from wardround.secagg.quantisation import Quantiser
from wardround.server.plan.plans import FederationPlan

__all__ = ["check_clip", "rounding_distance", "update_bound"]


def check_clip(plan: FederationPlan) -> None:
    """Refuse a clip so small that the grid of the exact sum would drown what is within it, or too large for it.

    Raises:
        ConfigError: naming the clip, what is allowed, and what to set.
    """
    clip, most_records = plan.config.privacy.max_grad_norm, plan.most_records(plan.names)
    most_copies = plan.config.imbalance.most_copies if plan.cell.clips_records else 1
    _, num_members = cohort_sizes(plan.config, len(plan.drawn_from))
    least, most = plan.cell.clip_range(dimension=_dimension(plan), num_members=num_members, most_records=most_records)
    if clip < least:
        raise ConfigError(
            f"max-grad-norm = {clip:g} must be >= {least:.3g} and <= {LARGEST_CLIP:g} for "
            f"{plan.num_parameters} parameters and {num_members} hospitals in a round ([privacy] max-grad-norm), as "
            f"sums are kept in steps of 2^-{FRACTION_BITS}: raise it"
        )
    if not clip < (most := most / most_copies):
        raise ConfigError(
            f"max-grad-norm = {clip:g} must be < {most:.3g} for a hospital of {most_records} records "
            f"([privacy] max-grad-norm), as sums are kept below {LARGEST_VALUE:.0f}: lower it"
        )


def update_bound(plan: FederationPlan, assignments: Sequence[Assignment]) -> float:
    """Return the largest magnitude that a coordinate of what a hospital of the round sends can have."""
    by_clip = plan.cell.update_bound(
        most_records=plan.most_records(assignment.hospital_id for assignment in assignments),
        sensitivity=max(a.distance for a in assignments),
        noise_multiplier=max(assignment.event.noise_multiplier for assignment in assignments),
    )
    return plan.config.aggregation.max_update if by_clip is None else by_clip


def rounding_distance(plan: FederationPlan, assignments: Sequence[Assignment]) -> float:
    """Return by how much (L2) rounding can add to the distance of neighbours' sums before the server's noise.

    It is of the planned cohort alone, whoever answers (see `ServerNoise.rounding_distance`).
    """
    quantiser = None
    if plan.config.aggregation.protocol == "secagg+":
        quantiser = Quantiser(num_members=len(assignments), max_update=1.0, max_weight=1.0, is_folded=True)
    names = {assignment.hospital_id for assignment in assignments}
    planned = PlannedSum(
        sensitivity=assignments[0].distance,
        num_records=[plan.sizes[name] for name in sorted(names)],
        most_records=plan.most_records(names),
        dimension=_dimension(plan),
        levels=None if quantiser is None else quantiser.levels,
        bound=update_bound(plan, assignments),
    )
    return plan.cell.rounding_distance(planned)


def _dimension(plan: FederationPlan) -> int:
    return plan.cell.dimension(plan.num_parameters, adaptive_clipping=plan.config.privacy.adaptive_clipping)
