"""The Flower ServerApp that `pyproject.toml` names: that of `server.app`, which writes the run's page at the end."""

from wardround.reports.report import write_report
from wardround.server.app import make_server_app

__all__ = ["app"]

app = make_server_app(write_report)
