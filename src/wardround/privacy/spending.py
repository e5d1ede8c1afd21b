"""The account: what every hospital has spent, kept as numbers that one more round is added to.

A pure function of the ledger's entries. Totals are stated at the smallest of the hospitals' deltas: it is below
1 / records of every hospital, and no hospital's own epsilon is above them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError, ProtocolError
from wardround.privacy.accounting import (
    check_independent,
    headline_epsilon,
    headline_profile,
    largest_rdp,
    overlap_epsilon,
    overlap_profile,
)
from wardround.privacy.attackers import Attacker, attacker_of
from wardround.privacy.cells import READERS, cell_named
from wardround.privacy.entries import Entry
from wardround.privacy.events import event_against, merged
from wardround.privacy.ledger import Ledger
from wardround.privacy.renyi import ORDERS, epsilon_from_rdp
from wardround.step_events import StepEvent

__all__ = ["Account", "account_from_ledger", "open_account"]

_Steps = Mapping[StepEvent, int]
# Up to so many kinds of steps a sum is made anew, so that a resumed run shows the same bits as an uninterrupted one;
# beyond, adding up would grow with the square of the rounds.
_RECOMPUTED_KINDS = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """What every hospital has spent so far; a round changes what is kept of its own hospitals, and of no others.

    Attributes:
        target_deltas: by hospital_id, in (0, 1).
        places: of the hospitals in the three that follow.
        divergences: composed Renyi divergences of each hospital, (len(ORDERS),), float64, nats, read-only.
        own_epsilons: that they prove at each hospital's own delta, (num_hospitals,), float64, read-only.
        common_epsilons: likewise at the common delta.
        steps: by hospital, the steps of each kind (`StepEvent.kind`), all of one unit and relation.
    """

    target_deltas: Mapping[str, float]
    places: Mapping[str, int]
    divergences: tuple[NDArray[np.float64], ...]
    own_epsilons: NDArray[np.float64]
    common_epsilons: NDArray[np.float64]
    steps: Mapping[str, _Steps]

    @property
    def events(self) -> dict[str, tuple[StepEvent, ...]]:
        """What every hospital did, steps of one kind added up."""
        return {
            hospital_id: merged(replace(kind, num_steps=count) for kind, count in steps.items())
            for hospital_id, steps in self.steps.items()
        }

    @property
    def protects(self) -> tuple[str, str] | None:
        """The unit and the relation that every figure in the account is for; None before the first step."""
        return next((_terms(kind) for steps in self.steps.values() for kind in steps), None)

    def against(self, reader: str) -> "Account":
        """Return the account of what a reader learns, one of `cells.READERS`, who may know part of the noise."""
        did = [(hospital_id, event) for hospital_id, events in self.events.items() for event in events]
        seen = [(hospital_id, event_against(event, reader)) for hospital_id, event in did]
        return self if seen == did else open_account(self.target_deltas).projected(seen)

    @property
    def common_delta(self) -> float:
        """The delta that totals are stated at: the hospitals' smallest, below 1 / records of every hospital."""
        return min(self.target_deltas.values())

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
        divergences, all_steps, changed = list(self.divergences), dict(self.steps), set[str]()
        protects = self.protects
        for hospital_id, event in plans:
            if hospital_id not in self.places:
                raise ProtocolError(f"hospital {hospital_id} is not in the account: name it when the account is opened")
            if not event.num_steps:
                continue
            protects = _same_terms(protects, event)
            place, kind, steps = self.places[hospital_id], event.kind, all_steps[hospital_id]
            all_steps[hospital_id] = steps = {**steps, kind: steps.get(kind, 0) + event.num_steps}
            changed.add(hospital_id)
            if len(steps) <= _RECOMPUTED_KINDS:
                divergences[place] = _frozen(_composed(steps))
            else:
                divergences[place] = _frozen(divergences[place] + event.num_steps * _divergence(kind))
        return replace(self, divergences=tuple(divergences), steps=all_steps)._with_epsilons_of(sorted(changed))

    def epsilons(self) -> dict[str, float]:
        """Return each hospital's epsilon at its own delta, from Renyi divergences."""
        return dict(zip(self.target_deltas, self.own_epsilons.tolist(), strict=True))

    def epsilon_of(self, hospital_id: str) -> float:
        """Return the epsilon of one hospital, as `epsilons` has it."""
        return float(self.own_epsilons[self.places[hospital_id]])

    def epsilon_total(self, patient_overlap: int) -> float:
        """Return the same of a patient in up to `patient_overlap` hospitals (>= 1), at the common delta."""
        if patient_overlap == 1:
            return float(self.common_epsilons.max())
        check_independent(kind for steps in self.steps.values() for kind in steps)
        return float(epsilon_from_rdp(largest_rdp(np.array(self.divergences), patient_overlap), self.common_delta))

    def exceeding(self, most_epsilon: float, names: Iterable[str]) -> tuple[str, ...]:
        """Return who of the named hospitals has spent more than most_epsilon, at its own or at the common delta.

        The reported epsilons decide. Renyi divergences bound them, so that only what these leave in doubt is computed.
        """
        by_rdp, common = self.common_epsilons, self.common_delta
        doubtful = [name for name in names if not by_rdp[self.places[name]] <= most_epsilon]
        events = self.events if doubtful else {}
        return tuple(
            name
            for name in doubtful
            if any(
                not headline_epsilon(events[name], delta) <= most_epsilon
                for delta in sorted({self.target_deltas[name], common})
            )
        )

    def total_exceeds(self, most_epsilon: float, patient_overlap: int) -> bool:
        """Return whether a patient in up to `patient_overlap` hospitals has spent more, at the common delta."""
        if self.epsilon_total(patient_overlap) <= most_epsilon:
            return False
        return not self.headline_total(patient_overlap) <= most_epsilon

    def headline_epsilons(self) -> dict[str, float]:
        """Return the tightest epsilon that is proved of each hospital, at its own delta."""
        events = self.events
        return {name: headline_epsilon(events[name], delta) for name, delta in self.target_deltas.items()}

    def headline_total(self, patient_overlap: int) -> float:
        """Return the same of a patient in up to `patient_overlap` hospitals (>= 1), at the common delta.

        It takes a second or so for ten hospitals that differ; equal ones cost once.
        """
        return overlap_epsilon(self.events, self.common_delta, patient_overlap)

    def epsilons_by_reader(self, patient_overlap: int) -> dict[str, float]:
        """Return the headline's total against each reader; inf against one who sees all without noise."""
        return {reader: self.against(reader).headline_total(patient_overlap) for reader in READERS}

    def attacker(self, patient_overlap: int) -> Attacker:
        """Return what an attacker can reach at most against a patient in up to `patient_overlap` hospitals (>= 1)."""
        return attacker_of(overlap_profile(self.events, self.common_delta, patient_overlap), self.common_delta)

    def attackers(self) -> dict[str, Attacker]:
        """Return the same by hospital, for a patient in that one alone, each at its own delta."""
        events = self.events
        return {
            name: attacker_of(headline_profile(events[name], delta), delta)
            for name, delta in self.target_deltas.items()
        }

    def _with_epsilons_of(self, changed: Sequence[str]) -> "Account":
        """Return the account with the epsilons of hospitals whose divergences are others than they were of."""
        if not changed:
            return self
        places = [self.places[name] for name in changed]
        divergences = np.array([self.divergences[place] for place in places])
        own, common = self.own_epsilons.copy(), self.common_epsilons.copy()
        own[places] = epsilon_from_rdp(divergences, [self.target_deltas[name] for name in changed])
        common[places] = epsilon_from_rdp(divergences, self.common_delta)
        return replace(self, own_epsilons=_frozen(own), common_epsilons=_frozen(common))


