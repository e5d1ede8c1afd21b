"""Tables for the terminal: what a plan would spend, and how a run ended."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wardround.privacy.cells import READER_NAMES, cell_in_words
from wardround.reports.files import read_number
from wardround.reports.folder import NOT_KNOWN, read_run
from wardround.reports.meaning import coin_toss
from wardround.reports.numbers import count_text, delta_text, epsilon_text, number_text, span_text
from wardround.reports.results import HospitalResult, RunResult
from wardround.reports.words import live_sentence, privacy_sentence, quality_sentence, status_sentence

__all__ = ["print_plan", "print_summary"]

_MOST_LINES = 20


def print_summary(run_folder: Path, console: Console) -> None:
    """Print how a run ended: one line per hospital, the totals, what is protected and where the report is.

    Args:
        run_folder: a run folder, finished or not.
        console: where to print. Beyond 20 hospitals, those with the largest epsilon are shown.

    Raises:
        ProtocolError: the folder is not a run folder.
    """
    run = read_run(run_folder)
    shown = sorted(run.hospitals, key=_by_epsilon)[:_MOST_LINES]
    columns = ["patients" if run.words.unit == "patient" else "records", "rounds", "noise", "sample\nrate"]
    columns += ["delta", "epsilon"] if run.has_own_deltas else ["epsilon"]
    columns += _score_columns(run)
    table = _table(columns, console.width)
    for hospital in shown:
        table.add_row(_name(hospital.name), *_hospital_cells(hospital, run))
    table.add_section()
    table.add_row(*_total_cells(run), style="bold")
    title = f"{run.dataset}, {count_text(run.num_rounds, 'round')}"
    console.print(Text(f"{title}, trained without privacy" if not run.is_private else title, style="bold"))
    console.print(table)
    hidden = len(run.hospitals) - len(shown)
    if hidden:
        where = Path(run_folder) / "hospitals.csv"
        _say(console, f"{count_text(hidden, 'more hospital')} with no larger epsilon: all of them are in {where}")
    _sentences(run, Path(run_folder), console)


def print_plan(rows: Any, console: Console, *, terms: Mapping[str, Any] | None = None) -> None:
    """Print what a plan would spend, hospital by hospital, largest epsilon first.

    Args:
        rows: a pandas DataFrame or an iterable of mappings with the keys hospital, num_examples, sample_rate,
            num_steps (per round), num_rounds, noise_multiplier and epsilon (after all rounds; inf without noise).
        console: where to print.
        terms: unit, record_is, placement, relation, epsilon and attacker, as the plan's JSON has them; None where they
            are not known.
    """
    plan: Iterable[Mapping[str, Any]] = rows.to_dict("records") if hasattr(rows, "to_dict") else list(rows)
    lines = sorted(plan, key=lambda row: (-read_number(row.get("epsilon")), str(row.get("hospital"))))
    words = (
        cell_in_words(terms["unit"], terms["placement"], terms["mechanism"]).words(record_is=terms["record_is"])
        if terms
        else None
    )
    noun = "patients" if words and words.unit == "patient" else "records"
    table = _table([noun, "sample\nrate", "steps\na round", "rounds", "noise", "epsilon"])
    for row in lines:
        number = {key: read_number(value) for key, value in row.items() if key != "hospital"}
        size = row.get("num_examples")
        table.add_row(
            _name(str(row.get("hospital"))),
            size if isinstance(size, str) else number_text(read_number(size), 0),
            _span(number.get("sample_rate", NOT_KNOWN)),
            number_text(number.get("num_steps", NOT_KNOWN), 0),
            number_text(number.get("num_rounds", NOT_KNOWN), 0),
            _span(number.get("noise_multiplier", NOT_KNOWN)),
            epsilon_text(number.get("epsilon", NOT_KNOWN)),
        )
    console.print(table)
    spent = terms["epsilon"] if terms else {}
    largest = max((read_number(row.get("epsilon")) for row in lines), default=NOT_KNOWN)
    total = read_number(spent.get("total", largest))
    delta = f", at delta {delta_text(float(spent['target_delta']), words=False)}" if spent else ""
    _say(console, f"Largest epsilon {epsilon_text(largest)}, total {epsilon_text(total)} after all rounds{delta}.")
    if spent:
        against = (
            f"{READER_NAMES[name]} {epsilon_text(read_number(value))}" for name, value in spent["readers"].items()
        )
        _say(console, f"Epsilon against each reader: {', '.join(against)}.")
    if total == math.inf:
        _say(console, "Without noise there is no privacy: epsilon is infinite.")
    elif terms and words:
        _say(console, f"Protected is {words.protected}. Hidden is {words.hidden}.")
        _say(console, f"{coin_toss(terms['attacker'], words.unit)}.")


def _table(columns: Iterable[str], width: int = 100) -> Table:
    table = Table(box=None, padding=(0, 2 if width >= 90 else 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("hospital", no_wrap=True, overflow="ellipsis", min_width=8, vertical="bottom")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True, vertical="bottom")
    return table


def _hospital_cells(hospital: HospitalResult, run: RunResult) -> list[str]:
    rounds = str(hospital.rounds_completed)
    if hospital.rounds_completed != hospital.rounds_selected:
        rounds += f" of {hospital.rounds_selected}"
    return [
        hospital.size,
        rounds,
        span_text(*hospital.noise_multiplier),
        span_text(*hospital.sample_rate),
        *([delta_text(hospital.target_delta, words=False)] if run.has_own_deltas else []),
        epsilon_text(hospital.epsilon),
        *_score_cells(run, hospital.accuracy, hospital.auc, hospital.majority_accuracy),
    ]


def _total_cells(run: RunResult) -> list[str]:
    return [
        f"all {len(run.hospitals)}",
        run.num_records.replace(" or more", "+"),
        str(run.num_rounds),
        "",
        "",
        *([delta_text(run.target_delta, words=False)] if run.has_own_deltas else []),
        epsilon_text(run.epsilon_total),
        *_score_cells(run, *(run.scores[key] for key in ("accuracy", "auc", "majority_accuracy"))),
    ]


def _score_columns(run: RunResult) -> list[str]:
    names = ["r2"] if run.is_regression else ["accuracy", "AUC"]
    if run.has_baselines:
        names.append("mean\nalone" if run.is_regression else "majority\nclass")
    return names if run.is_measured else ["test\nscores"]


def _score_cells(run: RunResult, accuracy: float, auc: float, majority: float) -> list[str]:
    if not run.is_measured:
        return ["not measured"]
    return [
        number_text(accuracy),
        *([] if run.is_regression else [number_text(auc)]),
        *([number_text(majority)] if run.has_baselines else []),
    ]


def _sentences(run: RunResult, folder: Path, console: Console) -> None:
    for sentence in (status_sentence(run), privacy_sentence(run), live_sentence(run), quality_sentence(run)):
        if sentence:
            _say(console, sentence)
    for sentence in run.sentences("model_changes"):
        _say(console, f"Note: {sentence}")
    for sentence in run.sentences("left_out"):
        _say(console, f"Left out: {sentence}")
    page = folder / "report.html"
    _say(console, f"Report: {page}" if page.exists() else f"For the report: wardround report {folder}")


def _by_epsilon(hospital: HospitalResult) -> tuple[float, list[str | int]]:
    """Order by falling epsilon, then by name with its numbers as numbers."""
    parts = re.split(r"([0-9]+)", hospital.name)
    return (
        math.inf if math.isnan(hospital.epsilon) else -hospital.epsilon,
        [int(p) if p.isdecimal() else p for p in parts],
    )


def _span(value: float) -> str:
    return span_text(value, value)


def _name(name: str) -> Text:
    """Return a hospital's name for a terminal: no markup is read in it and no control character gets through."""
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name))


def _say(console: Console, sentence: str) -> None:
    console.print(_name(sentence))
