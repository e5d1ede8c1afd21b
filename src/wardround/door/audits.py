"""Audit a run by its folder, and leave what came out beside its other files."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.audits.records import AUDIT, Audit
from wardround.config import AuditConfig, Config
from wardround.datasets import Federation
from wardround.door.given import folder_of, put_back
from wardround.errors import ConfigError
from wardround.json_records import json_values
from wardround.json_text import json_text
from wardround.privacy.entries import Entry
from wardround.privacy.ledger import open_ledger
from wardround.privacy.spending import account_from_ledger
from wardround.reports.dossier.derived import deltas_of
from wardround.reports.files import read_ended
from wardround.reports.report import write_report
from wardround.server.record.run_folder import RunFolder, open_run_folder

if TYPE_CHECKING:
    from wardround.simulations.runs import Run

__all__ = ["audit", "audit_folder"]

_MOST_SEED = 2**62


def audit(
    path: "Path | str | Run",
    *,
    canaries: int | None = None,
    shadow_models: int | None = None,
    reconstruct: bool = False,
    seed: int | None = None,
    federation: Federation | None = None,
    model: object = None,
    strategy: object = None,
) -> Audit:
    """Return what attackers get of a run beside what its bill allows; write audit.json and the page anew.

    Args:
        path: the folder of a run that has ended.
        canaries: of hospitals that did the same (>= 20); the more, the closer are lower bounds. None is 4,000, or 1,000
            where hospitals are protected.
        shadow_models: how many models are trained on half of the records each, and attacked (>= 4); None is none.
        reconstruct: whether made-up records are reconstructed from what a server receives, and shown. No record of a
            hospital has a part in that.
        seed: of coins, batches and noise of the twins, in 0..2**62; None is that of the run's settings.
        federation: with shadow models or reconstruction, the data, as they were given when the run began; None where
            settings name them.
        model: likewise.
        strategy: likewise.

    Raises:
        ConfigError: there is no run in the folder, or none that has come to an end, or what it did has no canaries.
        ProtocolError: its ledger or a file can't be read, or is not as the other says.
    """
    folder = open_run_folder(folder_of(path))
    config = put_back(folder.config(), federation=federation, model=model, strategy=strategy)
    return audit_folder(
        folder, config, canaries=canaries, shadow_models=shadow_models, reconstruct=reconstruct, seed=seed
    )


def audit_folder(
    folder: RunFolder,
    config: Config,
    *,
    canaries: int | None,
    shadow_models: int | None = None,
    reconstruct: bool = False,
    seed: int | None = None,
) -> Audit:
    """Return what `audit` does, of a run's folder and all its settings with the objects that they name."""
    from wardround.audits.audit import audit_run

    AuditConfig(canaries=canaries, shadow_models=shadow_models)  # refuses what is out of range
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= _MOST_SEED):
        raise ConfigError(f"seed = {seed!r} must be an integer in 0..{_MOST_SEED}: choose another")
    summary = read_ended(folder, "audit")
    with open_ledger(folder.ledger, read_only=True) as ledger:
        entries, account = ledger.entries(), account_from_ledger(ledger, deltas_of(summary))
        released = [row.content for row in ledger.history() if row.kind == "released"]
    done = audit_run(
        config,
        account,
        entries,
        num_canaries=canaries,
        seed=config.federation.seed if seed is None else seed,
        present=Counter(each.round_number for each in released if isinstance(each, Entry)),
        shadow_models=shadow_models,
        is_reconstructed=reconstruct,
    )
    head = summary.ledger_head
    done = replace(done, ledger_digest=head.digest if head else "", other_versions=folder.other_versions())
    folder.write_text(AUDIT, json_text(json_values(done)) + "\n")
    write_report(folder.path)
    return done
