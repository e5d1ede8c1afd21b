"""What people see: the live progress, the table at the end of a run, and `report.html`; all read from a run folder.

Each module is imported on its own, so that a plan does not wait for the pages of studies, nor anything for matplotlib,
jinja2 and pandas.
"""

__all__: list[str] = []
