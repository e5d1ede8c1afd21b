"""How numbers in their own unit become features: the one place that resolves the mode and applies it.

What is left out on purpose: the release that the mode "private" takes its means and deviations from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import HOSPITAL, MOST_DEVIATIONS, NONE, PRIVATE, PUBLIC, FeaturesConfig
from wardround.datasets.own_tables.values import scaled
from wardround.datasets.records import Dataset, NumberColumn
from wardround.errors import ConfigError, DataError
from wardround.names import did_you_mean

__all__ = ["bounded_numbers", "mode_note", "mode_of", "standardise"]

_Rows = NDArray[np.float32] | NDArray[np.float64]

_ROUNDING = {4: 1e-6, 8: 1e-13}
"""What the deviation of equal numbers may be, relative to them, by their bytes."""
_MOST_NAMES = 5


def mode_of(dataset: Dataset, features: FeaturesConfig) -> str:
    """Return the mode by which a data set's numbers are standardised: as it is named, or as the data decide.

    None is "public" where every number has public constants, "private" where every number has bounds in [features],
    and else "hospital".

    Args:
        dataset: its numbers, groups and shape are used.
        features: standardise and bounds are used.

    Raises:
        ConfigError: the data can't have the mode that is named, or bounds are of no number or without use.
    """
    stated, names = features.bounds or {}, _names(dataset, dataset.numbers)
    _check_stated(dataset, stated, names)
    mode = features.standardise
    if mode is None:
        are_public = all(number.is_public for number in dataset.numbers)
        mode = PUBLIC if are_public else PRIVATE if set(names) <= set(stated) else HOSPITAL
    else:
        _check_named(dataset, mode, bounded_numbers(dataset, features))
    if stated and mode != PRIVATE:
        left = [name for name in names if name not in stated]
        step = f"add those of {_listed(left)}" if left and mode == HOSPITAL else f'set standardise = "{PRIVATE}"'
        raise ConfigError(
            f'bounds go with standardise = "{PRIVATE}", and for {dataset.name} it is "{mode}" ([features] bounds): '
            f"{step}, or remove bounds"
        )
    return mode


def bounded_numbers(dataset: Dataset, features: FeaturesConfig) -> tuple[NumberColumn, ...]:
    """Return the numbers of a data set with the bounds of [features] in the place of those that come with it."""
    stated, names = features.bounds or {}, _names(dataset, dataset.numbers)
    return tuple(
        replace(number, low=stated[name][0], high=stated[name][1]) if name in stated else number
        for name, number in zip(names, dataset.numbers, strict=True)
    )


def standardise(
    train: _Rows, test: _Rows, numbers: Sequence[NumberColumn], mode: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return one hospital's training and test features, both by the same constants.

    "public" is (x - centre) / scale, or from the bounds to [-1, 1] where a number has no centre. "hospital" takes mean
    and deviation of the training rows, and clips to +-5. "private" clips to the bounds and scales from them to [-1, 1],
    and leaves nan where a number is missing; "none" leaves numbers in their own unit. A missing number is 0 in all but
    "private".

    Args:
        train: (num_train, ...), the hospital's own copy, which is overwritten; numbers in their own unit.
        test: (num_test, ...), likewise.
        numbers: which columns are numbers; with constants in the mode "public", with bounds in "private".
        mode: resolved (see `mode_of`).

    Raises:
        DataError: a number is too large for float32.
    """
    if numbers:
        places = [number.column for number in numbers]
        by_mode = {PUBLIC: _by_constants, PRIVATE: _by_bounds, HOSPITAL: _by_training_rows, NONE: _as_they_are}
        own = by_mode[mode]([rows[:, places].astype(np.float64) for rows in (train, test)], numbers, train.dtype)
        for rows, values in zip((train, test), own, strict=True):
            rows[:, places] = values if mode == PRIVATE else np.where(np.isnan(values), 0.0, values)
    # Numbers in their own unit may need all of float64, as those far from zero do; from here on float32 is enough.
    return train.astype(np.float32, copy=False), test.astype(np.float32, copy=False)


def mode_note(mode: str, numbers: Sequence[NumberColumn]) -> tuple[str, ...]:
    """Return the sentence on how numbers are standardised; none where there are no numbers."""
    if not numbers:
        return ()
    said = {
        PUBLIC: "public constants (a centre and a scale for each number, or its bounds, which become -1 and 1); a "
        "missing number is 0, its centre",
        PRIVATE: "means and deviations of all hospitals' training rows, clipped to public bounds; they are released "
        "before round 1, noised and charged like a round; a missing number is 0, the mean",
        HOSPITAL: "each hospital's own statistics (mean and standard deviation of its training rows, clipped to +-5); "
        "these are not covered by the record-level guarantee, which is acceptable in a simulation only; a missing "
        "number is 0, the mean",
        NONE: "none, numbers are in their own unit; a missing number is 0",
    }
    return (f"normalisation: {said[mode]}",)


