"""dossier.json as records: what the run says of itself, what each reader may get, and every row of its ledger.

What is left out on purpose: the contents of rows that are no charges. They hold what hospitals measured, and counts of
fewer than ten people; their digests are here. Settings that name files, columns or hospitals are left out too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wardround.audits.records import Audit
from wardround.errors import ProtocolError
from wardround.json_records import json_field, json_values, read_json_record
from wardround.json_text import json_text
from wardround.parsing import from_json, sound
from wardround.privacy.attackers import AttackerFigures
from wardround.privacy.entries import ENTRY_COLUMNS, Entry, entry_of
from wardround.server.record.summaries import Summary

__all__ = [
    "FORM",
    "Dossier",
    "Heading",
    "LedgerRow",
    "ReaderBill",
    "dossier_text",
    "entries_of",
    "read_dossier",
    "typed_columns",
]

FORM = 1
"""Of dossier.json; another one is refused."""

Setting = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One row of the ledger.

    Attributes:
        sequence: from 1.
        kind: "planned" or "released" of an entry, "round" of a committed round, "closing" of a run's end.
        time: at which it was written, UTC; "" of rows that are no entries.
        digest: sha256 hex digest of the row and all before it.
        entry: the columns of an entry; None of a row of another kind, whose contents are not here.
    """

    sequence: int
    kind: str
    time: str
    digest: str
    entry: Mapping[str, str | int | float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderBill:
    """What one reader may get of a patient in one hospital alone.

    Attributes:
        epsilon: at the hospital's delta; inf where nothing is promised.
        nearest_mu: of the nearest Gaussians that the promise is not above; inf likewise.
        attacker: how often an attacker is right at most.
    """

    epsilon: float
    nearest_mu: float
    attacker: AttackerFigures = json_field(is_inline=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """One heading of a framework, and where the dossier answers it.

    Attributes:
        framework: by which it is asked.
        heading: what is asked.
        section: of the page that answers; "" where none does.
        answer: what is said there, or who has to answer.
    """

    framework: str
    heading: str
    section: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """What dossier.json holds.

    Attributes:
        form: FORM.
        made_with: version of Wardround that made it.
        summary: what summary.json says; its epsilons and attackers follow from the rows.
        bills: by hospital and reader; they follow from the rows.
        audit: what audit.json says; None where the run was not audited.
        settings: by section and key: those that decide about privacy.
        model_sha256: digest of model.safetensors; "" where there is none.
        headings: of frameworks, with the section that answers each.
        rows: of the ledger, in order.
    """

    form: int
    made_with: str
    summary: Summary
    bills: Mapping[str, Mapping[str, ReaderBill]]
    audit: Audit | None
    settings: Mapping[str, Mapping[str, Setting]]
    model_sha256: str
    headings: tuple[Heading, ...]
    rows: tuple[LedgerRow, ...]


def entries_of(dossier: Dossier) -> list[Entry]:
    """Return what was charged, each release once.

    Raises:
        ProtocolError, KeyError, ValueError, ConfigError: a row is no entry.
    """
    return [entry_of(typed_columns(row)) for row in dossier.rows if row.kind == "planned"]


def typed_columns(row: LedgerRow) -> dict[str, str | int | float]:
    """Return an entry's columns with the types that the ledger has; an infinite number is written as text in JSON."""
    columns = row.entry or {}
    return {name: kind(columns[name]) for name, kind in ENTRY_COLUMNS.items()}


def dossier_text(dossier: Dossier) -> str:
    """Return dossier.json."""
    return json_text(json_values(dossier)) + "\n"


def read_dossier(text: str, path: Path) -> Dossier:
    """Return what dossier.json says.

    Raises:
        ProtocolError: it is none, or of another form.
    """
    with sound(ProtocolError, f"{path} is no dossier", "make it anew with wardround dossier"):
        table = from_json(text)
        if isinstance(table, dict) and table.get("form") != FORM:
            raise ProtocolError(
                f"{path} has form = {table.get('form')!r:.40}, and this version reads {FORM}: check it with the "
                "version that made it (made_with)"
            )
        return read_json_record(Dossier, table)
