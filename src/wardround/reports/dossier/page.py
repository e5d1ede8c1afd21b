"""The dossier's page: everything on it is made of dossier.json, so that it can be made again and compared.

Every number that follows from the ledger stands in a `data` element with its name and its value, by which whoever
checks the page finds it. What is left out on purpose: scores, and what other programs
draw, whose bytes change with their versions.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from wardround.audits.records import ReaderAudit
from wardround.privacy.cells import READER_NAMES, READERS
from wardround.privacy.entries import Entry
from wardround.reports import audited, words
from wardround.reports.dossier.derived import deltas_of
from wardround.reports.dossier.headings import sections
from wardround.reports.dossier.records import Dossier, entries_of
from wardround.reports.files import is_small
from wardround.reports.folder import run_of
from wardround.reports.meaning import meaning
from wardround.reports.numbers import delta_text, ends_text, epsilon_text, percent_text, span_text
from wardround.reports.pages import page_text
from wardround.reports.results import MOST_DRAWN, RunResult
from wardround.reports.terms import guarantee, leaves

__all__ = ["Figure", "dossier_page", "figures_in", "figures_of", "run_in"]

_RATES = ("coin toss", "found at 1 %", "found at 0.1 %")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number of the page that follows from the ledger.

    Attributes:
        value: with nine digits, or "inf".
        text: as it is shown.
    """

    value: str
    text: str


def run_in(dossier: Dossier) -> RunResult:
    """Return the run that a dossier tells of, as reports quote it; without its tables and without its folder."""
    return run_of(Path(), "", dossier.settings, dossier.summary)


def dossier_page(dossier: Dossier) -> str:
    """Return dossier.html."""
    run = run_in(dossier)
    verdict, explanation = words.headline(run)
    figures = figures_of(dossier)
    return page_text(
        "dossier.html",
        {
            "run": run,
            "made_with": dossier.made_with,
            "verdict": verdict,
            "explanation": explanation,
            "status": words.status_sentence(run),
            "left_out": run.summary.left_out,
            "meaning": meaning(run.epsilon.total, run.attacker, run.words) if run.is_private else (),
            "sections": sections(run.words.unit),
            "figures": figures,
            "readers": [(key, *line[:2]) for key, line in zip(READER_NAMES, words.reader_lines(run), strict=True)],
            "rates": _RATES,
            "seen": _seen(dossier),
            "hospitals": _shown_hospitals(dossier),
            "num_hospitals": len(dossier.bills),
            "leaves": leaves(run),
            "terms": guarantee(run),
            **audited.audit_contents(dossier.audit, run.words, file="dossier.json", has_shown=False),
            "assumptions": words.assumptions(run),
            "method": words.method(run),
            "model_sha256": dossier.model_sha256,
            "headings": dossier.headings,
            "ledger_head": dossier.summary.ledger_head,
            "inf": math.inf,
        },
    )


def figures_of(dossier: Dossier) -> dict[str, Figure]:
    """Return by name every number of the page that follows from the ledger."""
    summary = dossier.summary
    found = {
        "epsilon in total": _epsilon(summary.epsilon.total),
        "largest epsilon of a hospital": _epsilon(summary.epsilon.max),
        "charges": _count(sum(row.kind == "planned" for row in dossier.rows)),
        "rows of the ledger": _count(len(dossier.rows)),
        "committed rounds": _count(summary.num_rounds),
    }
    attackers = summary.attackers.attackers if summary.attackers else {}
    for reader in READERS:
        found[f"epsilon, {reader}"] = _epsilon(summary.epsilon.readers.get(reader, math.nan))
        if reader in attackers:
            for name, rate in zip(_RATES, attackers[reader].rates, strict=True):
                found[f"{name}, {reader}"] = _share(rate)
    deltas, charged = deltas_of(summary), _by_hospital(entries_of(dossier))
    small = {hospital.hospital for hospital in summary.hospitals if is_small(hospital.num_train)}
    for name in _shown_hospitals(dossier):
        for reader, bill in dossier.bills[name].items():
            found[f"epsilon, {name}, {reader}"] = _epsilon(bill.epsilon)
        worst = max((bill.attacker.coin_toss_accuracy for bill in dossier.bills[name].values()), default=math.nan)
        found[f"coin toss, {name}"] = _share(worst)
        found[f"delta, {name}"] = Figure(value=_value(deltas[name]), text=delta_text(deltas[name], words=False))
        figures = _charged(charged.get(name, []))
        if name in small and figures["sample rate"].value != "1":
            del figures["sample rate"]  # it tells a size that is not shown
        found |= {f"{column}, {name}": figure for column, figure in figures.items()}
    return found


