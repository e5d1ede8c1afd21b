"""Columns that hardly are features: numbers of rows, identifiers, names, free text and dates.

Each is left out by name with the reason and the key that takes it in. What is left out on purpose: what their cells
hold, which is in no note.
"""

import re
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.own_tables.text_tables import Texts
from wardround.datasets.own_tables.values import WORDS_FOR_MISSING, are_codes, looks_like_date, looks_like_number

__all__ = ["repeated_names", "why_left_out"]

_MOST_LEVELS = 100
_FEW_ROWS, _MANY_ROWS = 10, 20
_MOST_DIGITS = 8
_OF_ROWS = frozenset(
    (
        "rownames",
        "rowname",
        "rownumber",
        "rownum",
        "rowid",
        "row",
        "index",
        "unnamed0",
        "column1",
        "nr",
        "lfdnr",
        "seqno",
    )
)
_OF_PEOPLE = frozenset(
    ("id", "ids", "identifier", "identifiant", "pid", "uid", "uuid", "guid", "mrn", "ssn", "nhs", "patid", "subjid")
)
_PEOPLE = frozenset(("patient", "patients", "subject", "subjects", "person", "participant", "name", "surname"))
_NAME = "name"
_AGAIN = re.compile(r"(.+)\.([1-9][0-9]*)")


def why_left_out(name: str, texts: Texts, values: NDArray[np.float64], *, are_numbers: bool) -> str | None:
    """Return why a column that no setting names is no feature; None where it is one.

    Args:
        name: of the column.
        texts: (n,) cells, "" where empty.
        values: (n,) their numbers.
        are_numbers: whether all cells that are not empty are numbers.
    """
    filled = texts[[text != "" and text not in WORDS_FOR_MISSING for text in texts]]
    different = set(filled.tolist())
    if len(different) < 2:
        return None
    if are_numbers and not are_codes(different):
        return _of_numbers(name, values, filled, different)
    is_date = sum(map(looks_like_date, filled.tolist())) * 2 >= len(filled)
    if is_date:
        return "it holds dates: name it in [federation] date-columns to have the days since 2000-01-01"
    if 2 * sum(map(looks_like_number, filled.tolist())) >= len(filled) and not are_codes(different):
        return None
    return _of_texts(name, filled, different)


def _of_numbers(name: str, values: NDArray[np.float64], filled: Texts, different: set[str]) -> str | None:
    known = values[np.isfinite(values)]
    if not len(known) or not (known == np.floor(known)).all():
        return None
    plain = _plain(name)
    are_different = len(different) == len(filled)
    if plain in _OF_ROWS and are_different:
        return f"it is different in every row and looks like a number of the row {_TO_HAVE}"
    if are_different and len(filled) >= _FEW_ROWS and _counts_rows(known):
        return f"it counts the rows from {int(known.min())}, without a gap {_TO_HAVE}"
    if _is_of_people(name) and len(different) > 2:
        return f"by its name it says who a row is of (patient-column?) {_TO_HAVE}"
    longest = max(map(len, different))
    if longest > _MOST_DIGITS and 2 * len(different) > len(filled) and len(filled) >= _FEW_ROWS:
        return f"whole numbers of up to {longest} digits, most of them different, look like identifiers {_TO_HAVE}"
    if all(_is_day(text) for text in different):
        return "it holds dates without signs: name it in date-columns with its form (%Y%m%d)"
    return None


def _counts_rows(known: NDArray[np.float64]) -> bool:
    return bool(known.min() in (0, 1) and known.max() - known.min() == len(known) - 1)


def _of_texts(name: str, filled: Texts, different: set[str]) -> str | None:
    number = len(different)
    if _is_of_people(name) and number > 2:
        return f"by its name it says who a row is of (patient-column?) {_TO_HAVE_TEXTS}"
    all_different = number == len(filled) and len(filled) >= _FEW_ROWS
    if number > _MANY_ROWS and _NAME in _words(name):
        return f"by its name it holds names {_TO_HAVE_TEXTS}"
    if number > _MOST_LEVELS or all_different or (2 * number > len(filled) and len(filled) >= _MANY_ROWS):
        return f"names or free text: {_how_many(number, len(filled))} {_TO_HAVE_TEXTS}"
    return None


_TO_HAVE = "([federation] columns, a list of all features, takes it in)"
_TO_HAVE_TEXTS = "([federation] categorical-columns takes it in)"


def _how_many(number: int, of: int) -> str:
    return "its texts are different in every row" if number == of else f"{number:,} different texts"


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _words(name: str) -> list[str]:
    return re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())


def _is_of_people(name: str) -> bool:
    return _plain(name) in _OF_PEOPLE | _PEOPLE or any(word in _OF_PEOPLE for word in _words(name))


def _is_day(text: str) -> bool:
    if len(text) != _MOST_DIGITS or not 1900 <= int(text[:4] if text.isdigit() else 0) <= 2100:
        return False
    try:
        datetime.strptime(text, "%Y%m%d")
    except ValueError:
        return False
    return True


def repeated_names(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of columns of which one is called like a second one of the other's name.

    >>> repeated_names(["died", "age", "died.1", "V.1"])
    [('died', 'died.1')]
    """
    known = set(names)
    found = ((_AGAIN.fullmatch(name), name) for name in names)
    return [(match[1], name) for match, name in found if match is not None and match[1] in known]
