"""`wardround compare`: run a study."""

from pathlib import Path
from typing import Annotated

import typer

from wardround import interruptions
from wardround.cli.arguments import Json, begin, console, note
from wardround.collector import paused
from wardround.errors import WardroundError
from wardround.json_text import json_text

__all__ = ["compare"]


def compare(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="A base job and what is varied.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A new or empty folder, or this study's, to go on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a study: placements x noise x seeds x any settings, with baselines; table, figures and a page."""
    begin(f"reading {study}", quiet=as_json)
    from wardround.reports.progress import Progress
    from wardround.reports.study import write_study_report
    from wardround.reports.study_terminal import print_study
    from wardround.server.record.run_folder import path_now
    from wardround.simulations.studies.study_toml import load_study

    settings = load_study(study, note=note)
    folder = out or path_now(settings.name)
    again = f"wardround compare {study} --out {folder}"
    kept = f": what is done is kept; go on with: {again}"
    with interruptions.resumable(lambda: kept), Progress("run", quiet=as_json) as bar:
        bar.say("loading PyTorch and Flower, and starting the workers")
        with paused():
            from wardround.simulations.studies import comparison

        done = comparison.compare(settings, folder, progress=bar.show)
    with paused():
        write_study_report(folder)
    if as_json:
        typer.echo(json_text(done.to_dict()))
    else:
        print_study(folder, console())
    if done.failures:
        raise WardroundError(
            f"{len(done.failures)} of {done.num_runs} runs failed; the others' results are in {folder}. To try these "
            f"again: {again}"
        )
