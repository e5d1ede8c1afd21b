"""Recompute everything a run folder says about privacy from its ledger, and say what does not agree."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wardround.errors import ProtocolError
from wardround.identity import settings_digest
from wardround.privacy.account import Account, open_account
from wardround.privacy.entries import Entry
from wardround.privacy.ledger import open_ledger
from wardround.server.run_folder import RunFolder, open_run_folder
from wardround.server.summary import reader_epsilons

__all__ = ["verify_run"]


def verify_run(path: Path) -> tuple[list[str], str]:
    """Return one sentence per finding, and one that says what was found to be in order.

    Checked are the chain of digests over the ledger, the settings, and against the charges the noise, rates and steps
    of hospitals.csv and every epsilon in hospitals.csv, rounds.csv and summary.json.

    Raises:
        ConfigError: there is no run in the folder.
        ProtocolError: the ledger can't be read at all.
    """
    folder = open_run_folder(path)
    with open_ledger(folder.ledger, read_only=True) as ledger:
        findings = ledger.verify()
        if findings:
            # What the rows say proves nothing any more, so nothing is recomputed from them.
            return findings, ""
        records = [json.loads(text) for _, text in ledger.rounds()]
        if not records:
            return [f"{path}: no round is committed yet"], ""
        entries = ledger.entries()
        accounts = _accounts_by_round(entries, records)
        # A round that was charged and then interrupted is in the summary, though in no table.
        whole = open_account(records[0]["target_deltas"]).charged(entries)
    config = folder.config()
    overlap = config.privacy.patient_overlap
    if settings_digest(config) != records[0]["settings"]:
        findings.append(f"{path / 'config.toml'} was changed since the run began")
    findings += _table_findings(folder, accounts, overlap)
    # Of a round that was interrupted and done again, the tables have the last attempt.
    attempts = {record["round_row"]["round"]: record["attempt"] for record in records}
    last = [entry for entry in entries if attempts.get(entry.round_number) == entry.attempt]
    findings += _execution_findings(folder, last)
    findings += _summary_findings(folder, whole, overlap)
    epsilon = whole.epsilon_total(overlap)
    return findings, (
        f"in order: {len(entries)} charges, {len(records)} committed rounds, every epsilon recomputed "
        f"(total {epsilon:.6g} by Renyi divergences)"
    )


def _accounts_by_round(charged: Sequence[Entry], records: list[dict[str, Any]]) -> dict[int, Account]:
    """Return the account after each committed round, composed from the entries alone."""
    account = open_account(records[0]["target_deltas"])
    entries: dict[int, list[Entry]] = {}
    for entry in charged:
        entries.setdefault(entry.round_number, []).append(entry)
    accounts = {}
    for record in records:
        number = record["round_row"]["round"]
        account = account.charged(entries.get(number, []))
        accounts[number] = account
    return accounts


def _table_findings(folder: RunFolder, accounts: dict[int, Account], overlap: int) -> list[str]:
    findings = []
    for row in _rows(folder.path / "rounds.csv"):
        account = accounts.get(int(row["round"]))
        if account is None:
            findings.append(f"rounds.csv has round {row['round']}, which the ledger did not commit")
            continue
        wanted = {"epsilon_max": account.epsilon_max(), "epsilon_total": account.epsilon_total(overlap)}
        for column, value in wanted.items():
            findings += _differs(f"rounds.csv round {row['round']} {column}", row[column], value)
    epsilons = {number: account.epsilons() for number, account in accounts.items()}
    for row in _rows(folder.path / "hospitals.csv"):
        if int(row["round"]) in epsilons:
            where = f"hospitals.csv round {row['round']} {row['hospital']} epsilon"
            findings += _differs(where, row["epsilon"], epsilons[int(row["round"])].get(row["hospital"], math.nan))
    return findings


def _execution_findings(folder: RunFolder, entries: Sequence[Entry]) -> list[str]:
    """Compare who did what in hospitals.csv with the charges of the committed attempts, in both directions."""
    charged = {(entry.round_number, entry.hospital_id): entry for entry in entries}
    findings = []
    for row in _rows(folder.path / "hospitals.csv"):
        where = f"hospitals.csv round {row['round']} {row['hospital']}"
        entry = charged.pop((int(row["round"]), row["hospital"]), None)
        if entry is None:
            if row["selected"] != "0" or row["num_steps"] != "0":
                findings.append(f"{where} took part, which the ledger did not charge")
            continue
        for column in ("num_steps", "sample_rate", "noise_multiplier"):
            findings += _differs(f"{where} {column}", row[column], getattr(entry, column))
    return findings + [f"hospitals.csv lacks round {number} of {name}" for number, name in sorted(charged)]


def _summary_findings(folder: RunFolder, account: Account, overlap: int) -> list[str]:
    path = folder.path / "summary.json"
    if not path.is_file():
        return []
    summary = json.loads(path.read_text(encoding="utf-8"))
    headline = account.headline(overlap)
    findings = _differs("summary.json epsilon max", summary["epsilon"]["max"], headline.max)
    findings += _differs("summary.json epsilon total", summary["epsilon"]["total"], headline.total)
    for name, value in headline.hospitals.items():
        findings += _differs(f"summary.json epsilon {name}", summary["epsilon"]["hospitals"].get(name), value)
    for reader, value in reader_epsilons(account, overlap).items():
        findings += _differs(f"summary.json epsilon against {reader}", summary["epsilon"]["readers"].get(reader), value)
    return findings


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise ProtocolError(f"{path} can't be read: {error.strerror}; wardround resume writes it anew") from None


def _differs(where: str, written: Any, recomputed: float) -> list[str]:
    try:
        value = float(written)
    except (TypeError, ValueError):
        value = math.nan
    if value == recomputed or math.isclose(value, recomputed, rel_tol=1e-9, abs_tol=1e-12):
        return []
    return [f"{where} says {written}, the ledger gives {recomputed:.9g}"]
