"""What a cell's text can be: a number, a date, or a word that stands for nothing.

A number is digits with at most one decimal sign and an exponent: no blanks, no percent, no comparison, no thousands.
What is left out on purpose: which of these a column is, and what is said where one is not.
"""

import math
import re
from collections.abc import Iterable
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.own_tables.text_tables import Texts

__all__ = [
    "DAY_ZERO",
    "WORDS_FOR_MISSING",
    "are_codes",
    "days_of",
    "days_since",
    "looks_like_date",
    "looks_like_number",
    "looks_like_value",
    "number_of",
    "numbers_of",
    "scaled",
    "words_among_values",
]

WORDS_FOR_MISSING = frozenset(
    ("NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "NaT")
)
"""What R, pandas, spreadsheets and databases write where nothing is."""

DAY_ZERO = date(2000, 1, 1)
"""Public, and not of anyone: dates become days since then."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_CODE = re.compile(r"[+-]?0[0-9]+")
_LIKE_NUMBER = re.compile(r"[<>=~±≤≥≈(]*\s*[+-]?\.?[0-9][0-9.,'\s]*(?:[eE][+-]?[0-9]+)?\s*[%)*]*")
_LIKE_DATES = (
    re.compile(r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}(?:[T ].*)?"),
    re.compile(r"[0-9]{1,2}[-/.][0-9]{1,2}[-/.](?:[0-9]{2}|[0-9]{4})(?:[T ].*)?"),
    re.compile(r"[0-9]{1,2}[- ]?[A-Za-z]{3,9}\.?[- ]?,?[0-9]{2,4}(?:[T ].*)?"),
)
_SECONDS_OF_A_DAY = 86_400


def scaled(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return numbers of a public range from low to high, scaled to [-1, 1]."""
    return (values - low) / (high - low) * 2.0 - 1.0


def numbers_of(texts: Texts, decimal: str | None = None) -> NDArray[np.float64]:
    """Return the number that each cell is: infinite where it is too large for one, nan where it is none.

    Args:
        texts: (n,) cells.
        decimal: before the decimals, "." or ","; None is ".".
    """
    made = {text: number_of(text, decimal) for text in set(texts.tolist())}
    return np.fromiter(map(made.__getitem__, texts.tolist()), dtype=np.float64, count=len(texts))


def number_of(text: str, decimal: str | None = None) -> float:
    """Return the number that a cell is; infinite where it is too large for one, nan where it is none.

    >>> number_of("1.5"), number_of("36,6", ","), number_of("<5")
    (1.5, 36.6, nan)
    """
    if decimal == ",":
        text = "" if "." in text else text.replace(",", ".")
    return float(text) + 0.0 if _NUMBER.fullmatch(text) else math.nan  # -0.0 is 0.0


def words_among_values(texts: Texts, decimal: str | None = None) -> tuple[str, ...]:
    """Return the words for missing in a column whose other cells are all numbers, or all dates; none in any other.

    Args:
        texts: (n,) cells.
        decimal: before the decimals, as in `numbers_of`.
    """
    different = set(texts.tolist()) - {""}
    words = different & WORDS_FOR_MISSING
    others = different - words
    are_values = all(math.isfinite(number_of(text, decimal)) for text in others) or all(map(looks_like_date, others))
    return tuple(sorted(words)) if words and others and are_values else ()


def are_codes(texts: Iterable[str]) -> bool:
    """Return whether a whole number among the cells is written with a zero in front, as numbers are not.

    >>> are_codes(["7", "007"]), are_codes(["0", "0.5"])
    (True, False)
    """
    return any(_CODE.fullmatch(text) for text in texts)


def looks_like_number(text: str) -> bool:
    """Return whether people would read a number in a cell, which need not be one: "<5", "97%", "36,6"."""
    return bool(_LIKE_NUMBER.fullmatch(text)) and not looks_like_date(text)


def looks_like_date(text: str) -> bool:
    """Return whether people would read a date in a cell, in whatever order of day, month and year."""
    return any(form.fullmatch(text) for form in _LIKE_DATES)


def looks_like_value(text: str) -> bool:
    """Return whether a cell can hardly be the name of a column."""
    return bool(_NUMBER.fullmatch(text)) or looks_like_date(text)


def days_of(texts: Texts, form: str | None) -> NDArray[np.float64]:
    """Return the days from 2000-01-01 to each cell's date, with the time of day as a part of one; nan for none.

    Args:
        texts: (n,) cells.
        form: as `datetime.strptime` has it ("%d.%m.%Y"); None is ISO 8601 (2024-01-31, 2024-01-31 12:30:00).
    """
    made = {text: days_since(text, form) for text in set(texts.tolist())}
    return np.fromiter(map(made.__getitem__, texts.tolist()), dtype=np.float64, count=len(texts))


def days_since(text: str, form: str | None) -> float:
    """Return the days from 2000-01-01 to a date, nan where the text is none of the form or has a time zone.

    >>> days_since("2000-01-31", None), days_since("31.12.1999 12:00", "%d.%m.%Y %H:%M"), days_since("soon", None)
    (30.0, -0.5, nan)
    """
    try:
        moment = datetime.fromisoformat(text) if form is None else datetime.strptime(text, form)
    except ValueError:
        return math.nan
    if moment.tzinfo is not None:
        return math.nan
    since = moment - datetime(DAY_ZERO.year, DAY_ZERO.month, DAY_ZERO.day)
    return since.days + (since.seconds + since.microseconds / 1e6) / _SECONDS_OF_A_DAY
