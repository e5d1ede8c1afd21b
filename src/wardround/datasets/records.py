"""The records of a data set and of a federation made from it; their arrays are read-only.

What turns one into the other is in `federation`; how a hospital's rows are split is in `splits`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import PUBLIC
from wardround.errors import DataError
from wardround.names import check_label, check_name
from wardround.survival import SURVIVAL

__all__ = [
    "CLASSIFICATION",
    "REGRESSION",
    "SURVIVAL",
    "ColumnUse",
    "Dataset",
    "FederatedData",
    "HospitalData",
    "NumberColumn",
]

CLASSIFICATION, REGRESSION = "classification", "regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnUse:
    """What became of one column of a table.

    Attributes:
        name: as the header has it.
        kind: "number", "levels" or "date" of a feature; "left out"; or what else it is: target, hospital, patient.
        features: names of the features made of it, in order.
        reason: why it was left out; "" where it was not.
    """

    name: str
    kind: str
    features: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberColumn:
    """A feature that is a number and is held in its own unit, with what is publicly known of it.

    Attributes:
        column: its place among the features (>= 0).
        centre: what is taken from it in the mode "public"; None where its bounds are what is publicly known.
        scale: what it is then divided by (> 0); None likewise.
        low: the lowest number that it can plausibly be, from public knowledge; None where nobody said.
        high: the highest, likewise (> low).
    """

    column: int
    centre: float | None = None
    scale: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def constants(self) -> tuple[float, float] | None:
        """Its public centre and scale, where both are known."""
        return None if self.centre is None or self.scale is None else (self.centre, self.scale)

    @property
    def is_public(self) -> bool:
        """Whether public constants are known: a centre and a scale, or bounds that are scaled to [-1, 1]."""
        return self.constants is not None or self.bounds is not None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The lowest and the highest number, where both are known."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def __post_init__(self) -> None:
        if (self.centre is None) != (self.scale is None) or (self.low is None) != (self.high is None):
            raise DataError(f"number column {self.column} has one of two constants, and needs both or none")
        if (self.constants and not self.constants[1] > 0) or (self.bounds and not self.bounds[0] < self.bounds[1]):
            raise DataError(f"number column {self.column} must have a scale > 0 and its lowest number first")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """One source, loaded and prepared.

    Attributes:
        name: as in [federation] dataset.
        task: "classification", "regression" or "survival".
        features: float32, tabular (n, d) or images (n, channels, height, width); float64 where columns are still in
            their own unit, with nan where missing, as precision must be lost after centring alone.
        labels: int64 (n,) class index, or float32 or float64 (n,) target: of a survival as `survival` has it.
        class_names: one name per class index; () of another task.
        feature_names: one name per column; () for images.
        hospitals: (n,) natural hospital of each row, or None.
        patients: (n,) patient of each row, or None where each row is a patient of its own.
        is_test: bool (n,) the official test rows, or None where the source names none.
        notes: sentences on source, licence, rows and columns dropped, missing values, and normalisation where
            there are no `numbers`, of which `standardising` says it.
        numbers: the columns in their own unit, in order of their places; they are standardised when the federation is
            made (see `standardising`). Where there are some, every other column is an indicator, 0 or 1.
        groups: for each feature the number of the source column that it is made of, from 0: of the indicators of one
            group at most one is 1 in a row. () where nothing is known.
        row_is_patient: whether the source says that every row is another patient.
        columns: what became of each column of the table; () where no table of a user's was read.
        time_edges: of a survival's intervals, publicly known; () of another task.
    """

    name: str
    task: str
    features: NDArray[np.float32] | NDArray[np.float64]
    labels: NDArray[Any]
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    hospitals: NDArray[np.str_] | None = None
    patients: NDArray[np.str_] | None = None
    is_test: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    numbers: tuple[NumberColumn, ...] = ()
    groups: tuple[int, ...] = ()
    row_is_patient: bool = False
    columns: tuple[ColumnUse, ...] = ()
    time_edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for what, labels in (("class", self.class_names), ("column", self.feature_names)):
            for label in labels:
                check_label(label, what)
        for name in set() if self.hospitals is None else set(self.hospitals.tolist()):
            check_name(name, "hospital")
        if self.groups and len(self.groups) != self.features.shape[1]:
            raise DataError(f"groups are of {len(self.groups)} features, and {self.name} has {self.features.shape[1]}")
        _freeze_arrays(self)

    def patients_of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the patient of each of some rows: a name, or the row's number where each row is another patient."""
        return rows if self.patients is None else self.patients[rows]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HospitalData:
    """One hospital's rows, split into training and test.

    Attributes:
        hospital_id: name, unique in the federation.
        train_features: float32 (num_train, ...), at least one row.
        train_labels: int64 or float32 (num_train,).
        test_features: float32 (num_test, ...), possibly no row.
        test_labels: int64 or float32 (num_test,).
        fingerprint: sha256 hex digest of the training arrays; at a real site their HMAC under its key.
        train_owners: int64 (num_train,), ascending from 0: the patient of each training row, where some patient has
            several; None where every row is a patient of its own.
        test_owners: int64 (num_test rows,), from 0, in any order: likewise of the test rows.
        left_out: bool (num_train,), training records that are held and counted and have no part in any sum, as a
            neighbour of the relation zero-out has one: for audits alone. None where all have a part.
    """

    hospital_id: str
    train_features: NDArray[np.float32]
    train_labels: NDArray[Any]
    test_features: NDArray[np.float32]
    test_labels: NDArray[Any]
    fingerprint: str
    train_owners: NDArray[np.int64] | None = None
    test_owners: NDArray[np.int64] | None = None
    left_out: NDArray[np.bool_] | None = None

    @property
    def num_train(self) -> int:
        """Number of training records: of patients, where some patient has several rows."""
        return len(self.train_labels) if self.train_owners is None else int(self.train_owners[-1]) + 1

    @property
    def num_test(self) -> int:
        """Number of test records, likewise."""
        return len(self.test_labels) if self.test_owners is None else len(np.unique(self.test_owners))

    def __post_init__(self) -> None:
        check_name(self.hospital_id, "hospital")
        _freeze_arrays(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FederatedData:
    """All hospitals of a run, in the order of their names.

    Attributes:
        dataset_name: as in [federation] dataset.
        task: "classification", "regression" or "survival".
        class_names: one name per class index; () of another task.
        feature_names: one name per column; () for images.
        input_shape: shape of one row's features.
        hospitals: who takes part; of many, each is made as it is asked for (see `shared_rows`).
        excluded: one sentence per hospital left out.
        notes: sentences on the data and on what was done to it.
        partition: how rows were given to hospitals: natural, iid, dirichlet, quantity or shards.
        max_hospitals_per_patient: most hospitals that hold rows of the same patient, as far as the data tells.
        record_is: "patient" where the data tell which rows are a patient's, or that every row is another; else "row".
        own_statistics: whether hospitals standardised features by their own means and deviations.
        standardise: the mode by which numbers were standardised, as in [features], resolved. In the mode "private"
            they are scaled from their bounds to [-1, 1], with nan where missing.
        numbers: the columns that are numbers, with the public constants and bounds that count.
        groups: for each feature the number of the source column that it is made of; () where nothing is known.
        columns: what became of each column of the table; () where no table of a user's was read.
        time_edges: of a survival's intervals; () of another task.
    """

    dataset_name: str
    task: str
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    hospitals: Sequence[HospitalData]
    excluded: tuple[str, ...]
    notes: tuple[str, ...]
    partition: str
    max_hospitals_per_patient: int = 1
    record_is: str = "row"
    own_statistics: bool = False
    standardise: str = PUBLIC
    numbers: tuple[NumberColumn, ...] = ()
    groups: tuple[int, ...] = ()
    columns: tuple[ColumnUse, ...] = ()
    time_edges: tuple[float, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of outputs a model needs: the classes, 1 for regression, or a survival's intervals."""
        return max(len(self.class_names), len(self.time_edges) - 1, 1)


def _freeze_arrays(record: Dataset | HospitalData) -> None:
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
