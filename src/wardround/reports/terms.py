"""The terms of a run's guarantee, and what left its hospitals, as tables for pages: quoted, never computed."""

import math

from wardround.config.imbalance import shares_are_released
from wardround.leaves import CHARGED, GROUNDS, SENTENCES
from wardround.reports import words
from wardround.reports.numbers import delta_text, epsilon_text
from wardround.reports.released import released_sums
from wardround.reports.results import RunResult

__all__ = ["guarantee", "leaves"]

_NOISE_SOURCES = {"seeded": "the seed of the simulation", "system": "the operating system, anew for every message"}
_UNNAMED = "a field that this version of Wardround does not know"


def guarantee(run: RunResult) -> list[tuple[str, str]]:
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


def leaves(run: RunResult) -> list[tuple[str, str, list[str]]]:
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
