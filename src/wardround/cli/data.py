"""`wardround data list`, `describe` and `fetch`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.arguments import Json, Overrides, begin, console, settings_of
from wardround.errors import ConfigError
from wardround.json_text import json_text

if TYPE_CHECKING:
    from wardround.config import Config

__all__ = ["data_app"]

data_app = typer.Typer(help="Data sets: what there is, how it is split, getting it.", no_args_is_help=True)


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the data sets."""
    from wardround.datasets import SOURCES
    from wardround.reports.data_tables import print_catalogue

    if as_json:
        told = ("name", "sentence", "task", "num_rows", "needs_download")
        typer.echo(json_text([{key: getattr(source, key) for key in told} for source in SOURCES.values()]))
    else:
        print_catalogue(SOURCES.values(), console())


@data_app.command("describe")
def data_describe(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set, or a config file.")] = None,
    set_: Overrides = None,
    as_json: Json = False,
    private: Annotated[
        bool, typer.Option("--private", help="Counts, means and histograms over all hospitals, released with noise.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Of --private: folder of the release and its ledger.")
    ] = None,
) -> None:
    """Show hospitals by records and class shares, and every feature with its source."""
    begin(f"reading {name or 'the settings'}", quiet=as_json)
    if name is None or name.endswith(".toml"):
        settings = settings_of(name, set_ or [])
    else:
        settings = settings_of(None, [f'federation.dataset="{name}"', *(set_ or [])])
    if private:
        _describe_privately(settings, out, as_json=as_json)
        return
    if out is not None:
        raise ConfigError("--out goes with --private, whose release has a ledger: remove it")
    from wardround.config import unused_settings
    from wardround.datasets import describe, describe_columns, describe_features, load_federation, resolved
    from wardround.reports.data_tables import print_columns, print_description, shown_description

    federation = load_federation(settings.federation, settings.features)
    table, columns, features = describe(federation), describe_columns(federation), describe_features(federation)
    notes = (*federation.notes, *unused_settings(resolved(settings, federation), ("federation", "features")))
    if as_json:
        facts = {"dataset": federation.dataset_name, "task": federation.task, "partition": federation.partition}
        said = {"notes": notes, "excluded": federation.excluded}
        made = {"hospitals": shown_description(table), "features": features, "columns": columns}
        typer.echo(json_text(facts | made | said))
    else:
        print_columns(columns, features, console())
        print_description(table, notes, federation.excluded, console())


def _describe_privately(settings: "Config", out: Path | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from wardround.reports.private_table import print_private_description
    from wardround.simulations.private_description import describe_privately

    told = describe_privately(settings, out=out, say=partial(begin, quiet=as_json))
    if as_json:
        typer.echo(json_text(asdict(told) | {"folder": str(told.folder)}))
    else:
        print_private_description(told, console())


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set.")],
    data_dir: Annotated[str | None, typer.Option("--data-dir", metavar="DIR", help="Look here first.")] = None,
) -> None:
    """Find or download the files of a data set, check them, and print where they are."""
    from wardround.datasets import fetch

    for path in fetch(name, data_dir):
        typer.echo(path)
