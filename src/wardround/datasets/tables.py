"""A federation as tables: what `wardround data describe` prints."""

from typing import TYPE_CHECKING, Any

import numpy as np

from wardround.datasets.records import CLASSIFICATION, SURVIVAL, FederatedData
from wardround.survival import times_and_events

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["describe", "describe_columns", "describe_features"]


def describe(federation: FederatedData) -> "pd.DataFrame":
    """Return one row per hospital: records, train, test, and the share of each class or the target's mean and std.

    Of a survival they are the share of records whose event was seen, and the median time until it or the censoring.

    Args:
        federation: the hospitals.

    Returns:
        Table indexed by hospital; shares are over training and test records together and add up to 1.
    """
    import pandas as pd

    rows = []
    for hospital in federation.hospitals:
        labels = np.concatenate([hospital.train_labels, hospital.test_labels])
        row: dict[str, Any] = {
            "records": len(labels),
            "train": len(hospital.train_labels),
            "test": len(hospital.test_labels),
        }
        if federation.task == CLASSIFICATION:
            shares = np.bincount(labels, minlength=len(federation.class_names)) / len(labels)
            row |= {f"share {name}": share for name, share in zip(federation.class_names, shares, strict=True)}
        elif federation.task == SURVIVAL:
            times, events = times_and_events(labels)
            row["share event"], row["median time"] = events.mean(), float(np.median(times))
        else:
            row["target mean"], row["target std"] = labels.mean(dtype=np.float64), labels.std(dtype=np.float64)
        rows.append(row)
    index = pd.Index([hospital.hospital_id for hospital in federation.hospitals], name="hospital")
    return pd.DataFrame(rows, index=index)


def describe_features(federation: FederatedData) -> list[dict[str, str | None]]:
    """Return every feature in order: its name, the column of the table that it is made of, and what that holds.

    Args:
        federation: the hospitals.

    Returns:
        Mappings with feature, column and kind ("number", "levels" or "date"); column and kind are None where the
        data set is no table of a user's, whose source says what a feature is.
    """
    made_of = {name: use for use in federation.columns for name in use.features}
    rows: list[dict[str, str | None]] = []
    for name in federation.feature_names:
        use = made_of.get(name)
        column, kind = (None, None) if use is None else (use.name, use.kind)
        rows.append({"feature": name, "column": column, "kind": kind})
    return rows


def describe_columns(federation: FederatedData) -> list[dict[str, Any]]:
    """Return what became of every column of a user's table, in its order; nothing where there is none.

    Args:
        federation: the hospitals.

    Returns:
        Mappings with column, kind, features (names) and reason (why it was left out, else "").
    """
    return [
        {"column": use.name, "kind": use.kind, "features": list(use.features), "reason": use.reason}
        for use in federation.columns
    ]
