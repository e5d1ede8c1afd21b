"""The account: what every hospital has spent, kept as numbers that one more round is added to.

A pure function of the ledger's entries. Totals are stated at the smallest of the hospitals' deltas: it is below
1 / records of every hospital, and no hospital's own epsilon is above them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError, ProtocolError
from wardround.privacy.accounting import (
    ORDERS,
    check_independent,
    epsilon_from_rdp,
    headline_epsilon,
    headline_profile,
    largest_rdp,
    overlap_epsilon,
    overlap_profile,
)
from wardround.privacy.attackers import Attacker, attacker_of
from wardround.privacy.cells import READERS, cell_named
from wardround.privacy.entries import Entry
from wardround.privacy.events import event_against, merged, step_rdp
from wardround.privacy.ledger import Ledger
from wardround.step_events import StepEvent

__all__ = ["Account", "Headline", "account_from_ledger", "open_account"]

_Steps = Mapping[StepEvent, int]
# Up to so many kinds of steps a sum is made anew, so that a resumed run shows the same bits as an uninterrupted one;
# beyond, adding up would grow with the square of the rounds.
_RECOMPUTED_KINDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The tightest epsilons that both accountants prove.

    Attributes:
        hospitals: epsilon by hospital_id, each at its own delta.
        max: of the worst hospital, at the common delta: patients in one hospital only.
        total: of a patient in as many hospitals as the patient overlap says, at the common delta.
        target_delta: the common delta.
    """

    hospitals: dict[str, float]
    max: float
    total: float
    target_delta: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """What every hospital has spent so far.

    Attributes:
        hospitals: hospital_ids.
        target_delta: each hospital's, shape (num_hospitals,), float64, in (0, 1).
        divergences: composed Renyi divergences, shape (num_hospitals, len(ORDERS)), float64, nats.
        steps: by hospital, the steps of each kind (`StepEvent.kind`), all of one unit and relation.
    """

    hospitals: tuple[str, ...]
    target_delta: NDArray[np.float64]
    divergences: NDArray[np.float64]
    steps: tuple[_Steps, ...]

    def __post_init__(self) -> None:
        self.target_delta.setflags(write=False)
        self.divergences.setflags(write=False)

    @property
    def events(self) -> dict[str, tuple[StepEvent, ...]]:
        """What every hospital did, steps of one kind added up."""
        return {
            hospital_id: merged(replace(kind, num_steps=count) for kind, count in steps.items())
            for hospital_id, steps in zip(self.hospitals, self.steps, strict=True)
        }

    @property
    def protects(self) -> tuple[str, str] | None:
        """The unit and the relation that every figure in the account is for; None before the first step."""
        kinds = (kind for steps in self.steps for kind in steps)
        return next((_terms(kind) for kind in kinds), None)

    def against(self, reader: str) -> "Account":
        """Return the account of what a reader learns, one of `cells.READERS`, who may know part of the noise."""
        events = {hospital_id: events for hospital_id, events in self.events.items() if events}
        seen = {hospital_id: [event_against(event, reader) for event in parts] for hospital_id, parts in events.items()}
        if all(tuple(seen[hospital_id]) == parts for hospital_id, parts in events.items()):
            return self
        deltas = dict(zip(self.hospitals, self.target_delta.tolist(), strict=True))
        return open_account(deltas).projected((name, event) for name, parts in seen.items() for event in parts)

    @property
    def common_delta(self) -> float:
        """The delta that max and total are stated at: the hospitals' smallest, below 1 / records of every hospital."""
        return float(self.target_delta.min())

    def charged(self, entries: Iterable[Entry]) -> "Account":
        """Return the account after more entries; each must be new (the ledger sees to that).

        Raises:
            ProtocolError: an entry of a hospital that isn't in the account.
        """
        return self.projected((entry.hospital_id, entry.event) for entry in entries)

    def projected(self, plans: Iterable[tuple[str, StepEvent]]) -> "Account":
        """Return the account after more events of the named hospitals, as if they had been charged.

        Raises:
            ProtocolError: a hospital that isn't in the account, or another unit or relation than is in it already.
        """
        places = {hospital_id: place for place, hospital_id in enumerate(self.hospitals)}
        divergences, steps = self.divergences.copy(), list(self.steps)
        protects = self.protects
        for hospital_id, event in plans:
            if hospital_id not in places:
                raise ProtocolError(f"hospital {hospital_id} is not in the account: name it when the account is opened")
            if not event.num_steps:
                continue
            protects = _same_terms(protects, event)
            place, kind = places[hospital_id], event.kind
            steps[place] = {**steps[place], kind: steps[place].get(kind, 0) + event.num_steps}
            if len(steps[place]) <= _RECOMPUTED_KINDS:
                divergences[place] = _composed(steps[place])
            else:
                divergences[place] += event.num_steps * step_rdp(kind)
        return replace(self, divergences=divergences, steps=tuple(steps))

    def epsilons(self) -> dict[str, float]:
        """Return each hospital's epsilon at its own delta, from Renyi divergences."""
        values = epsilon_from_rdp(self.divergences, self.target_delta)
        return dict(zip(self.hospitals, values.tolist(), strict=True))

    def epsilon_max(self) -> float:
        """Return the largest epsilon of a hospital at the common delta: the total for patients in one hospital."""
        return float(epsilon_from_rdp(self.divergences, self.common_delta).max())

    def epsilon_total(self, patient_overlap: int) -> float:
        """Return the epsilon of a patient in up to `patient_overlap` hospitals (>= 1), at the common delta."""
        if patient_overlap == 1:
            return self.epsilon_max()
        check_independent(event for events in self.events.values() for event in events)
        return float(epsilon_from_rdp(largest_rdp(self.divergences, patient_overlap), self.common_delta))

    def exceeding(self, most_epsilon: float, names: Iterable[str]) -> tuple[str, ...]:
        """Return who of the named hospitals has spent more than most_epsilon, at its own or at the common delta.

        The reported epsilons decide. Renyi divergences bound them, so that only what these leave in doubt is computed.
        """
        by_rdp = dict(zip(self.hospitals, epsilon_from_rdp(self.divergences, self.common_delta).tolist(), strict=True))
        doubtful = [name for name in names if not by_rdp[name] <= most_epsilon]
        deltas = dict(zip(self.hospitals, self.target_delta.tolist(), strict=True))
        events = self.events if doubtful else {}
        return tuple(
            name
            for name in doubtful
            if any(
                not headline_epsilon(events[name], delta) <= most_epsilon
                for delta in sorted({deltas[name], self.common_delta})
            )
        )

    def total_exceeds(self, most_epsilon: float, patient_overlap: int) -> bool:
        """Return whether a patient in up to `patient_overlap` hospitals has spent more, at the common delta."""
        if self.epsilon_total(patient_overlap) <= most_epsilon:
            return False
        return not overlap_epsilon(self.events, self.common_delta, patient_overlap) <= most_epsilon

    def headline(self, patient_overlap: int) -> Headline:
        """Return the tightest epsilons, a second or so for ten hospitals that differ; equal ones cost once.

        Args:
            patient_overlap: hospitals that may hold the same patient (>= 1).
        """
        events = self.events
        common = self.common_delta
        return Headline(
            hospitals={
                hospital_id: headline_epsilon(events[hospital_id], float(delta))
                for hospital_id, delta in zip(self.hospitals, self.target_delta, strict=True)
            },
            max=overlap_epsilon(events, common, 1),
            total=overlap_epsilon(events, common, patient_overlap),
            target_delta=common,
        )

    def epsilons_by_reader(self, patient_overlap: int) -> dict[str, float]:
        """Return the headline's total against each reader; inf against one who sees all without noise."""
        return {reader: self.against(reader).headline(patient_overlap).total for reader in READERS}

    def attacker(self, patient_overlap: int) -> Attacker:
        """Return what an attacker can reach at most against a patient in up to `patient_overlap` hospitals (>= 1)."""
        return attacker_of(overlap_profile(self.events, self.common_delta, patient_overlap), self.common_delta)

    def attackers(self) -> dict[str, Attacker]:
        """Return the same by hospital, for a patient in that one alone, each at its own delta."""
        events = self.events
        return {
            hospital_id: attacker_of(headline_profile(events[hospital_id], float(delta)), float(delta))
            for hospital_id, delta in zip(self.hospitals, self.target_delta, strict=True)
        }


