"""How far rounding can carry neighbours' sums apart before the server adds its noise, so that the noise covers it.

Only the central cells round before the noise: contributions go onto the grid of the exact sum (`exact_sums`) and, with
secure aggregation, onto the quantiser's first. Local noise is in what is rounded, which makes the rounding
post-processing; distributed noise is added to whole numbers whose norm was checked.
"""

import math
from collections.abc import Sequence

from wardround.agreed.cohorts import cohort_sizes
from wardround.errors import ConfigError
from wardround.exact_sums import FRACTION_BITS, LARGEST_VALUE
from wardround.privacy.cells import cell_named
from wardround.privacy.ranges import FLOAT32_SLACK, LARGEST_CLIP
from wardround.rounds import Assignment
from wardround.secagg.quantisation import Quantiser
from wardround.server.plan.plans import FederationPlan

__all__ = ["check_clip", "rounding_distance", "update_bound"]

_GRID = 2.0**-FRACTION_BITS
_QUANTISER_SLACK = 1 + 2.0**-17
"""Products of up to 2^30 in double precision are off by 2^-23 steps before they are rounded to a whole number; and both
neighbours' sums, which a member can move to 2^30 steps, pass eight roundings of 2^-53 of that: 2^-19 steps in all."""
_FLOAT64_SLACK = 2.0**-49
"""Both neighbours' sums pass at most eight roundings of 2^-53 of themselves on their way from whole numbers."""
_MOST_ROUNDING = 0.01


def check_clip(plan: FederationPlan) -> None:
    """Refuse a clip so small that the grid of the exact sum would drown what is within it, or too large for it.

    With d coordinates and n hospitals of average weight 1 / n, the grid takes neighbours up to sqrt(d) 2^-40 n clips of
    size 1 apart (see `rounding_distance`); the noise covers it, whatever it is, and this holds it to a hundredth.

    A sum of gradients beyond 2^22 would be refused before it has any noise, by which records decided on an outcome that
    everybody sees: so no hospital's can be.

    Raises:
        ConfigError: naming the clip, what is allowed, and what to set.
    """
    cell, privacy = plan.cell, plan.config.privacy
    if not cell.adds_noise_at_server:
        return
    _, num_members = cohort_sizes(plan.config, len(plan.drawn_from))
    least = math.sqrt(_dimension(plan)) * _GRID * num_members / _MOST_ROUNDING
    if privacy.max_grad_norm < least:
        raise ConfigError(
            f"max-grad-norm = {privacy.max_grad_norm:g} must be >= {least:.3g} and <= {LARGEST_CLIP:g} for "
            f"{plan.num_parameters} parameters and {num_members} hospitals in a round ([privacy] max-grad-norm), as "
            f"sums are kept in steps of 2^-{FRACTION_BITS}: raise it"
        )
    most_records = plan.most_records(plan.names)
    most = LARGEST_VALUE / cell.clips_sent(most_records) / FLOAT32_SLACK
    if not privacy.max_grad_norm < most:
        raise ConfigError(
            f"max-grad-norm = {privacy.max_grad_norm:g} must be < {most:.3g} for a hospital of {most_records} records "
            f"([privacy] max-grad-norm), as sums are kept below {LARGEST_VALUE:.0f}: lower it"
        )


def update_bound(plan: FederationPlan, assignments: Sequence[Assignment]) -> float:
    """Return the largest magnitude that a coordinate of what a hospital of the round sends can have."""
    return plan.cell.update_bound(
        max_update=plan.config.aggregation.max_update,
        most_records=plan.most_records(assignment.hospital_id for assignment in assignments),
        sensitivity=max(a.distance for a in assignments),
        noise_multiplier=max(assignment.event.noise_multiplier for assignment in assignments),
    )


def rounding_distance(plan: FederationPlan, assignments: Sequence[Assignment]) -> float:
    """Return by how much (L2) rounding can add to the distance of neighbours' sums, in the units of the sum.

    These are units of the gradient for records, and of the update times its weight for hospitals. The distance is that
    of the grids, and so of the planned cohort alone; who answers decides how far the sums are apart without rounding,
    and `release.noise_stddev` adds the two. So none of it is ever relative to a hospital that did not answer.

    With d coordinates, a step u of the exact sum and s of the quantiser:

    - *Exact sum.* Neighbours differ in one contribution, each coordinate of which is rounded by u / 2 at the most on
      either side (or, after secure aggregation, in their whole sums, rounded once): sqrt(d) u. A gradient sum is added
      with weight 1 / n and multiplied by n afterwards, so that there u = n 2^-40, and else 2^-40.
    - *Secure aggregation.* The quantiser takes |x| <= R at the largest weight W that is agreed on (of the cohort, or
      [federation] max-records in its units) to Q levels, so s = R W / Q, Q being smallest with the whole cohort as
      members. A record moves the sum from one rounded vector to another,
      sqrt(d) s; a hospital that is zeroed out contributes exact zeros, so that one side is rounded, sqrt(d) s / 2.
    - *Double precision* adds 2^-49 of the longest sum there can be.

    Rounding to float32 before, of an update at its hospital, stays within the room that `privacy.clipping` leaves.
    """
    first = assignments[0]
    cell = cell_named(first.event.cell)
    if not cell.adds_noise_at_server:
        return 0.0
    most_records = plan.most_records(assignment.hospital_id for assignment in assignments)
    grid = cell.grid(_records(plan, assignments), most_records)
    step = _GRID * grid.stretch
    if plan.config.aggregation.protocol == "secagg+":
        levels = Quantiser(num_members=len(assignments), max_update=1.0, max_weight=1.0, is_folded=True).levels
        step += grid.sides * update_bound(plan, assignments) * grid.largest_weight / levels * _QUANTISER_SLACK
    return math.sqrt(_dimension(plan)) * step + _FLOAT64_SLACK * (first.distance * grid.clips)


def _dimension(plan: FederationPlan) -> int:
    return plan.num_parameters + int(plan.config.privacy.adaptive_clipping)


def _records(plan: FederationPlan, assignments: Sequence[Assignment]) -> list[int]:
    names = {assignment.hospital_id for assignment in assignments}
    return [h.profile.num_train for h in plan.hospitals if h.profile.hospital_id in names]
