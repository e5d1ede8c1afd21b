"""Write `report.html`: one self-contained page about a run, for a data-protection officer and an engineer alike.

It holds nothing but what the run folder says, so the same folder gives the same bytes.
"""

import math
from pathlib import Path
from typing import Any

from wardround.config.imbalance import shares_are_released
from wardround.leaves import CHARGED, GROUNDS, SENTENCES
from wardround.reports import audited, words
from wardround.reports.class_table import class_figures, class_section
from wardround.reports.endings import kept_sentence
from wardround.reports.figures import panels_by_hospital, panels_by_round
from wardround.reports.files import as_written, read_audit, read_text
from wardround.reports.folder import read_run
from wardround.reports.meaning import meaning
from wardround.reports.numbers import count_text, delta_text, ends_text, epsilon_text, number_text
from wardround.reports.pages import write_page
from wardround.reports.reconstructed import reconstructed
from wardround.reports.released import released_charts, released_figures, released_sums, unmeasured_sentence
from wardround.reports.results import RunResult

__all__ = ["write_report"]

_NOISE_SOURCES = {"seeded": "the seed of the simulation", "system": "the operating system, anew for every message"}
_UNNAMED = "a field that this version of Wardround does not know"


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
    audit = read_audit(run.folder)
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
        "guarantee": _guarantee(run),
        "figures": _figures(run),
        "audit": audited.audit_lines(audit) if audit else [],
        "audit_sentence": audited.audit_sentence(audit) if audit else "",
        "audit_assumes": audited.ASSUMES,
        "members": audited.member_lines(audit) if audit else [],
        "members_caption": audited.MEMBERS,
        "reconstruction": reconstructed(audit.reconstruction) if audit and audit.reconstruction else None,
        "suspicions": audit.suspicions if audit else (),
        "classes": class_section(run),
        "panels_by_round": panels_by_round(run),
        "panels_by_hospital": panels_by_hospital(run),
        "leaves": _leaves(run),
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


def _guarantee(run: RunResult) -> list[tuple[str, str]]:
    """Return the terms of the guarantee as (term, value)."""
    noise = ("Noise", run.words.noise)
    trust = ("Trust model", run.words.trust)
    when = [("Date", _dates(run)), *words.sources(run.summary)]
    if not run.is_private:
        return [("Protected unit", "none"), noise, trust, *when]
    return [
        ("Protected unit", run.words.protected),
        ("What is hidden", words.relation_text(run) or "not recorded"),
        noise,
        ("Noise is drawn from", _NOISE_SOURCES.get(run.summary.facts.noise or "", "not recorded")),
        ("Clip", _clip(run)),
        ("Delta", _delta_range(run)),
        *_mu(run),
        trust,
        ("Hospitals that may hold the same patient", str(run.summary.patient_overlap)),
        *when,
    ]


def _clip(run: RunResult) -> str:
    clip = run.summary.max_grad_norm
    clip = run.setting("privacy", "max-grad-norm", None) if clip is None else clip
    if clip is None:
        return "not recorded"
    adapted = " after the last round (adapted)" if run.setting("privacy", "adaptive-clipping", False) else ""
    return f"{run.words.clipped} to at most {float(clip):g} (L2 norm){adapted}"


def _mu(run: RunResult) -> list[tuple[str, str]]:
    """Return the Gaussian-DP mu with its error; no line where the run did not state one."""
    stated = run.summary.attackers
    if stated is None:
        return []
    error = stated.attacker.gdp_mu_error if stated.attacker else math.nan
    if stated.gdp_mu is None and not math.isnan(error):
        over = f"the closest over-states how often an attacker is right by up to {error:.2g}"
        return [("Gaussian-DP mu", f"not stated, since no single number sums up this run well: {over}")]
    if stated.gdp_mu is None:
        return [("Gaussian-DP mu", stated.gdp_mu_reason)] if stated.gdp_mu_reason else []
    fit = "" if math.isnan(error) else f", error of the fit {error:.2g}"
    return [("Gaussian-DP mu", f"{epsilon_text(stated.gdp_mu)}{fit}")]


def _dates(run: RunResult) -> str:
    first, last = run.summary.facts.dates or ("", "")
    if not first:
        return "not recorded"
    return f"{first} to {last.removeprefix(first[:11]) if last[:10] == first[:10] else last} UTC (first and last round)"


def _delta_range(run: RunResult) -> str:
    stated = [hospital.target_delta for hospital in run.hospitals if not math.isnan(hospital.target_delta)]
    if not stated or min(stated) == max(stated):
        return delta_text(run.target_delta)
    return f"{delta_text(min(stated))} to {delta_text(max(stated))}, by hospital"


def _figures(run: RunResult) -> list[tuple[str, str, str]]:
    """Return (figure, value, what to compare it with) for the table of figures."""
    words, majority = run.score_words, run.scores["majority_score"]
    compared = "" if math.isnan(majority) else f"{words.baseline}: {majority:.3f}"
    rows = [(words.name, _with_ends(run, run.scores["score"], words.short), compared)]
    if words.has_auc:
        rows = [*_areas(run), *rows]
    rows += _of_survival(run, compared)
    rows += class_figures(run)
    rows += [(name, number_text(score), "your metric") for name, score in (run.summary.metrics or {}).items()]
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
    rows = [("Concordance, mean over hospitals", number_text(mean), compared)] * (mean == mean)
    return [*rows, *([("Integrated Brier score", number_text(brier), f"Kaplan-Meier: {curve:.3f}")] * (brier == brier))]


def _leaves(run: RunResult) -> list[tuple[str, str, list[str]]]:
    """Return (grounds, what that means, a sentence for everything that left a hospital on them), charged first."""
    stated = run.summary.leaves_hospital
    is_adaptive = run.setting("privacy", "adaptive-clipping", False)
    share = ", and whether it was within the clip, which is clipped and noised with it" if is_adaptive else ""
    moments = "the means of its features and of their squares"
    before = [moments] if run.setting("features", "standardise", None) == "private" else []
    before += (
        ["the shares of its classes"]
        if shares_are_released(lambda section, key: run.setting(section, key, None))
        else []
    )
    first = f" and, once before round 1, {' and '.join(before)}" if before else ""
    said = {**SENTENCES, "arrays": run.words.sent + share + first + released_sums(run)}
    rows = []
    for ground in dict.fromkeys((*GROUNDS, *stated.values())):
        sentences = [said.get(name, _UNNAMED) for name, its_ground in stated.items() if its_ground == ground]
        sentences = [f"It sends {said_of}." for said_of in dict.fromkeys(sentences)]
        if sentences and ground == CHARGED and not run.is_private:
            rows.append(("no noise", "not protected", sentences))
        elif sentences:
            rows.append(
                (ground, GROUNDS.get(ground, "this version of Wardround does not know these grounds"), sentences)
            )
    return rows


def _versions(run: RunResult) -> str:
    if run.summary.versions:
        return "\n".join(f"{name} {version}" for name, version in run.summary.versions.items())
    return (read_text(run.folder / "versions.txt") or "").strip()
