"""An audit for the terminal: one line a reader, and what has to be said beside it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wardround.audits.records import AUDIT, Audit
from wardround.reports.audited import (
    MEMBERS,
    AuditLine,
    MemberLine,
    assumptions_of,
    audit_lines,
    audit_sentence,
    has_tenth,
    member_lines,
    untold_sentences,
)
from wardround.reports.data_tables import plain_table
from wardround.reports.folder import read_run
from wardround.reports.reconstructed import ViewLine, reconstruction_sentences, view_lines

__all__ = ["print_audit"]


def print_audit(audit: Audit, run_folder: Path, console: Console) -> None:
    """Print what attackers got of a run's twins beside what its bill allows."""
    table = plain_table()
    for heading in ("hospital", "against"):
        table.add_column(heading)
    for heading in ("epsilon", "seen at\nleast", "right", "at\nmost", "found", "at\nmost", "noise"):
        table.add_column(heading, justify="right", no_wrap=True)
    lines = audit_lines(audit)
    for line in lines:
        table.add_row(
            Text(line.hospitals),
            line.readers,
            line.epsilon,
            line.epsilon_lower,
            line.right,
            line.right_most,
            line.found,
            line.found_most,
            line.noise,
        )
    console.print(table)
    if members := member_lines(audit):
        console.print(_members_table(members))
    if audit.reconstruction is not None:
        console.print(_views_table(view_lines(audit.reconstruction)))
    for sentence in (
        "Right: guesses at coin tosses. Found: used canaries, by a threshold above which 1 % of the others are "
        f"expected; line by line it was {', '.join(line.accused for line in lines)}. Noise: measured, relative to "
        "what is billed.",
        *([_tenth_sentence(lines)] if has_tenth(audit) else []),
        audit_sentence(audit),
        *untold_sentences(audit),
        *assumptions_of(audit, read_run(run_folder).words, AUDIT),
        *([f"Real records: {MEMBERS}"] if members else []),
        *(reconstruction_sentences(audit.reconstruction) if audit.reconstruction is not None else []),
        f"Written: {run_folder / AUDIT}",
    ):
        console.print(Text(sentence))


def _tenth_sentence(lines: Sequence[AuditLine]) -> str:
    found = ", ".join(
        f"{line.found_tenth} of at most {line.found_tenth_most} ({line.accused_tenth} falsely accused)"
        for line in lines
    )
    return f"Found by a threshold for 0.1 %, line by line: {found}."


def _members_table(lines: Sequence[MemberLine]) -> Table:
    table = plain_table()
    table.add_column("real records of")
    table.add_column("attack")
    for heading in ("AUC", "found", "falsely\naccused", "epsilon", "seen at\nleast"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            Text(line.hospital), line.attack, line.auc, line.found, line.accused, line.epsilon, line.epsilon_lower
        )
    return table


def _views_table(lines: Sequence[ViewLine]) -> Table:
    table = plain_table()
    table.add_column("made-up records, seen")
    for heading in ("off by", "told apart"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(line.seen, line.error, line.identified)
    return table
