"""What was done to each hospital's data, by what was charged, and who did the same.

What is left out on purpose: the twin that does it again (see `canaries`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from wardround.audits.canaries import Mechanism
from wardround.errors import ConfigError
from wardround.privacy.entries import Entry
from wardround.step_events import StepEvent

__all__ = ["Group", "groups_of", "mechanisms_of"]

_MOST_ROUNDS = 500
"""Of a twin whose steps are each a round: a round takes longer than a step."""

_NUMBERS = {
    "noise multipliers": attrgetter("noise_multiplier"),
    "sample rates": attrgetter("sample_rate"),
    "steps": attrgetter("num_steps"),
}
"""In which rounds may differ, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Hospitals that did the same.

    Attributes:
        mechanism: what they did.
        names: of the hospitals.
        cohort_sizes: by round of a twin, with how many hospitals' replies theirs were averaged, at most.
    """

    mechanism: Mechanism
    names: tuple[str, ...]
    cohort_sizes: tuple[int, ...]


def groups_of(entries: Sequence[Entry], present: Mapping[int, int]) -> list[Group]:
    """Return who did the same, by what was charged; `present` is as in `audit.audit_run`.

    Raises:
        ConfigError: nobody did anything, or one something else in some rounds than in others.
    """
    return [
        Group(mechanism=mechanism, names=tuple(names), cohort_sizes=_cohort_sizes(entries, names, mechanism, present))
        for mechanism, names in _alike(mechanisms_of(entries)).items()
    ]


def mechanisms_of(entries: Iterable[Entry]) -> dict[str, Mechanism]:
    """Return what was done at each hospital in the rounds that trained, which is to be the same in every round.

    Raises:
        ConfigError: it is not.
    """
    found = {}
    for name, own in _of_training(entries).items():
        events = {entry.event for entry in own}
        if len(events) != 1:
            raise ConfigError(
                f"hospital {name} was not treated alike in all rounds ({_differences(events)}), and there are no "
                "canaries for that: audit a run whose noise, sample rate and steps stay as planned"
            )
        event = events.pop()
        found[name] = _as_billed(
            Mechanism(
                noise_multiplier=event.noise_multiplier,
                sample_rate=event.sample_rate,
                num_steps=event.num_steps,
                num_rounds=len(own),
            )
        )
    return found


def _of_training(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return by hospital what was charged for rounds that trained."""
    by_hospital: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.round_number:
            by_hospital.setdefault(entry.hospital_id, []).append(entry)
    return by_hospital


def _differences(events: Iterable[StepEvent]) -> str:
    """Return in which numbers events differ, in as many digits as it takes."""
    told = []
    for name, of_event in _NUMBERS.items():
        values = sorted({of_event(event) for event in events})
        if len(values) > 1:
            low, high = next(
                both
                for digits in range(6, 18)
                if len(set(both := tuple(f"{value:.{digits}g}" for value in (values[0], values[-1])))) == 2
            )
            told.append(f"{name} {low} to {high}")
    return ", ".join(told) or "in another cell, or with integers of another scale"


def _as_billed(mechanism: Mechanism) -> Mechanism:
    """Return a mechanism of one step a round, so that an attacker sees every noisy sum, as is billed, where few enough.

    The bill is the same: it is of all steps, however rounds divide them.
    """
    num_steps = mechanism.num_steps * mechanism.num_rounds
    return replace(mechanism, num_steps=1, num_rounds=num_steps) if num_steps <= _MOST_ROUNDS else mechanism


def _alike(did: Mapping[str, Mechanism]) -> dict[Mechanism, list[str]]:
    """Return who did the same.

    Raises:
        ConfigError: nobody did anything.
    """
    if not did:
        raise ConfigError("the run released nothing in a round, and there is nothing to audit: audit one that trained")
    groups: dict[Mechanism, list[str]] = {}
    for name, mechanism in did.items():
        groups.setdefault(mechanism, []).append(name)
    return groups


def _cohort_sizes(
    entries: Iterable[Entry], names: Sequence[str], mechanism: Mechanism, present: Mapping[int, int]
) -> tuple[int, ...]:
    """Return by round of a twin how many hospitals' replies were averaged with those of hospitals that did the same.

    Where these were with different numbers of others, it is the largest, which under-states what is got of some.
    """
    rounds = {name: [entry.round_number for entry in own] for name, own in _of_training(entries).items()}
    charged = Counter(number for own in rounds.values() for number in set(own))
    sizes = [sorted(present.get(number, 0) or charged[number] for number in rounds[name]) for name in names]
    # A round's steps may be rounds of the twin.
    by_round = [np.repeat(own, mechanism.num_rounds // len(own)) for own in sizes]
    return tuple(int(size) for size in np.max(by_round, axis=0))
