"""Handwritten digits of 8x8 pixels, as scikit-learn ships them: no file to fetch."""

from pathlib import Path

import numpy as np

from wardround.config import FederationConfig
from wardround.datasets.bundled import bundled_table
from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.datasets.source import Source

__all__ = ["SOURCES"]


def load_digits(config: FederationConfig, paths: list[Path]) -> Dataset:
    """Return the 1797 images (n, 1, 8, 8) with pixels in [0, 1] and their digit."""
    table = bundled_table("digits.csv.gz", num_rows=1_797, num_columns=65)
    return Dataset(
        name="digits",
        task=CLASSIFICATION,
        features=(table[:, :-1].reshape(-1, 1, 8, 8) / 16).astype(np.float32),
        labels=table[:, -1].astype(np.int64),
        class_names=tuple(str(digit) for digit in range(10)),
        feature_names=(),
        notes=(
            "source: Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998, UCI repository id 80 (CC BY "
            "4.0), the 1797 test images as shipped with scikit-learn; none dropped",
            "normalisation: public constants (pixel counts 0 to 16 divided by 16)",
        ),
    )


SOURCES = (
    Source(
        name="digits",
        place=20,
        sentence="handwritten digits, 8x8 pixels (bundled with scikit-learn)",
        task=CLASSIFICATION,
        num_rows=1_797,
        load=load_digits,
    ),
)
