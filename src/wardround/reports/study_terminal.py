"""A study in the terminal: its table at the end."""

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wardround.reports.numbers import count_text, epsilon_text
from wardround.reports.study_folder import StudyResult, read_study
from wardround.reports.study_statistics import RunGroup, groups_of, spread_text
from wardround.reports.study_words import deltas, study_caveats

__all__ = ["print_study"]


def print_study(folder: Path, console: Console) -> None:
    """Print a study: a line per placement and level with means over seeds, what failed, and where the page is.

    Raises:
        ProtocolError: it is not a study's folder.
    """
    study = read_study(folder)
    seeds = count_text(len(study.facts.seeds), "seed")
    console.print(
        Text(f"{study.facts.name}: {len(study.rows)} of {count_text(len(study.facts.runs), 'run')}", style="bold")
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", overflow="fold")
    scores = (study.score_words.short, *(["AUC"] if study.score_words.has_auc else []))
    for name in study.facts.vary or ():
        table.add_column(name.rpartition(".")[2], justify="right", overflow="fold")
    for column in ("held equal", "noise", "epsilon", *scores):
        table.add_column(column, justify="right", no_wrap=True)
    unit = None
    for group in groups_of(study.rows):
        if unit is not None and group.unit != unit:
            table.add_section()
        unit = group.unit
        table.add_row(*_cells(group, study))
    console.print(table)
    lines = [f"Mean over {seeds}, with the half width of its 95 % t-interval."]
    if study.facts.placements:
        lines.append(f"Epsilon: the largest of the hospitals', at delta {deltas(study)}.")
    console.print(Text(" ".join([*lines, *study_caveats(study)])))
    stopped = sum(row.status != "done" for row in study.rows)
    if stopped:
        console.print(
            Text(f"{count_text(stopped, 'run')} stopped at the budget: see the column status of results.csv.")
        )
    for run, reason in study.failures.items():
        console.print(Text(f"Failed: {run}: {reason}", style="red"))
    page = folder / "report.html"
    console.print(Text(f"Results: {folder / 'results.csv'}" + (f"  Page: {page}" if page.exists() else "")))


def _cells(group: RunGroup, study: StudyResult) -> tuple[str, ...]:
    words = study.words_of(group.unit, group.placement)
    name = group.baseline or f"{words.unit} {words.kind}"
    level = f"{group.held} {group.level:g}" if group.held else ""
    noise = group.spread("noise_multiplier").mean
    scores = [spread_text(group.spread("score"))]
    if study.score_words.has_auc:
        scores.append(spread_text(group.spread("auc")))
    largest = max(row.epsilon_max for row in group.rows)
    return (
        name,
        *(value for _, value in group.setting),
        level,
        "" if math.isnan(noise) else f"{noise:.3g}",
        epsilon_text(largest),
        *scores,
    )
