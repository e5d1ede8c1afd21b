"""Tables for the terminal: what a plan would spend, and how a run ended."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wardround.privacy.cells import READER_NAMES, CellWords
from wardround.reports.audited import audit_sentence
from wardround.reports.data_tables import plain_table
from wardround.reports.endings import kept_sentence, live_sentence
from wardround.reports.files import NOT_KNOWN, read_audit
from wardround.reports.folder import read_run
from wardround.reports.meaning import coin_toss
from wardround.reports.numbers import count_text, delta_text, epsilon_text, number_text, size_text, span_text
from wardround.reports.placements import print_placements
from wardround.reports.results import MOST_DRAWN, HospitalResult, RunResult
from wardround.reports.words import privacy_sentence, quality_sentence, status_sentence
from wardround.small_counts import shown_count

if TYPE_CHECKING:
    from wardround.server.plan.plans import FederationPlan

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
    totals = _total_cells(run)
    table = _table(totals, console.width)
    for hospital in shown:
        table.add_row(_name(hospital.name), *_hospital_cells(hospital, run))
    table.add_section()
    table.add_row(f"all {len(run.hospitals)}", *totals.values(), style="bold")
    title = f"{run.summary.dataset}, {count_text(run.summary.num_rounds, 'round')}"
    console.print(Text(f"{title}, trained without privacy" if not run.is_private else title, style="bold"))
    console.print(table)
    hidden = len(run.hospitals) - len(shown)
    if hidden:
        where = Path(run_folder) / "hospitals.csv"
        _say(console, f"{count_text(hidden, 'more hospital')} with no larger epsilon: all of them are in {where}")
    _sentences(run, Path(run_folder), console)


def print_plan(plan: "FederationPlan", console: Console) -> None:
    """Print what a plan would spend, hospital by hospital, what that protects, and what other noise would do.

    Args:
        plan: of any cell.
        console: where to print.
    """
    from wardround.server.plan.alternatives import compare_placements, plan_notes

    words = plan.cell.words(
        record_is=plan.record_is, protocol=plan.config.aggregation.protocol, has_own_models=plan.config.personal.is_used
    )
    table = _table([words.counted, "sample\nrate", "steps\na round", "rounds", "noise", "epsilon"])
    ranked = sorted(plan.hospitals, key=lambda hospital: (-hospital.epsilon, hospital.name))
    shown = ranked if len(ranked) <= MOST_DRAWN else ranked[:_MOST_LINES]
    for hospital in shown:
        rate = plan.rate_to_show(hospital.schedule.sample_rate, hospital.num_train)
        table.add_row(
            _name(hospital.name),
            size_text(shown_count(hospital.num_train)),
            _span(NOT_KNOWN if rate is None else rate),
            number_text(hospital.schedule.num_steps, 0),
            number_text(hospital.num_participations, 0),
            _span(hospital.noise_multiplier),
            epsilon_text(hospital.epsilon),
        )
    console.print(table)
    if hidden := len(ranked) - len(shown):
        _say(console, f"{count_text(hidden, 'more hospital')} with no larger epsilon: wardround plan --json has all")
    for sentence in _plan_sentences(plan, words):
        _say(console, sentence)
    for note in plan_notes(plan):
        _say(console, f"Note: {note}.")
    print_placements(compare_placements(plan), console, record_is=plan.record_is)


def _plan_sentences(plan: "FederationPlan", words: CellWords) -> tuple[str, ...]:
    delta = delta_text(min(plan.target_deltas.values()), words=False)
    total, patient_overlap = plan.epsilon_total, plan.config.privacy.patient_overlap
    by_reader = plan.account.epsilons_by_reader(patient_overlap)
    readers = (f"{READER_NAMES[name]} {epsilon_text(value)}" for name, value in by_reader.items())
    spent = (
        f"Largest epsilon {epsilon_text(plan.epsilon_max)}, total {epsilon_text(total)} after all rounds, at delta "
        f"{delta}.",
        f"Epsilon against each reader: {', '.join(readers)}.",
    )
    if math.isinf(total):
        return (*spent, "Without noise there is no privacy: epsilon is infinite.")
    protected = f"Protected is {words.protected}. Hidden is {words.hidden}."
    return (*spent, protected, f"{coin_toss(plan.account.attacker(patient_overlap).figures, words)}.")


def _table(columns: Iterable[str], width: int = 100) -> Table:
    table = plain_table(2 if width >= 90 else 1)
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
        *_score_cells(run, hospital.score, hospital.auc, hospital.majority_score).values(),
    ]


def _total_cells(run: RunResult) -> dict[str, str]:
    """Return what stands in the last line by column, all columns after the name."""
    return {
        run.words.counted: run.num_records.replace(" or more", "+"),
        "rounds": str(run.summary.num_rounds),
        "noise": "",
        "sample\nrate": "",
        **({"delta": delta_text(run.target_delta, words=False)} if run.has_own_deltas else {}),
        "epsilon": epsilon_text(run.epsilon.total),
        **_score_cells(run, *(run.scores[key] for key in ("score", "auc", "majority_score"))),
    }


def _score_cells(run: RunResult, score: float, auc: float, majority: float) -> dict[str, str]:
    if not run.summary.measured:
        return {"test\nscores": "not told" if run.summary.released_scores else "not measured"}
    words = run.score_words
    cells = {words.short: number_text(score)} | ({"AUC": number_text(auc)} if words.has_auc else {})
    return cells | ({words.short_baseline: number_text(majority)} if run.has_baselines else {})


def _sentences(run: RunResult, folder: Path, console: Console) -> None:
    for sentence in (
        status_sentence(run),
        privacy_sentence(run),
        live_sentence(run),
        quality_sentence(run),
        kept_sentence(run),
        audit_sentence(audit) if (audit := read_audit(folder)) else "",
    ):
        if sentence:
            _say(console, sentence)
    for sentence in run.summary.facts.model_changes or ():
        _say(console, f"Note: {sentence}")
    for sentence in run.summary.left_out[:_MOST_LINES]:
        _say(console, f"Left out: {sentence}")
    if more := run.summary.left_out[_MOST_LINES:]:
        _say(console, f"Left out: {len(more)} more sentences like these are in {folder / 'summary.json'}")
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
