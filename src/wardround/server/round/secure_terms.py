"""The terms on which a round of the loop is summed by secure aggregation.

Where a clip bounds what is sent, the bound of the sum follows from it (see `margins`); a noise beyond 16 standard
deviations, which one draw in 10^50 has, is held to it by a real site and refused by a simulated hospital, like any
number that does not fit. What is left out on purpose: the protocol (see `secure_sums`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from wardround.errors import ConfigError
from wardround.identity import agreed_digest
from wardround.rounds import Assignment
from wardround.secagg import Roster, Terms, is_weighted, simulated_roster
from wardround.server.plan.dropouts import draw_drop_stage
from wardround.server.plan.margins import update_bound
from wardround.server.plan.plans import FederationPlan

__all__ = ["SecureSum", "roster_of", "secure_sum_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureSum:
    """How a round is summed by secure aggregation.

    Attributes:
        roster: of the federation.
        run_id: of the run.
        round_number: from 1.
        payload: what is summed, as in the terms.
        max_update: largest magnitude of a number before weighting (> 0).
        max_weight: largest weight of any hospital (> 0).
        settings_digest: of the settings that all agreed on, 32 bytes.
        weights: by node id, what each hospital's vector must weigh, of the whole cohort.
        last_stages: by node id, the stage at which a simulated hospital vanishes.
    """

    roster: Roster
    run_id: str
    round_number: int
    payload: str
    max_update: float
    max_weight: float
    settings_digest: bytes
    weights: Mapping[int, float]
    last_stages: Mapping[int, str]

    @property
    def is_weighted(self) -> bool:
        """Whether every vector carries its weight: residues are summed as they are."""
        return is_weighted(self.payload)

    def terms(self, model_digest: bytes) -> Terms:
        """Return the terms of the round, given the digest of what everyone is sent."""
        return Terms(
            federation=self.roster.federation,
            run_id=self.run_id,
            round_number=self.round_number,
            min_survivors=self.roster.min_survivors,
            max_colluding=self.roster.max_colluding,
            payload=self.payload,
            max_update=self.max_update if self.is_weighted else 0.0,
            max_weight=self.max_weight if self.is_weighted else 0.0,
            model_digest=model_digest,
            settings_digest=self.settings_digest,
        )


def roster_of(plan: FederationPlan, roster: Roster | None) -> Roster | None:
    """Return with whom rounds are summed by secure aggregation; None where another protocol is set.

    Args:
        plan: of the run.
        roster: of real sites; None for simulated hospitals, whose keys follow from the seed.

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
    roster: Roster,
    node_of: Mapping[str, int],
    silent: Collection[str] = (),
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
    first = assignments[0]
    sizes = plan.sizes
    weights = {node_of[a.hospital_id]: plan.cell.vector_weight(sizes[a.hospital_id]) for a in assignments}
    return SecureSum(
        roster=roster,
        run_id=run_id,
        round_number=first.round_number,
        payload=plan.cell.payload,
        max_update=update_bound(plan, assignments),
        max_weight=plan.cell.vector_weight(plan.most_records(a.hospital_id for a in assignments)),
        settings_digest=agreed_digest(plan.config),
        weights=weights,
        last_stages={node_of[name]: draw_drop_stage(plan.config, name, first.round_number) for name in silent},
    )
