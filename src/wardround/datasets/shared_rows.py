"""The rows of all hospitals in one array, of which a hospital's are a view made when it is asked for.

So a federation is held once, however many hospitals it has and whoever of them trains: in memory where it is small,
else mapped from a temporary file. That file has no name, as it is unlinked as it is made: it ends with the process that
made it, however that ends. What is left out on purpose: which rows are whose (see `federation`).
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from wardround.datasets.records import HospitalData
from wardround.errors import DataError

__all__ = ["SharedRows", "joined", "share_rows"]

_MOST_IN_MEMORY_BYTES = 2**26
"""Of rows: beyond 64 MiB they are mapped from a file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedRows(Sequence[HospitalData]):
    """Hospitals whose rows lie one after the other: of each the training rows, then the test rows.

    Attributes:
        names: of the hospitals.
        fingerprints: likewise.
        bounds: int64 (num_hospitals, 3): where its training rows begin, its test rows begin, and these end.
        features: float32 (num_rows, ...), read-only, and so are the others.
        labels: int64 or float32 (num_rows,).
        owners: of each hospital's training rows; None where every row is a patient of its own.
        test_owners: likewise of its test rows.
    """

    names: tuple[str, ...]
    fingerprints: tuple[str, ...]
    bounds: NDArray[np.int64]
    features: NDArray[np.float32]
    labels: NDArray[Any]
    owners: tuple[NDArray[np.int64] | None, ...]
    test_owners: tuple[NDArray[np.int64] | None, ...]

    def __len__(self) -> int:
        """Return how many hospitals there are."""
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> HospitalData: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[HospitalData, ...]: ...

    def __getitem__(self, index: int | slice) -> HospitalData | tuple[HospitalData, ...]:
        """Return a hospital, or some."""
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        start, middle, end = self.bounds[index].tolist()
        return HospitalData(
            hospital_id=self.names[index],
            train_features=self.features[start:middle],
            train_labels=self.labels[start:middle],
            test_features=self.features[middle:end],
            test_labels=self.labels[middle:end],
            fingerprint=self.fingerprints[index],
            train_owners=self.owners[index],
            test_owners=self.test_owners[index],
        )


def share_rows(hospitals: Iterable[HospitalData], num_rows: int) -> SharedRows:
    """Return hospitals whose rows share one array; they have `num_rows` in all, and are made one by one.

    Raises:
        DataError: there is no room for the rows.
    """
    small = []

    def features() -> Iterator[NDArray[np.float32]]:
        for hospital in hospitals:
            small.append(
                (
                    hospital.hospital_id,
                    hospital.fingerprint,
                    hospital.train_labels,
                    hospital.test_labels,
                    hospital.train_owners,
                    hospital.test_owners,
                )
            )
            yield hospital.train_features
            yield hospital.test_features

    rows = joined(features(), num_rows)
    names, fingerprints, train, test, owners, test_owners = zip(*small, strict=True)
    ends = np.cumsum([len(labels) for both in zip(train, test, strict=True) for labels in both]).reshape(-1, 2)
    return SharedRows(
        names=names,
        fingerprints=fingerprints,
        bounds=np.column_stack([np.concatenate([[0], ends[:-1, 1]]), ends]).astype(np.int64),
        features=rows,
        labels=_read_only(np.concatenate([labels for both in zip(train, test, strict=True) for labels in both])),
        owners=owners,
        test_owners=test_owners,
    )


def joined(parts: Iterable[NDArray[Any]], num_rows: int) -> NDArray[np.float32]:
    """Return arrays (n, ...) of equal rows, `num_rows` in all, one after the other, as read-only float32.

    Raises:
        DataError: there is no room for them.
    """
    parts = iter(parts)
    first = next(parts)
    shape, kind = (num_rows, *first.shape[1:]), np.dtype(np.float32)
    size = int(np.prod(shape)) * kind.itemsize
    if size <= _MOST_IN_MEMORY_BYTES:
        rows, end = np.empty(shape, kind), 0
        for part in (first, *parts):
            rows[end : end + len(part)] = part
            end += len(part)
        return _read_only(rows)
    try:
        with tempfile.TemporaryFile() as file:
            for part in _chained(first, parts):
                file.write(np.ascontiguousarray(part, kind).tobytes())
            file.flush()
            return np.asarray(np.memmap(file, dtype=kind, mode="r", shape=shape))
    except OSError as error:
        raise DataError(
            f"{size:,} bytes of rows can't be written to {tempfile.gettempdir()}: {error.strerror}: free some space, "
            "or name another folder in the environment variable TMPDIR"
        ) from error


def _chained(first: NDArray[Any], rest: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    yield first
    yield from rest


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