def _by_hospital(entries: list[Entry]) -> Mapping[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.hospital_id, []).append(entry)
    return found


def _charged(entries: list[Entry]) -> dict[str, Figure]:
    """Return what a hospital's charges add up to; where they differ, the least that protects stands as the value."""
    if not entries:
        return {name: _count(0) for name in ("releases", "steps")} | dict.fromkeys(
            ("noise multiplier", "sample rate", "sensitivity"), _spread([math.nan], math.nan)
        )
    noise = [entry.event.noise_multiplier for entry in entries]
    rates = [entry.event.sample_rate for entry in entries]
    sensitivities = [entry.sensitivity for entry in entries]
    return {
        "releases": _count(len(entries)),
        "steps": _count(sum(entry.event.num_steps for entry in entries)),
        "noise multiplier": _spread(noise, min(noise)),
        "sample rate": _spread(rates, max(rates)),
        "sensitivity": _spread(sensitivities, max(sensitivities)),
    }


def _shown_hospitals(dossier: Dossier) -> list[str]:
    spent = {name: max(bill.epsilon for bill in bills.values()) for name, bills in dossier.bills.items() if bills}
    return sorted(sorted(spent, key=lambda name: (-spent[name], name))[:MOST_DRAWN])


def _seen(dossier: Dossier) -> dict[str, tuple[str, ...]]:
    """Return by reader the largest shares that were seen of any hospital, with intervals; none without an audit."""
    seen: dict[str, list[ReaderAudit]] = {}
    for hospital in dossier.audit.hospitals.values() if dossier.audit else ():
        for reader, found in hospital.readers.items():
            seen.setdefault(reader, []).append(found)
    return {
        reader: (
            _largest((each.coin_toss_accuracy, each.coin_toss_interval) for each in found),
            _largest((each.found.tpr_at_fpr_1_percent, each.found.tpr_at_fpr_1_percent_interval) for each in found),
            _largest((each.found.tpr_at_fpr_01_percent, each.found.tpr_at_fpr_01_percent_interval) for each in found),
        )
        for reader, found in seen.items()
    }


def _largest(rates: Iterable[tuple[float | None, tuple[float, ...] | None]]) -> str:
    measured = [(rate, interval) for rate, interval in rates if rate is not None]
    if not measured:
        return percent_text(math.nan)
    rate, interval = max(measured)
    within = ends_text([100 * end for end in interval], 1) if interval else ""
    return f"{percent_text(rate)}{within}"


def _epsilon(epsilon: float) -> Figure:
    return Figure(value=_value(epsilon), text=epsilon_text(epsilon))


def _share(share: float) -> Figure:
    return Figure(value=_value(share), text=percent_text(share))


def _count(count: int) -> Figure:
    return Figure(value=str(count), text=f"{count:,}")


def _spread(values: list[float], decisive: float) -> Figure:
    return Figure(value=_value(decisive), text=span_text(min(values), max(values)))


def _value(number: float) -> str:
    return f"{number:.9g}"


class _Figures(HTMLParser):
    """Collects the `data` elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, Figure]] = []
        self._open: dict[str, str] | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "data":
            self._open, self._text = {name: value or "" for name, value in attrs}, ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "data" and self._open is not None:
            figure = Figure(value=self._open.get("value", ""), text=self._text.strip())
            self.found.append((self._open.get("data-figure", ""), figure))
            self._open = None


def figures_in(page: str) -> list[tuple[str, Figure]]:
    """Return the names and figures of the `data` elements of a page, in order."""
    parser: Any = _Figures()
    parser.feed(page)
    parser.close()
    found: list[tuple[str, Figure]] = parser.found
    return found
