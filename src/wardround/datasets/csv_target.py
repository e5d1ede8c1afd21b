"""The target column of a user's CSV file: class or number, decided and checked."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.csv_columns import plain_texts
from wardround.datasets.records import CLASSIFICATION, REGRESSION
from wardround.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_target"]

_MAX_CLASSES = 100
_FEW_INTEGERS = 20


def read_target(column: "pd.Series[Any]", task: str | None, path: Path) -> tuple[str, NDArray[Any], tuple[str, ...]]:
    """Return the task of a target without missing values, its labels and its classes' names, () for a regression.

    Args:
        column: the target of each row.
        task: "classification", "regression", or None: classes for texts, truth values and at most 20 different whole
            numbers, else a regression.
        path: the file, for messages.

    Returns:
        "classification" with int64 (n,) class indices, or "regression" with float32 (n,) numbers.

    Raises:
        DataError: the target never varies, has more than 100 classes, or is text where a number is needed.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    is_number = is_numeric_dtype(column) and not is_bool_dtype(column)
    values = column.to_numpy(dtype=np.float64) if is_number else plain_texts(column)
    if is_number and not np.isfinite(values).all():
        raise DataError(f"{path}: target {column.name!r} has infinite values: correct or remove these rows")
    distinct = np.unique(values)
    if len(distinct) < 2:
        raise DataError(f"{path}: target {column.name!r} is always {distinct[0]}: name a target that varies")
    is_whole = is_number and bool((distinct == np.floor(distinct)).all())
    if task is None:
        few = is_whole and len(distinct) <= _FEW_INTEGERS
        task = CLASSIFICATION if not is_number or few else REGRESSION
    if task == REGRESSION:
        if not is_number:
            raise DataError(
                f"{path}: target {column.name!r} is text, not a number: set [federation] task = {CLASSIFICATION!r}"
            )
        return task, values.astype(np.float32), ()
    if len(distinct) > _MAX_CLASSES:
        next_step = f"set [federation] task = {REGRESSION!r}" if is_number else "name another target or group its texts"
        raise DataError(
            f"{path}: target {column.name!r} has {len(distinct)} classes, more than {_MAX_CLASSES}: {next_step}"
        )
    names = tuple(str(int(value)) if is_whole else str(value) for value in distinct)
    return task, np.searchsorted(distinct, values).astype(np.int64), names
