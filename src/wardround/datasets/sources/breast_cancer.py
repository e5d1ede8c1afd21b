"""Breast Cancer Wisconsin (diagnostic), as scikit-learn ships it: no file to fetch."""

from pathlib import Path

import numpy as np

from wardround.config import FederationConfig
from wardround.datasets.bundled import bundled_table
from wardround.datasets.records import CLASSIFICATION, Dataset, NumberColumn
from wardround.datasets.source import Source

__all__ = ["SOURCES"]

# (minimum, maximum) of each feature in the "Summary Statistics" table of the published description (UCI repository
# id 17, and scikit-learn's `load_breast_cancer().DESCR`): mean, standard error and worst of ten measurements.
_PUBLISHED_RANGES = (
    (6.981, 28.11), (9.71, 39.28), (43.79, 188.5), (143.5, 2501.0), (0.053, 0.163),
    (0.019, 0.345), (0.0, 0.427), (0.0, 0.201), (0.106, 0.304), (0.05, 0.097),
    (0.112, 2.873), (0.36, 4.885), (0.757, 21.98), (6.802, 542.2), (0.002, 0.031),
    (0.002, 0.135), (0.0, 0.396), (0.0, 0.053), (0.008, 0.079), (0.001, 0.03),
    (7.93, 36.04), (12.02, 49.54), (50.41, 251.2), (185.2, 4254.0), (0.071, 0.223),
    (0.027, 1.058), (0.0, 1.252), (0.0, 0.291), (0.156, 0.664), (0.055, 0.208),
)  # fmt: skip

_MEASUREMENTS = (
    *("radius", "texture", "perimeter", "area", "smoothness"),
    *("compactness", "concavity", "concave points", "symmetry", "fractal dimension"),
)
_FEATURE_NAMES = (
    *(f"mean {name}" for name in _MEASUREMENTS),
    *(f"{name} error" for name in _MEASUREMENTS),
    *(f"worst {name}" for name in _MEASUREMENTS),
)


def load_breast_cancer(config: FederationConfig, paths: list[Path]) -> Dataset:
    """Return the 569 tumours, 30 features in their own unit, label 1 for malignant."""
    table = bundled_table("breast_cancer.csv", num_rows=569, num_columns=31, skip_lines=1)
    return Dataset(
        name="breast-cancer",
        task=CLASSIFICATION,
        features=table[:, :-1],
        # scikit-learn codes malignant as 0; the disease is the positive class here.
        labels=(table[:, -1] == 0).astype(np.int64),
        class_names=("benign", "malignant"),
        feature_names=_FEATURE_NAMES,
        notes=(
            "source: Breast Cancer Wisconsin (diagnostic), Wolberg, Street and Mangasarian 1995, UCI repository id 17 "
            "(CC BY 4.0), as shipped with scikit-learn; 569 rows, none dropped, no value missing",
            "label 1 = malignant (212 rows), 0 = benign (357 rows)",
            "public constants and bounds of numbers: the minimum and maximum of each feature in the published "
            "description, scaled to [-1, 1]",
        ),
        numbers=tuple(
            NumberColumn(column=place, low=low, high=high) for place, (low, high) in enumerate(_PUBLISHED_RANGES)
        ),
        groups=tuple(range(len(_PUBLISHED_RANGES))),
    )


SOURCES = (
    Source(
        name="breast-cancer",
        place=10,
        sentence="breast tumours, malignant or not (bundled with scikit-learn)",
        task=CLASSIFICATION,
        num_rows=569,
        load=load_breast_cancer,
    ),
)
