"""Public records for tests: a loader that settings can name."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["breast_cancer", "broken", "odd"]


def breast_cancer() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return records that look a little like breast cancer's, whose best model is soon passed."""
    generator = np.random.default_rng(5)
    labels = generator.integers(2, size=40)
    return generator.normal(size=(40, 30)) + 0.3 * labels[:, None], labels


def broken() -> None:
    """Fail."""
    raise OSError("no such bucket")


def odd() -> int:
    """Return what are no records."""
    return 3
