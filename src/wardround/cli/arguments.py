"""Arguments and options that several commands have, and the terminal that results are printed on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ConfigPath", "Json", "Overrides", "RunDir", "console"]

ConfigPath = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Settings; without, breast cancer at five hospitals.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON.")]


def console() -> "Console":
    """Return the terminal, or whatever stands for stdout."""
    from rich.console import Console

    return Console()
