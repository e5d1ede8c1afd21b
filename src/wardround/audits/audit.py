"""Audit a run: twins of all that its hospitals did, guesses at their canaries, and lower bounds beside the bills.

Hospitals that did the same, the same noise, sample rate, steps and rounds, are audited together. What is left out on
purpose: files and pages (see `door.audits`).
"""

import time
from collections.abc import Mapping, Sequence

from wardround.audits.canaries import run_twin
from wardround.audits.mechanisms import Group, groups_of
from wardround.audits.members import attack_models
from wardround.audits.readers import Bill, Levels, bills_of, got, seen_by
from wardround.audits.reconstruction import reconstruct
from wardround.audits.records import CONFIDENCE, Audit, HospitalAudit, Membership, ReaderAudit, Reconstruction, worst_of
from wardround.audits.shadows import mislabel, train_shadows
from wardround.audits.suspicions import of_members, of_readers
from wardround.config import DEFAULT_CANARIES, DEFAULT_HOSPITALS, Config, unaudited_because
from wardround.errors import ConfigError
from wardround.privacy.cells import cell_of
from wardround.privacy.entries import Entry
from wardround.privacy.spending import Account

__all__ = ["audit_run"]

_FALSE_ALARMS = 1e-3
"""Probability that an audit of a sound run raises an alarm, at most: half of it for twins, half for shadow models,
shared among all that each looks at. What is seen of one canary is taken not to hang on others; of real records this
is not."""

_NUM_VIEWS = 2
"""Of a twin: what each hospital sends, and what comes out."""

_UNTRAINED = (
    "it was charged for no round that trained: there is nothing of it in the model that an audit could look for"
)


def audit_run(
    config: Config,
    account: Account,
    entries: Sequence[Entry],
    *,
    num_canaries: int | None = None,
    seed: int,
    present: Mapping[int, int] | None = None,
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
        present: by round, how many hospitals' replies came; all that were charged of a round that isn't there.
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
    bills, groups = bills_of(account), groups_of(rounds, present or {})
    reconstruction = _reconstructed(config, groups, len(bills), seed) if is_reconstructed else None
    # Before twins, so that what can't be is refused first.
    membership = {} if shadow_models is None else _of_shadows(config, bills, shadow_models, seed)
    num_tests = len(groups) * _NUM_VIEWS
    levels = Levels(false_alarm=_FALSE_ALARMS / 2 / num_tests, too_large=(1 - CONFIDENCE) / num_tests)
    readers, suspicions = _of_twins(config, groups, bills, levels, num_canaries=num_canaries, seed=seed)
    suspicions += of_members(membership)
    hospitals = {name: _hospital(readers[name], membership.get(name)) for name in account.places if name in readers}
    worst = worst_of(each.worst for each in hospitals.values())
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
        unaudited={name: _UNTRAINED for name in account.places if name not in hospitals},
        reconstruction=reconstruction,
        level=levels.too_large,
    )


def _reconstructed(config: Config, groups: Sequence[Group], num_hospitals: int, seed: int) -> Reconstruction:
    least = min(each.mechanism.noise_multiplier for each in groups)
    return reconstruct(config, least, num_hospitals=num_hospitals, seed=seed)


def _of_shadows(
    config: Config, bills: Mapping[str, Mapping[str, Bill]], num_models: int, seed: int
) -> dict[str, Membership]:
    """Return by hospital what whoever receives the model tells of real records."""
    shadows, cell = train_shadows(config, num_models=num_models, seed=seed), cell_of(config.privacy)
    # Another record makes another update, and neighbours may be updates that are there or not.
    says = cell.clips_records or cell.clips_apart > 1
    of_recipient = {name: own["recipient"] for name, own in bills.items() if says}
    mislabelled = mislabel(config, seed=seed) if shadows.has_classes else None
    return attack_models(shadows, mislabelled, of_recipient, _FALSE_ALARMS / 2)


def _of_twins(
    config: Config,
    groups: Sequence[Group],
    bills: Mapping[str, Mapping[str, Bill]],
    levels: Levels,
    *,
    num_canaries: int,
    seed: int,
) -> tuple[dict[str, dict[str, ReaderAudit]], list[str]]:
    """Return by hospital and reader what was got of twins, and what to suspect where that is too much."""
    readers: dict[str, dict[str, ReaderAudit]] = {}
    suspicions: list[str] = []
    for place, group in enumerate(groups):
        twin = run_twin(
            config,
            group.mechanism,
            num_hospitals=len(bills),
            num_canaries=num_canaries,
            seed=seed + place,
            cohort_sizes=group.cohort_sizes,
        )
        for reader, seen in seen_by(twin, group.mechanism, cell_of(config.privacy)).items():
            found = {name: got(seen, bills[name][reader], levels) for name in group.names}
            suspicions += of_readers(reader, found)
            for name, each in found.items():
                readers.setdefault(name, {})[reader] = each
    return readers, suspicions


def _hospital(readers: Mapping[str, ReaderAudit], membership: Membership | None) -> HospitalAudit:
    return HospitalAudit(worst=worst_of(readers.values()), readers=dict(readers), membership=membership)
