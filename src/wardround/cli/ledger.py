"""`wardround ledger show` and `wardround ledger verify`."""

import typer

from wardround.cli.arguments import Json, RunDir
from wardround.errors import WardroundError
from wardround.json_text import json_text

__all__ = ["ledger_app"]

ledger_app = typer.Typer(
    help="The ledger of a run: every charge, and whether it is as it was written.", no_args_is_help=True
)


@ledger_app.command("show")
def ledger_show(run_dir: RunDir, as_json: Json = False) -> None:
    """Print every entry of the ledger as CSV, or as JSON."""
    from wardround.privacy.ledger import open_ledger
    from wardround.server.record.beginnings import release_labels
    from wardround.server.record.run_folder import open_run_folder

    with open_ledger(open_run_folder(run_dir).ledger, read_only=True) as ledger:
        entries, labels = ledger.to_frame(), release_labels(ledger)
    entries["release"] = [labels.get(number, f"round {number}") for number in entries["round_number"]]
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
