"""Make the dossier of a finished run: from its folder, once every file there is what the ledger says.

What is left out on purpose: anything that is not in the folder already.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wardround.disk import make_private_folder, open_regular, write_whole
from wardround.errors import ConfigError, ProtocolError
from wardround.privacy.entries import Entry, entry_row
from wardround.privacy.ledger import Row, open_ledger
from wardround.reports.dossier.card import CARD, model_card
from wardround.reports.dossier.derived import derived, differences
from wardround.reports.dossier.headings import headings
from wardround.reports.dossier.page import dossier_page
from wardround.reports.dossier.printing import BROWSERS, print_pdf
from wardround.reports.dossier.records import FORM, Dossier, LedgerRow, Setting, dossier_text
from wardround.reports.dossier.seal import SEAL, seal
from wardround.reports.files import read_audit, read_ended, read_text, read_toml
from wardround.server.record.run_folder import MODEL, RunFolder, open_run_folder, writing

__all__ = ["DATA", "FOLDER", "PAGE", "PDF", "WrittenDossier", "made_by", "write_dossier"]

FOLDER = "dossier"
"""In a run's folder."""
DATA = "dossier.json"
"""All that the others are made of."""
PAGE = "dossier.html"
"""For a browser."""
PDF = "dossier.pdf"
"""The same, printed."""

_TOLD = ("features", "imbalance", "training", "privacy", "aggregation", "personal", "evaluation", "simulation")
"""Sections of the settings that decide about privacy; the others name files, columns and hospitals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenDossier:
    """A dossier that was made.

    Attributes:
        folder: where it is.
        files: in it, by name.
        key: of the public key that signed, in hexadecimal digits; "" where it is not signed.
        note: what is not in it, and why; "" where all is.
    """

    folder: Path
    files: tuple[str, ...]
    key: str
    note: str


def made_by() -> str:
    """Return the name and version of this program."""
    return f"wardround {version('wardround')}"


def write_dossier(
    run_folder: Path, *, signing_key: bytes | None = None, browsers: tuple[str, ...] = BROWSERS
) -> WrittenDossier:
    """Write RUN_DIR/dossier/ anew, and the model card beside the model.

    Args:
        run_folder: of a run that has come to an end.
        signing_key: Ed25519, 32 bytes; None is unsigned.
        browsers: commands that can print.

    Raises:
        ConfigError: there is no run in the folder, or it has not come to an end.
        ProtocolError: a file there is not what the ledger says.
        WardroundError: the dossier can't be written.
    """
    run = open_run_folder(Path(run_folder))
    dossier = _dossier_of(run)
    folder, card = run.path / FOLDER, model_card(dossier)
    texts = {DATA: dossier_text(dossier), PAGE: dossier_page(dossier), CARD: card}
    with writing(folder, f"make it anew with: wardround dossier {run.path}"):
        make_private_folder(folder)
        for name in (*texts, PDF, *SEAL):
            (folder / name).unlink(missing_ok=True)
        for name, text in texts.items():
            write_whole(folder / name, text.encode())
        write_whole(run.path / CARD, card.encode())
        note = print_pdf(folder / PAGE, folder / PDF, browsers=browsers)
        names = (*texts, *([] if note else [PDF]))
        seal(folder, names, signing_key)
    key = "" if signing_key is None else _public_half(signing_key)
    files = (*names, *(SEAL if signing_key else SEAL[:1]))
    return WrittenDossier(folder=folder, files=files, key=key, note=note)


def _public_half(signing_key: bytes) -> str:
    from wardround.secagg.keys import verify_key

    return verify_key(signing_key).hex()


def _dossier_of(run: RunFolder) -> Dossier:
    if run.is_worked_on():
        raise ConfigError(f"{run.path} holds a run that is worked on: wait for its end")
    summary = read_ended(run, "dossier")
    with open_ledger(run.ledger, read_only=True) as ledger:
        rows = ledger.history()
    audit = read_audit(run.path)
    config = run.path / "config.toml"
    told = Dossier(
        form=FORM,
        made_with=made_by(),
        summary=summary,
        bills={},
        audit=audit,
        settings=_settings(read_toml(config, read_text(config) or "")),
        model_sha256=_digest(run.path / MODEL),
        headings=headings(is_audited=audit is not None),
        rows=tuple(map(_row, rows)),
    )
    again = derived(told)
    dossier = replace(told, bills=again.bills)
    if found := differences(dossier, again):
        raise ProtocolError(f"{run.path} makes a dossier that its own check would refuse: {found[0]}")
    return dossier


def _row(row: Row) -> LedgerRow:
    is_entry = isinstance(row.content, Entry)
    return LedgerRow(
        sequence=row.sequence,
        kind=row.kind,
        time=row.time if is_entry else "",
        digest=row.digest,
        entry=entry_row(row.content) if isinstance(row.content, Entry) else None,
    )


def _settings(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Setting]]:
    told: Sequence[tuple[str, Mapping[str, Any]]] = [(name, tables[name]) for name in _TOLD if name in tables]
    return {
        name: {key: value for key, value in table.items() if isinstance(value, str | int | float | bool)}
        for name, table in told
    }


def _digest(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
