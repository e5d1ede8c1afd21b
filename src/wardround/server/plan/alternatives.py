"""What the other cells would do to the same federation at the same epsilon: noise multiplier and noise on the average.

Nothing is trained. Records and hospitals are different units, and their epsilons different promises: the two are
listed apart and never compared. What is left out on purpose: utility, which only training shows.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wardround.agreed.cohorts import cohort_sizes, draw_cohort
from wardround.agreed.contributions import sensitivity_in
from wardround.config import PersonalConfig
from wardround.datasets.moments import MomentLayout
from wardround.errors import BudgetError, ConfigError
from wardround.privacy.cells import CELLS, READERS, Cell, cell_in_words
from wardround.secagg import shape_of
from wardround.server.plan.noise_memory import relative_noise
from wardround.server.plan.planning import hospitals_in
from wardround.server.plan.plans import FederationPlan, HospitalPlan
from wardround.server.plan.score_release import score_note
from wardround.server.plan.target_noise import calibrated
from wardround.step_events import StepEvent

__all__ = ["PlacementRow", "compare_placements", "plan_notes", "own_stddev_on_average", "stddev_on_average"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRow:
    """What it takes to spend an epsilon in a cell; None where there are no figures.

    Attributes:
        placement: where the noise is added.
        mechanism: that adds it.
        relation: between neighbours.
        epsilon: that is spent.
        noise_multiplier: the smallest and the largest over hospitals.
        stddev_on_average: see the function of that name.
        num_shares: replies guaranteed, where hospitals add shares of one noise.
        readers: "bill" or "inf", by who looks.
        reason: why there are no figures; "" where there are.
    """

    placement: str
    mechanism: str
    relation: str
    epsilon: float
    noise_multiplier: tuple[float, float] | None = None
    stddev_on_average: float | None = None
    num_shares: int | None = None
    readers: Mapping[str, str]
    reason: str = ""


def compare_placements(plan: FederationPlan) -> dict[str, list[PlacementRow]]:
    """Return, by unit, one row per placement: what it takes to spend the plan's epsilon there.

    That epsilon is [privacy] target-epsilon, or what the planned noise multiplier spends at the worst hospital. Records
    take the same noisy steps in every placement: rounds times local steps, at the planned sample rates; with
    distributed and central noise each of these is a round. Hospitals release once a round. Distributed noise is shared
    among min-survivors less max-colluding where the plan has a secure sum, else among the whole cohort. With placement
    "none" nothing is compared.
    """
    target_epsilon = plan.config.privacy.target_epsilon or plan.epsilon_max
    if not plan.cell.is_private or not 0 < target_epsilon < math.inf:
        return {}
    rows: dict[str, list[PlacementRow]] = {}
    for cell in CELLS:
        # Settings beside unit and placement make a cell that only its own plan is compared as.
        if cell.is_private and cell in (cell_in_words(cell.unit, cell.placement), plan.cell):
            rows.setdefault(cell.unit, []).append(_row(plan, cell, target_epsilon))
    return rows


_AT_BUDGET = {
    "stop": 'the run stops (on-budget = "stop")',
    "drop": 'hospitals are left out (on-budget = "drop")',
    "replan": 'the noise of the rounds left grows (on-budget = "replan")',
}


def plan_notes(plan: FederationPlan) -> tuple[str, ...]:
    """Return sentences for whoever decides on the plan: where it protects less, or learns less, than one may think."""
    cell, aggregation = plan.cell, plan.config.aggregation
    notes = [*plan.notes, *_notes_of_protocol(plan)]
    if not cell.is_private:
        return tuple(notes)
    privacy, spent = plan.config.privacy, max(plan.epsilon_max, plan.epsilon_total)
    if privacy.budget_epsilon is not None and spent > privacy.budget_epsilon:
        notes.append(
            f"all {plan.config.training.num_rounds} rounds would take epsilon {spent:.3g}, which is beyond "
            f"budget-epsilon = {privacy.budget_epsilon:g} ([privacy] budget-epsilon): before it is passed "
            f"{_AT_BUDGET[privacy.on_budget]}"
        )
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
    noise_ratio = own_stddev_on_average(plan) * math.sqrt(plan.num_parameters) / plan.config.privacy.max_grad_norm
    notes += cell.plan_notes(len(plan.hospitals), aggregation.honest_survivors, noise_ratio)
    return tuple(notes)


def _notes_of_protocol(plan: FederationPlan) -> Iterator[str]:
    """Yield what holds whether anything is private or not."""
    aggregation = plan.config.aggregation
    if aggregation.protocol == "secagg+":
        _, size = cohort_sizes(plan.config, len(plan.drawn_from))
        shape = shape_of(size, aggregation.min_survivors, aggregation.max_colluding)
        yield (
            f"with secure aggregation {shape.quorum} of the {size} hospitals of a round must stay to its end, or the "
            "round is charged and changes nothing"
        )
    if plan.config.personal.is_used:
        yield _personal_note(plan.config.personal)
    if plan.scores is not None:
        yield score_note(plan)
    if plan.statistics is not None and plan.moments is not None:
        yield _statistics_note(plan.statistics, plan.moments)
    if plan.config.imbalance.remedy == "smote":
        yield (
            'with remedy = "smote" a hospital trains on synthetic records beside its own ([imbalance]); weights, rates '
            "and every number of records that is told are of its own"
        )
    most_copies = plan.config.imbalance.most_copies
    if most_copies > 1 and plan.cell.clips_records and plan.cell.is_private:
        yield (
            f'with remedy = "duplicate" a record counts up to {most_copies} times ([imbalance]): it moves a sum of '
            f"gradients by as many clips, and the noise is {most_copies} times as large for the same epsilon"
        )


def _personal_note(personal: PersonalConfig) -> str:
    part = "parameters" if personal.is_part else "a model"
    return (
        f'every hospital has {part} of its own (method = "{personal.method}"), which the server has as each released '
        "them, and sends back to it alone: they cost no more than one model for all. Scores are of each hospital's own "
        "model, and model.safetensors is the mean of all"
    )


def _statistics_note(released: FederationPlan, moments: MomentLayout) -> str:
    """Return a sentence on what is released before round 1."""
    noise = sorted({hospital.noise_multiplier for hospital in released.hospitals})
    with_noise = f" with noise multiplier {noise[0]:.3g}" if len(noise) == 1 else " with noise"
    spent = f"{with_noise}, epsilon {released.epsilon_max:.3g} by itself, which is in the bill as round 0"
    features = ["features are standardised by means and deviations"] if moments.num_features else []
    classes = ["classes are weighed by their shares"] if moments.num_classes else []
    return (
        f"{' and '.join(features + classes)} over all hospitals: before round 1 one sum of "
        f"{released.num_parameters} moments is released{spent if released.cell.is_private else ', without noise'}"
    )


def stddev_on_average(
    plan: FederationPlan,
    cell: Cell,
    noise_multipliers: Mapping[str, float],
    num_shares: int,
    answered: Collection[str] | None = None,
) -> float:
    """Return the stddev, in every coordinate, of the noise on what the federation averages once.

    That is the average update of round 1 where updates are released, else the average gradient of one step of its
    cohort. Everyone who is there answers, or those who are named; `num_shares` replies are guaranteed, where hospitals
    add shares of one noise. The cell need not be the plan's own, nor the noise multipliers, by hospital.
    """
    cohort = set(draw_cohort(plan.config, plan.drawn_from, 1))
    hospitals = [hospital for hospital in plan.hospitals if hospital.name in cohort]
    if not hospitals:
        return 0.0  # nobody who is there takes part: there is nothing that noise could be on
    sensitivity = sensitivity_in(cell, plan.config, plan.config.privacy.max_grad_norm)
    return cell.stddev_on_average(
        [noise_multipliers[hospital.name] * sensitivity for hospital in hospitals],
        [hospital.num_train for hospital in hospitals],
        [_expected_batch(hospital, cell) for hospital in hospitals],
        most_records=plan.most_records(cohort),
        num_shares=num_shares,
        answered=None if answered is None else [hospital.name in answered for hospital in hospitals],
    )


def own_stddev_on_average(plan: FederationPlan, answered: Collection[str] | None = None) -> float:
    """Return the stddev of the plan's own noise in its own cell (see `stddev_on_average`)."""
    survivors = plan.config.aggregation.honest_survivors
    return stddev_on_average(plan, plan.cell, plan.noise_multipliers, survivors, answered)


