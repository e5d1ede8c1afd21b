"""What is summed by secure aggregation in a round of the loop, how large it can be, and what rounding it costs.

Where a clip bounds what is sent, the bound of the sum follows from it; a noise beyond 16 standard deviations, which one
draw in 10^50 has, is refused by the hospital like any number that does not fit. What is left out on purpose: the
protocol (see `wardround.secagg`).
"""

import math
from collections.abc import Mapping, Sequence

from wardround.privacy.schedules import schedule_of
from wardround.rounds import Assignment
from wardround.secagg import Roster
from wardround.secagg.quantisation import Quantiser
from wardround.server.cohorts import draw_drop_stage
from wardround.server.plans import FederationPlan, mechanism_in
from wardround.server.sums import SecureSum

__all__ = ["rounding_slack", "secure_sum_for", "update_bound"]

_DEVIATIONS = 16.0
_FLOAT32_SLACK = 1 + 2.0**-16


def secure_sum_for(
    plan: FederationPlan,
    assignments: Sequence[Assignment],
    *,
    run_id: str,
    roster: Roster,
    real_sites: bool,
    node_of: Mapping[str, int],
    silent: frozenset[str],
) -> SecureSum:
    """Return how the round's sum is hidden from the server.

    Args:
        plan: of the run.
        assignments: of the cohort, at least one.
        run_id: of the run.
        roster: of the federation.
        real_sites: whether hospitals are sites with keys of their own, which may fail or refuse.
        node_of: node ids by hospital.
        silent: simulated hospitals that vanish in the round, each at a stage drawn for it.
    """
    first, cell = assignments[0], mechanism_in(plan.config)
    payload = "parameters" if cell is None else {"distributed": "residues", "central": "values"}.get(cell.placement)
    num_train = {h.profile.hospital_id: h.profile.num_train for h in plan.hospitals}
    return SecureSum(
        roster=roster,
        run_id=run_id,
        round_number=first.round_number,
        payload=payload or "parameters",
        max_update=update_bound(plan, assignments),
        weights={
            node_of[a.hospital_id]: schedule_of(plan.config, num_train[a.hospital_id]).weight for a in assignments
        },
        drops={node_of[name]: draw_drop_stage(plan.config, name, first.round_number) for name in silent},
        errors_are_drops=real_sites,
    )


def update_bound(plan: FederationPlan, assignments: Sequence[Assignment]) -> float:
    """Return the largest magnitude that a coordinate of what a hospital sends can have.

    A sum of clipped gradients is at most max_grad_norm for each of the hospital's records; a clipped update at most
    its sensitivity, and with local noise 16 standard deviations more. Local training has [aggregation] max-update.
    """
    first = assignments[0]
    if first.max_grad_norm is None or (first.unit, first.placement) == ("record", "local"):
        return plan.config.aggregation.max_update
    largest = max(float(a.sensitivity or a.max_grad_norm or 0.0) for a in assignments)
    if first.unit == "record":
        names = {a.hospital_id for a in assignments}
        largest *= max(h.profile.num_train for h in plan.hospitals if h.profile.hospital_id in names)
    elif first.placement == "local":
        largest *= 1 + _DEVIATIONS * max(a.noise_multiplier for a in assignments)
    return largest * _FLOAT32_SLACK


def rounding_slack(plan: FederationPlan, assignments: Sequence[Assignment]) -> float:
    """Return by how much of itself the sensitivity grows when contributions are rounded before central noise is added.

    Two sums that are a sensitivity S apart are at most S + sqrt(d) s apart when every coordinate of the contribution
    that differs is rounded to multiples of s, by half a step on either side. Noise that is added before the rounding
    (local), or to whole numbers (distributed), needs none of this.
    """
    first = assignments[0]
    if plan.config.aggregation.protocol != "secagg+" or first.max_grad_norm is None or first.placement != "central":
        return 0.0
    step = update_bound(plan, assignments) / Quantiser(num_members=len(assignments), max_update=1, max_weight=1).levels
    dimension = plan.num_parameters + int(first.adaptive_clipping)
    return math.sqrt(dimension) * step / float(first.sensitivity or first.max_grad_norm)
