"""The target column of a user's table: class or number, decided, checked and said."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.own_tables.mixed import check_numbers
from wardround.datasets.own_tables.text_tables import Texts, TextTable
from wardround.datasets.own_tables.values import are_codes, numbers_of, scaled
from wardround.datasets.records import CLASSIFICATION, REGRESSION, SURVIVAL
from wardround.errors import ConfigError, DataError
from wardround.names import did_you_mean
from wardround.survival import labels_of_times

__all__ = ["FEW_INTEGERS", "Target", "read_target"]

_MAX_CLASSES = 100
_SEEN, _NOT_SEEN = ("1", "1.0", "true"), ("0", "0.0", "false")
"""How a table says whether an event was seen, where no class is named."""
FEW_INTEGERS = 20
"""Of a target that nothing is said of: so many different whole numbers at most are classes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """What is to be predicted.

    Attributes:
        task: "classification", "regression" or "survival".
        labels: int64 (n,) class index, or float64 (n,) number or time (see `wardround.survival`).
        class_names: one name per class index; () of another task.
        notes: sentences.
    """

    task: str
    labels: NDArray[Any]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def read_target(table: TextTable, config: FederationConfig) -> Target:
    """Return the target of rows that all have one.

    Args:
        table: whose rows have a target.
        config: target, task, event_column, positive_class, target_range and decimal are used. Without a task: classes
            for texts and at most 20 different whole numbers, else a regression.

    Raises:
        ConfigError: there is no class of the name, or classes where a range is given.
        DataError: the target never varies, has more than 100 classes or two spellings of one, is text where a number
            is needed, or outside its range.
    """
    name = str(config.target)
    texts = table.columns[name]
    if config.task == SURVIVAL:
        return _times(texts, name, table, config)
    values = numbers_of(texts, config.decimal)
    is_number = bool(np.isfinite(values).all()) and not are_codes(set(texts.tolist()))
    wants_number = config.task == REGRESSION or config.target_range is not None
    if config.task is None and not wants_number:
        check_numbers(texts, values, name, table, config, is_target=True)
    distinct = sorted(set(values.tolist()) if is_number else set(texts.tolist()))
    if len(distinct) < 2:
        raise DataError(f"{table.source}: target {name!r} is always {texts[0]}: name a target that varies")
    few = is_number and len(distinct) <= FEW_INTEGERS and all(value == int(value) for value in distinct)
    if wants_number or (config.task is None and is_number and not few and config.positive_class is None):
        return _numbers(texts, values, name, table, config)
    return _classes(texts, values if is_number else None, name, table, config)


def _numbers(
    texts: Texts, values: NDArray[np.float64], name: str, table: TextTable, config: FederationConfig
) -> Target:
    if not np.isfinite(values).any():
        step = f"set [federation] task = {CLASSIFICATION!r}"
        if config.target_range is not None:
            step = "remove [federation] target-range, which is of numbers"
        raise DataError(f"{table.source}: target {name!r} is text, not a number: {step}")
    check_numbers(texts, values, name, table, config, is_target=True)
    if (is_none := ~np.isfinite(values)).any():
        row = int(np.flatnonzero(is_none)[0])
        raise DataError(f"{table.place(row)}: target {name} = {texts[row]!r} is no number: correct or remove the row")
    if config.target_range is None:
        return Target(task=REGRESSION, labels=values, class_names=(), notes=("the target is in its own unit",))
    low, high = config.target_range
    if (is_outside := (values < low) | (values > high)).any():
        row = int(np.flatnonzero(is_outside)[0])
        raise DataError(
            f"{table.place(row)}: target {name} = {texts[row]} is outside target-range, {low:g} to {high:g} "
            "([federation] target-range): correct the cell, or state a wider range, not from these data"
        )
    said = f"the target {name} is scaled from target-range, {low:g} to {high:g}, to [-1, 1], and so are its losses"
    return Target(task=REGRESSION, labels=scaled(values, low, high), class_names=(), notes=(said,))


