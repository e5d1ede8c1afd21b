"""`wardround plan`: noise and epsilon before any training."""

from typing import Annotated

import typer

from wardround.cli.arguments import ConfigPath, Json, Overrides, begin, console, settings_of
from wardround.json_records import json_values
from wardround.json_text import json_text

__all__ = ["plan"]


def plan(
    config: ConfigPath = None,
    set_: Overrides = None,
    target_epsilon: Annotated[
        float | None, typer.Option("--target-epsilon", metavar="E", help="Size the noise so that all spend E.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show noise and epsilon per hospital, in total and against each reader, and what noise placed elsewhere costs."""
    wanted = [] if target_epsilon is None else [f"privacy.target-epsilon={target_epsilon}"]
    begin(f"reading {config or 'the settings'}", quiet=as_json)
    settings = settings_of(config, [*(set_ or []), *wanted])
    from wardround.reports.terminal import print_plan
    from wardround.server.plan.alternatives import compare_placements, plan_notes
    from wardround.simulations import prepared

    begin(f"reading {settings.federation.dataset}, and planning", quiet=as_json)
    planned = prepared.plan(settings)
    if as_json:
        rows = {unit: [json_values(row) for row in of] for unit, of in compare_placements(planned).items()}
        elsewhere = {"notes": plan_notes(planned), "placements": rows}
        typer.echo(json_text(planned.to_dict() | elsewhere))
    else:
        print_plan(planned, console())
