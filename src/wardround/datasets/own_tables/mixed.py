"""Columns of numbers with a few cells that are none: refused by the cell, never turned into texts in silence."""

import re

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.own_tables.text_tables import Texts, TextTable
from wardround.datasets.own_tables.values import WORDS_FOR_MISSING, are_codes, looks_like_number, numbers_of
from wardround.errors import DataError

__all__ = ["check_numbers"]

_LONGEST_CELL = 40
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+|[+-]?[0-9]{1,3}(?:\.[0-9]{3})+")


def check_numbers(
    texts: Texts,
    values: NDArray[np.float64],
    name: str,
    table: TextTable,
    config: FederationConfig,
    *,
    is_target: bool = False,
) -> None:
    """Refuse a column of which a half or more are numbers, or would be read as such, and a cell is none.

    Args:
        texts: (n,) cells; an empty one, and a word for nothing, counts neither as a number nor as none.
        values: their numbers, nan where there is none.
        name: of the column.
        table: where it is.
        config: decimal.
        is_target: whether it is the target, which can't be left out.

    Raises:
        DataError: naming the first such cell and its row, and the ways on.
    """
    is_filled = np.array([text != "" and text not in WORDS_FOR_MISSING for text in texts], dtype=np.bool_)
    is_none = is_filled & ~np.isfinite(values)
    if not is_none.any():
        return
    others = texts[is_none].tolist()
    num_alike = sum(map(looks_like_number, others))
    num_numbers = int(is_filled.sum()) - len(others)
    if not num_numbers + num_alike or 2 * (num_numbers + num_alike) < is_filled.sum():
        return
    row = int(np.flatnonzero(is_none)[0])
    different = list(dict.fromkeys(others))
    cells = "1 cell that is none" if len(others) == 1 else f"{len(others)} cells that are none"
    raise DataError(
        f"{table.place(row)}: {name} = {_shown(different[0])} is no number, and {name} holds {num_numbers} numbers and "
        f"{cells}: {'; '.join(_ways(different, name, config, is_target=is_target))}"
    )


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= _LONGEST_CELL else f"{cell[:_LONGEST_CELL]}...")


def _ways(cells: list[str], name: str, config: FederationConfig, *, is_target: bool) -> list[str]:
    """Return what can be done, the likeliest first."""
    ways = []
    as_array = np.array(cells, dtype=object)
    other = "." if config.decimal == "," else ","
    if np.isfinite(numbers_of(as_array, other)).any():
        ways.append(f'set [federation] decimal = "{other}" if that is how decimals are written')
        if all(map(_THOUSANDS.fullmatch, cells)):
            ways[0] += f", or write {re.sub('[,.]', '', cells[0])} for {cells[0]} if it stands between thousands"
    if not any(map(looks_like_number, cells)):
        ways.append(f"set [federation] missing-values = [{', '.join(map(_quoted, cells[:5]))}] if it means missing")
    elif not ways:
        ways.append("write plain numbers (no %, < or units), or set missing-values if it means missing")
    if is_target:
        ways.append('set task = "classification" if these are classes')
    else:
        ways.append(f'set categorical-columns = ["{name}"] if these are codes')
        ways.append(f'or leave it out: drop-columns = ["{name}"]')
    return ways if not are_codes(cells) else ways[-1:]


def _quoted(cell: str) -> str:
    return '"' + cell[:_LONGEST_CELL].replace("\\", "\\\\").replace('"', '\\"') + '"'
