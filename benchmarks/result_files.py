"""The table that a benchmark commits: its rows under the command, the machine and the versions."""

import csv
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

__all__ = ["versions_of", "write_rows"]


def versions_of(*packages: str) -> str:
    """Return the packages with their versions."""
    return ", ".join(f"{name} {version(name)}" for name in packages)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]], command: str, versions: str, note: str = "") -> None:
    """Write the rows, all with the keys of the first one.

    Args:
        path: of the file.
        rows: at least one.
        command: that measured them, and what there is to say of how.
        versions: of what was measured.
        note: in what units, or on how many threads.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# {command}\n# {_processor()}, {os.cpu_count()} processors, {platform.system()}, {date.today()}\n")
        file.write(f"# Python {platform.python_version()}, {versions}{f'; {note}' if note else ''}\n")
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