def open_account(target_deltas: Mapping[str, float]) -> Account:
    """Return the account of hospitals that have spent nothing.

    Raises:
        ConfigError: no hospital, or a delta that is not in (0, 1).
    """
    if not target_deltas or not all(0 < delta < 1 for delta in target_deltas.values()):
        raise ConfigError(
            f"target-delta = {dict(target_deltas)} must give at least one hospital a value in (0, 1) ([privacy] "
            "target-delta): correct it"
        )
    nothing, none = _frozen(np.zeros(len(ORDERS))), _frozen(np.zeros(len(target_deltas)))
    return Account(
        target_deltas=dict(target_deltas),
        places={hospital_id: place for place, hospital_id in enumerate(target_deltas)},
        divergences=(nothing,) * len(target_deltas),
        own_epsilons=none,
        common_epsilons=none,
        steps={hospital_id: {} for hospital_id in target_deltas},
    )


def account_from_ledger(ledger: Ledger, target_deltas: Mapping[str, float]) -> Account:
    """Return the account of everything in the ledger, planned or released, over all its runs.

    Hospitals that were never charged have spent nothing.

    Raises:
        ProtocolError: the ledger charges a hospital that has no target delta.
    """
    plans = [(hospital_id, event) for hospital_id, events in ledger.events().items() for event in events]
    return open_account(target_deltas).projected(plans)


def _composed(steps: _Steps) -> NDArray[np.float64]:
    total = np.zeros(len(ORDERS))
    for kind in sorted(steps):
        total += steps[kind] * _divergence(kind)
    return total


def _frozen(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    numbers.setflags(write=False)
    return numbers


def _divergence(kind: StepEvent) -> NDArray[np.float64]:
    return cell_named(kind.cell).divergence(kind)


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
