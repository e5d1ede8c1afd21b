"""Names that others chose, checked where they enter: they end up in paths, CSV cells, terminals and pages.

A name of a hospital is held to letters that can do no harm in any of these. A label (a column, a level, a class, a
unit) is only shown, so that whatever can be read may stand in it. What is left out on purpose: which names are known.
"""

import difflib
import unicodedata
from collections.abc import Iterable

from wardround.errors import DataError, WardroundError

__all__ = [
    "MOST_LABEL_CHARACTERS",
    "MOST_NAME_CHARACTERS",
    "check_label",
    "check_name",
    "did_you_mean",
    "shown_name",
]

MOST_NAME_CHARACTERS = 100
"""Of a hospital, a site or a study."""
MOST_LABEL_CHARACTERS = 200
"""Of a class, a column or a level."""
_BETWEEN = " -_.,'()&"
_LETTERS = ("L", "M", "N")
"""Unicode's general categories of letters, marks on them, and numbers."""
_UNSEEN = ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")
"""Control characters, marks that turn the direction of writing or have no width, half characters, line ends."""


def check_name(name: str, what: str, *, error: type[WardroundError] = DataError) -> None:
    """Refuse a name that could be read as a path, a formula of a spreadsheet, a command to a terminal or markup.

    >>> check_name("st-mary's (north)", "hospital")
    >>> check_name("=HYPERLINK(1)", "hospital")
    Traceback (most recent call last):
    ...
    wardround.errors.DataError: hospital '=HYPERLINK(1)' must begin with a letter or a digit: rename it

    Args:
        name: of a hospital or a site.
        what: what it names, for the message.
        error: what is raised.

    Raises:
        WardroundError: of the given kind, with what is wrong.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= MOST_NAME_CHARACTERS:
        raise error(f"{what} {shown_name(name)} must have 1 to {MOST_NAME_CHARACTERS} characters: rename it")
    if unicodedata.category(name[0])[0] not in "LN":
        raise error(f"{what} {shown_name(name)} must begin with a letter or a digit: rename it")
    for character in name:
        if unicodedata.category(character)[0] not in _LETTERS and character not in _BETWEEN:
            raise error(
                f"{what} {shown_name(name)} has {character!a}, and may have letters, digits, spaces and "
                f"{' '.join(_BETWEEN.strip())} only: rename it"
            )
    if name[-1] == " ":
        raise error(f"{what} {shown_name(name)} ends with a space: rename it")


def check_label(label: str, what: str, *, error: type[WardroundError] = DataError) -> None:
    r"""Refuse a label that is empty, very long, or has characters that can't be seen.

    >>> check_label("lactate (mmol/l)", "column")
    >>> check_label("age\u202e", "column")
    Traceback (most recent call last):
    ...
    wardround.errors.DataError: column 'age\u202e' has '\u202e', which can't be seen: rename it

    Args:
        label: a column, a level, a class or a unit.
        what: what it labels, for the message.
        error: what is raised.

    Raises:
        WardroundError: of the given kind, with what is wrong.
    """
    if not isinstance(label, str) or not 1 <= len(label) <= MOST_LABEL_CHARACTERS:
        raise error(f"{what} {shown_name(label)} must have 1 to {MOST_LABEL_CHARACTERS} characters: rename it")
    for character in label:
        if unicodedata.category(character) in _UNSEEN:
            raise error(f"{what} {shown_name(label)} has {character!a}, which can't be seen: rename it")


def shown_name(name: object) -> str:
    """Return whatever stands for a name as ASCII that is safe to print, shortened."""
    try:
        text = ascii(name)
    except (ValueError, RecursionError):  # a whole number of thousands of digits
        return f"of kind {type(name).__name__} and too long to show"
    return text if len(text) <= MOST_NAME_CHARACTERS else f"{text[:40]}... ({len(text)} characters)"


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return the end of a message on a name that isn't known: the nearest one that is, where one is near.

    >>> did_you_mean("pasients", ["patients", "hospitals"])
    ': did you mean patients?'
    >>> did_you_mean("unit", ["patients", "hospitals"])
    ' (known: patients, hospitals)'

    Args:
        name: as it was given.
        known: every name there is.
        otherwise: the end where none is near; None lists those that are known.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f": did you mean {near[0]}?"
    return f" (known: {', '.join(known)})" if otherwise is None else otherwise
