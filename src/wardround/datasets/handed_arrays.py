"""Arrays that Python hands over, checked and joined: features, labels and patients of all hospitals.

What is left out on purpose: scaling, and what becomes of them (see `handed_data`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.own_tables.identifiers import patient_ids, texts_of_names
from wardround.datasets.own_tables.targets import FEW_INTEGERS
from wardround.datasets.records import CLASSIFICATION, REGRESSION, SURVIVAL
from wardround.datasets.shared_rows import joined
from wardround.errors import ConfigError, DataError
from wardround.names import shown_name
from wardround.survival import check_time_edges, labels_of_times

__all__ = ["by_text", "features_of", "labels_of", "names_of_features", "pair_of", "patients_of"]


def pair_of(name: str, given: Any, label_shape: tuple[int, ...] = ()) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the features and labels of one hospital as arrays, and refuse labels of another shape a record."""
    kind = type(given).__name__
    is_data_set = hasattr(given, "__getitem__") and hasattr(given, "__len__") and not hasattr(given, "shape")
    if is_data_set and not isinstance(given, tuple | list | str | Mapping):
        rows = [given[index] for index in range(len(given))]
        given = tuple([_array(part) for part in column] for column in zip(*rows, strict=True))
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ConfigError(
            f"hospital {shown_name(name)} must be (features, labels) or a torch Dataset of such pairs, not "
            f"{shown_name(kind)}"
        )
    try:
        features, labels = (_array(part) for part in given)
    except ValueError as error:
        raise DataError(f"hospital {shown_name(name)} has rows of different shapes: {error}") from error
    labels = labels.reshape(len(labels)) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if features.ndim < 2 or labels.shape != (len(features), *label_shape) or not len(labels):
        raise DataError(
            f"hospital {shown_name(name)} has features of shape {features.shape} and labels of shape {labels.shape}, "
            f"and needs (n, ...) and (n,{''.join(f' {size}' for size in label_shape)}) for the same n >= 1"
        )
    return features, labels


def _array(part: Any) -> NDArray[Any]:
    return np.asarray(part.detach().cpu() if hasattr(part, "detach") else part)  # a tensor, without importing torch


def features_of(parts: list[tuple[str, NDArray[Any]]]) -> NDArray[np.float32]:
    """Return the features of all hospitals, one after the other; numbers that are not finite are refused."""
    return joined((_checked(name, features, parts[0]) for name, features in parts), sum(len(rows) for _, rows in parts))