def _expected_batch(hospital: HospitalPlan, cell: Cell) -> float:
    """Return what a hospital's gradient sum is divided by in a cell: groups are expected where it clips these."""
    if cell.clips_groups:
        return hospital.schedule.expected_batch_size
    return hospital.schedule.sample_rate * hospital.num_train


def _row(plan: FederationPlan, cell: Cell, target_epsilon: float) -> PlacementRow:
    row = PlacementRow(
        placement=cell.placement,
        mechanism=cell.mechanism,
        relation=cell.relation,
        epsilon=target_epsilon,
        readers={reader: "inf" if cell.noise_against(reader, 1.0, 2) == 0 else "bill" for reader in READERS},
        reason=cell.without_bound(plan.config.privacy.patient_overlap),
    )
    if row.reason:
        return row
    num_shares = len(draw_cohort(plan.config, plan.drawn_from, 1))
    if plan.config.aggregation.protocol != "plain":
        num_shares = plan.config.aggregation.honest_survivors
    is_own = plan.cell == cell
    try:
        hospitals = plan.hospitals if is_own else _hospitals_in(plan, cell, target_epsilon, num_shares)
    except (BudgetError, ConfigError) as error:
        return replace(row, reason=str(error))
    noise = {hospital.name: hospital.noise_multiplier for hospital in hospitals}
    stddev = stddev_on_average(plan, cell, noise, num_shares) * (relative_noise(plan) if is_own else 1)
    return replace(
        row,
        noise_multiplier=(min(noise.values()), max(noise.values())),
        stddev_on_average=stddev,
        num_shares=hospitals[0].shape.event.num_shares or None,
    )


