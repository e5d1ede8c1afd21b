"""`wardround tune`: choose settings."""

from pathlib import Path
from typing import Annotated

import typer

from wardround import interruptions
from wardround.cli.arguments import Json, begin, console, note
from wardround.collector import paused
from wardround.errors import BudgetError, WardroundError

__all__ = ["tune"]


def tune(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="A base job, candidates, and on whose data.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A new or empty folder, or this tune's, to go on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose settings: on public stand-ins for free, or on private data with every repetition billed."""
    begin(f"reading {study}", quiet=as_json)
    from wardround.reports.progress import Progress
    from wardround.reports.study import write_study_report
    from wardround.reports.tune_terminal import print_tune
    from wardround.server.record.run_folder import path_now
    from wardround.simulations.studies.tune_toml import load_tune

    settings = load_tune(study, note=note)
    folder = out or path_now(settings.study.name)
    again = f"wardround tune {study} --out {folder}"
    kept = f": what is done is kept; go on with: {again}"
    with interruptions.resumable(lambda: kept), Progress("run", quiet=as_json) as bar:
        bar.say("loading PyTorch and Flower, and starting the workers")
        with paused():
            from wardround.simulations.studies import tuning

        done = tuning.run_tune(settings, folder, progress=bar.show, say=bar.say)
    if not settings.is_private:
        with paused():
            write_study_report(folder)
    if as_json:
        typer.echo((folder / "summary.json").read_text(encoding="utf-8"), nl=False)
    else:
        print_tune(folder, console())
    if done.summary.status != "done":
        raise BudgetError(f"the tune spent more than its target-epsilon after interruptions: see {folder}/summary.json")
    if done.summary.failures:
        raise WardroundError(
            f"{len(done.summary.failures)} runs failed; the choice is among the others. To try these again: {again}"
        )
