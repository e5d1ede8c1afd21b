"""The terms of secure aggregation for a round of the loop: what is summed, and how large it can be.

Where a clip bounds what is sent, the bound of the sum follows from it; a noise beyond 16 standard deviations, which one
draw in 10^50 has, is refused by the hospital like any number that does not fit. What is left out on purpose: the
protocol (see `wardround.secagg`).
"""

from collections.abc import Mapping, Sequence
from functools import partial

from wardround.rounds import Assignment
from wardround.secagg import Roster, Terms
from wardround.server.cohorts import draw_drop_stage
from wardround.server.plans import FederationPlan, mechanism_in
from wardround.server.sums import SecureSum

__all__ = ["secure_sum_for", "update_bound"]

_DEVIATIONS = 16.0
_FLOAT32_SLACK = 1 + 2.0**-20


def secure_sum_for(
    plan: FederationPlan,
    assignments: Sequence[Assignment],
    *,
    run_id: str,
    roster: Roster,
    node_of: Mapping[str, int],
    silent: frozenset[str],
) -> SecureSum:
    """Return how the round's sum is hidden from the server.

    Args:
        plan: of the run.
        assignments: of the cohort, at least one.
        run_id: of the run.
        roster: of the federation.
        node_of: node ids by hospital.
        silent: simulated hospitals that vanish in the round, each at a stage drawn for it.
    """
    aggregation, first = plan.config.aggregation, assignments[0]
    payload = {"distributed": "residues", "central": "values"}.get(first.placement, "parameters")
    if first.max_grad_norm is None:
        payload = "parameters"
    cell = mechanism_in(plan.config)
    records = {h.profile.hospital_id: float(h.profile.num_train) for h in plan.hospitals}
    same = cell is not None and cell.sends_sum
    weights = {node_of[a.hospital_id]: 1.0 if same else records[a.hospital_id] for a in assignments}
    weighted = payload != "residues"
    terms = partial(
        Terms,
        federation=roster.federation,
        run_id=run_id,
        round_number=first.round_number,
        min_survivors=aggregation.min_survivors,
        max_colluding=aggregation.max_colluding,
        payload=payload,
        max_update=update_bound(plan, assignments) if weighted else 0.0,
        max_weight=max(weights.values()) if weighted else 0.0,
    )
    drops = {node_of[name]: draw_drop_stage(plan.config, name, first.round_number) for name in silent}
    return SecureSum(terms=terms, payload=payload, weights=weights, roster=roster, drops=drops)


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