def _times(texts: Texts, name: str, table: TextTable, config: FederationConfig) -> Target:
    """Return the time of each row and whether the event was seen, of tables whose settings say where that stands."""
    times = numbers_of(texts, config.decimal)
    if (is_none := ~(times >= 0) | ~np.isfinite(times)).any():
        row = int(np.flatnonzero(is_none)[0])
        raise DataError(
            f"{table.place(row)}: time {name} = {texts[row]!r} must be a number >= 0, in the unit of time-edges: "
            "correct or remove the row"
        )
    events, how = _events(str(config.event_column), table, config)
    notes = (
        f"the target is the time {name} until the event, which {how}; of every other row it is that of the censoring",
        f"time is cut at {', '.join(f'{edge:g}' for edge in config.time_edges or ())}",
    )
    return Target(task=SURVIVAL, labels=labels_of_times(times, events), class_names=(), notes=notes)


def _events(name: str, table: TextTable, config: FederationConfig) -> tuple[NDArray[np.bool_], str]:
    """Return in which rows the event was seen, and how that is told, as a clause."""
    texts, wanted = table.columns[name], config.positive_class
    found = list(dict.fromkeys(texts.tolist()))
    yes = [text for text in found if text.casefold() in _SEEN] if wanted is None else [wanted]
    known = {*_SEEN, *_NOT_SEEN}
    if wanted is None and (others := [text for text in found if text.casefold() not in known]):
        raise DataError(
            f"{table.source}: event-column {name!r} holds {others[0]!r}, and must hold 1 where the event was seen and "
            f'0 elsewhere: name the event by [federation] positive-class = "..." (one of {", ".join(found[:5])})'
        )
    events = np.isin(texts, yes)
    if not events.any() or len(found) > 2:
        raise DataError(
            f"{table.source}: event-column {name!r} holds {', '.join(map(repr, found[:5]))}, and must hold two values, "
            f"of which {wanted or '1'!r} says that the event was seen: correct it, or name another ([federation] "
            "positive-class)"
        )
    return events, f"was seen where {name} is {' or '.join(yes)}"


def _classes(
    texts: Texts, values: NDArray[np.float64] | None, name: str, table: TextTable, config: FederationConfig
) -> Target:
    if values is None:
        names = sorted(set(texts.tolist()))
        code_of: dict[Any, int] = {text: code for code, text in enumerate(names)}
        codes = [code_of[text] for text in texts.tolist()]
    else:
        numbers = sorted(set(values.tolist()))
        names = [str(int(value)) if value == int(value) else repr(value) for value in numbers]
        code_of = {value: code for code, value in enumerate(numbers)}
        codes = [code_of[value] for value in values.tolist()]
    if len(names) > _MAX_CLASSES:
        step = "another target or group its texts" if values is None else f"[federation] task = {REGRESSION!r}"
        raise DataError(
            f"{table.source}: target {name!r} has {len(names)} classes, more than {_MAX_CLASSES}: "
            f"{'name' if values is None else 'set'} {step}"
        )
    _check_spellings(names, name, table)
    labels = np.array(codes, dtype=np.int64)
    is_turned = _is_turned(names, name, table, config)
    if is_turned:
        names, labels = names[::-1], 1 - labels
    return Target(task=CLASSIFICATION, labels=labels, class_names=tuple(names), notes=_class_notes(names, config))


def _check_spellings(names: list[str], column: str, table: TextTable) -> None:
    known: dict[str, str] = {}
    for name in names:
        plain = " ".join(name.casefold().split())
        if plain in known:
            raise DataError(
                f"{table.source}: classes {known[plain]!r} and {name!r} of {column} both become {plain}: spell them "
                "alike if they are one, or rename one of them"
            )
        known[plain] = name


def _is_turned(names: list[str], column: str, table: TextTable, config: FederationConfig) -> bool:
    """Return whether the positive class, which is the second one, stands first."""
    wanted = config.positive_class
    if wanted is None:
        return False
    if len(names) != 2:
        raise ConfigError(
            f"positive-class = {wanted!r} goes with two classes, and {column} has {len(names)} ([federation] "
            "positive-class): remove it, or group the classes to two"
        )
    if wanted not in names:
        near = did_you_mean(wanted, names)
        raise ConfigError(f"{table.source}: {column} has no class {wanted!r} ([federation] positive-class){near}")
    return names[0] == wanted


def _class_notes(names: list[str], config: FederationConfig) -> tuple[str, ...]:
    if len(names) != 2:
        return ()
    how = "" if config.positive_class is not None else "; [federation] positive-class chooses"
    return (f"the positive class is {names[1]}, the other one {names[0]}{how}",)
