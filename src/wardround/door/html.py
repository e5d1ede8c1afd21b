"""What a notebook shows of a result: the table that the terminal prints."""

from collections.abc import Callable
from io import StringIO

from rich.console import Console

__all__ = ["shown_in_notebook"]

_FRAME = '<pre style="white-space:pre;overflow-x:auto;line-height:normal">{code}</pre>'


def shown_in_notebook(print_on: Callable[[Console], None]) -> str:
    """Return as HTML what is printed on a console; texts of the data are never markup."""
    console = Console(record=True, file=StringIO(), width=110, color_system=None, force_jupyter=False)
    print_on(console)
    return console.export_html(inline_styles=True, code_format=_FRAME)
