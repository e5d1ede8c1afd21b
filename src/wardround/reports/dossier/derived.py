"""What follows from the ledger's rows in a dossier, and where what is written says otherwise.

The account is the run's own accountant, on nothing but the entries. What is left out on purpose: what was measured (the
scores and what attackers got), which no entry tells.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from wardround.audits.lower_bounds import bounded, told_apart
from wardround.audits.promises import Promise
from wardround.audits.records import AttackResult, Audit, HospitalAudit, Membership, ReaderAudit, worst_of
from wardround.audits.scores import allowed_at, share_of
from wardround.json_records import json_values
from wardround.json_text import plain_values
from wardround.privacy.cells import READERS, cell_named
from wardround.privacy.chain import GENESIS, row_digest
from wardround.privacy.entries import Entry
from wardround.privacy.profiles import Profile
from wardround.privacy.spending import Account, open_account
from wardround.reports.dossier.records import Dossier, LedgerRow, ReaderBill, entries_of, typed_columns
from wardround.server.record.account_figures import account_figures
from wardround.server.record.summaries import LedgerHead, Summary

__all__ = ["bills_of", "chain_findings", "deltas_of", "derived", "differences", "is_alike"]

_Attacked = TypeVar("_Attacked", ReaderAudit, AttackResult)
_TOLERANCE = 1e-6
"""Relative: epsilon is shown to two digits after the point."""


def deltas_of(summary: Summary) -> dict[str, float]:
    """Return the delta of every hospital, which is chosen and follows from nothing."""
    deltas = summary.protection.target_delta
    return dict(deltas) if isinstance(deltas, Mapping) else dict.fromkeys(summary.epsilon.hospitals, deltas)


def bills_of(account: Account) -> dict[str, dict[str, ReaderBill]]:
    """Return by hospital and reader what may be got of a patient in that hospital alone."""
    bills: dict[str, dict[str, ReaderBill]] = {name: {} for name in account.places}
    for reader in READERS:
        against = account.against(reader)
        epsilons, attackers = against.headline_epsilons(), against.attackers()
        for name, attacker in attackers.items():
            bills[name][reader] = ReaderBill(
                epsilon=epsilons[name], nearest_mu=attacker.nearest_mu, attacker=attacker.figures
            )
    return bills


def derived(dossier: Dossier) -> Dossier:
    """Return the dossier with everything that follows from its rows computed from them alone.

    Raises:
        WardroundError, KeyError, ValueError: a row is no entry, or of a hospital that has no delta.
    """
    summary, entries = dossier.summary, entries_of(dossier)
    account = open_account(deltas_of(summary)).charged(entries)
    bills = bills_of(account)
    last = dossier.rows[-1]
    summary = replace(
        summary,
        **account_figures(account, summary.patient_overlap),
        num_hospitals=len(account.places),
        num_rounds=sum(row.kind == "round" for row in dossier.rows) - 1,
        ledger_head=LedgerHead(count=last.sequence, digest=last.digest),
        **_of_cell(summary, entries),
    )
    audit = dossier.audit and _audit(dossier.audit, bills, account)
    return replace(dossier, summary=summary, bills=bills, audit=audit)


def _of_cell(summary: Summary, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return what the cell of the entries says of protection; nothing changes where nothing was charged.

    Statistics and test scores may be released by a cell of their own, so the one that the summary names is looked for.
    """
    cells = [cell_named(name) for name in dict.fromkeys(entry.event.cell for entry in entries)]
    told = summary.protection
    stated = told.unit, told.relation, told.placement, told.mechanism
    named = [cell for cell in cells if tuple(cell.booked[:4]) == stated]
    for cell in (*named, *cells):
        if cell.is_private:
            unit, relation, placement, mechanism, _ = cell.booked
            protection = replace(told, unit=unit, relation=relation, placement=placement, mechanism=mechanism)
            return {"accountant": cell.accountant, "protection": protection}
    return {}


def _audit(audit: Audit, bills: Mapping[str, Mapping[str, ReaderBill]], account: Account) -> Audit:
    """Return the audit with the bills that it is beside, and what follows from these and its own counts."""
    by_reader = {reader: account.against(reader).events for reader in READERS}
    hospitals = dict(audit.hospitals)
    for name, delta in account.target_deltas.items():
        if name in hospitals:
            promises = {
                reader: Promise(events=events[name], target_delta=delta) for reader, events in by_reader.items()
            }
            hospitals[name] = _hospital(hospitals[name], bills[name], promises, audit.level)
    if not hospitals:
        return audit
    worst = worst_of(each.worst for each in hospitals.values())
    return replace(audit, hospitals=hospitals, epsilon_lower=worst.epsilon_lower, epsilon=worst.epsilon)


