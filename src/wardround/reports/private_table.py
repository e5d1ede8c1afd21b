"""A noisy description of a federation as a table for the terminal, its histograms drawn in one cell.

What is left out on purpose: the numbers themselves, which are made elsewhere (see `datasets.descriptions`).
"""

from rich.console import Console
from rich.text import Text

from wardround.privacy.cells import cell_in_words
from wardround.reports.data_tables import plain_table
from wardround.reports.numbers import delta_text, epsilon_text, number_text
from wardround.simulations.private_description import PrivateDescription

__all__ = ["print_private_description"]

_SEEDED = (
    "The noise comes from a simulation's seed: whoever knows the seed can take it out, and the figure holds with noise "
    'from the operating system ([simulation] noise = "system"). '
)
_BARS = " ▁▂▃▄▅▆▇█"


def print_private_description(told: PrivateDescription, console: Console) -> None:
    """Print one line a feature and a class, and below it what the release cost and how far off a count may be."""
    table = plain_table()
    table.add_column("feature", overflow="fold")
    table.add_column("records", justify="right", no_wrap=True)
    for name in ("mean", "deviation", "from"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("histogram", no_wrap=True)
    table.add_column("to", no_wrap=True)
    for column in told.columns:
        numbers = (column.mean, column.deviation, column.low)
        cells = ["" if number is None else number_text(number) for number in numbers]
        high = "" if column.high is None else number_text(column.high)
        name = column.name if column.kind != "class" else f"class {column.name}"
        table.add_row(Text(name), f"{max(column.count, 0):,.0f}", *cells, _drawn(column.histogram), high)
    console.print(table)
    error = told.columns[0].error if told.columns else 0.0
    is_private = told.epsilon != float("inf")
    protected = cell_in_words(told.unit, told.placement).words(record_is=told.record_is).unit
    cost = (
        f"epsilon <= {epsilon_text(told.epsilon)} and delta {delta_text(told.target_delta)}, protecting one {protected}"
    )
    console.print(
        f"\n{told.num_records:,} training records, of which the number is public. "
        + (f"Counts are off by {error:,.0f} at most, 95 % of the time, and carry noise: {cost}. " if is_private else "")
        + ("" if is_private else "There is no noise on these figures: they protect nobody. ")
        + (_SEEDED if is_private and told.noise != "system" else "")
        + "Levels of texts, and which columns miss values, are taken to be public. "
        + f"What is released on the same data before or after adds up. Ledger: {told.folder / 'ledger.sqlite'}",
        markup=False,
    )


def _drawn(histogram: tuple[float, ...]) -> str:
    """Return bins as bars, the largest of full height."""
    most = max(histogram, default=0.0)
    return "".join(_BARS[round(max(count, 0.0) / most * (len(_BARS) - 1)) if most > 0 else 0] for count in histogram)
