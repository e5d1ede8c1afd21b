"""The command line: parse, call, print. Results go to stdout; progress, notes and errors to stderr."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround import interruptions
from wardround.config import load_config
from wardround.errors import BudgetError, WardroundError
from wardround.json_text import json_text

if TYPE_CHECKING:
    from rich.console import Console

    from wardround.server.round.progress import RoundRow
    from wardround.simulations import Run

__all__ = ["app", "main"]

app = typer.Typer(
    name="wardround",
    help="Federated learning across hospitals under differential privacy, with an account of every epsilon.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets: what there is, how it is split, getting it.", no_args_is_help=True)
ledger_app = typer.Typer(
    help="The ledger of a run: every charge, and whether it is as it was written.", no_args_is_help=True
)
app.add_typer(data_app, name="data")
app.add_typer(ledger_app, name="ledger")

ConfigPath = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Settings; without, breast cancer at five hospitals.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON.")]


@app.command()
def run(
    config: ConfigPath = None,
    set_: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A new or empty folder.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", metavar="ray|inline", help="Where hospitals run.")] = None,
    as_json: Json = False,
) -> None:
    """Train a model over hospitals and write a run folder."""
    settings = load_config(config, [*(set_ or []), *([f'simulation.engine="{engine}"'] if engine else [])])
    from wardround.server.record.run_folder import default_run_path

    folder = out or default_run_path(settings)
    with _progress(settings.training.num_rounds, folder, quiet=as_json) as (update, say):
        from wardround import door

        finished = door.run(settings, out=folder, progress=update, say=say)
    _finish(finished, as_json)


@app.command()
def resume(run_dir: RunDir, as_json: Json = False) -> None:
    """Go on with an interrupted run; a round that was charged and not finished is charged again."""
    from wardround.server.record.run_folder import open_run_folder

    with _progress(open_run_folder(run_dir).config().training.num_rounds, run_dir, quiet=as_json) as (update, say):
        from wardround import door

        finished = door.resume(run_dir, progress=update, say=say)
    _finish(finished, as_json)


@app.command()
def plan(
    config: ConfigPath = None,
    set_: Overrides = None,
    target_epsilon: Annotated[
        float | None, typer.Option("--target-epsilon", metavar="E", help="Size the noise so that all spend E.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show noise and epsilon per hospital, in total and against each reader, and what noise placed elsewhere costs."""
    overrides = list(set_ or [])
    if target_epsilon is not None:
        overrides.append(f"privacy.target-epsilon={target_epsilon}")
    settings = load_config(config, overrides)
    from wardround import simulations
    from wardround.reports import print_plan
    from wardround.server.plan.alternatives import compare_placements, plan_notes

    planned = simulations.plan(settings)
    if as_json:
        elsewhere = {"notes": plan_notes(planned), "placements": compare_placements(planned)}
        typer.echo(json_text(planned.to_dict() | elsewhere))
    else:
        print_plan(planned, _console())


