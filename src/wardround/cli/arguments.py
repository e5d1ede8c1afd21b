"""Arguments and options that several commands have, and the terminal that results are printed on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from wardround.config import Config

__all__ = [
    "ConfigPath",
    "Json",
    "Mlflow",
    "Overrides",
    "RunDir",
    "TensorBoard",
    "begin",
    "console",
    "note",
    "plain",
    "settings_of",
]

ConfigPath = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Settings; without, breast cancer at five hospitals.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.")]
TensorBoard = Annotated[
    Path | None, typer.Option("--tensorboard", metavar="DIR", help="Write scores and epsilon by round for TensorBoard.")
]
Mlflow = Annotated[str | None, typer.Option("--mlflow", metavar="URI", help="Log settings and rounds to MLflow there.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON.")]


def console() -> "Console":
    """Return the terminal, or whatever stands for stdout."""
    from rich.console import Console

    return Console()


def settings_of(config: Path | str | None, overrides: list[str]) -> "Config":
    """Return the settings of a file with overrides; what gave way to these is told on stderr."""
    from wardround.config import load_config

    return load_config(config, overrides, note=note)


def begin(what: str, *, quiet: bool) -> None:
    """Say on stderr what begins, before anything is imported that takes a while; nothing where it is to be quiet."""
    if not quiet:
        typer.echo(f"{plain(what)} ...", err=True)


def note(sentence: str) -> None:
    """Print a sentence on stderr: something that is not wrong, and that whoever runs the command may not know."""
    typer.echo(f"note: {plain(sentence)}", err=True)


def plain(text: str) -> str:
    """Return a text without what a terminal takes for commands: a file or another's message may be quoted in it."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
