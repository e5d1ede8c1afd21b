"""What people see: the live progress, the table at the end of a run, and `report.html`.

Everything is read from a run folder. The package exports nothing itself, so that a plan does not wait for the pages of
studies, nor anything for matplotlib, jinja2 and pandas.
"""

__all__: list[str] = []