@app.command()
def compare(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="A base job and what is varied.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A new or empty folder, or this study's, to go on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a study: placements x noise x seeds, with baselines; table, figures and a page."""
    from wardround import simulations
    from wardround.reports import Progress, print_study, write_study_report

    settings = simulations.load_study(study)
    folder = out or simulations.default_study_path(settings)
    with interruptions.resumable_study(study, folder), Progress("run", quiet=as_json) as bar:
        bar.say("loading PyTorch and Flower, and starting the workers")
        done = simulations.compare(settings, folder, progress=bar.show)
    write_study_report(folder)
    if as_json:
        typer.echo(json_text(done.to_dict()))
    else:
        print_study(folder, _console())
    if done.failures:
        raise WardroundError(
            f"{len(done.failures)} of {done.num_runs} runs failed; the others' results are in {folder}. To try these "
            f"again: wardround compare {study} --out {folder}"
        )


@app.command()
def report(run_dir: RunDir, as_json: Json = False) -> None:
    """Build report.html again from the files of a run folder, or of a study's."""
    from wardround.reports import write_report, write_study_report
    from wardround.server.record.run_folder import open_run_folder

    is_study = (run_dir / "study.json").is_file()
    page = write_study_report(run_dir) if is_study else write_report(open_run_folder(run_dir).path)
    typer.echo(json_text({"report": str(page)}) if as_json else page)


@ledger_app.command("show")
def ledger_show(run_dir: RunDir, as_json: Json = False) -> None:
    """Print every entry of the ledger as CSV, or as JSON."""
    from wardround.privacy.ledger import open_ledger
    from wardround.server.record.run_folder import open_run_folder

    with open_ledger(open_run_folder(run_dir).ledger, read_only=True) as ledger:
        entries = ledger.to_frame()
    entries["fingerprint"] = entries["fingerprint"].replace("", "not told")  # by real sites
    if as_json:
        typer.echo(json_text(entries.to_dict("records")))
    else:
        typer.echo(entries.to_csv(index=False), nl=False)


@ledger_app.command("verify")
def ledger_verify(run_dir: RunDir, as_json: Json = False) -> None:
    """Hold tables, summary, settings, model and checkpoints to the ledger, and the ledger to its own charges."""
    from wardround.server.record.verify import verify_run

    findings, sentence = verify_run(run_dir)
    if as_json:
        typer.echo(json_text({"is_in_order": not findings, "findings": findings, "sentence": sentence}))
    else:
        typer.echo("\n".join(findings or [sentence]))
    if findings:
        raise WardroundError(f"{run_dir}: {len(findings)} finding{'s' if len(findings) > 1 else ''} in the ledger")


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the data sets."""
    from wardround.datasets import catalogue
    from wardround.reports.data_tables import print_catalogue

    if as_json:
        typer.echo(json_text([entry._asdict() for entry in catalogue()]))
    else:
        print_catalogue(catalogue(), _console())


@data_app.command("describe")
def data_describe(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set, or a config file.")] = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show hospitals by records and class shares."""
    is_file = name is not None and name.endswith(".toml")
    overrides = list(set_ or [])
    if name is not None and not is_file:
        overrides = [f'federation.dataset="{name}"', *overrides]
    from wardround.datasets import describe, load_federation
    from wardround.reports.data_tables import print_description, shown_description

    federation = load_federation(load_config(name if is_file else None, overrides).federation)
    table = describe(federation)
    if as_json:
        facts = {"dataset": federation.dataset_name, "task": federation.task, "partition": federation.partition}
        said = {"notes": federation.notes, "excluded": federation.excluded}
        typer.echo(json_text(facts | {"hospitals": shown_description(table)} | said))
    else:
        print_description(table, federation.notes, federation.excluded, _console())


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set.")],
    data_dir: Annotated[str | None, typer.Option("--data-dir", metavar="DIR", help="Look here first.")] = None,
) -> None:
    """Find or download the files of a data set, check them, and print where they are."""
    from wardround.datasets import fetch

    for path in fetch(name, data_dir):
        typer.echo(path)


def main() -> None:
    """Run the command line and end the process with the documented exit code."""
    interruptions.interrupt_on_sigterm()
    sys.path.insert(0, str(Path.cwd()))  # so that "package.module:factory" finds a user's own modules
    try:
        _run_app()
    except WardroundError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        _fail("interrupted", interruptions.exit_code_of(stop))
    except OSError as error:
        if error.errno == errno.EPIPE:
            # The reader of our output went away (for example `| head`): nothing is wrong.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        full = " (the disk is full: free some space)" if error.errno == errno.ENOSPC else ""
        _fail(f"{error}{full}", 1)
    except Exception as error:
        if os.environ.get("WARDROUND_DEBUG"):
            raise
        _fail(f"unexpected {type(error).__name__}: {error} (WARDROUND_DEBUG=1 shows where)", 1)


def _run_app() -> None:
    try:
        app(standalone_mode=True)
    except SystemExit as error:
        if error.code == 130:  # what typer makes of Ctrl-C
            raise interruptions.first_interruption(error) from None
        raise


@contextmanager
def _progress(
    num_rounds: int, folder: Path, *, quiet: bool
) -> Iterator[tuple[Callable[["RoundRow"], None], Callable[[str], None]]]:
    """Show the run while it goes on, and say on Ctrl-C how to go on; typer would end with 130 and no word."""
    from wardround.reports import Progress, round_text

    with interruptions.resumable_run(folder), Progress("round", quiet=quiet) as bar:

        def update(row: "RoundRow") -> None:
            text = round_text(row.loss, row.metric_name, row.metric, row.epsilon_max)
            bar.show(row.round_number, num_rounds, text)

        bar.say("loading PyTorch and Flower")
        yield update, bar.say


def _finish(finished: "Run", as_json: bool) -> None:
    """Print the table or the summary, and end with 3 where the budget stopped the run."""
    from wardround.reports import print_summary

    if as_json:
        typer.echo((finished.folder / "summary.json").read_text(encoding="utf-8"), nl=False)
    else:
        print_summary(finished.folder, _console())
    outcome = finished.outcome
    if outcome.status == "stopped-at-budget":
        raise BudgetError(
            f"stopped at the budget after round {outcome.num_rounds} of {outcome.num_rounds_planned}; "
            f"what was trained up to there is complete: {finished.folder}"
        )


def _console() -> "Console":
    from rich.console import Console

    return Console()


def _fail(message: str, exit_code: int) -> None:
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    # A file or another's message may be quoted, and a terminal does what control characters say.
    shown = (letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in message)
    typer.echo("".join(shown), err=True)
    sys.exit(exit_code)
