"""Assignments, entries and cells for tests, made of plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from wardround.exact_sums import FixedSum
from wardround.privacy.cells import CELLS, Cell, cell_in_words, cell_named
from wardround.privacy.entries import Entry
from wardround.privacy.integers import to_residues
from wardround.rounds import Assignment, Schedule
from wardround.step_events import StepEvent

PRIVATE: dict[tuple[str, str], Cell] = {
    (cell.unit, cell.placement): cell_in_words(cell.unit, cell.placement) for cell in CELLS if cell.is_private
}
"""Cells by unit and placement, as these alone name them."""
_SCHEDULE = {item.name for item in fields(Schedule)}
_EVENT = {item.name for item in fields(StepEvent)}


def cohort_of(cell: Cell, sizes: Sequence[int], **changes: Any) -> list[Assignment]:
    """Return the assignments of hospitals with so many records in one cell, a step each, as its methods make them.

    Args:
        cell: which.
        sizes: training records by hospital.
        changes: noise_multiplier (1.5), max_grad_norm (0.5), sample_rate (0.5), dimension (6), adaptive_clipping.
    """
    values = {"noise_multiplier": 1.5, "max_grad_norm": 0.5, "sample_rate": 0.5, "dimension": 6} | changes
    adaptive, rate = bool(values.get("adaptive_clipping", False)), values["sample_rate"]
    shape = cell.shape(
        dimension=cell.dimension(values["dimension"], adaptive_clipping=adaptive),
        num_shares=len(sizes),
        most_contributions=cell.most_contributions(num_hospitals=len(sizes), num_records=sum(sizes), max_records=None),
        most_replies=len(sizes),
    )
    assignments = []
    for index, size in enumerate(sizes):
        schedule = Schedule(sample_rate=rate, expected_batch_size=rate * size, num_steps=1)
        num_steps, billed_rate = cell.billed(schedule)
        assignments.append(
            Assignment(
                hospital_id=f"hospital-{index:03d}",
                round_number=1,
                schedule=schedule,
                event=cell.step_event(shape.at_rate(billed_rate), values["noise_multiplier"], num_steps),
                weight=cell.cohort_weight(size, sum(sizes), len(sizes)),
                max_grad_norm=values["max_grad_norm"] if cell.is_private else None,
                sensitivity=cell.sensitivity(values["max_grad_norm"], adaptive_clipping=adaptive)
                if cell.is_private
                else None,
                contribution=cell.contribution(size, max(sizes)),
                adaptive_clipping=adaptive,
            )
        )
    return assignments


def sum_of(cell: Cell, assignments: Sequence[Assignment], contributions: Sequence[Mapping[str, Any]]) -> FixedSum:
    """Return the exact sum of what hospitals contribute: parameters, gradient sums or updates, rounded if integers."""
    total = FixedSum()
    for assignment, contribution in zip(assignments, contributions, strict=True):
        sent = {name: np.asarray(array, float) for name, array in contribution.items()}
        if cell.needs_secure_sum:
            scale = cell.share(assignment) * assignment.event.scaled_norm / assignment.distance
            sent = {name: to_residues(np.rint(scale * array).astype(np.int64)) for name, array in sent.items()}
        cell.add(total, sent, assignment)
    return total


def flat_assignment(*, unit: str = "record", placement: str = "local", **values: Any) -> Assignment:
    """Return the assignment that has these values, in whichever of its records; None for the clip is no privacy."""
    cell = cell_in_words(unit, "none" if values["max_grad_norm"] is None else placement)
    schedule = Schedule(**{name: values.pop(name) for name in _SCHEDULE})
    num_steps, sample_rate = cell.billed(schedule)
    event = {name: values.pop(name) for name in _EVENT & set(values)}
    billed = StepEvent(**event, cell=cell.name, num_steps=num_steps, sample_rate=sample_rate)
    return Assignment(**values, schedule=schedule, event=billed)


def changed_assignment(assignment: Assignment, **values: Any) -> Assignment:
    """Return the assignment with other values, billed as its cell says."""
    schedule = replace(assignment.schedule, **{name: values.pop(name) for name in _SCHEDULE & set(values)})
    cell = cell_named(values.pop("cell", assignment.event.cell))
    num_steps, sample_rate = cell.billed(schedule)
    event = {name: values.pop(name) for name in _EVENT & set(values)}
    billed = replace(assignment.event, **event, cell=cell.name, num_steps=num_steps, sample_rate=sample_rate)
    return replace(assignment, **values, schedule=schedule, event=billed)


def entry(**values: Any) -> Entry:
    """Return the ledger entry that has these values, of DP-SGD unless a cell is named."""
    event = {name: values.pop(name) for name in _EVENT & set(values)}
    return Entry(**values, event=StepEvent(**event))


def charge(hospital: str, round_number: int = 1, **event: Any) -> Entry:
    """Return the charge of a hospital in a round: ten steps at rate 0.1 and noise 1.5, unless other ones are given."""
    return entry(
        charge_id=f"run/{round_number}/{hospital}",
        fingerprint="f" * 64,
        hospital_id=hospital,
        run_id="run",
        round_number=round_number,
        sensitivity=1.0,
        **{"noise_multiplier": 1.5, "sample_rate": 0.1, "num_steps": 10} | event,
    )
