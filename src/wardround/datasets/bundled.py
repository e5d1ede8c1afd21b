"""Tables that scikit-learn ships, read from its folder: importing it takes as long as several hundred readings.

What is left out on purpose: what their columns mean (see `sources`).
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.errors import DataError
from wardround.parsing import sound

__all__ = ["bundled_table"]


def bundled_table(name: str, *, num_rows: int, num_columns: int, skip_lines: int = 0) -> NDArray[np.float64]:
    """Return a table of numbers, of shape (num_rows, num_columns), float64; the target is its last column.

    >>> bundled_table("digits.csv.gz", num_rows=1797, num_columns=65).max()
    np.float64(16.0)

    Args:
        name: of the file, packed by gzip where it ends in ".gz".
        num_rows: that it must have (>= 1).
        num_columns: likewise.
        skip_lines: lines above the numbers (>= 0).

    Raises:
        DataError: scikit-learn is not installed, or its file is another one.
    """
    step = "install scikit-learn 1.5 or later anew (pip install --force-reinstall scikit-learn)"
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError(f"scikit-learn, which ships {name}, is not installed: {step}")
    path = Path(package.origin).parent / "datasets" / "data" / name
    with sound(DataError, f"cannot read {path}", step):
        table = np.loadtxt(path, delimiter=",", skiprows=skip_lines, ndmin=2)
    if table.shape != (num_rows, num_columns):
        raise DataError(f"{path} has {table.shape} numbers and must have {(num_rows, num_columns)}: {step}")
    return table
