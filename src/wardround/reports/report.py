"""Write `report.html`: one self-contained page about a run, for a data-protection officer and an engineer alike.

It holds nothing but what the run folder says, so the same folder gives the same bytes.
"""

import math
from pathlib import Path
from typing import Any

from wardround.audits.records import AUDIT
from wardround.reports import audited, words
from wardround.reports.class_table import class_figures, class_section
from wardround.reports.endings import kept_sentence
from wardround.reports.figures import panels_by_hospital, panels_by_round
from wardround.reports.files import as_written, read_audit, read_text
from wardround.reports.folder import read_run
from wardround.reports.meaning import meaning
from wardround.reports.numbers import count_text, ends_text, epsilon_text, number_text
from wardround.reports.pages import write_page
from wardround.reports.released import released_charts, released_figures, unmeasured_sentence
from wardround.reports.results import RunResult
from wardround.reports.terms import guarantee, leaves
from wardround.server.record.evaluated import metric_key

__all__ = ["write_report"]


def write_report(run_folder: Path) -> Path:
    """Return the path of `report.html`, written anew from the other files of a run folder.

    Args:
        run_folder: a run folder, finished or not.

    Raises:
        ProtocolError: the folder is not a run folder, or a file in it is damaged.
        WardroundError: the page cannot be written.
    """
    run = read_run(Path(run_folder))
    with as_written(run.folder):
        contents = _contents(run)
    return write_page(run.folder, "page.html", contents)


def _contents(run: RunResult) -> dict[str, Any]:
    verdict, explanation = words.headline(run)
    return {
        "run": run,
        "verdict": verdict,
        "explanation": explanation,
        "subtitle": _subtitle(run),
        "status": words.status_sentence(run),
        "quality": words.quality_sentence(run),
        "kept": kept_sentence(run),
        "readers": words.reader_lines(run),
        "meaning": meaning(run.epsilon.total, run.attacker, run.words) if run.is_private else (),
        "guarantee": guarantee(run),
        "figures": _figures(run),
        **audited.audit_contents(read_audit(run.folder), run.words, file=AUDIT, has_shown=True),
        "classes": class_section(run),
        "panels_by_round": panels_by_round(run),
        "panels_by_hospital": panels_by_hospital(run),
        "leaves": leaves(run),
        "not_measured": unmeasured_sentence(run),
        "released_charts": released_charts(run),
        "assumptions": words.assumptions(run),
        "method": words.method(run),
        "versions": _versions(run),
        "knows_guesses": not any(map(math.isnan, run.guesses.values())),
        "inf": math.inf,
    }


def _subtitle(run: RunResult) -> str:
    parts = [
        count_text(len(run.hospitals), "hospital"),
        count_text(run.summary.num_rounds, "round"),
        run.summary.settings.model,
    ]
    if run.summary.facts.num_parameters is not None:
        parts[-1] += f" with {count_text(run.summary.facts.num_parameters, 'parameter')}"
    return " · ".join(parts)


def _figures(run: RunResult) -> list[tuple[str, str, str]]:
    """Return (figure, value, what to compare it with) for the table of figures."""
    words, majority = run.score_words, run.scores["majority_score"]
    compared = "" if math.isnan(majority) else f"{words.baseline}: {majority:.3f}"
    rows = [(words.name, _with_ends(run, run.scores["score"], words.key), compared)]
    if words.has_auc:
        rows = [*_areas(run), *rows]
    rows += _of_survival(run, compared)
    rows += class_figures(run)
    own = run.summary.metrics or {}
    rows += [(name, _with_ends(run, score, metric_key(name)), "your metric") for name, score in own.items()]
    rows.append(("Loss", _with_ends(run, run.scores["loss"], "loss"), ""))
    if not run.summary.measured:
        rows = released_figures(run) or [(name, "not measured", "") for name, _, _ in rows]
    if run.summary.public_loss is not None:
        rows.append(("Loss on public records", number_text(run.summary.public_loss), ""))
    budget = run.setting("privacy", "budget-epsilon", None)
    compare = "without noise there is no bound" if math.isinf(run.epsilon.max) else ""
    rows.append(("Largest epsilon of a hospital", epsilon_text(run.epsilon.max), compare))
    rows.append(
        ("Epsilon in total", epsilon_text(run.epsilon.total), "" if budget is None else f"budget: {float(budget):g}")
    )
    rows.append(("Rounds", str(run.summary.num_rounds), f"planned: {run.summary.num_rounds_planned}"))
    rows.append((f"Training {run.words.counted}", run.num_records, f"in {count_text(len(run.hospitals), 'hospital')}"))
    if not math.isnan(run.summary.seconds):
        engine = ", ".join(part for part in (run.summary.facts.engine, run.summary.facts.device) if part)
        rows.append(("Time", f"{run.summary.seconds:,.1f} s", engine))
    return rows


def _areas(run: RunResult) -> list[tuple[str, str, str]]:
    guessing, pooled = "guessing: 0.500", run.scores["auc_pooled"]
    both = [("AUC over all test records", _with_ends(run, pooled, "auc_pooled"), guessing)] * (pooled == pooled)
    return [("AUC, mean over hospitals" if both else "AUC", _with_ends(run, run.scores["auc"], "auc"), guessing), *both]


def _with_ends(run: RunResult, value: float, name: str) -> str:
    """Return a score with its interval, where it has one."""
    return number_text(value) + ends_text(run.intervals.get(name))


def _of_survival(run: RunResult, compared: str) -> list[tuple[str, str, str]]:
    mean, brier, curve = (run.scores[key] for key in ("concordance", "brier_integrated", "brier_kaplan_meier"))
    rows = [("Concordance, mean over hospitals", _with_ends(run, mean, "concordance"), compared)] * (mean == mean)
    of_curve = f"Kaplan-Meier: {_with_ends(run, curve, 'brier_kaplan_meier')}"
    brier_text = _with_ends(run, brier, "brier_integrated")
    return [*rows, *([("Integrated Brier score", brier_text, of_curve)] * (brier == brier))]


def _versions(run: RunResult) -> str:
    if run.summary.versions:
        return "\n".join(f"{name} {version}" for name, version in run.summary.versions.items())
    return (read_text(run.folder / "versions.txt") or "").strip()
