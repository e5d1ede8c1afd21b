"""Data handed over from Python: a data frame, arrays by hospital, or a torch Dataset by hospital.

What is left out on purpose: scaling. Arrays are taken as they are; a frame is read like a file (see `own_tables`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import Config, FederationConfig
from wardround.datasets.federation import build_federation
from wardround.datasets.handed_arrays import (
    by_text,
    features_of,
    labels_of,
    names_of_features,
    pair_of,
    patients_of,
)
from wardround.datasets.own_tables import dataset_of_frame
from wardround.datasets.records import SURVIVAL, Dataset
from wardround.datasets.tables import describe
from wardround.digests import digest_of
from wardround.errors import ConfigError
from wardround.names import did_you_mean, shown_name
from wardround.objects import PYTHON, Handed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KEYS_OF_SPLIT", "Federation"]

KEYS_OF_SPLIT = (
    "partition",
    "num_hospitals",
    "dirichlet_alpha",
    "shards_per_hospital",
    "min_patients",
    "class_weights",
    "test_fraction",
    "seed",
    "max_records",
)
"""Keys of [federation] on how rows become hospitals' training and test rows: the job's, whatever the data."""

_NOT_OF_FRAMES = (
    "dataset",
    "data_dir",
    "path",
    "target",
    "event_column",
    "hospital_column",
    "patient_column",
    "schema",
    "handed",
)
_SOURCE = (
    "source: arrays from Python, whose features are taken as they are: where they were scaled by means or ranges of "
    "these rows, a record moved all others' features, which no noise covers"
)
_COLUMNS, _MOST_CODES = ("categorical_columns", "date_columns", "drop_columns"), 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Federation:
    """Rows that Python hands over; how they are split into training and test rows is the job's to say.

    Attributes:
        dataset: the rows, with their hospitals where they are known.
        settings: the keys of [federation] that they stand for.
    """

    dataset: Dataset
    settings: FederationConfig

    @classmethod
    def from_frame(
        cls,
        frame: "pd.DataFrame",
        *,
        target: str,
        event: str | None = None,
        hospital: str | None = None,
        patient: str | None = None,
        **keys: Any,
    ) -> "Federation":
        """Return a federation of a table, read as the CSV that it would be written to.

        Args:
            frame: one row a record, of any dtypes; its index is not read. Numbers of dtype category, at most 100
                different ones, are codes, as if categorical_columns named their columns.
            target: the column to be predicted; of a survival, the time.
            event: of a survival, the column that says in which rows the event was seen; it needs time_edges.
            hospital: names each row's hospital; None leaves the split to [federation] partition.
            patient: whose row it is; None where nothing says so, and a record is a row.
            keys: any other key of [federation] for tables, as docs/tables.md has them: columns, drop_columns,
                date_columns, categorical_columns, positive_class, target_range, patient_scope, missing_values,
                decimal, task, time_edges.

        Raises:
            ConfigError: there is no such column or key, or one column is named for two purposes.
            DataError: a column can't be used as it is: it is named, with the row and the next step.
        """
        if not (hasattr(frame, "columns") and hasattr(frame, "to_numpy")):
            raise ConfigError(f"frame must be a pandas DataFrame, not {shown_name(type(frame).__name__)}")
        allowed = [item.name for item in fields(FederationConfig) if item.name not in (*KEYS_OF_SPLIT, *_NOT_OF_FRAMES)]
        if unknown := sorted(keys.keys() - allowed):
            raise ConfigError(f"from_frame has no key {unknown[0]}{did_you_mean(unknown[0], allowed)}")
        roles = {"target": target, "event_column": event, "hospital_column": hospital, "patient_column": patient}
        given: dict[str, Any] = {} if event is None else {"task": SURVIVAL}
        given |= {key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()}
        codes = _codes_in(frame, {*roles.values()}.union(*(given.get(key) or () for key in _COLUMNS)))
        if codes := [name for name in codes if given.get("columns") is None or name in given["columns"]]:
            given["categorical_columns"] = (*given.get("categorical_columns", ()), *codes)
        settings: dict[str, Any] = {"dataset": "csv"} | roles | given
        return cls._of(dataset_of_frame(frame, FederationConfig(**settings), source="the DataFrame"), settings)

    @classmethod
    def from_arrays(
        cls,
        hospitals: Mapping[str, Any],
        *,
        test: Mapping[str, Any] | None = None,
        patients: Mapping[str, Any] | None = None,
        task: str | None = None,
        class_names: tuple[str, ...] | None = None,
        feature_names: tuple[str, ...] = (),
        time_edges: tuple[float, ...] = (),
    ) -> "Federation":
        """Return a federation of arrays that are scaled already, by hospital.

        >>> rng = np.random.default_rng(0)
        >>> Federation.from_arrays({name: (rng.normal(size=(20, 3)), np.arange(20) % 2) for name in "ab"})
        Federation(40 rows at 2 hospitals, classification)

        Args:
            hospitals: by name, (features, labels) or a torch Dataset of such pairs. Features are finite numbers
                (n, ...) of the same shape everywhere; labels (n,) texts, truth values, whole numbers, or numbers; of
                a survival (n, 2), times and whether the event was seen.
            test: the same, of test rows that were set apart; None splits off [federation] test-fraction of each.
            patients: by name, whose row each is (n,), of the rows in `hospitals`: texts or whole numbers, None where
                nobody knows, so that the row is a patient of its own; with `test` there is none.
            task: "classification", "regression" or "survival"; None takes texts, truth values and at most 20
                different whole numbers for classes.
            class_names: of labels that are 0, 1, ...; None names classes by their labels, in their order.
            feature_names: one for each number of a row; () numbers them.
            time_edges: of a survival, where time is cut into intervals: from 0, ascending, public.

        Raises:
            DataError: shapes differ, a number is not finite, or labels are none.
            ConfigError: arguments contradict each other.
        """
        if not isinstance(hospitals, Mapping) or not hospitals:
            raise ConfigError('hospitals must be a mapping such as {"north": (features, labels)}, of one or more')
        if test is not None and patients is not None:
            raise ConfigError("test rows that were set apart leave no patient to split by: give test or patients")
        shape = (2,) if task == SURVIVAL else ()
        parts = [(name, pair_of(name, given, shape), False) for name, given in by_text(hospitals, "hospitals").items()]
        parts += [(name, pair_of(name, given, shape), True) for name, given in by_text(test or {}, "test").items()]
        if unknown := sorted({name for name, _, is_test in parts if is_test} - {str(name) for name in hospitals}):
            raise ConfigError(f"test has rows of {', '.join(unknown)}, who train on none: add them to hospitals")
        told = np.concatenate([labels for _, (_, labels), _ in parts])
        task, labels, names = labels_of(told, task, class_names, time_edges)
        owners, notes = (None, ()) if patients is None else patients_of(parts, patients)
        dataset = Dataset(
            name=PYTHON,
            task=task,
            features=features_of([(name, features) for name, (features, _), _ in parts]),
            labels=labels,
            class_names=names,
            feature_names=names_of_features(parts[0][1][0], feature_names),
            hospitals=np.concatenate([np.full(len(pair[1]), name) for name, pair, _ in parts]),
            patients=owners,
            is_test=None if test is None else np.concatenate([np.full(len(p[1]), is_test) for _, p, is_test in parts]),
            time_edges=tuple(map(float, time_edges)),
            notes=(_SOURCE, *notes),
        )
        return cls._of(dataset, {"dataset": PYTHON})

    @classmethod
    def _of(cls, dataset: Dataset, settings: dict[str, Any]) -> "Federation":
        arrays = (getattr(dataset, item.name) for item in fields(dataset))
        told = (_bytes_of(array) for array in arrays if isinstance(array, np.ndarray) and array.dtype != object)
        code = {"data": digest_of(*told, *(repr(edge).encode() for edge in dataset.time_edges)).hex()}
        handed = Handed(value=dataset, name=settings["dataset"], canonical=PYTHON, code=code)
        return cls(dataset=dataset, settings=FederationConfig(**settings, handed=handed))

    def of(self, config: Config) -> Config:
        """Return settings with these data in the place of those that they name.

        How rows are split over hospitals, into training and test rows, and by which seed, stays as it is.
        """
        kept = {name: getattr(config.federation, name) for name in KEYS_OF_SPLIT}
        return replace(config, federation=replace(self.settings, **kept))

    def describe(self, config: Config | None = None) -> "pd.DataFrame":
        """Return one row a hospital: records, and the share of each class, split as the settings say."""
        settings = self.of(config or Config())
        return describe(build_federation(self.dataset, settings.federation, settings.features))

    def __repr__(self) -> str:
        """Return one line: how many rows at how many hospitals."""
        hospitals = self.dataset.hospitals
        number = 0 if hospitals is None else len(np.unique(hospitals))
        where = "" if hospitals is None else f" at {number} hospital{'s' * (number > 1)}"
        return f"Federation({len(self.dataset.labels)} rows{where}, {self.dataset.task})"

    def _repr_html_(self) -> str:
        return str(self.describe().to_html(float_format="{:.3g}".format))


def _bytes_of(array: NDArray[Any]) -> memoryview:
    """Return the bytes of an array as they lie in memory, in C order: a copy of rows that are mapped would be whole."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _codes_in(frame: "pd.DataFrame", others: Collection[Any]) -> list[str]:
    """Return the columns of a frame that hold numbers which its dtypes call categories, and nothing else is said of."""
    kinds = {name: kind for name, kind in frame.dtypes.items() if str(kind) == "category" and name not in others}
    return [
        str(name)
        for name, kind in kinds.items()
        if kind.categories.dtype.kind in "iuf" and len(kind.categories) <= _MOST_CODES
    ]
