"""What the other cells would do to the same federation at the same epsilon: noise multiplier and noise on the average.

Nothing is trained. Records and hospitals are different units, and their epsilons different promises: the two are
listed apart and never compared. What is left out on purpose: utility, which only training shows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wardround.agreed.cohorts import cohort_sizes, draw_cohort
from wardround.errors import BudgetError, ConfigError
from wardround.privacy.cells import CELLS, READERS, Cell, cell_in_words
from wardround.secagg import shape_of
from wardround.server.plan.noise_memory import relative_noise
from wardround.server.plan.planning import shape_in, target_deltas_in
from wardround.server.plan.plans import FederationPlan, HospitalPlan
from wardround.server.plan.target_noise import calibrated

__all__ = ["compare_placements", "plan_notes", "stddev_on_average"]


def compare_placements(plan: FederationPlan) -> dict[str, list[dict[str, Any]]]:
    """Return, by unit, one row per placement: what it takes to spend the plan's epsilon there.

    That epsilon is [privacy] target-epsilon, or what the planned noise multiplier spends at the worst hospital. Records
    take the same noisy steps in every placement: rounds times local steps, at the planned sample rates; with
    distributed and central noise each of these is a round. Hospitals release once a round. Distributed noise is shared
    among min-survivors less max-colluding where the plan has a secure sum, else among the whole cohort.

    Args:
        plan: of any placement but "none", or nothing is compared.

    Returns:
        Rows of placement, mechanism, relation, epsilon, noise_multiplier (the smallest and the largest over hospitals),
        stddev_on_average (see `stddev_on_average`), num_shares, readers ("bill" or "inf"), and reason, which says why
        there are no figures where there are none.
    """
    target_epsilon = plan.config.privacy.target_epsilon or plan.epsilon_max
    if not plan.cell.is_private or not 0 < target_epsilon < math.inf:
        return {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for cell in CELLS:
        # Settings beside unit and placement make a cell that only its own plan is compared as.
        if cell.is_private and cell in (cell_in_words(cell.unit, cell.placement), plan.cell):
            rows.setdefault(cell.unit, []).append(_row(plan, cell, target_epsilon))
    return rows


def plan_notes(plan: FederationPlan) -> tuple[str, ...]:
    """Return sentences for whoever decides on the plan: where it protects less, or learns less, than one may think."""
    cell, aggregation = plan.cell, plan.config.aggregation
    notes = []
    if aggregation.protocol == "secagg+":
        _, size = cohort_sizes(plan.config, len(plan.drawn_from))
        shape = shape_of(size, aggregation.min_survivors, aggregation.max_colluding)
        notes.append(
            f"with secure aggregation {shape.quorum} of the {size} hospitals of a round must stay to its end, or the "
            "round is charged and changes nothing"
        )
    if not cell.is_private:
        return tuple(notes)
    if any(plan.rate_to_show(h.schedule.sample_rate, h.num_train) is None for h in plan.hospitals):
        notes.append(
            "batch-size divided by a hospital's size is its sample rate, and its epsilon tells that rate: so "
            "hospitals of fewer than ten records show how many they have. With [training] sample-rate all have the same"
        )
    if warning := cell.delta_warning(plan.target_deltas, plan.sizes):
        notes.append(warning)
    if (relative := relative_noise(plan)) < 1:
        notes.append(
            f"the noise of a round takes a part of earlier rounds' back: in the model it is {relative:.3g} times what "
            "independent noise of the same epsilon would be, over all rounds, though larger in single rounds; "
            "where cells are compared its stddev is that of independent noise which would leave as much in the model"
        )
    stddev = stddev_on_average(plan, cell, plan.noise_multipliers, aggregation.honest_survivors)
    notes += cell.plan_notes(
        num_hospitals=len(plan.hospitals),
        honest_survivors=aggregation.honest_survivors,
        noise_ratio=stddev * math.sqrt(plan.num_parameters) / plan.config.privacy.max_grad_norm,
    )
    return tuple(notes)


def stddev_on_average(
    plan: FederationPlan, cell: Cell, noise_multipliers: Mapping[str, float], num_shares: int
) -> float:
    """Return the stddev, in every coordinate, of the noise on what the federation averages once.

    That is the average update of round 1 where updates are released, else the average gradient of one step of its
    cohort.

    Args:
        plan: who takes part, with which weights and batches; everyone who is there answers.
        cell: where the noise is added, which need not be the plan's own.
        noise_multipliers: by hospital.
        num_shares: replies guaranteed, where hospitals add shares of one noise.
    """
    cohort = set(draw_cohort(plan.config, plan.drawn_from, 1))
    hospitals = [hospital for hospital in plan.hospitals if hospital.name in cohort]
    if not hospitals:
        return 0.0  # nobody who is there takes part: there is nothing that noise could be on
    privacy = plan.config.privacy
    sensitivity = cell.sensitivity(privacy.max_grad_norm, adaptive_clipping=privacy.adaptive_clipping)
    return cell.stddev_on_average(
        [noise_multipliers[hospital.name] * sensitivity for hospital in hospitals],
        [hospital.num_train for hospital in hospitals],
        [hospital.schedule.expected_batch_size for hospital in hospitals],
        most_records=plan.most_records(cohort),
        num_shares=num_shares,
    )


def _row(plan: FederationPlan, cell: Cell, target_epsilon: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "placement": cell.placement,
        "mechanism": cell.mechanism,
        "relation": cell.relation,
        "epsilon": target_epsilon,
        "noise_multiplier": None,
        "stddev_on_average": None,
        "num_shares": None,
        "readers": {reader: _reader(cell, reader) for reader in READERS},
        "reason": "",
    }
    if reason := cell.without_bound(plan.config.privacy.patient_overlap):
        return row | {"reason": reason}
    cohort_size = len(draw_cohort(plan.config, plan.drawn_from, 1))
    num_shares = cohort_size
    if plan.config.aggregation.protocol != "plain":
        num_shares = plan.config.aggregation.honest_survivors
    try:
        hospitals = _hospitals_in(plan, cell, num_shares, cohort_size)
        hospitals = (
            plan.hospitals if plan.cell == cell else calibrated(hospitals, target_epsilon, shared=cell.shares_noise)
        )
    except (BudgetError, ConfigError) as error:
        return row | {"reason": str(error)}
    noise = {hospital.name: hospital.noise_multiplier for hospital in hospitals}
    return row | {
        "noise_multiplier": [min(noise.values()), max(noise.values())],
        "stddev_on_average": stddev_on_average(plan, cell, noise, num_shares)
        * (relative_noise(plan) if plan.cell == cell else 1),
        "num_shares": hospitals[0].shape.event.num_shares or None,
    }


def _hospitals_in(plan: FederationPlan, cell: Cell, num_shares: int, cohort_size: int) -> Sequence[HospitalPlan]:
    """Return the hospitals as they would take part in a cell, in the order of their sample rates."""
    profiles = [hospital.profile for hospital in plan.hospitals]
    shape = shape_in(
        cell,
        plan.config,
        profiles,
        num_hospitals=len(plan.drawn_from),
        dimension=cell.dimension(plan.num_parameters, adaptive_clipping=plan.config.privacy.adaptive_clipping),
        num_shares=num_shares,
        most_replies=cohort_size,
    )
    deltas = target_deltas_in(cell, plan.config, profiles, len(plan.drawn_from))
    hospitals = (
        replace(
            hospital,
            target_delta=deltas[hospital.name],
            shape=shape.at_rate(cell.billed(hospital.schedule)[1]),
        )
        for hospital in plan.hospitals
    )
    return sorted(hospitals, key=lambda hospital: hospital.schedule.sample_rate)


def _reader(cell: Cell, reader: str) -> str:
    return "inf" if cell.noise_against(reader, 1.0, 2) == 0 else "bill"
