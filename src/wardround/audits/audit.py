"""Audit a run: twins of all that its hospitals did, guesses at their canaries, and lower bounds beside the bills.

Hospitals that did the same, the same noise, sample rate, steps and rounds, are audited together. What is left out on
purpose: files and pages (see `door.audits`).
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wardround.audits.canaries import Mechanism, run_twin
from wardround.audits.readers import Bill, bills_of, got, seen_by
from wardround.audits.reconstruction import reconstruct
from wardround.audits.records import CONFIDENCE, Audit, HospitalAudit, Membership, ReaderAudit
from wardround.audits.shadows import attack_models, mislabel, train_shadows
from wardround.config import DEFAULT_CANARIES, DEFAULT_HOSPITALS, Config, unaudited_because
from wardround.errors import ConfigError
from wardround.privacy.cells import READERS, cell_of
from wardround.privacy.entries import Entry
from wardround.privacy.spending import Account

__all__ = ["audit_run", "mechanisms_of"]

_MOST_ROUNDS = 500
"""Of a twin whose steps are each a round: a round takes longer than a step."""

_FALSE_ALARMS = 1e-3
"""Probability that an audit of a sound run raises an alarm, at most: half of it for twins, half for shadow models,
shared among all that each looks at. What is seen of one canary, or real record, is taken not to hang on others."""


def audit_run(
    config: Config,
    account: Account,
    entries: Sequence[Entry],
    *,
    num_canaries: int | None = None,
    seed: int,
    shadow_models: int | None = None,
    is_reconstructed: bool = False,
) -> Audit:
    """Return what attackers get of twins of a run and of shadow models, beside what its bills allow.

    Args:
        config: of the run.
        account: of all that the run charged.
        entries: its charges.
        num_canaries: of hospitals that did the same (>= 1; with few of them nothing can be shown); None is 4,000, or
            1,000 where hospitals are protected.
        seed: of the twins, in 0..2**62.
        shadow_models: how many are trained on half of the records each (>= 4); None where none are.
        is_reconstructed: whether made-up records are reconstructed from gradients.

    Raises:
        ConfigError: nothing is promised, nothing was released, or what was done has no twin.
    """
    started = time.perf_counter()
    if reason := unaudited_because(config.privacy):
        raise ConfigError(reason)
    if num_canaries is None:
        num_canaries = DEFAULT_CANARIES if cell_of(config.privacy).clips_records else DEFAULT_HOSPITALS
    # Test scores are charged after the last round, and no training: they are in the bill alone.
    rounds = [entry for entry in entries if entry.round_number <= config.training.num_rounds]
    bills, groups = bills_of(account), _alike(mechanisms_of(rounds))
    reconstruction = None
    if is_reconstructed:
        least = min(each.noise_multiplier for each in groups)
        reconstruction = reconstruct(config, least, num_hospitals=len(bills), seed=seed)
    readers, suspicions = _of_twins(config, groups, bills, num_canaries=num_canaries, seed=seed)
    membership = {} if shadow_models is None else _of_shadows(config, bills, shadow_models, seed)
    suspicions += _of_members(membership)
    hospitals = {name: _hospital(readers[name], membership.get(name)) for name in account.places if name in readers}
    worst = max((each.worst for each in hospitals.values()), key=_lower)
    return Audit(
        epsilon_lower=worst.epsilon_lower,
        epsilon=worst.epsilon,
        confidence=CONFIDENCE,
        num_canaries=num_canaries,
        seed=seed,
        is_alarm=bool(suspicions),
        suspicions=tuple(dict.fromkeys(suspicions)),
        seconds=time.perf_counter() - started,
        hospitals=hospitals,
        reconstruction=reconstruction,
    )


def _of_shadows(
    config: Config, bills: Mapping[str, Mapping[str, Bill]], num_models: int, seed: int
) -> dict[str, Membership]:
    """Return by hospital what whoever receives the model tells of real records."""
    shadows = train_shadows(config, num_models=num_models, seed=seed)
    of_recipient = {name: of_readers["recipient"] for name, of_readers in bills.items()}
    mislabelled = mislabel(config, seed=seed) if shadows.has_classes else None
    return attack_models(shadows, mislabelled, of_recipient, _FALSE_ALARMS / 2)


def _of_twins(
    config: Config,
    groups: Mapping[Mechanism, Sequence[str]],
    bills: Mapping[str, Mapping[str, Bill]],
    *,
    num_canaries: int,
    seed: int,
) -> tuple[dict[str, dict[str, ReaderAudit]], list[str]]:
    """Return by hospital and reader what was got of twins, and what to suspect where that is too much."""
    most_false = _FALSE_ALARMS / 2 / (len(groups) * len(READERS))
    readers: dict[str, dict[str, ReaderAudit]] = {}
    suspicions: list[str] = []
    for place, (mechanism, names) in enumerate(groups.items()):
        twin = run_twin(config, mechanism, num_hospitals=len(bills), num_canaries=num_canaries, seed=seed + place)
        for reader, seen in seen_by(twin, mechanism, cell_of(config.privacy)).items():
            found = {name: got(seen, bills[name][reader], most_false) for name in names}
            suspicions += _suspicions(reader, found)
            for name, each in found.items():
                readers.setdefault(name, {})[reader] = each
    return readers, suspicions


def mechanisms_of(entries: Iterable[Entry]) -> dict[str, Mechanism]:
    """Return what was done at each hospital in the rounds that trained, which is to be the same in every round.

    Raises:
        ConfigError: it is not.
    """
    by_hospital: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.round_number:
            by_hospital.setdefault(entry.hospital_id, []).append(entry)
    found = {}
    for name, own in by_hospital.items():
        events = {entry.event for entry in own}
        if len(events) != 1:
            noise = sorted({event.noise_multiplier for event in events})
            raise ConfigError(
                f"hospital {name} was not treated alike in all rounds (noise multipliers {noise[0]:g} to "
                f"{noise[-1]:g}), and there are no canaries for that: audit a run whose noise, sample rate and steps "
                "stay as planned"
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


def _as_billed(mechanism: Mechanism) -> Mechanism:
    """Return a mechanism of one step a round, so that an attacker sees every noisy sum, as is billed, where few enough.

    The bill is the same: it is of all steps, however rounds divide them.
    """
    num_steps = mechanism.num_steps * mechanism.num_rounds
    return replace(mechanism, num_steps=1, num_rounds=num_steps) if num_steps <= _MOST_ROUNDS else mechanism


def _alike(did: Mapping[str, Mechanism]) -> dict[Mechanism, list[str]]:
    """Return who did the same."""
    if not did:
        raise ConfigError("the run released nothing in a round, and there is nothing to audit: audit one that trained")
    groups: dict[Mechanism, list[str]] = {}
    for name, mechanism in did.items():
        groups.setdefault(mechanism, []).append(name)
    return groups


def _lower(found: ReaderAudit) -> float:
    return -1.0 if found.epsilon_lower is None else found.epsilon_lower


def _hospital(readers: Mapping[str, ReaderAudit], membership: Membership | None) -> HospitalAudit:
    return HospitalAudit(worst=max(readers.values(), key=_lower), readers=dict(readers), membership=membership)


def _of_members(membership: Mapping[str, Membership]) -> list[str]:
    """Return sentences on hospitals whose real records are told apart more than the bill allows."""
    return [
        f"{name}, against whoever receives the model: {attack} shows an epsilon of {result.epsilon_lower:.2f} at least "
        "on real records: look at how the model's gradients come about, and whether its records are kept apart"
        for name, found in membership.items()
        for attack, result in found.attacks.items()
        if result.is_refuted
    ]


def _suspicions(reader: str, found: Mapping[str, ReaderAudit]) -> list[str]:
    """Return sentences on what to look at first, where a bill is refuted."""
    names = [name for name, each in found.items() if each.is_refuted]
    if not names:
        return []
    who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    first = found[names[0]]
    right, allowed = first.coin_toss_accuracy or 0.0, first.coin_toss_most or 0.0
    said = (
        f"{who}, against the {reader}: {right:.1%} of {first.num_canaries} guesses are right, and the bill of epsilon "
        f"{first.epsilon:.2f} allows {allowed:.1%}: epsilon is {first.epsilon_lower:.2f} at least"
    )
    if first.noise_interval is not None and first.noise_interval[1] < 1:
        return [said, f"the noise there is {first.noise:.2f} of what is billed: look at what draws it and scales it"]
    return [
        said,
        "the noise there is as large as it should be, or can't be told: look at the clip (is every gradient clipped, "
        "and counted once?), at batches (is each record drawn by itself, at the billed rate?), and at whether two "
        "releases share their noise",
    ]
