"""How a run's model tells classes, as a page shows it: precision and recall, the confusion matrix, calibration.

Everything is quoted from the summary. What is left out on purpose: what may be shown (see `record.class_reports`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.reports.drawing import MUTED, Chart, Curve
from wardround.reports.files import NOT_KNOWN
from wardround.reports.numbers import ends_text, number_text
from wardround.reports.results import RunResult
from wardround.server.record.class_reports import ClassFigures, ClassReport
from wardround.small_counts import FEWEST_SHOWN

__all__ = ["ClassSection", "class_figures", "class_section"]

_MOST_CLASSES = 12
"""Beyond these the confusion matrix is left to summary.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSection:
    """A page's section on classes.

    Attributes:
        classes: a line for each: its name, test records, precision, recall and F1.
        matrix: by right class the cells of the confusion matrix; empty where there are too many classes.
        names: of the classes, in the order of the matrix's columns.
        note: what is not shown, and why; "" where all is.
        charts: the reliability diagram, where there is one.
    """

    classes: Sequence[tuple[str, str, str, str, str]]
    matrix: Sequence[tuple[str, Sequence[str]]]
    names: Sequence[str]
    note: str
    charts: Sequence[Chart]


def class_section(run: RunResult) -> ClassSection | None:
    """Return the section; None of a regression, and where the run did not say."""
    report = run.summary.class_report
    if report is None:
        return None
    names = [item.name for item in report.by_class]
    cells = [[cell if isinstance(cell, str) else f"{cell:,}" for cell in row] for row in report.confusion_matrix]
    return ClassSection(
        classes=[_line(item) for item in report.by_class],
        matrix=list(zip(names, cells, strict=True)) if len(names) <= _MOST_CLASSES else [],
        names=names,
        note=_note(report, len(names)),
        charts=[chart] if (chart := _reliability(report)) else [],
    )


def class_figures(run: RunResult) -> list[tuple[str, str, str]]:
    """Return (figure, value, what it is) of how the model tells classes, for the table of figures."""
    report = run.summary.class_report
    rows = []
    if report is not None:
        of = f"of {report.positive_class}" if report.positive_class else "mean over the classes"
        suffix = "" if report.positive_class else "_macro"
        for name, score in (("Precision", report.precision), ("Recall", report.recall), ("F1", report.f1)):
            ends = run.intervals.get(f"{name.lower()}{suffix}")
            rows.append((name, _score(score, ends), _few(of) if score is None else of))
        if report.positive_class:
            balanced = _score(report.recall_macro, run.intervals.get("recall_macro"))
            rows.append(("Balanced accuracy", balanced, "mean of the classes' recalls; guessing: 0.500"))
        else:
            rows = [("Balanced accuracy" if name == "Recall" else name, value, of) for name, value, of in rows]
        calibration = _score(report.calibration_error, run.intervals.get("calibration_error"))
        rows.append(("Calibration error", calibration, "perfect: 0.000"))
    return rows


def _score(value: float | None, interval: Sequence[float] | None = None) -> str:
    return number_text(NOT_KNOWN if value is None else value) + ends_text(None if value is None else interval)


def _few(of: str) -> str:
    return f"{of}: not shown of fewer than {FEWEST_SHOWN} test records"


def _line(item: ClassFigures) -> tuple[str, str, str, str, str]:
    size = item.num_test if isinstance(item.num_test, str) else f"{item.num_test:,}"
    ends = item.intervals or {}
    scores = {"precision": item.precision, "recall": item.recall, "f1": item.f1}
    precision, recall, f1 = (_score(value, ends.get(name)) for name, value in scores.items())
    return item.name, size, precision, recall, f1


def _note(report: ClassReport, num_classes: int) -> str:
    notes = []
    if num_classes > _MOST_CLASSES:
        notes.append(f"The confusion matrix of {num_classes} classes is in summary.json.")
    elif any(isinstance(cell, str) for row in report.confusion_matrix for cell in row):
        notes.append(
            f"Cells of fewer than {FEWEST_SHOWN} test records are not shown, nor those that the others of their row or "
            "column would tell them by."
        )
    if any(None in (item.precision, item.recall, item.f1) for item in report.by_class):
        notes.append(f"A dash stands for a score of fewer than {FEWEST_SHOWN} test records.")
    return " ".join(notes)


def _reliability(report: ClassReport) -> Chart | None:
    if len(report.reliability) < 2:
        return None
    x, y = [item.probability for item in report.reliability], [item.share for item in report.reliability]
    what = f"the probability of {report.positive_class}" if report.positive_class else "the probability of the answer"
    true = f"are {report.positive_class}" if report.positive_class else "are answered right"
    return Chart(
        name="reliability",
        title="Calibration",
        caption=f"Across: {what}, as the model gives it, from 0 to 1. Upwards: the share of those test records that "
        f"{true}. On the dashed line the two agree; the expected calibration error is "
        f"{_score(report.calibration_error)}.",
        x_label="predicted probability",
        x_scale="linear",
        curves=[
            Curve(
                x=(0.0, 1.0), y=(0.0, 1.0), series=MUTED, label="as predicted", dash="dashed", width=1.4, mark_size=0
            ),
            Curve(x=x, y=y, series=1, label="as it came out"),
        ],
        is_share=True,
    )
