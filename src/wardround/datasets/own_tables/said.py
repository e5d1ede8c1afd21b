"""What is said of a user's table: what was left out, what is missing, and what looks like a mistake."""

from collections import Counter
from collections.abc import Mapping, Sequence

from wardround.datasets.own_tables.features import FeatureColumn
from wardround.datasets.own_tables.text_tables import TextTable
from wardround.small_counts import shown_count

__all__ = ["duplicate_notes", "feature_notes", "level_notes", "suspect_notes", "word_notes"]

_MANY_ROWS = 50


def feature_notes(columns: Sequence[FeatureColumn]) -> list[str]:
    """Return sentences on columns that were left out, and on missing values.

    Args:
        columns: what became of each.
    """
    notes = []
    idle = [column.use.name for column in columns if column.use.reason == "it never varies"]
    if idle:
        notes.append(f"columns dropped because they never vary: {', '.join(idle)}")
    notes += [
        f"column {column.use.name} is left out: {column.use.reason}"
        for column in columns
        if column.use.reason and column.use.name not in idle
    ]
    if missing := [
        f"{column.use.name} ({shown_count(column.num_missing)})" for column in columns if column.num_missing
    ]:
        notes.append(
            f"missing values: {', '.join(missing)}; of a number a column says where it was missing, a text becomes a "
            "level of its own"
        )
    notes.append(
        "the levels of texts, which columns vary, which are left out and which miss values are taken from the whole "
        "table as public"
    )
    return notes


def word_notes(words: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a sentence on words that were read as empty cells among numbers or dates.

    Args:
        words: by column.
    """
    if not words:
        return []
    found = ", ".join(sorted({word for own in words.values() for word in own}))
    return [f"{found} is read as an empty cell where all else in a column are numbers or dates: {', '.join(words)}"]


def suspect_notes(table: TextTable, columns: Sequence[FeatureColumn], target: str) -> list[str]:
    """Return sentences on features that may be the target itself, or identifiers.

    Args:
        table: the rows.
        columns: what became of each column but those with a role.
        target: the column to be predicted.
    """
    answers = table.columns[target].tolist()
    used = [column.use for column in columns if column.use.features]
    notes = [
        f"{use.name} is equal to the target in every row: leave it out if it is not known before "
        f'([federation] drop-columns = ["{use.name}"])'
        for use in used
        if table.columns[use.name].tolist() == answers
    ]
    for use in used:
        texts = table.columns[use.name].tolist()
        if use.kind == "number" and len(set(texts)) == len(texts) >= _MANY_ROWS and all(map(str.isdigit, texts)):
            notes.append(
                f"{use.name} is another whole number in every row: leave it out if it says who a row is of "
                f'([federation] drop-columns = ["{use.name}"])'
            )
    return notes


def level_notes(columns: Sequence[FeatureColumn]) -> list[str]:
    """Return sentences on levels of one column that differ by capitals or blanks alone.

    Args:
        columns: what became of each.
    """
    notes = []
    for column in columns:
        if column.use.kind == "levels":
            plain = Counter(" ".join(name.casefold().split()) for name in column.use.features)
            if any(number > 1 for number in plain.values()):
                notes.append(
                    f"levels of {column.use.name} differ by capitals or blanks alone and are taken for different ones"
                )
    return notes


def duplicate_notes(table: TextTable) -> list[str]:
    """Return a sentence where rows are equal to an earlier one in every column.

    Args:
        table: as it was read.
    """
    first: set[tuple[str, ...]] = set()
    again = []
    for number, row in enumerate(zip(*(texts.tolist() for texts in table.columns.values()), strict=True)):
        if row in first:
            again.append(number)
        first.add(row)
    if not again:
        return []
    return [
        f"rows that are equal to an earlier one in every column: {shown_count(len(again))}, the first at "
        f"{table.place_to_show(again[0])}; each is a record of its own: remove them if they were copied by mistake"
    ]