def open_account(target_deltas: Mapping[str, float]) -> Account:
    """Return the account of hospitals that have spent nothing.

    Args:
        target_deltas: by hospital_id, at least one, each in (0, 1).

    Raises:
        ConfigError: no hospital, or a delta out of range.
    """
    if not target_deltas or not all(0 < delta < 1 for delta in target_deltas.values()):
        raise ConfigError(
            f"target-delta = {dict(target_deltas)} must give at least one hospital a value in (0, 1) ([privacy] "
            "target-delta): correct it"
        )
    return Account(
        hospitals=tuple(target_deltas),
        target_delta=np.array(list(target_deltas.values()), dtype=float),
        divergences=np.zeros((len(target_deltas), len(ORDERS))),
        steps=tuple({} for _ in target_deltas),
    )


def account_from_ledger(ledger: Ledger, target_deltas: Mapping[str, float]) -> Account:
    """Return the account of everything in the ledger, planned or released, over all its runs.

    Args:
        ledger: where the charges are.
        target_deltas: by hospital_id, each in (0, 1); hospitals that were never charged have spent nothing.

    Raises:
        ProtocolError: the ledger charges a hospital that isn't among them.
    """
    plans = [(hospital_id, event) for hospital_id, events in ledger.events().items() for event in events]
    return open_account(target_deltas).projected(plans)


def _composed(steps: _Steps) -> NDArray[np.float64]:
    total = np.zeros(len(ORDERS))
    for kind in sorted(steps):
        total += steps[kind] * step_rdp(kind)
    return total


def _same_terms(protects: tuple[str, str] | None, event: StepEvent) -> tuple[str, str]:
    terms = _terms(event)
    if protects not in (None, terms):
        raise ProtocolError(
            f"an epsilon for unit {terms[0]} under {terms[1]} can't be added to one for unit {protects[0]} under "
            f"{protects[1]}: keep them in ledgers of their own"
        )
    return terms


def _terms(event: StepEvent) -> tuple[str, str]:
    booked = cell_named(event.cell).booked
    return booked.unit, booked.relation