def _hospital(
    hospital: HospitalAudit,
    bills: Mapping[str, ReaderBill],
    promises: Mapping[str, Promise],
    level: float | None,
) -> HospitalAudit:
    readers = {
        reader: _reader(found, bills[reader], promises[reader], level) if reader in bills else found
        for reader, found in hospital.readers.items()
    }
    members = hospital.membership and _members(hospital.membership, bills["recipient"], promises["recipient"])
    return replace(hospital, readers=readers, worst=worst_of(readers.values()), membership=members)


def _members(members: Membership, bill: ReaderBill, promise: Promise) -> Membership:
    def again(found: AttackResult) -> AttackResult:
        if found.epsilon_lower is not None and members.level is not None:
            found = told_apart(found, bill.epsilon, promise.target_delta, members.level)
        return _allowed(found, promise.profile)

    return replace(members, attacks={attack: again(found) for attack, found in members.attacks.items()})


def _reader(found: ReaderAudit, bill: ReaderBill, promise: Promise, level: float | None) -> ReaderAudit:
    if found.epsilon_lower is None:
        return replace(found, epsilon=bill.epsilon)
    beside = replace(
        found,
        epsilon=bill.epsilon,
        mu=bill.nearest_mu,
        coin_toss_most=bill.attacker.coin_toss_accuracy,
        tpr_at_fpr_1_percent_most=bill.attacker.tpr_at_fpr_1_percent,
        tpr_at_fpr_01_percent_most=bill.attacker.tpr_at_fpr_01_percent,
    )
    if level is None or found.auc is None:  # an earlier version's
        return _allowed(beside, promise.profile)
    share, interval = share_of(found.num_correct, found.num_canaries)
    counted = replace(beside, coin_toss_accuracy=share, coin_toss_interval=interval)
    return _allowed(bounded(counted, promise, level), promise.profile)


def _allowed(found: _Attacked, profile: Profile) -> _Attacked:
    if found.roc is None or found.epsilon_lower is None:
        return replace(found, roc_most=None)
    return replace(found, roc_most=allowed_at(found.roc, profile))


def differences(written: Dossier, wanted: Dossier) -> list[str]:
    """Return a sentence for every value of dossier.json that its rows say otherwise, by its path."""
    ours, theirs = (dict(_leaves(plain_values(json_values(each)), "")) for each in (wanted, written))
    return [
        f"dossier.json has {path} = {theirs.get(path, 'nothing')}, and its ledger entries give "
        f"{ours.get(path, 'nothing')}"
        for path in dict.fromkeys((*theirs, *ours))
        if not is_alike(theirs.get(path), ours.get(path))
    ]


def is_alike(written: Any, recomputed: Any) -> bool:
    """Return whether two values are the same, numbers up to what other processors make of a loss distribution."""
    if isinstance(written, float | int) and isinstance(recomputed, float | int):
        return math.isclose(written, recomputed, rel_tol=_TOLERANCE)
    return bool(written == recomputed)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            if path or key != "rows":
                yield from _leaves(part, f"{path} {key}".strip())
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from _leaves(part, f"{path} {place + 1}")
    else:
        yield path, value


def chain_findings(rows: Sequence[LedgerRow]) -> list[str]:
    """Return what is wrong with the rows: gaps, and entries whose digest is not that of the entry after the row before.

    The link to a row whose contents are not here can't be checked.
    """
    found: list[str] = []
    before = GENESIS
    for place, row in enumerate(rows, start=1):
        if row.sequence != place:
            return [*found, f"the ledger's row {place} is missing, or stands elsewhere"]
        if row.kind in ("planned", "released"):
            if row_digest(before, _as_stored(row)) != row.digest:
                found.append(f"row {place} of the ledger was changed or moved, or the row before it was{_named(row)}")
        elif row.entry is not None or row.kind not in ("round", "closing"):
            found.append(f"row {place} of the ledger is no row of a ledger ({row.kind!r:.40})")
        before = row.digest
    return found + _released_findings(rows)


def _as_stored(row: LedgerRow) -> dict[str, Any]:
    try:
        columns = typed_columns(row)
    except (KeyError, ValueError, TypeError):
        return {}
    return {"sequence": row.sequence, "state": row.kind, **columns, "time": row.time}


def _named(row: LedgerRow) -> str:
    return f" ({row.entry.get('charge_id', 'no charge_id')})" if row.entry else ""


def _released_findings(rows: Sequence[LedgerRow]) -> list[str]:
    """Return the releases that were not planned so; each charge is planned once."""
    found: list[str] = []
    planned: dict[Any, Any] = {}
    for row in rows:
        name = (row.entry or {}).get("charge_id")
        if row.kind == "planned" and planned.setdefault(name, row.entry) is not row.entry:
            found.append(f"{name} is planned twice in the ledger")
        elif row.kind == "released" and planned.get(name) != row.entry:
            found.append(f"{name} was released with other content than was planned")
    return found