def _checked(name: str, features: NDArray[Any], one: tuple[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return a hospital's features as float32; rows of another shape than those of one of them are refused."""
    first, shape = one[0], one[1].shape[1:]
    if features.shape[1:] != shape:
        raise DataError(
            f"a row of {shown_name(name)} has shape {features.shape[1:]}, and one of {shown_name(first)} {shape}: "
            "all must be alike"
        )
    if features.dtype.kind not in "fiub":
        raise DataError(f"the features of {shown_name(name)} are of kind {features.dtype}, and must be numbers")
    with np.errstate(over="ignore"):
        rows = features.astype(np.float32)
    if not np.isfinite(rows).all():
        raise DataError(
            f"the features of {shown_name(name)} have numbers that are missing or infinite: fill or leave them out"
        )
    return rows


def labels_of(
    values: NDArray[Any],
    task: str | None,
    class_names: tuple[str, ...] | None,
    time_edges: tuple[float, ...] = (),
) -> tuple[str, NDArray[Any], tuple[str, ...]]:
    """Return the task, the labels as it has them, and the names of the classes (see `Federation.from_arrays`)."""
    if task not in (None, CLASSIFICATION, REGRESSION, SURVIVAL):
        raise ConfigError(f'task = {shown_name(task)} must be "{CLASSIFICATION}", "{REGRESSION}" or "{SURVIVAL}"')
    if task == SURVIVAL:
        return task, _times(values, class_names, time_edges), ()
    if time_edges:
        raise ConfigError('time_edges go with task = "survival": set that, or leave them out')
    is_number = values.dtype.kind in "fiu"
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("labels have numbers that are missing or infinite: correct or leave out these rows")
    if values.dtype.kind == "O" and any(value is None or value != value for value in values.tolist()):
        raise DataError("labels have values that are missing: leave these rows out")
    distinct = np.unique(values.astype(str) if values.dtype.kind == "O" else values)
    is_whole = is_number and bool((distinct == np.floor(distinct)).all())
    if task is None:
        few = is_whole and len(distinct) <= FEW_INTEGERS
        task = CLASSIFICATION if not is_number or few or class_names else REGRESSION
    if len(distinct) < 2:
        raise DataError(f"all labels are {distinct[0]}: there is nothing to learn")
    if task == REGRESSION:
        if not is_number or class_names:
            raise DataError("a regression needs labels that are numbers, and no class names")
        return task, values.astype(np.float32), ()
    if class_names is not None:
        if not is_whole or distinct.min() < 0 or distinct.max() >= len(class_names):
            raise DataError(
                f"labels must be 0 to {len(class_names) - 1}, as there are {len(class_names)} class names, and are "
                f"{shown_name(distinct[:5].tolist())}, ..."
            )
        return task, values.astype(np.int64), tuple(class_names)
    names = tuple(str(int(value)) if is_whole else str(value) for value in distinct)
    return task, np.searchsorted(distinct, values.astype(distinct.dtype)).astype(np.int64), names


def _times(
    values: NDArray[Any], class_names: tuple[str, ...] | None, time_edges: tuple[float, ...]
) -> NDArray[np.float32]:
    """Return labels of times and events (n, 2)."""
    check_time_edges(time_edges, "(from_arrays)")
    if class_names or values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise DataError("a survival needs labels (n, 2) of finite numbers, and no class names")
    times, events = values.astype(np.float64).T
    if (times < 0).any() or not np.isin(events, (0, 1)).all() or not events.any():
        raise DataError(
            "labels of a survival must be times >= 0, and 1 where the event was seen, which some have, and 0 elsewhere"
        )
    return labels_of_times(times, events).astype(np.float32)


def names_of_features(features: NDArray[Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a name for each number of a row that is a vector; () of any other row."""
    if features.ndim != 2:
        return ()
    if names and len(names) != features.shape[1]:
        raise ConfigError(f"feature_names has {len(names)} names for {features.shape[1]} features: give one for each")
    return tuple(names) or tuple(f"feature {number}" for number in range(1, features.shape[1] + 1))


def patients_of(
    parts: list[tuple[str, Any, bool]], patients: Mapping[str, Any]
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Return whose row each is, and sentences; a row of nobody is a patient of its own."""
    given, texts = by_text(patients, "patients"), list[str]()
    if unknown := sorted(given.keys() - {name for name, *_ in parts}):
        raise ConfigError(f"patients has rows of {', '.join(unknown)}, who are not in hospitals: add them there")
    for name, (_, labels), _ in parts:
        whose = given.get(name, ())
        # A list may mix texts and numbers, which NumPy would make texts of: 7.0 beside "7".
        own = np.asarray(whose, dtype=object if isinstance(whose, list | tuple) else None)
        if own.shape != labels.shape:
            raise ConfigError(
                f"patients of {shown_name(name)} have shape {own.shape}, and its rows {labels.shape}: name one for each"
            )
        texts += texts_of_names(own, f"patients of {shown_name(name)}")
    names, notes = patient_ids(texts)
    return names, tuple(notes)


def by_text(given: Mapping[Any, Any], what: str) -> dict[str, Any]:
    """Return a mapping by hospitals' names as texts."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what} must be a mapping by the names of hospitals, not {shown_name(type(given).__name__)}")
    found = {str(name): value for name, value in given.items()}
    if len(found) < len(given):
        raise ConfigError(f"{what} names a hospital twice, as a text and as a number: name each once")
    return found