def _hospitals_in(plan: FederationPlan, cell: Cell, target_epsilon: float, num_shares: int) -> Sequence[HospitalPlan]:
    """Return the hospitals with their noise in another cell, in the order of their sample rates.

    Where statistics are released before round 1, or test scores after the last, they are there, too, at the same
    epsilon.
    """
    if plan.scores is not None and not cell.clips_records:
        raise ConfigError("test scores are released of records, and not of hospitals")
    profiles = [hospital.profile for hospital in plan.hospitals]
    hospitals = hospitals_in(cell, plan.config, profiles, plan.num_parameters, num_shares, plan.drawn_from)
    if (first := plan.statistics) is not None:
        events = _released_in(first, cell, num_shares)
        hospitals = [replace(hospital, before=events[hospital.name]) for hospital in hospitals]
    if (last := plan.scores) is not None:
        events = _released_in(last, cell, num_shares)
        hospitals = [replace(hospital, after=events.get(hospital.name, ())) for hospital in hospitals]
    return calibrated(sorted(hospitals, key=lambda hospital: hospital.schedule.sample_rate), target_epsilon)


def _released_in(released: FederationPlan, cell: Cell, num_shares: int) -> dict[str, tuple[StepEvent, ...]]:
    """Return by hospital what a release beside the rounds is charged as in another cell, at the same epsilon."""
    profiles = [hospital.profile for hospital in released.hospitals]
    parts = hospitals_in(
        cell, released.config, profiles, released.num_parameters, num_shares, tuple(released.drawn_from)
    )
    parts = calibrated(parts, float(released.config.privacy.target_epsilon or 0.0))
    return {part.name: (part.event,) for part in parts}