def _names(dataset: Dataset, numbers: Iterable[NumberColumn]) -> list[str]:
    return [dataset.feature_names[number.column] for number in numbers]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" * (len(names) > _MOST_NAMES))


def _check_stated(dataset: Dataset, stated: Iterable[str], names: Sequence[str]) -> None:
    """Refuse bounds of what is no number."""
    reasons = {
        use.name: f"it is left out, as {use.reason}" if use.reason else f"it is used as {use.kind}"
        for use in dataset.columns
    }
    for name in stated:
        if name not in names:
            near = f": {reasons[name]}" if name in reasons else did_you_mean(name, names, otherwise=":")
            known = f" its numbers are {_listed(names)}" if near == ":" and names else " it has none" * (near == ":")
            raise ConfigError(
                f"bounds name {name!r}, which is no number of {dataset.name} ([features] bounds){near}{known}"
            )


def _check_named(dataset: Dataset, mode: str, numbers: Sequence[NumberColumn]) -> None:
    """Refuse a mode that the data can't have."""
    if mode == PUBLIC and (bare := [number for number in numbers if not number.is_public]):
        raise ConfigError(
            f'standardise = "public" needs public constants, and {dataset.name} has none of '
            f'{_listed(_names(dataset, bare))} ([features] standardise): set "private" with '
            'bounds, "hospital" or "none"'
        )
    if mode == PRIVATE and (bare := [number for number in numbers if not number.bounds]):
        names = _listed(_names(dataset, bare))
        raise ConfigError(
            f'standardise = "private" needs bounds of every number, and there are none of {names} ([features] bounds): '
            "add its lowest and highest plausible value, from public knowledge and never from these data, as in "
            "bounds = { age = [18, 100] }"
        )
    if (mode == HOSPITAL and not numbers) or (mode == PRIVATE and not (numbers or dataset.groups)):
        raise ConfigError(
            f'standardise = "{mode}" needs columns that are known to be numbers in their own unit, and {dataset.name} '
            'has none: its features are taken as they are ([features] standardise): remove it, or set "public"'
        )


def _by_constants(own: list[NDArray[np.float64]], numbers: Sequence[NumberColumn], _: Any) -> list[NDArray[np.float64]]:
    """Scale by centre and scale, or by bounds: two formulas, since data that were once released keep their bits."""
    centre, scale = np.array([number.constants or (0.0, 1.0) for number in numbers], dtype=np.float64).T
    low, high = np.array([number.bounds or (0.0, 1.0) for number in numbers], dtype=np.float64).T
    by_centre = [number.constants is not None for number in numbers]
    return [np.where(by_centre, (values - centre) / scale, scaled(values, low, high)) for values in own]


def _by_bounds(own: list[NDArray[np.float64]], numbers: Sequence[NumberColumn], _: Any) -> list[NDArray[np.float64]]:
    low, high = np.array([number.bounds for number in numbers], dtype=np.float64).T
    return [scaled(np.clip(values, low, high), low, high) for values in own]


def _by_training_rows(
    own: list[NDArray[np.float64]], numbers: Sequence[NumberColumn], held: np.dtype[Any]
) -> list[NDArray[np.float64]]:
    known = own[0]
    present = ~np.isnan(known)
    counts = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, known, 0.0).sum(axis=0) / counts
    deviation = np.sqrt((np.where(present, known - mean, 0.0) ** 2).sum(axis=0) / counts)
    # A column that does not vary here carries nothing here; a rounding error must not be blown up to +-1.
    largest = np.max(np.abs(known), axis=0, initial=0.0, where=present)
    scale = np.where(deviation > _ROUNDING[held.itemsize] * np.maximum(largest, 1e-12), deviation, np.inf)
    return [np.clip((values - mean) / scale, -MOST_DEVIATIONS, MOST_DEVIATIONS) for values in own]


def _as_they_are(own: list[NDArray[np.float64]], numbers: Sequence[NumberColumn], _: Any) -> list[NDArray[np.float64]]:
    if any((np.abs(values) > np.finfo(np.float32).max).any() for values in own):
        raise DataError(
            'a number is beyond 3.4e38, which no float32 holds in its own unit ([features] standardise = "none"): '
            "correct it, or choose another mode"
        )
    return own
