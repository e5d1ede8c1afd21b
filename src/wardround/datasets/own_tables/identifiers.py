"""Who a row is of: hospitals and patients, whose names are texts and never numbers.

"007" and "7" are two, and so are 18 digits that differ in the last. What is left out on purpose: which column it is.
"""

import re
from collections import Counter
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.own_tables.text_tables import Texts, TextTable
from wardround.datasets.own_tables.values import WORDS_FOR_MISSING
from wardround.errors import DataError
from wardround.small_counts import shown_count

__all__ = [
    "alike_notes",
    "exact_names",
    "hospital_ids",
    "is_rewritten",
    "named_after_words",
    "patient_ids",
    "texts_of_names",
]

_WHOLE_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)[.,]0")
_ROUNDED = re.compile(r"-?[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{2,}")
_FIRST_ROUNDED = 2**53
_MOST_PAIRS = 3


def exact_names(texts: Texts, key: str, column: str, table: TextTable) -> Texts:
    """Return names as they were before a program took them for numbers, or refuse those that it has rounded.

    Where every name is a whole number with ".0", as a column of numbers beside an empty cell is written, they are the
    whole numbers. No two names become one, and 7 and 7.0 are not two: a number that is written in both ways is refused.

    Args:
        texts: (n,) names; "" where a row names nobody.
        key: the setting that names the column, for messages.
        column: its name.
        table: where it is from.

    Raises:
        DataError: a name is a number that was rounded: from 2^53 on, or written with an exponent; or one is written
            in two ways.
    """
    named = [text for text in texts.tolist() if text]
    are_floats = bool(named) and all(_WHOLE_FLOAT.fullmatch(text) for text in named)
    for row, text in enumerate(texts.tolist()):
        is_float = _WHOLE_FLOAT.fullmatch(text) is not None
        if _ROUNDED.fullmatch(text) or (is_float and abs(int(re.split("[.,]", text)[0])) >= _FIRST_ROUNDED):
            raise DataError(
                f"{table.place(row)}: {column} = {text!r} is a number that a program has rounded, so that different "
                f"people may have become one ([federation] {key}): export the column as text (in pandas "
                "dtype=str, in a spreadsheet the cell format Text)"
            )
    if not are_floats:
        _check_one_way(texts, key, column, table)
        return texts
    whole = np.empty(len(texts), dtype=object)
    whole[:] = [re.split("[.,]", text)[0] for text in texts.tolist()]
    return whole


def is_rewritten(text: str) -> bool:
    """Return whether a name is a number as programs write it that took it for one: 7.0, 1.1E+17.

    >>> is_rewritten("7.0"), is_rewritten("1.1E+17"), is_rewritten("7"), is_rewritten("p7.0")
    (True, True, False, False)
    """
    return bool(_WHOLE_FLOAT.fullmatch(text) or _ROUNDED.fullmatch(text))


def _check_one_way(texts: Texts, key: str, column: str, table: TextTable) -> None:
    """Refuse 7 beside 7.0, as files have it of which one has an empty cell: whose rows they are, they don't say."""
    known = set(texts.tolist())
    for row, text in enumerate(texts.tolist()):
        if _WHOLE_FLOAT.fullmatch(text) and (whole := re.split("[.,]", text)[0]) in known:
            raise DataError(
                f"{table.place(row)}: {column} = {text!r}, and another row has {whole!r}: these are one name or two "
                f"([federation] {key}): export the column as text (in pandas dtype=str, in a spreadsheet the cell "
                "format Text)"
            )


def texts_of_names(values: NDArray[Any], what: str) -> list[str]:
    """Return whose row each is, as a table has it; "" where nobody is named: None, nan, an empty text.

    7 and 7.0 are one, of whatever types the arrays are.

    Args:
        values: (n,) texts or whole numbers.
        what: they are, for messages: "patients of north".

    Raises:
        DataError: a number is not whole, or so large that it was rounded.
    """
    bits = np.finfo(values.dtype).nmant + 1 if values.dtype.kind == "f" else None
    return [_text_of_name(value, 2 ** (bits or 53), what) for value in values.tolist()]


