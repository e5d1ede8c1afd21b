"""The terms on which a round of the loop is summed by secure aggregation.

Where a clip bounds what is sent, the bound of the sum follows from it (see `margins`); a noise beyond 16 standard
deviations, which one draw in 10^50 has, is held to it by a real site and refused by a simulated hospital, like any
number that does not fit. What is left out on purpose: the protocol (see `secure_sums`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround.config import Config
from wardround.errors import ConfigError
from wardround.identity import agreed_digest
from wardround.rounds import Assignment
from wardround.secagg import Roster, Terms, is_weighted, simulated_roster
from wardround.server.plan.margins import update_bound
from wardround.server.plan.plans import FederationPlan

__all__ = ["SecureSum", "roster_of", "secure_sum_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureSum:
    """How a round is summed by secure aggregation.

    Attributes:
        terms: of the round, except for the digest of what everyone is sent, which is known when it is sent.
        max_update: largest magnitude of a number before weighting (> 0), of residues, too.
        weights: by name, what each hospital's vector must weigh, of the whole cohort.
        last_stages: by name, the stage at which a simulated hospital vanishes.
    """

    roster: Roster
    terms: Terms
    max_update: float
    weights: Mapping[str, float]
    last_stages: Mapping[str, str]


def roster_of(plan: FederationPlan, roster: Roster | None) -> Roster | None:
    """Return with whom rounds are summed by secure aggregation; None where another protocol is set.

    Simulated hospitals have no roster of their own: their keys follow from the seed.

    Raises:
        ConfigError: the settings are not those that the sites agreed on.
    """
    aggregation = plan.config.aggregation
    if aggregation.protocol != "secagg+":
        return None
    numbers = {"min_survivors": aggregation.min_survivors, "max_colluding": aggregation.max_colluding}
    if roster is None:
        return simulated_roster(plan.config.federation.seed, plan.names, **numbers)
    for name, value in numbers.items():
        if getattr(roster, name) != value:
            raise ConfigError(
                f"{name.replace('_', '-')} = {value} must be the {getattr(roster, name)} of the roster that the sites "
                "agreed on ([aggregation]): set that, or agree on a new roster"
            )
    return roster


def secure_sum_for(
    plan: FederationPlan,
    assignments: Sequence[Assignment],
    *,
    run_id: str,
    roster: Roster | None,
    silent: Mapping[str, str],
    settings: Config | None = None,
) -> SecureSum | None:
    """Return how the round's sum is hidden from the server; None without a roster, or where nobody has an assignment.

    Simulated hospitals that are `silent` vanish in the round, each at its stage. The settings are those that hospitals
    hold their own to, where the plan is of a job that was derived from them.
    """
    if roster is None or not assignments:
        return None
    cell, sizes = plan.cell, plan.sizes
    most_records, bound = plan.most_records(a.hospital_id for a in assignments), update_bound(plan, assignments)
    has_bounds = is_weighted(cell.payload)
    terms = Terms(
        federation=roster.federation,
        run_id=run_id,
        round_number=assignments[0].round_number,
        min_survivors=roster.min_survivors,
        max_colluding=roster.max_colluding,
        payload=cell.payload,
        max_update=bound if has_bounds else 0.0,
        max_weight=cell.vector_weight(most_records) if has_bounds else 0.0,
        model_digest=bytes(32),  # nothing that is sent has it
        settings_digest=agreed_digest(settings or plan.config),
    )
    return SecureSum(
        roster=roster,
        terms=terms,
        max_update=bound,
        weights={a.hospital_id: cell.vector_weight(sizes[a.hospital_id]) for a in assignments},
        last_stages=silent,
    )
