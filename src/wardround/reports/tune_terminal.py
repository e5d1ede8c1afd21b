"""A tune in the terminal: its candidates, the chosen one, and what the choice cost."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wardround.errors import ProtocolError
from wardround.json_records import read_json_record
from wardround.privacy.cells import cell_in_words
from wardround.reports.files import as_written, read_json, read_number, read_rows, read_summary
from wardround.reports.numbers import count_text
from wardround.reports.words import caveats
from wardround.scores import NORMAL_95
from wardround.simulations.studies.tune_records import TuneSummary
from wardround.simulations.studies.tune_words import what_it_cost

__all__ = ["print_tune"]


def print_tune(folder: Path, console: Console) -> None:
    """Print a tune: a line for each candidate, best first, then what was chosen, what it cost, and where it is.

    Raises:
        ProtocolError: it is not a tune's folder, or a file in it is damaged.
    """
    found = read_json(folder / "summary.json")
    if found is None or "candidate" not in found:
        raise ProtocolError(f"{folder} is not the folder of a tune that came to its end: check the path")
    with as_written(folder):
        summary = read_json_record(TuneSummary, found, "summary.json")
        rows = sorted(read_rows(folder / "tuning.csv"), key=lambda row: _rank(row, summary))
    place = f"{summary.stand_in} in the place of {summary.dataset}" if summary.stand_in else summary.dataset
    candidates = count_text(summary.num_candidates, "candidate")
    console.print(Text(f"{summary.name}: {candidates} on {place}, by {summary.score_name}", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in summary.chosen:
        table.add_column(name.partition(".")[2], justify="right", overflow="fold")
    for column in ("repetitions" if summary.on == "private" else "seeds", summary.score_name, ""):
        table.add_column(column, justify="right")
    for row in rows:
        chosen = row["is_chosen"] == "True"
        cells = [
            *(row[name] for name in summary.chosen),
            row["num_runs"],
            _score(row, summary),
            "chosen" if chosen else "",
        ]
        table.add_row(*cells, style="bold" if chosen else "")
    console.print(table)
    for sentence in (*_sentences(summary, rows), *_of_the_run(folder, summary)):
        console.print(Text(sentence))
    for run, reason in summary.failures.items():
        console.print(Text(f"Failed: {run}: {reason}", style="red"))
    console.print(Text(f"Chosen: {folder / 'chosen.toml'}  Table: {folder / 'tuning.csv'}"))


def _sentences(summary: TuneSummary, rows: list[dict[str, str]]) -> list[str]:
    said = list(what_it_cost(summary))
    if summary.on == "private":
        noise = ["With what the noise on a score reaches in 95 of 100 releases."] if summary.score_share else []
        return [*noise, *said]
    if max(int(row["num_runs"]) for row in rows) < 2:
        return ["One seed: small differences are chance.", *said]
    return ["Mean over seeds, with the half width of its 95 % t-interval.", *said]


def _of_the_run(folder: Path, summary: TuneSummary) -> Sequence[str]:
    """Return what changes the claim of the released model's run, and so of the whole; nothing on a stand-in."""
    run = read_summary(folder / "runs" / summary.run) if summary.run else None
    if run is None:
        return ()
    said = cell_in_words(summary.unit, summary.placement, run.protection.mechanism)
    words = said.words(record_is=run.protection.record_is, protocol=run.settings.protocol)
    return caveats(run, words)


def _rank(row: dict[str, str], summary: TuneSummary) -> tuple[bool, float]:
    score = read_number(row["score"])
    return row["is_chosen"] != "True", math.inf if math.isnan(score) else score * (
        -1 if summary.larger_is_better else 1
    )


def _score(row: dict[str, str], summary: TuneSummary) -> str:
    score, stddev, number = read_number(row["score"]), read_number(row["score_stddev"]), int(row["num_runs"])
    if math.isnan(score):
        return "not tried" if number == 0 else "undefined"
    if math.isnan(stddev):
        return f"{score:.4f}"
    if summary.on == "private":
        return f"{score:.4f} ± {NORMAL_95 * stddev:.4f}"
    from scipy.special import stdtrit

    return f"{score:.4f} ± {float(stdtrit(number - 1, 0.975)) * stddev / math.sqrt(number):.4f}"
