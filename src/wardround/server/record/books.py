"""A run as its ledger has it: plan, charges, committed rounds and how it ended, and whether these agree.

Everything here is a pure function of the ledger's rows. What is left out on purpose: the files beside the ledger, which
are held to this (see `verify`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wardround.agreed.contributions import sensitivity_in
from wardround.agreed.statistics import STATISTICS_ROUND, scores_round
from wardround.config import config_from_dict
from wardround.errors import ProtocolError
from wardround.parsing import from_toml, sound
from wardround.privacy.entries import Entry, charge_id, entry_row, event_row
from wardround.privacy.ledger import Row
from wardround.privacy.spending import Account, open_account
from wardround.server.plan.plans import FederationPlan, HospitalPlan
from wardround.server.plan.statistics import is_as_planned
from wardround.server.record.beginnings import begun_with, plan_in
from wardround.server.record.records import (
    Closing,
    HospitalFigures,
    Opening,
    RoundRecord,
    read_record_text,
)
from wardround.server.record.summaries import LedgerHead, Summary
from wardround.server.record.summary import build_summary
from wardround.server.record.tables import FOLLOWING_COLUMNS, hospital_figures, quiet_row
from wardround.step_events import StepEvent

__all__ = ["Books", "agree", "books_of"]

_TOLERANCE = 1e-9
"""Relative: what other versions and processors may make of the same sum."""


_as_committed = sound(
    ProtocolError, "the rounds in the ledger are not as they were committed", "restore it from a backup"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Books:
    """The rows of one run's ledger, read.

    Attributes:
        rows: all of them, in order.
        plan: made anew from the settings and profiles that round 0 was committed with.
        records: of the committed rounds, round 0 first.
    """

    rows: tuple[Row, ...]
    plan: FederationPlan
    records: tuple[RoundRecord, ...]

    @property
    def opening(self) -> Opening:
        """What the run began with."""
        return begun_with(self.records[0])

    @property
    def entries(self) -> list[Entry]:
        """What was charged."""
        return _entries(self.rows, "planned")

    @property
    def account(self) -> Account:
        """What was spent."""
        return open_account(self.plan.target_deltas).charged(self.entries)

    @property
    def is_closed(self) -> bool:
        """Whether nothing was done since the run ended, for now or for good."""
        return self.rows[-1].kind == "closing"

    @property
    def closing(self) -> Row | None:
        """How the run ended last; None where it never did."""
        return next((row for row in reversed(self.rows) if row.kind == "closing"), None)

    def until(self, closing: Row) -> "Books":
        """Return the books as they were when the run ended so."""
        rows = self.rows[: closing.sequence]
        return replace(self, rows=rows, records=self.records[: sum(row.kind == "round" for row in rows)])

    @_as_committed
    def summary(self, closing: Row) -> Summary:
        """Return what summary.json must hold since the run ended so."""
        then = self.until(closing)
        told = read_record_text(Closing, str(closing.content))
        head = LedgerHead(count=closing.sequence, digest=closing.digest)
        return build_summary(then.plan, then.account, then.records, closing=told, head=head)

    def _opening_findings(self) -> Iterator[str]:
        """Yield where what all were told of classes is not what the settings ask for."""
        moments, balance = self.plan.moments, self.opening.balance
        num_classes = moments.num_classes if moments else 0
        if (balance is not None) != bool(num_classes):
            yield f"round 0 was committed {'with' if balance else 'without'} a balance of {num_classes} classes"
        if balance is not None and num_classes:
            try:
                balance.check(num_classes, self.plan.config.imbalance.most_copies)
            except ProtocolError as error:
                yield f"round 0 was committed with another balance: {error}"

    @_as_committed
    def findings(self) -> list[str]:
        """Return where a committed round, or a charge, is not what plan and charges make of it; [] if nowhere."""
        if found := [*self._opening_findings(), *self._charge_findings(), *self._score_findings()]:
            return found
        account, before = open_account(self.plan.target_deltas), 0
        force = _InForce(clip=self.plan.config.privacy.max_grad_norm)
        commits = [row.sequence for row in self.rows if row.kind == "round"]
        for number, (record, commit) in enumerate(zip(self.records, commits, strict=True)):
            since = self.rows[before : commit - 1]
            account, before = account.charged(_entries(since, "planned")), commit
            force.noise_multipliers.update(record.noise_multipliers)
            for name, written, wanted in _compared(self.plan, number, record, since, account, force):
                if not agree(written, wanted):
                    found.append(f"round {number} was committed with {name} = {written}, the charges give {wanted}")
            force.rows.update((line.hospital, line) for line in record.hospital_rows)
            force.clip = record.max_grad_norm
        return found

    def _score_findings(self) -> Iterator[str]:
        """Yield where sums over test records were kept without the charge of their release."""
        round_number = scores_round(self.plan.config)
        charged = {entry.attempt for entry in self.entries if entry.round_number == round_number}
        for row in self.rows:
            told = read_record_text(Closing, str(row.content)).test_sums if row.kind == "closing" else None
            if told is not None and told.sums and (self.plan.scores is None or told.attempt not in charged):
                yield f"row {row.sequence} has sums over test records of attempt {told.attempt}, never charged"

    def _charge_findings(self) -> Iterator[str]:
        hospitals = self.plan.by_name
        for entry in self.entries:
            if entry.hospital_id not in hospitals:
                yield f"charge {entry.charge_id} is for no hospital of the plan"
                continue
            charged = entry_row(entry)
            event = _planned_for(self.plan, hospitals[entry.hospital_id], entry)
            planned = {"fingerprint": self.plan.fingerprints[entry.hospital_id], **event_row(event)}
            if self.plan.scores is not None and entry.round_number == scores_round(self.plan.config):
                planned["sensitivity"] = _clip_of(self.plan.scores)
            for name, value in planned.items():
                if not agree(charged[name], value):
                    yield f"charge {entry.charge_id} has {name} = {charged[name]}, the plan {value}"
            if entry.run_id != self.records[0].run_id:
                yield f"charge {entry.charge_id} has run_id = {entry.run_id}, the run is {self.records[0].run_id}"
            elif entry.charge_id != charge_id(entry.run_id, entry.round_number, entry.attempt, entry.hospital_id):
                yield (
                    f"charge {entry.charge_id} is named for another release than attempt {entry.attempt} at round "
                    f"{entry.round_number} of {entry.hospital_id}"
                )


@_as_committed
def books_of(rows: Sequence[Row]) -> Books | None:
    """Return the run that all rows of a ledger that verifies tell of; None where round 0 is not committed yet.

    Raises:
        ProtocolError: a round's record is none.
    """
    texts = [str(row.content) for row in rows if row.kind == "round"]
    if not texts:
        return None
    records = tuple(read_record_text(RoundRecord, text) for text in texts)
    opening = begun_with(records[0])
    return Books(rows=tuple(rows), plan=plan_in(config_from_dict(from_toml(opening.config)), opening), records=records)


def agree(written: Any, recomputed: Any) -> bool:
    """Return whether two values are the same, numbers up to the rounding of other versions and processors."""
    if isinstance(written, float) and isinstance(recomputed, float):
        return math.isclose(written, recomputed, rel_tol=_TOLERANCE, abs_tol=1e-15)
    return type(written) is type(recomputed) and bool(written == recomputed)


def _entries(rows: Sequence[Row], kind: str) -> list[Entry]:
    return [row.content for row in rows if row.kind == kind and isinstance(row.content, Entry)]


def _planned_for(plan: FederationPlan, hospital: HospitalPlan, entry: Entry) -> StepEvent:
    """Return what a hospital's charge is for by the plan; its noise only where nothing may size it anew."""
    privacy, noise = plan.config.privacy, entry.event.noise_multiplier
    if (released := _released_in(plan, entry.round_number)) is not None and hospital.name in released.by_name:
        part = released.by_name[hospital.name]
        noise = noise if is_as_planned(noise, part.noise_multiplier) else part.noise_multiplier
        return released.cell.step_event(part.shape, noise, part.num_steps)
    if plan.cell.is_private and privacy.noise_multiplier is not None and privacy.on_budget != "replan":
        noise = float(privacy.noise_multiplier)
    return plan.cell.step_event(hospital.shape, noise, hospital.num_steps)


