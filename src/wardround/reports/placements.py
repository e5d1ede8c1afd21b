"""The table that answers, before any training, what noise placed elsewhere would cost the federation."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from wardround.privacy.cells import cell_in_words
from wardround.reports.data_tables import plain_table
from wardround.reports.numbers import epsilon_text, span_text
from wardround.server.plan.alternatives import PlacementRow

__all__ = ["print_placements"]


def print_placements(rows_by_unit: Mapping[str, Sequence[PlacementRow]], console: Console, *, record_is: str) -> None:
    """Print one table per unit, since epsilons of different units don't compare.

    Args:
        rows_by_unit: what `server.plan.alternatives.compare_placements` returns.
        console: where to print.
        record_is: what a record is, "row" or "patient".
    """
    for unit, rows in rows_by_unit.items():
        console.print()
        words = [cell_in_words(unit, row.placement, row.mechanism).words(record_is=record_is) for row in rows]
        epsilon = epsilon_text(rows[0].epsilon)
        console.print(f"At epsilon {epsilon} for {words[0].averaged}", highlight=False)
        table = plain_table()
        table.add_column("noise added")
        for column in ("noise\nmultiplier", "stddev on\nthe average", "against\nthe server"):
            table.add_column(column, justify="right", vertical="bottom")
        for row, said in zip(rows, words, strict=True):
            table.add_row(*_cells(row, said.kind))
        console.print(table)
        for row, said in zip(rows, words, strict=True):
            if row.reason:
                console.print(f"{said.kind}: {row.reason}", soft_wrap=True, highlight=False)


def _cells(row: PlacementRow, where: str) -> tuple[str, ...]:
    if row.noise_multiplier is None or row.stddev_on_average is None:
        return (where, "-", "-", "-")
    if row.num_shares:
        where += f" ({row.num_shares} replies expected)"
    against = "no bound" if row.readers["server"] == "inf" else "protected"
    return (where, span_text(*row.noise_multiplier), f"{row.stddev_on_average:.3g}", against)
