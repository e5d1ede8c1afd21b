"""Tables for the terminal: which data sets there are, and how a federation's records are spread."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["print_catalogue", "print_description"]

_MOST_LINES = 40
_MOST_CLASSES = 12


def print_catalogue(entries: Iterable[Any], console: Console) -> None:
    """Print one line per data set.

    Args:
        entries: with name, sentence, task, num_rows (None where it depends) and needs_download.
        console: where to print.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("data set", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for entry in entries:
        rows = "" if entry.num_rows is None else f"{entry.num_rows:,}"
        facts = ["regression"] if entry.task == "regression" else []
        facts += ["files needed"] if entry.needs_download else []
        sentence = Text(entry.sentence)
        if facts:
            sentence.append(f" [{', '.join(facts)}]", style="dim")
        table.add_row(entry.name, rows, sentence)
    console.print(table)


def print_description(table: "pd.DataFrame", notes: Iterable[str], excluded: Iterable[str], console: Console) -> None:
    """Print hospitals by records and class shares, how the data was prepared, and who was left out.

    Args:
        table: from `datasets.describe`, indexed by hospital.
        notes: sentences.
        excluded: sentences, one per hospital.
        console: where to print; beyond 40 hospitals the largest are shown.
    """
    shown = table.nlargest(_MOST_LINES, "records") if len(table) > _MOST_LINES else table
    columns = list(table.columns)[: 3 + _MOST_CLASSES]
    lines = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    lines.add_column("hospital", no_wrap=True)
    for column in columns:
        lines.add_column(column.replace("share ", "share\n"), justify="right", vertical="bottom")
    for name, row in shown.iterrows():
        lines.add_row(Text(str(name)), *(_cell(column, row[column]) for column in columns))
    lines.add_section()
    totals = [
        _cell(column, table[column].sum()) if column in ("records", "train", "test") else "" for column in columns
    ]
    lines.add_row(f"all {len(table)}", *totals, style="bold")
    console.print(lines)
    if len(shown) < len(table):
        console.print(f"and {len(table) - len(shown)} smaller hospitals")
    for note in notes:
        console.print(Text(f"- {note}"))
    _print_excluded(list(excluded), console)


def _print_excluded(excluded: list[str], console: Console) -> None:
    if excluded:
        console.print(f"left out: {len(excluded)} hospital{'s' if len(excluded) > 1 else ''}", style="bold")
        for sentence in excluded[:10]:
            console.print(Text(f"- {sentence}"))
        if len(excluded) > 10:
            console.print(f"- and {len(excluded) - 10} more")


def _cell(column: str, value: float) -> str:
    if column in ("records", "train", "test"):
        return f"{value:,.0f}"
    return f"{value:.1%}" if column.startswith("share ") else f"{value:.4g}"
