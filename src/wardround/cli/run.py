"""`wardround run` and `wardround resume`: train, show how it goes, and print what it came to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import wardround
from wardround import interruptions
from wardround.cli.arguments import (
    ConfigPath,
    Json,
    Mlflow,
    Overrides,
    RunDir,
    TensorBoard,
    begin,
    console,
    settings_of,
)
from wardround.errors import BudgetError, WardroundError

if TYPE_CHECKING:
    from wardround.config import Config
    from wardround.server.round.progress import RoundRow
    from wardround.simulations.runs import Run

__all__ = ["resume", "run"]


def run(
    config: ConfigPath = None,
    set_: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A new or empty folder.")] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="auto|ray|inline|stacked", help="Where hospitals run.")
    ] = None,
    tensorboard: TensorBoard = None,
    mlflow: Mlflow = None,
    as_json: Json = False,
) -> None:
    """Train a model over hospitals and write a run folder."""
    begin(f"reading {config or 'the settings'}", quiet=as_json)
    settings = settings_of(config, [*(set_ or []), *([f'simulation.engine="{engine}"'] if engine else [])])
    from wardround.server.record.run_folder import default_run_path

    folder = out or default_run_path(settings)
    with (
        _progress(settings.training.num_rounds, folder, quiet=as_json) as (update, say),
        _tracked(update, say, tensorboard, mlflow, settings, folder) as on_round,
    ):
        finished = wardround.run(settings, out=folder, on_round=on_round, say=say)
    _finish(finished, as_json)


def resume(run_dir: RunDir, tensorboard: TensorBoard = None, mlflow: Mlflow = None, as_json: Json = False) -> None:
    """Go on with an interrupted run; a round that was charged and not finished is charged again."""
    begin(f"reading {run_dir}", quiet=as_json)
    from wardround.server.record.run_folder import open_run_folder

    settings = open_run_folder(run_dir).config()
    with (
        _progress(settings.training.num_rounds, run_dir, quiet=as_json) as (update, say),
        _tracked(update, say, tensorboard, mlflow, settings, run_dir) as on_round,
    ):
        finished = wardround.resume(run_dir, on_round=on_round, say=say)
    _finish(finished, as_json)


@contextmanager
def _tracked(
    update: Callable[["RoundRow"], None],
    say: Callable[[str], None],
    folder: Path | None,
    uri: str | None,
    settings: "Config",
    run_dir: Path,
) -> Iterator[Callable[["RoundRow"], None]]:
    """Write rounds where it is wished for, too; what that needs is looked for before the run begins."""
    with ExitStack() as stack:
        calls = [update]
        if folder is not None or uri is not None:
            from wardround import trackers

            if folder is not None:
                calls.append(stack.enter_context(trackers.tensorboard(folder)))
            if uri is not None:
                say(f"reaching MLflow at {uri}")
                calls.append(stack.enter_context(trackers.mlflow(uri, name=run_dir.name, config=settings)))

        def on_round(row: "RoundRow") -> None:
            for call in calls:
                call(row)

        yield on_round


@contextmanager
def _progress(
    num_rounds: int, folder: Path, *, quiet: bool
) -> Iterator[tuple[Callable[["RoundRow"], None], Callable[[str], None]]]:
    """Show the run while it goes on, and say on Ctrl-C how to go on; typer would end with 130 and no word."""
    from wardround.reports.progress import Progress, round_text

    def kept() -> str:
        if not (folder / "ledger.sqlite").is_file():
            return " before the run began: nothing was trained or charged"
        return (
            f": every committed round is kept; go on with: wardround resume {folder} (a round that was under way is "
            "charged again)"
        )

    with interruptions.resumable(kept), Progress("round", quiet=quiet) as bar:
        tested: list[RoundRow] = []

        def update(row: "RoundRow") -> None:
            if row.loss is not None or not tested:
                tested[:] = [row]
            shown = tested[0]
            since = None if shown is row or shown.loss is None else shown.round_number
            text = round_text(shown.loss, shown.metric_name, shown.metric, row.epsilon_max, since)
            bar.show(row.round_number, num_rounds, text)

        bar.say("loading PyTorch and Flower")
        yield update, bar.say


def _finish(finished: "Run", as_json: bool) -> None:
    """Print the table or the summary, and end with 3 where the budget stopped the run."""
    from wardround.reports.files import read_audit
    from wardround.reports.terminal import print_summary

    if as_json:
        typer.echo((finished.folder / "summary.json").read_text(encoding="utf-8"), nl=False)
    else:
        print_summary(finished.folder, console())
    outcome, audit = finished.outcome, read_audit(finished.folder)
    if audit is not None and audit.is_alarm:
        raise WardroundError("alarm: " + "; ".join(audit.suspicions))
    if outcome.status == "stopped-at-budget":
        raise BudgetError(
            f"stopped at the budget after round {outcome.num_rounds} of {outcome.num_rounds_planned}; "
            f"what was trained up to there is complete: {finished.folder}"
        )
