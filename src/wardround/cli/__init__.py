"""The command line: parse, call, print. Results go to stdout; progress, notes and errors to stderr.

A command is a function of a file here and a line below. No file here imports more than errors before its command has
said what it does, so that something is on the screen at once.
"""

import atexit
import errno
import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import wardround
from wardround import interruptions
from wardround.cli.arguments import plain
from wardround.cli.audit import audit
from wardround.cli.compare import compare
from wardround.cli.data import data_app
from wardround.cli.dossier import dossier_app
from wardround.cli.ledger import ledger_app
from wardround.cli.plan import plan
from wardround.cli.report import report
from wardround.cli.run import resume, run
from wardround.cli.tune import tune
from wardround.errors import WardroundError

__all__ = ["app", "main"]

app = typer.Typer(
    name="wardround",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"wardround {wardround.__version__}")
        raise typer.Exit


@app.callback()
def _wardround(
    is_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Federated learning across hospitals under differential privacy, with an account of every epsilon."""


for _command in (run, resume, plan, compare, tune, audit, report):
    app.command()(_command)
app.add_typer(data_app, name="data")
app.add_typer(ledger_app, name="ledger")
app.add_typer(dossier_app, name="dossier")


def main() -> None:
    """Run the command line and end the process with the documented exit code."""
    interruptions.interrupt_on_sigterm()
    atexit.register(gc.freeze)  # as modules are taken apart, the collector would look through all of them three times
    sys.path.insert(0, str(Path.cwd()))  # so that "package.module:factory" finds a user's own modules
    try:
        app()
    except WardroundError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # what typer makes of Ctrl-C
            raise
        _fail("interrupted")
    except OSError as error:
        if error.errno == errno.EPIPE:
            # The reader of our output went away (for example `| head`): nothing is wrong.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        full = " (the disk is full: free some space)" if error.errno == errno.ENOSPC else ""
        _fail(f"{error}{full}")
    except Exception as error:
        if os.environ.get("WARDROUND_DEBUG"):
            raise
        _fail(f"unexpected {type(error).__name__}: {error} (WARDROUND_DEBUG=1 shows where)")


def _fail(message: str, exit_code: int = WardroundError.exit_code) -> None:
    word = "error: " if os.environ.get("NO_COLOR") else typer.style("error: ", fg="red", bold=True)
    typer.echo(word, err=True, nl=False)
    typer.echo(plain(message), err=True)
    sys.exit(interruptions.exit_code_of_failure() if exit_code == WardroundError.exit_code else exit_code)
