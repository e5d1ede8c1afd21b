"""Write `report.html`: one self-contained page about a run, for a data-protection officer and an engineer alike.

It holds nothing but what the run folder says, so the same folder gives the same bytes.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wardround.reports import words
from wardround.reports.figures import panels_by_hospital, panels_by_round
from wardround.reports.files import read_text
from wardround.reports.folder import RunResult, read_run
from wardround.reports.numbers import count_text, delta_text, epsilon_text, number_text, span_text
from wardround.reports.pages import write_page

__all__ = ["write_report"]

_GROUNDS = {
    "charged": "carries noise; its cost is in the epsilon above",
    "public by decision": "taken to be public; not protected by epsilon",
    "simulation only": "sent by simulated hospitals, to measure; not protected by epsilon, and no real site sends it",
}


def write_report(run_folder: Path) -> Path:
    """Return the path of `report.html`, written anew from the other files of a run folder.

    Args:
        run_folder: a run folder, finished or not.

    Raises:
        ProtocolError: the folder is not a run folder, or a file in it is damaged.
        WardroundError: the page cannot be written.
    """
    run = read_run(Path(run_folder))
    return write_page(
        Path(run_folder), "page.html", _contents(run), span=lambda pair: span_text(*pair), delta=delta_text
    )


def _contents(run: RunResult) -> dict[str, Any]:
    verdict, explanation = words.headline(run)
    return {
        "run": run,
        "verdict": verdict,
        "explanation": explanation,
        "subtitle": _subtitle(run),
        "status": words.status_sentence(run),
        "quality": words.quality_sentence(run),
        "readers": words.reader_lines(run),
        "meaning": words.epsilon_meaning(run.epsilon_total, run.target_delta, run.unit) if run.is_private else (),
        "guarantee": _guarantee(run),
        "figures": _figures(run),
        "panels_by_round": panels_by_round(run),
        "panels_by_hospital": panels_by_hospital(run),
        "leaves": _leaves(run),
        "assumptions": words.assumptions(run),
        "method": words.method(run),
        "versions": _versions(run),
        "inf": math.inf,
        "is_same_delta": len({hospital.target_delta for hospital in run.hospitals}) <= 1,
    }


def _subtitle(run: RunResult) -> str:
    parts = [
        count_text(len(run.hospitals), "hospital"),
        count_text(run.num_rounds, "round"),
        str(run.facts.get("model", run.setting("model", "name", "logistic"))),
    ]
    if "num_parameters" in run.facts:
        parts[-1] += f" with {count_text(int(run.facts['num_parameters']), 'parameter')}"
    return " · ".join(parts)


_NOISE_PLACES = {
    "local": "at each hospital",
    "distributed": "in shares by all hospitals, inside the sum",
    "central": "by the server, once",
    "none": "nowhere",
}


def _guarantee(run: RunResult) -> list[tuple[str, str]]:
    """Return the terms of the guarantee as (term, value)."""
    rows = [
        ("Protected unit", words.unit_text(run) if run.is_private else "none"),
        ("What is hidden", words.relation_text(run) or "not recorded"),
        ("Noise is added", _NOISE_PLACES.get(run.placement, run.placement)),
        ("Mechanism", str(run.facts.get("mechanism", "not recorded"))),
        ("Delta", _delta_range(run)),
        ("Hospitals that may hold the same patient", str(run.patient_overlap)),
    ]
    return rows if run.is_private else [rows[0], rows[2]]


def _delta_range(run: RunResult) -> str:
    stated = [hospital.target_delta for hospital in run.hospitals if not math.isnan(hospital.target_delta)]
    if not stated or min(stated) == max(stated):
        return delta_text(run.target_delta)
    return f"{delta_text(min(stated))} to {delta_text(max(stated))}, by hospital"


def _figures(run: RunResult) -> list[tuple[str, str, str]]:
    """Return (figure, value, what to compare it with) for the table of figures."""
    score = "r2" if run.is_regression else "Accuracy"
    baseline = "always the mean" if run.is_regression else "most frequent class"
    majority = run.scores["majority_accuracy"]
    rows = [(score, number_text(run.scores["accuracy"]), "" if math.isnan(majority) else f"{baseline}: {majority:.3f}")]
    if not run.is_regression:
        rows.insert(0, ("AUC", number_text(run.scores["auc"]), "guessing: 0.500"))
    rows.append(("Loss", number_text(run.scores["loss"]), ""))
    budget = run.setting("privacy", "budget-epsilon", None)
    compare = "without noise there is no bound" if math.isinf(run.epsilon_max) else ""
    rows.append(("Largest epsilon of a hospital", epsilon_text(run.epsilon_max), compare))
    rows.append(("Epsilon in total", epsilon_text(run.epsilon_total), "" if budget is None else f"budget: {budget:g}"))
    rows.append(("Rounds", str(run.num_rounds), f"planned: {run.num_rounds_planned}"))
    records = sum(hospital.num_train for hospital in run.hospitals if not math.isnan(hospital.num_train))
    rows.append(("Training records", f"{records:,.0f}", f"in {count_text(len(run.hospitals), 'hospital')}"))
    if "seconds" in run.facts:
        engine = "".join(f", {run.facts[key]}" for key in ("engine", "device") if key in run.facts)
        rows.append(("Time", f"{float(run.facts['seconds']):,.1f} s", engine.removeprefix(", ")))
    return rows


def _leaves(run: RunResult) -> list[tuple[str, str, list[str]]]:
    """Return (ground, what that means, everything that leaves a hospital on that ground), charged first."""
    stated: Mapping[str, str] = run.facts.get("leaves_hospital") or {}
    rows = []
    for ground in dict.fromkeys((*_GROUNDS, *stated.values())):
        names = [name for name, its_ground in stated.items() if its_ground == ground]
        if names and ground == "charged" and not run.is_private:
            rows.append(("no noise", "not protected", names))
        elif names:
            rows.append((ground, _GROUNDS.get(ground, ""), names))
    return rows


def _versions(run: RunResult) -> str:
    stated = run.facts.get("versions")
    if isinstance(stated, dict):
        return "\n".join(f"{name} {version}" for name, version in stated.items())
    return str(stated or read_text(run.folder / "versions.txt") or "").strip()
