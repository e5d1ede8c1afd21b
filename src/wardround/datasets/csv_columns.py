"""The feature, hospital and patient columns of a user's CSV file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wardround.errors import DataError
from wardround.small_counts import shown_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["feature_columns", "hospital_ids", "patient_ids", "plain_texts"]

_MAX_LEVELS = 100


def feature_columns(
    table: "pd.DataFrame", path: Path
) -> tuple[dict[str, NDArray[np.float64]], frozenset[str], list[str]]:
    """Return the feature columns, the names of those that each hospital standardises, and what was done.

    Args:
        table: the columns that are neither target nor hospital nor patient.
        path: the file, for messages.

    Returns:
        Columns by name, each (n,), numbers in their own unit with nan where missing; names; sentences.

    Raises:
        DataError: a text column has more than 100 levels, or no column varies.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    columns: dict[str, NDArray[np.float64]] = {}
    local, idle, with_missing, crowded = set[str](), list[str](), list[str](), list[str]()
    for name, column in table.items():
        made: dict[str, NDArray[np.float64]] = {}
        if is_numeric_dtype(column):
            made, num_missing = _numeric(str(name), column)
            if name in made and not is_bool_dtype(column):
                local.add(str(name))
        else:
            num_missing = int(column.isna().sum())
            texts = np.where(column.isna(), "(missing)", plain_texts(column))
            levels = np.unique(texts)
            if len(levels) > _MAX_LEVELS:
                crowded.append(f"{name} ({len(levels)})")
                continue
            if len(levels) > 1:
                made = {f"{name}={level}": (texts == level).astype(np.float64) for level in levels}
        if not made:
            idle.append(str(name))
        elif num_missing:
            with_missing.append(f"{name} ({shown_count(num_missing)})")
        columns |= made
    if crowded:
        raise DataError(
            f"{path} has text columns with more than {_MAX_LEVELS} different texts: {', '.join(crowded)}. "
            "Names, dates and free text are no features: remove these columns, or write numbers with a decimal point"
        )
    if not columns:
        raise DataError(f"{path} has no feature column with two different values: add columns beside the target")
    return columns, frozenset(local), _notes(idle, with_missing, is_local=bool(local))


def _numeric(name: str, column: "pd.Series[Any]") -> tuple[dict[str, NDArray[np.float64]], int]:
    """Return what is made of a column of numbers, and how many it misses."""
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    is_missing = ~np.isfinite(values)
    made = {}
    if len(np.unique(values[~is_missing])) > 1:
        made[name] = np.where(is_missing, np.nan, values)
    if is_missing.any() and not is_missing.all():
        made[f"{name} is missing"] = is_missing.astype(np.float64)
    return made, int(is_missing.sum())


def _notes(idle: list[str], with_missing: list[str], *, is_local: bool) -> list[str]:
    notes = [f"columns dropped because they never vary: {', '.join(idle)}"] if idle else []
    if with_missing:
        notes.append(
            f"missing values: {', '.join(with_missing)}; a number becomes 0 after standardising (the hospital's mean) "
            "with a column saying where it was missing, a text becomes a level of its own"
        )
    notes.append(
        "the levels of texts, which columns vary and which miss values are taken from the whole file as public"
    )
    if is_local:
        notes.append(
            "normalisation: each hospital's own statistics (mean and standard deviation of its training rows, clipped "
            "to +-5); these are not covered by the record-level guarantee, which is acceptable in a simulation only"
        )
    return notes


def plain_texts(column: "pd.Series[Any]") -> NDArray[np.str_]:
    """Return each cell as text, without blanks around it."""
    return column.astype(str).str.strip().to_numpy(dtype=np.str_)


def hospital_ids(texts: Sequence[str], path: Path, *, are_numbers: bool) -> NDArray[np.str_]:
    """Return a plain id per text: `hospital-007` for "007" where they are numbers, `st-mary` for "St. Mary".

    Args:
        texts: the hospital of each row.
        path: the file, for messages.
        are_numbers: whether hospitals are numbered.

    Raises:
        DataError: two spellings become the same id, so that it is unclear whether they are one hospital.
    """
    text_of: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        plain = re.sub(r"[^\w]+", "-", text.strip().lower()).strip("-")
        name = f"hospital-{plain}" if are_numbers or not plain else plain
        if name in text_of:
            raise DataError(
                f"{path}: hospitals {text_of[name]!r} and {text!r} both become {name}: spell them alike if "
                "they are one, or rename one of them"
            )
        text_of[name] = text
    name_of = {text: name for name, text in text_of.items()}
    return np.array([name_of[text] for text in texts], dtype=np.str_)


def patient_ids(texts: Sequence[str | None]) -> tuple[NDArray[np.str_], list[str]]:
    """Return a patient per row, and sentences; a row that names none (None) is a patient of its own."""
    notes = ["training and test rows are disjoint by patient"]
    if nameless := texts.count(None):
        notes.append(f"{shown_count(nameless)} rows name no patient: each counts as a patient of its own")
    names = [f"row {number}" if text is None else f"id {text}" for number, text in enumerate(texts)]
    return np.array(names, dtype=np.str_), notes
