"""What people see: the live progress, the table at the end of a run, and `report.html`.

Everything is read from a run folder. Importing this package loads neither matplotlib nor jinja2 nor pandas.
"""

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
