"""A federation as a table: what `wardround data describe` prints."""

from typing import TYPE_CHECKING, Any

import numpy as np

from wardround.datasets.records import CLASSIFICATION, FederatedData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["describe"]


def describe(federation: FederatedData) -> "pd.DataFrame":
    """Return one row per hospital: records, train, test, and the share of each class or the target's mean and std.

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
        else:
            row["target mean"], row["target std"] = labels.mean(dtype=np.float64), labels.std(dtype=np.float64)
        rows.append(row)
    index = pd.Index([hospital.hospital_id for hospital in federation.hospitals], name="hospital")
    return pd.DataFrame(rows, index=index)
