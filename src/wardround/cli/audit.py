"""`wardround audit`: what attackers get, beside what the bill allows."""

from typing import Annotated

import typer

from wardround.cli.arguments import Json, RunDir, begin, console
from wardround.errors import WardroundError

__all__ = ["audit"]


def audit(
    run_dir: RunDir,
    canaries: Annotated[
        int | None,
        typer.Option("--canaries", metavar="N", help="Of hospitals that did the same; more show more.", min=20),
    ] = None,
    shadow_models: Annotated[
        int | None,
        typer.Option(
            "--shadow-models", metavar="K", help="Train K models on half of the records each; attack them.", min=4
        ),
    ] = None,
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct", help="Reconstruct made-up records from gradients, and show them.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="SEED", help="Of coins and noise; without, the run's.", min=0, max=2**62),
    ] = None,
    as_json: Json = False,
) -> None:
    """Attack twins of a run, and show what was got at least beside its bill; 1 is returned where it is more."""
    what = "" if shadow_models is None else f", and {shadow_models} shadow models"
    begin(f"training a twin of {run_dir}, whose records are canaries{what}", quiet=as_json)
    from wardround.door.audits import audit as audited

    found = audited(run_dir, canaries=canaries, shadow_models=shadow_models, reconstruct=reconstruct, seed=seed)
    if as_json:
        typer.echo((run_dir / "audit.json").read_text(encoding="utf-8"), nl=False)
    else:
        from wardround.reports.audit_terminal import print_audit

        print_audit(found, run_dir, console())
    if found.is_alarm:
        raise WardroundError("alarm: " + "; ".join(found.suspicions))
