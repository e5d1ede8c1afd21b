"""The frame that a run's page and a study's share: one look, one script, the same ways to write numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wardround.disk import open_private
from wardround.errors import WardroundError
from wardround.reports.drawing import chart_svg
from wardround.reports.numbers import (
    count_text,
    delta_text,
    ends_text,
    epsilon_text,
    number_text,
    percent_text,
    span_text,
)

__all__ = ["page_text", "write_page"]


def write_page(folder: Path, template: str, contents: Mapping[str, Any], **filters: Callable[..., str]) -> Path:
    """Return the path of the folder's `report.html`, written anew.

    Args:
        folder: of a run or of a study.
        template: a file of this package that fills `frame.html`.
        contents: what the template names.
        filters: ways to write values, beside those of numbers and charts.

    Raises:
        WardroundError: the page cannot be written.
    """
    page = page_text(template, contents, **filters)
    path = folder / "report.html"
    unfinished = path.with_name("report.html.part")
    try:
        with open(unfinished, "w", encoding="utf-8", opener=open_private) as file:
            file.write(page)
        unfinished.replace(path)  # whoever reloads the page sees the old one or the new one
    except OSError as error:
        raise WardroundError(f"cannot write {path}: {error}; free space there, or make it writable") from None
    return path


def page_text(template: str, contents: Mapping[str, Any], **filters: Callable[..., str]) -> str:
    """Return a page, of what `write_page` is given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = PackageLoader("wardround.reports", "")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=pages
    )
    environment.globals["span"] = span_text
    environment.filters.update(number=number_text, ends=ends_text, epsilon=epsilon_text, count=count_text, **filters)
    environment.filters.update(delta=delta_text, percent=percent_text, svg=chart_svg)
    return environment.get_template(template).render(contents)