def _released_in(plan: FederationPlan, round_number: int) -> FederationPlan | None:
    """Return the plan of what is released beside the rounds and charged as this one; None of a round."""
    if round_number == STATISTICS_ROUND:
        return plan.statistics
    return plan.scores if round_number == scores_round(plan.config) else None


@dataclass(slots=True, kw_only=True, eq=False)
class _InForce:
    """What was in force as a round was made: its clip, everyone's noise, and each hospital's last row before it."""

    clip: float
    noise_multipliers: dict[str, float] = field(default_factory=dict)
    rows: dict[str, HospitalFigures] = field(default_factory=dict)


def _compared(
    plan: FederationPlan, number: int, record: RoundRecord, since: Sequence[Row], account: Account, force: _InForce
) -> Iterator[tuple[str, Any, Any]]:
    """Yield what of a committed round follows from plan and charges: a name, its value as committed, and as it must be.

    `since` are the rows after the commit before, and the account has their charges. Hospitals that were neither charged
    since nor have a row have nothing new to compare.
    """
    attempts = [entry for entry in _entries(since, "planned") if entry.round_number == number]
    # Of a round that was interrupted and done again, the record has the last attempt; all are in the account.
    entries = {entry.hospital_id: entry for entry in attempts if entry.attempt == record.attempt}
    released = {entry.hospital_id for entry in _entries(since, "released")}
    made = sorted({entry.attempt for entry in attempts})
    row, own = record.round_row, {line.hospital: line for line in record.hospital_rows}
    concerned = {*own, *(entry.hospital_id for entry in attempts)}
    yield "round", row.round, number
    yield "attempt", record.attempt, len(made) + int(not entries)
    yield "attempts", list(range(1, len(made) + 1)), made
    if record.target_deltas or not number:
        yield "target_deltas", record.target_deltas, plan.target_deltas
    yield "num_selected", row.num_selected, len(entries)
    yield "num_completed", row.num_completed, len(released)
    yield "epsilon_max", row.epsilon_max, account.epsilon_total(1)
    yield "epsilon_total", row.epsilon_total, account.epsilon_total(plan.config.privacy.patient_overlap)
    names = list(plan.names) if not number else sorted(concerned & plan.by_name.keys())
    yield "hospitals", [line.hospital for line in record.hospital_rows], [name for name in names if name in own]
    for name in names:
        entry, hospital, epsilon = entries.get(name), plan.by_name[name], account.epsilon_of(name)
        line = own.get(name) or (quiet_row(force.rows[name], number) if name in force.rows else None)
        event = entry.event if entry else None
        wanted = hospital_figures(plan, hospital, number, event, completed=name in released, epsilon=epsilon)
        for column in FOLLOWING_COLUMNS:
            yield f"{column} of {name}", getattr(line, column, None), getattr(wanted, column)
        if entry and number == STATISTICS_ROUND:
            yield f"clip of {name}", entry.sensitivity, _clip_of(plan.statistics)
        elif entry and plan.cell.is_private:
            yield f"clip of {name}", entry.sensitivity, sensitivity_in(plan.cell, plan.config, force.clip)
            yield f"noise of {name}", force.noise_multipliers.get(name), entry.event.noise_multiplier


def _clip_of(released: FederationPlan | None) -> float:
    """Return by how much neighbours differ in a release beside the rounds; inf where there is none, or no privacy."""
    if released is None or not released.cell.is_private:
        return math.inf
    return sensitivity_in(released.cell, released.config, released.config.privacy.max_grad_norm)
