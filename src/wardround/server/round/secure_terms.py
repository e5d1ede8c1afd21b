"""What is summed by secure aggregation in a round of the loop.

Where a clip bounds what is sent, the bound of the sum follows from it (see `margins`); a noise beyond 16 standard
deviations, which one draw in 10^50 has, is held to it by a real site and refused by a simulated hospital, like any
number that does not fit. What is left out on purpose: the protocol (see `wardround.secagg`).
"""

from collections.abc import Mapping, Sequence

from wardround.identity import agreed_digest
from wardround.rounds import Assignment
from wardround.secagg import Roster
from wardround.server.plan.dropouts import draw_drop_stage
from wardround.server.plan.margins import update_bound
from wardround.server.plan.plans import FederationPlan
from wardround.server.round.sums import SecureSum

__all__ = ["secure_sum_for"]


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
    first = assignments[0]
    num_train = {h.profile.hospital_id: h.profile.num_train for h in plan.hospitals}
    weights = {node_of[a.hospital_id]: plan.cell.vector_weight(num_train[a.hospital_id]) for a in assignments}
    return SecureSum(
        roster=roster,
        run_id=run_id,
        round_number=first.round_number,
        payload=plan.cell.payload,
        max_update=update_bound(plan, assignments),
        max_weight=plan.cell.vector_weight(plan.most_records(a.hospital_id for a in assignments)),
        settings_digest=agreed_digest(plan.config),
        weights=weights,
        drops={node_of[name]: draw_drop_stage(plan.config, name, first.round_number) for name in silent},
        errors_are_drops=real_sites,
    )
