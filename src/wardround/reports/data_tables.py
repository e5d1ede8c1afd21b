"""Tables for the terminal: which data sets there are, and how a federation's records are spread."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wardround.reports.numbers import number_text
from wardround.small_counts import shown_count, shown_share, shown_total

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plain_table", "print_catalogue", "print_columns", "print_description", "shown_description"]

_MOST_LINES = 40
_MOST_CLASSES = 12
_MOST_LEVELS = 20
_COUNTS = ("records", "train", "test")


def plain_table(gap: int = 2) -> Table:
    """Return a table without lines, whose columns stand so many spaces apart."""
    return Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")


def print_catalogue(entries: Iterable[Any], console: Console) -> None:
    """Print one line per data set.

    Args:
        entries: with name, sentence, task, num_rows (None where it depends) and needs_download.
        console: where to print.
    """
    table = plain_table()
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


def print_columns(
    columns: Iterable[Mapping[str, Any]], features: Iterable[Mapping[str, Any]], console: Console
) -> None:
    """Print every column of a user's table with what it is and which features are made of it, or why none is.

    Args:
        columns: from `datasets.describe_columns`.
        features: from `datasets.describe_features`, of which the names are printed where there are no columns.
        console: where to print.
    """
    table = plain_table()
    table.add_column("column", overflow="fold")
    table.add_column("is", no_wrap=True)
    table.add_column("features", overflow="fold")
    rows = list(columns)
    for row in rows:
        made = row["reason"] or _listed(row["features"])
        table.add_row(Text(row["column"]), row["kind"], Text(made, style="dim" if row["reason"] else ""))
    names = [row["feature"] for row in features]
    if rows:
        console.print(table)
        console.print(f"{len(names):,} features\n", style="bold")
    elif names:
        console.print(Text(f"{len(names):,} features: {', '.join(names)}\n"))


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_LEVELS])
    return shown if len(names) <= _MOST_LEVELS else f"{shown} and {len(names) - _MOST_LEVELS} more (--json has all)"


def print_description(table: "pd.DataFrame", notes: Iterable[str], excluded: Iterable[str], console: Console) -> None:
    """Print hospitals by records and class shares, how the data was prepared, and who was left out.

    Args:
        table: from `datasets.describe`, indexed by hospital.
        notes: sentences.
        excluded: sentences, one per hospital.
        console: where to print; beyond 40 hospitals the largest are shown.
    """
    said = {row["hospital"]: row for row in shown_description(table)}
    shown = table.nlargest(_MOST_LINES, "records") if len(table) > _MOST_LINES else table
    columns = list(table.columns)[: 3 + _MOST_CLASSES]
    lines = plain_table()
    lines.add_column("hospital", no_wrap=True)
    for column in columns:
        # A class may be called what the terminal's library reads as its markup.
        heading = Text(column.replace("share ", "share\n", 1))
        lines.add_column(heading, justify="right", vertical="bottom")
    for name in shown.index:
        lines.add_row(Text(str(name)), *(_cell(column, said[name][column]) for column in columns))
    lines.add_section()
    totals = [
        shown_total(row[column] for row in said.values()).replace(" or more", "+") if column in _COUNTS else ""
        for column in columns
    ]
    lines.add_row(f"all {len(table)}", *totals, style="bold")
    console.print(lines)
    if len(shown) < len(table):
        console.print(f"and {len(table) - len(shown)} smaller hospitals")
    for note in notes:
        console.print(Text(f"- {note}"))
    left_out = list(excluded)
    if left_out:
        console.print(f"left out: {len(left_out)} hospital{'s' if len(left_out) > 1 else ''}", style="bold")
    for sentence in left_out[:10]:
        console.print(Text(f"- {sentence}"))
    if len(left_out) > 10:
        console.print(f"- and {len(left_out) - 10} more")


def shown_description(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of `datasets.describe` as they may be shown: no count below ten, nor what it follows from.

    Args:
        table: indexed by hospital.

    Returns:
        One mapping a hospital: a count of fewer than ten is "<10", and no share is given where one is of fewer.
    """
    rows = []
    for name, row in table.iterrows():
        num_records = int(row["records"])
        whole, *halves = (shown_count(int(row[column])) for column in _COUNTS)
        is_small = isinstance(whole, str)
        if not is_small and any(isinstance(half, str) for half in halves):
            whole = shown_total(halves)  # beside the one half that is shown, the whole would tell the other
        shares = {column: float(row[column]) for column in table.columns if column.startswith("share ")}
        # All shares add up to 1: one alone that is left out would follow from the others.
        has_shares = None not in [shown_share(share, num_records) for share in shares.values()]
        shown: dict[str, Any] = {column: None if is_small else float(row[column]) for column in table.columns}
        shown |= {column: share if has_shares else None for column, share in shares.items()}
        rows.append({"hospital": name} | shown | dict(zip(_COUNTS, (whole, *halves), strict=True)))
    return rows


def _cell(column: str, value: Any) -> str:
    if value is None:
        return number_text(float("nan"))
    if column in _COUNTS:
        return value.replace(" or more", "+") if isinstance(value, str) else f"{value:,}"
    return f"{value:.1%}" if column.startswith("share ") else f"{value:.4g}"
