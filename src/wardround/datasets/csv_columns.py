"""The feature, hospital and patient columns of a user's CSV file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wardround.errors import DataError
from wardround.small_counts import shown_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["feature_columns", "hospital_ids", "patient_ids", "plain_hospital_ids"]

_MAX_LEVELS = 100
_MISSING_LEVEL = "(missing)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    """What was met on the way through the columns; filled while reading."""

    local: set[str] = field(default_factory=set)
    idle: list[str] = field(default_factory=list)
    with_missing: list[str] = field(default_factory=list)
    crowded: list[str] = field(default_factory=list)


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

    findings = _Findings()
    columns: dict[str, NDArray[np.float64]] = {}
    for name in table.columns:
        if is_numeric_dtype(table[name]):
            columns |= _numeric(table[name], is_bool_dtype(table[name]), findings)
        else:
            columns |= _one_hot(table[name], findings)
    if findings.crowded:
        raise DataError(
            f"{path} has text columns with more than {_MAX_LEVELS} different texts: {', '.join(findings.crowded)}. "
            "Names, dates and free text are no features: remove these columns, or write numbers with a decimal point"
        )
    if not columns:
        raise DataError(f"{path} has no feature column with two different values: add columns beside the target")
    return columns, frozenset(findings.local), _notes(findings)


def hospital_ids(column: "pd.Series[Any]", path: Path) -> NDArray[np.str_]:
    """Return a plain id per row: `hospital-7` for the number 7, `st-mary` for the text "St. Mary".

    Args:
        column: the hospital of each row, none missing.
        path: the file, for messages.

    Raises:
        DataError: two spellings become the same id, so that it is unclear whether they are one hospital.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    are_numbers = is_numeric_dtype(column) and not is_bool_dtype(column)
    texts = [str(value).removesuffix(".0") if are_numbers else str(value) for value in column]
    return plain_hospital_ids(texts, path, are_numbers=are_numbers)


def plain_hospital_ids(texts: Sequence[str], path: Path, *, are_numbers: bool) -> NDArray[np.str_]:
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


def patient_ids(column: "pd.Series[Any]") -> tuple[NDArray[np.str_], list[str]]:
    """Return a patient per row, and sentences; a row that names none is a patient of its own."""
    is_missing = column.isna().to_numpy(dtype=np.bool_)
    texts = column.astype(str).str.strip().to_numpy(dtype=np.str_)
    patients = np.where(
        is_missing, np.char.add("row ", np.arange(len(texts)).astype(np.str_)), np.char.add("id ", texts)
    )
    notes = ["training and test rows are disjoint by patient"]
    if is_missing.any():
        notes.append(f"{shown_count(int(is_missing.sum()))} rows name no patient: each counts as a patient of its own")
    return patients, notes


def _numeric(column: "pd.Series[Any]", is_truth_value: bool, findings: _Findings) -> dict[str, NDArray[np.float64]]:
    name = str(column.name)
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    is_missing = ~np.isfinite(values)
    num_missing = int(is_missing.sum())
    varies = len(np.unique(values[~is_missing])) > 1
    if not varies and num_missing in (0, len(values)):
        findings.idle.append(name)
        return {}
    columns = {name: np.where(is_missing, np.nan, values)} if varies else {}
    if varies and not is_truth_value:
        findings.local.add(name)
    if num_missing:
        findings.with_missing.append(f"{name} ({shown_count(num_missing)})")
        columns[f"{name} is missing"] = is_missing.astype(np.float64)
    return columns


def _one_hot(column: "pd.Series[Any]", findings: _Findings) -> dict[str, NDArray[np.float64]]:
    name = str(column.name)
    is_missing = column.isna().to_numpy(dtype=np.bool_)
    texts = np.where(is_missing, _MISSING_LEVEL, column.astype(str).str.strip().to_numpy(dtype=np.str_))
    levels = np.unique(texts)
    if len(levels) > _MAX_LEVELS:
        findings.crowded.append(f"{name} ({len(levels)})")
        return {}
    if len(levels) < 2:
        findings.idle.append(name)
        return {}
    if is_missing.any():
        findings.with_missing.append(f"{name} ({shown_count(int(is_missing.sum()))})")
    return {f"{name}={level}": (texts == level).astype(np.float64) for level in levels}


def _notes(findings: _Findings) -> list[str]:
    notes = [f"columns dropped because they never vary: {', '.join(findings.idle)}"] if findings.idle else []
    if findings.with_missing:
        notes.append(
            f"missing values: {', '.join(findings.with_missing)}; a number becomes 0 after standardising (the "
            "hospital's mean) with a column saying where it was missing, a text becomes a level of its own"
        )
    notes.append(
        "the levels of texts, which columns vary and which miss values are taken from the whole file as public"
    )
    if findings.local:
        notes.append(
            "normalisation: each hospital's own statistics (mean and standard deviation of its training rows, clipped "
            "to +-5); these are not covered by the record-level guarantee, which is acceptable in a simulation only"
        )
    return notes
