"""What people see: the live progress, the table at the end of a run, and `report.html`.

Everything is read from a run folder. Importing this package loads none of its modules until they are used, so that a
plan does not wait for the pages of studies, nor anything for matplotlib, jinja2 and pandas.
"""

from typing import TYPE_CHECKING

from wardround.first_use import on_first_use

if TYPE_CHECKING:
    from wardround.reports.progress import Progress, round_text
    from wardround.reports.report import write_report
    from wardround.reports.study import write_study_page, write_study_report
    from wardround.reports.study_terminal import print_study
    from wardround.reports.terminal import print_plan, print_summary

__all__ = [
    "Progress",
    "print_plan",
    "print_study",
    "print_summary",
    "round_text",
    "write_report",
    "write_study_page",
    "write_study_report",
]

__getattr__ = on_first_use(
    __name__,
    {
        "Progress": "progress",
        "print_plan": "terminal",
        "print_study": "study_terminal",
        "print_summary": "terminal",
        "round_text": "progress",
        "write_report": "report",
        "write_study_page": "study",
        "write_study_report": "study",
    },
)
