"""`wardround dossier RUN_DIR` and `wardround dossier verify DIR`."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from wardround.cli.arguments import Json, RunDir, begin
from wardround.errors import WardroundError
from wardround.json_text import json_text

__all__ = ["dossier_app"]

_MOST_SHOWN = 40
"""Findings on the terminal: a changed entry moves every number that follows from it."""


class _MakeUnlessNamed(TyperGroup):
    """Takes words that begin with no command's name for those of `make`."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]
        """Put the command's name where it was left out."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["make", *args]
        return super().parse_args(ctx, args)


dossier_app = typer.Typer(
    help="A run's dossier for data-protection officers: `wardround dossier RUN_DIR` makes it.",
    no_args_is_help=True,
    cls=_MakeUnlessNamed,
)


@dossier_app.command("make")
def dossier_make(
    run_dir: RunDir,
    sign: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="Ed25519 key (PEM) to sign the digests with.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write RUN_DIR/dossier/ (page, PDF, data, digests) and a model card; the word make may be left out."""
    begin(f"making the dossier of {run_dir}", quiet=as_json)
    from wardround.door.dossiers import dossier

    made = dossier(run_dir, sign=sign)
    if as_json:
        typer.echo(json_text({"folder": str(made.folder), "files": made.files, "key": made.key, "note": made.note}))
        return
    for name in made.files:
        typer.echo(made.folder / name)
    typer.echo(f"signed by key {made.key}" if made.key else "not signed: --sign KEY signs it")
    if made.note:
        typer.echo(made.note)


@dossier_app.command("verify")
def dossier_verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a dossier.")],
    key: Annotated[
        str | None, typer.Option("--key", metavar="PUB", help="Public key that must have signed: PEM file or digits.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute a dossier's numbers again from its ledger entries, offline, and compare; 1 is returned on a finding."""
    begin(f"checking {folder}", quiet=as_json)
    from wardround.door.dossiers import verify_dossier

    done = verify_dossier(folder, key=key)
    if as_json:
        typer.echo(json_text({"is_in_order": bool(done), "findings": done.findings, "sentence": done.sentence}))
    else:
        typer.echo("\n".join(done.findings[:_MOST_SHOWN] or [done.sentence]))
        if (more := len(done.findings) - _MOST_SHOWN) > 0:
            typer.echo(f"and {more:,} more: --json has them all")
    if not done:
        count = len(done.findings)
        raise WardroundError(f"{folder}: {count} finding{'s' if count > 1 else ''} in the dossier")
