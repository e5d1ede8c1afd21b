"""Assignments, entries and cells for tests, made of plain values."""

from dataclasses import fields, replace
from typing import Any

from wardround.privacy.cells import CELLS, Cell, cell_in_words, cell_named
from wardround.privacy.entries import Entry
from wardround.rounds import Assignment, Schedule
from wardround.step_events import StepEvent

PRIVATE: dict[tuple[str, str], Cell] = {(cell.unit, cell.placement): cell for cell in CELLS if cell.is_private}
"""Cells by unit and placement."""
_SCHEDULE = {item.name for item in fields(Schedule)}
_EVENT = {item.name for item in fields(StepEvent)}


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
