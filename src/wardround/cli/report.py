"""`wardround report`: build a page again."""

import typer

from wardround.cli.arguments import Json, RunDir
from wardround.json_text import json_text

__all__ = ["report"]


def report(run_dir: RunDir, as_json: Json = False) -> None:
    """Build report.html again from the files of a run folder, or of a study's."""
    from wardround.reports.report import write_report
    from wardround.reports.study import write_study_report
    from wardround.server.record.run_folder import open_run_folder

    is_study = (run_dir / "study.json").is_file()
    page = write_study_report(run_dir) if is_study else write_report(open_run_folder(run_dir).path)
    typer.echo(json_text({"report": str(page)}) if as_json else page)
