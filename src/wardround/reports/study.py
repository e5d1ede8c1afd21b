"""Write a study's `report.html`, and its charts as comparison.svg and comparison.png.

They hold nothing but what the study's folder says, so the same folder gives the same bytes.
"""

from pathlib import Path
from typing import Any

from wardround.reports import study_words as words
from wardround.reports.drawing import Chart
from wardround.reports.files import as_written
from wardround.reports.meaning import meaning
from wardround.reports.pages import write_page
from wardround.reports.study_drawing import write_comparison
from wardround.reports.study_figures import charts_of_noise, charts_of_utility
from wardround.reports.study_folder import StudyResult, read_study
from wardround.reports.study_hospital_figures import charts_of_hospitals
from wardround.reports.study_setting_figures import charts_of_settings
from wardround.reports.study_statistics import groups_of, hospital_groups, middle_groups, over_settings, spread_text
from wardround.reports.study_styles import baselines_of

__all__ = ["charts_of", "write_study_page", "write_study_report"]


def write_study_report(folder: Path) -> Path:
    """Return the path of `report.html`, written anew from the tables of a study's folder, beside the charts.

    Args:
        folder: of a study, finished or not.

    Raises:
        ProtocolError: it is not a study's folder, or a file in it is damaged.
        WardroundError: the page cannot be written.
    """
    study = read_study(Path(folder))
    with as_written(study.folder):
        charts = charts_of(study)
    if charts:
        write_comparison(charts, study.folder)
    return write_study_page(folder)


def charts_of(study: StudyResult) -> list[Chart]:
    """Return all charts of a study, in the order of its page."""
    return [*charts_of_settings(study), *charts_of_utility(study), *charts_of_noise(study), *charts_of_hospitals(study)]


def write_study_page(folder: Path) -> Path:
    """Return the path of `report.html` alone, which has the charts in it; as `write_study_report`, and sooner."""
    study = read_study(Path(folder))
    with as_written(study.folder):
        contents = _contents(study)
    return write_page(study.folder, "study.html", contents, spread=spread_text)


def _contents(study: StudyResult) -> dict[str, Any]:
    verdict, compared = words.headline(study)
    return {
        "study": study,
        "verdict": verdict,
        "compared": compared,
        "findings": words.findings(study),
        "readers": words.reader_rows(study),
        "guarantees": words.guarantees(study),
        "meanings": _meanings(study),
        "setting_charts": charts_of_settings(study),
        "varied": [name.rpartition(".")[2] for name in study.facts.vary or ()],
        "utility": charts_of_utility(study),
        "noise": charts_of_noise(study),
        "hospital_panels": charts_of_hospitals(study),
        "groups": groups_of(study.rows),
        "hospitals": hospital_groups(study),
        "baselines": baselines_of(study.score_words),
        "score": study.score_words.name,
        "metric": study.metric,
        "assumptions": words.assumptions(study),
        "method": words.method(study),
        "num_stopped": sum(row.status != "done" for row in study.rows),
    }


def _meanings(study: StudyResult) -> list[tuple[str, float, tuple[str, ...]]]:
    """Return (unit, epsilon, what it means) at one level of each unit, the worst of its runs."""
    result = []
    groups = groups_of(study.rows)
    for group in (over_settings(groups, group) for group in middle_groups(study)):
        summary = study.summaries.get((group.unit, group.placement))
        stated = summary.attackers.attacker if summary and summary.attackers else None
        attacker = group.attacker(stated.by if stated else "")
        said = study.words_of(group.unit, group.placement)
        epsilon = max(row.epsilon_total for row in group.rows)
        result.append((said.name, epsilon, meaning(epsilon, attacker, said)))
    return result