def _text_of_name(value: Any, first_rounded: int, what: str) -> str:
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return ""
    if isinstance(value, Real) and not isinstance(value, Integral):
        if not float(value).is_integer() or abs(float(value)) >= first_rounded:
            raise DataError(
                f"{what} have the number {value!r}, which is not whole or was rounded, so that different people may "
                "have become one: give texts or integers"
            )
        value = int(float(value))
    return normalize("NFC", str(value)).strip()


def hospital_ids(texts: Sequence[str], source: object) -> NDArray[np.str_]:
    """Return a plain id per text: `hospital-007` for "007" where all are digits, `st-mary` for "St. Mary".

    Args:
        texts: the hospital of each row, none empty.
        source: the file, for messages.

    Raises:
        DataError: two spellings become the same id, so that it is unclear whether they are one hospital.
    """
    are_numbers = all(text.isascii() and text.isdigit() for text in dict.fromkeys(texts))
    text_of: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        plain = re.sub(r"[^\w]+", "-", text.strip().lower()).strip("-")
        name = f"hospital-{plain}" if are_numbers or not plain else plain
        if name in text_of:
            raise DataError(
                f"{source}: hospitals {text_of[name]!r} and {text!r} both become {name}: spell them alike if "
                "they are one, or rename one of them"
            )
        text_of[name] = text
    name_of = {text: name for name, text in text_of.items()}
    return np.array([name_of[text] for text in texts], dtype=np.str_)


def patient_ids(texts: Sequence[str], hospitals: NDArray[np.str_] | None = None) -> tuple[NDArray[np.str_], list[str]]:
    """Return a patient per row, and sentences; a row that names none ("") is a patient of its own.

    Args:
        texts: the patient of each row.
        hospitals: (n,) ids, where the same number at two hospitals means two patients; None where it means one.
    """
    notes = ["training and test rows are disjoint by patient"]
    if nameless := texts.count(""):
        notes.append(f"{shown_count(nameless)} rows name no patient: each counts as a patient of its own")
    # No hospital's id has a colon, so that no two patients become one.
    scopes = [""] * len(texts) if hospitals is None else [f"{name}: " for name in hospitals.tolist()]
    if hospitals is not None:
        notes.append("a patient's number holds at one hospital (patient-scope): the same at two means two patients")
    names = [
        f"id {scope}{text}" if text else f"row {number}"
        for number, (scope, text) in enumerate(zip(scopes, texts, strict=True))
    ]
    return np.array(names, dtype=np.str_), notes


def alike_notes(texts: Sequence[str], what: str, table: TextTable) -> list[str]:
    """Return a sentence where names differ by no more than capitals, blanks, signs or zeros in front; no name is told.

    Args:
        texts: the names of the rows.
        what: "patients" or "hospitals".
        table: the rows.
    """
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        if text:
            first.setdefault(text, row)
    alike: dict[str, list[int]] = {}
    for text, row in first.items():
        alike.setdefault(_bare(text), []).append(row)
    groups = [rows for rows in alike.values() if len(rows) > 1]
    if not groups:
        return []
    shown = "; ".join(
        " and ".join(table.place_to_show(row) for row in rows[:_MOST_PAIRS]) for rows in groups[:_MOST_PAIRS]
    )
    return [
        f"names of {what} that differ by capitals, blanks, signs or zeros in front alone are taken for different "
        f"{what}: {shown}{' and elsewhere' if len(groups) > _MOST_PAIRS else ''}"
    ]


def _bare(text: str) -> str:
    letters = re.sub(r"[\W_]+", "", re.sub(r"[.,]0$", "", text).casefold())
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", letters)


def named_after_words(texts: Sequence[str], what: str, column: str) -> list[str]:
    """Return a sentence where a word that often stands for nothing is taken for a name.

    Args:
        texts: names of the rows.
        what: "hospital", "patient" or "class".
        column: whose they are.
    """
    words = [word for word, _ in Counter(texts).items() if word in WORDS_FOR_MISSING]
    return [
        f"{word} is taken for a {what} of that name, in {column}: where it means that nothing is known, say so "
        f"([federation] missing-values = [{word!r}])"
        for word in words
    ]
