"""The hash chain of a ledger: what a row's digest is, and what is wrong with a list of rows.

A digest covers the row and the digest before it, so a changed, removed, inserted or moved row shows. Left out on
purpose: a secret. Whoever can rewrite the whole file can rewrite the chain; who fears that keeps `Ledger.head`
elsewhere, for example in a run's summary.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["GENESIS", "findings", "row_digest"]

GENESIS = "0" * 64
"""What the first row's digest continues."""

Row = Mapping[str, Any]

# Bytes, which SQLite holds in a column of any type and no ledger ever wrote, have a digest that no row has.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=repr)


def row_digest(previous: str, row: Row) -> str:
    """Return the sha256 hex digest of the previous digest and the row's canonical JSON, its own digest left out."""
    content = {key: value for key, value in row.items() if key != "digest"}
    return hashlib.sha256((previous + _CANONICAL.encode(content)).encode()).hexdigest()


def findings(rows: Iterable[Row], count: int, head: str) -> list[str]:
    """Return what is wrong with the chain of all rows, ascending by sequence; empty when nothing is.

    `count` is how many rows the ledger says it has, `head` the digest that it says the last one has.
    """
    found: list[str] = []
    sequence, digest = 0, GENESIS
    for row in rows:
        if row["sequence"] != sequence + 1:
            found.append(_gap(sequence + 1, row["sequence"]))
        elif row_digest(digest, row) != row["digest"]:
            found.append(f"row {row['sequence']} was changed or moved, or the row before it was")
        sequence, digest = row["sequence"], str(row["digest"])
    if (sequence, digest) != (count, head):
        found.append(f"the ledger should end with row {count}, digest {str(head)[:12]}, but ends with {sequence}")
    return found


def _gap(expected: int, met: int) -> str:
    if met > expected + 1:
        return f"rows {expected} to {met - 1} are missing"
    return f"row {expected} is missing" if met > expected else f"sequence number {met} is used twice"
