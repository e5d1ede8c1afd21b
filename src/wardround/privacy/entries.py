"""What a ledger holds: one entry for everything a hospital releases, checked when it is made, and as a row."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from wardround.errors import ProtocolError
from wardround.privacy.cells import Booked, cell_in_words, cell_named
from wardround.rounds import Assignment
from wardround.step_events import StepEvent

__all__ = [
    "ENTRY_COLUMNS",
    "EVENT_COLUMNS",
    "Entry",
    "charge_id",
    "entry_for",
    "entry_of",
    "entry_row",
    "event_of",
    "event_row",
]

_Row = dict[str, str | int | float]
"""By column."""

ENTRY_COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "charge_id": str,
        "fingerprint": str,
        "hospital_id": str,
        "run_id": str,
        "round_number": int,
        "unit": str,
        "relation": str,
        "placement": str,
        "mechanism": str,
        "noise_multiplier": float,
        "sample_rate": float,
        "num_steps": int,
        "sensitivity": float,
        "reader": str,
        "scaled_norm": float,
        "dimension": int,
        "num_shares": int,
        "attempt": int,
    }
)
"""What a row has of an entry, in order: the event's cell is written as five words, for whoever reads the file."""
_NUMBERS = tuple(item.name for item in fields(StepEvent) if item.name != "cell")
EVENT_COLUMNS = tuple(name for name in (*_NUMBERS, *Booked._fields) if name != "num_steps")
"""Of these, what the kind of an event is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One release of one hospital in one round: everything that its epsilon depends on.

    Attributes:
        charge_id: "run/round/attempt/hospital", unique for a release.
        fingerprint: sha256 hex digest of the training data; "" of a real site, which does not tell it.
        hospital_id: whose records.
        run_id: which job.
        round_number: from 1; 0 of what is released before it.
        event: what is billed (at least one step).
        sensitivity: most that neighbours differ by, L2 (> 0); inf without privacy, where nothing is clipped.
        attempt: at the round, from 1; every attempt is paid for, also one that was interrupted.
    """

    charge_id: str
    fingerprint: str
    hospital_id: str
    run_id: str
    round_number: int
    event: StepEvent
    sensitivity: float
    attempt: int = 1

    def __post_init__(self) -> None:
        # Digests are taken over JSON, where 1 and 1.0 differ, and NumPy's numbers have no place.
        object.__setattr__(self, "sensitivity", float(self.sensitivity))
        for name in ("round_number", "attempt"):
            object.__setattr__(self, name, int(getattr(self, name)))
        event = self.event
        counts = event.num_steps, self.round_number + 1, self.attempt
        if not self.charge_id or min(counts) < 1 or not self.sensitivity > 0:
            raise ProtocolError(
                f'ledger entry charge_id = "{self.charge_id}", round_number = {self.round_number}, num_steps = '
                f"{event.num_steps}, attempt = {self.attempt}, sensitivity = {self.sensitivity} must be non-empty, "
                ">= 1, >= 0, >= 1 and > 0"
            )
        if event.noise_multiplier and math.isinf(self.sensitivity):
            raise ProtocolError(
                f"ledger entry noise_multiplier = {event.noise_multiplier} needs clipping: give a finite sensitivity"
            )
        cell_named(event.cell).check_event(event)


def charge_id(run_id: str, round_number: int, attempt: int, hospital_id: str) -> str:
    """Return the name of a release's charge; no two releases share one, as no run_id has a "/" in it."""
    return f"{run_id}/{round_number}/{attempt}/{hospital_id}"


def entry_for(assignment: Assignment, run_id: str, fingerprint: str) -> Entry:
    """Return the entry that pays for an assignment; a run_id has no "/" in it."""
    return Entry(
        charge_id=charge_id(run_id, assignment.round_number, assignment.attempt, assignment.hospital_id),
        fingerprint=fingerprint,
        hospital_id=assignment.hospital_id,
        run_id=run_id,
        round_number=assignment.round_number,
        event=assignment.event,
        sensitivity=assignment.distance,
        attempt=assignment.attempt,
    )


def entry_row(entry: Entry) -> _Row:
    """Return the entry as a ledger's row has it, in the order of ENTRY_COLUMNS."""
    of_event = event_row(entry.event)
    return {name: of_event[name] if name in of_event else getattr(entry, name) for name in ENTRY_COLUMNS}


def event_row(event: StepEvent) -> _Row:
    """Return what a ledger's row has of an event: its numbers, and its cell as five words."""
    return {name: getattr(event, name) for name in _NUMBERS} | cell_named(event.cell).booked._asdict()


def entry_of(row: Mapping[str, Any]) -> Entry:
    """Return the entry that a row was made of; raises what `event_of` and `Entry` do."""
    own = {item.name: row[item.name] for item in fields(Entry) if item.name != "event"}
    return Entry(**own, event=event_of(row))


def event_of(row: Mapping[str, Any]) -> StepEvent:
    """Return the event of a row, or of rows of one kind whose steps are added up.

    Raises:
        ProtocolError: its words don't belong to one cell.
        ConfigError: a number is out of range.
    """
    cell = cell_in_words(row["unit"], row["placement"], row["mechanism"])
    for name, known in cell.booked._asdict().items():
        if row[name] != known:
            raise ProtocolError(f'ledger entry {name} = "{row[name]}" must be {known}, as cell {cell.name} has it')
    return StepEvent(cell=cell.name, **{name: row[name] for name in _NUMBERS})
