"""Audit a run by its folder, and leave what came out beside its other files."""

from pathlib import Path
from typing import TYPE_CHECKING

from wardround.audits.records import AUDIT, Audit
from wardround.door.given import folder_of
from wardround.errors import ConfigError
from wardround.json_records import json_values
from wardround.json_text import json_text
from wardround.reports.files import read_summary
from wardround.reports.report import write_report

if TYPE_CHECKING:
    from wardround.simulations.runs import Run

__all__ = ["audit"]

DEFAULT_CANARIES = 1000
"""Of hospitals that did the same."""


def audit(path: "Path | str | Run", *, canaries: int = DEFAULT_CANARIES, seed: int | None = None) -> Audit:
    """Return what attackers get of twins of a run beside what its bill allows; write audit.json and the page anew.

    Args:
        path: the folder of a run that has ended.
        canaries: of hospitals that did the same (>= 20); the more, the closer are lower bounds.
        seed: of coins, batches and noise of the twins, in 0..2**62; None is that of the run's settings.

    Raises:
        ConfigError: there is no run in the folder, or none that has come to an end, or what it did has no canaries.
        ProtocolError: its ledger or a file can't be read.
    """
    from wardround.audits.audit import audit_run
    from wardround.privacy.ledger import open_ledger
    from wardround.privacy.spending import account_from_ledger
    from wardround.server.record.run_folder import open_run_folder

    folder = open_run_folder(folder_of(path))
    if (summary := read_summary(folder.path)) is None:
        raise ConfigError(f"{folder.path} holds a run that has not come to an end: wardround.resume goes on with it")
    config = folder.config()
    with open_ledger(folder.ledger, read_only=True) as ledger:
        entries = ledger.entries()
        deltas = summary.protection.target_delta
        names = list(summary.epsilon.hospitals)
        account = account_from_ledger(ledger, deltas if not isinstance(deltas, float) else dict.fromkeys(names, deltas))
    done = audit_run(
        config, account, entries, num_canaries=canaries, seed=config.federation.seed if seed is None else seed
    )
    folder.write_text(AUDIT, json_text(json_values(done)) + "\n")
    write_report(folder.path)
    return done
