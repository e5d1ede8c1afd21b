"""Named NumPy arrays as Flower's records of arrays, and back, without a copy either way.

What is left out on purpose: which arrays a message has (see `wire`).
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.common.typing import NDArray

from wardround.errors import ProtocolError, UpdateError
from wardround.npy_bytes import array_from_bytes
from wardround.scores import Predictions
from wardround.typed_records import LONGEST_TEXT, MOST_ITEMS
from wardround.wire_values import filled

__all__ = ["LazyArray", "array_record", "arrays_of", "one_array_record", "predictions_of", "predictions_record", "told"]


class LazyArray(Array):
    """A Flower Array that keeps the ndarray and serialises it only when bytes are asked for.

    Pickling sends the ndarray itself, out of band where the pickler can, so that Ray shares it without a copy.
    """

    def __init__(self, ndarray: NDArray) -> None:
        # Not one by one: Flower's Array forgets its bytes at every attribute that is set, and has none yet.
        self.__dict__.update(
            ndarray=ndarray, dtype=_name_of(ndarray.dtype), shape=ndarray.shape, stype="numpy.ndarray", _is_dirty=True
        )

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """The bytes that Flower's own Array would hold."""
        return Array(np.asarray(self.__dict__["ndarray"])).data

    def numpy(self) -> NDArray:
        """Return the array itself, not a copy."""
        return cast(NDArray, self.__dict__["ndarray"])

    def deflate(self) -> bytes:
        """Return what Flower's own Array would: SuperLink and SuperNodes refuse objects of a class they don't know."""
        return Array.__qualname__.encode() + super().deflate().removeprefix(type(self).__qualname__.encode())

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyArray, (self.__dict__["ndarray"],)


_LAZY = frozenset({LazyArray})


@lru_cache(maxsize=64)
def _name_of(dtype: np.dtype[Any]) -> str:
    return str(dtype)


def array_record(arrays: Mapping[str, NDArray]) -> ArrayRecord:
    """Return named arrays as a Flower ArrayRecord, without copying or serialising them."""
    return filled(ArrayRecord(), {name: LazyArray(np.asarray(array)) for name, array in arrays.items()}, _LAZY)


def predictions_record(predictions: Predictions) -> ArrayRecord:
    """Return predictions of test records as a record of two arrays."""
    return array_record({"values": predictions.values, "labels": predictions.labels})


def predictions_of(record: ArrayRecord) -> Predictions:
    """Return the predictions that a record holds.

    Raises:
        ProtocolError: it holds none, or not one for every label.
    """
    arrays = arrays_of(record)
    values, labels = arrays.get("values"), arrays.get("labels")
    if values is None or labels is None or labels.shape != values.shape[:1] or values.ndim > 2:
        raise ProtocolError("the predictions of a reply are refused: they must be values (n,) or (n, k), labels (n,)")
    if values.dtype != "float64" or labels.dtype not in ("int64", "float64"):
        raise ProtocolError(f"the predictions of a reply are refused: they are {values.dtype} and {labels.dtype}")
    return Predictions(values=values, labels=labels)


def one_array_record(content: RecordDict) -> tuple[str, ArrayRecord]:
    """Return the one record of arrays that a message has, and its name, whatever a user's strategy calls it.

    Raises:
        UpdateError: there are none, or several.
    """
    found = [(name, record) for name, record in content.items() if isinstance(record, ArrayRecord)]
    if len(found) != 1:
        raise UpdateError(f"{len(found)} ArrayRecords in a message, which must be 1 to be summed")
    return found[0]


def arrays_of(record: ArrayRecord) -> dict[str, NDArray]:
    """Return the named arrays of a record to read from, not copied; Flower's own `Array.numpy` copies its bytes.

    Raises:
        ProtocolError: an array is not what it says, there are more than `MOST_ITEMS`, or a name is longer than
            `LONGEST_TEXT`.
    """
    if len(record) > MOST_ITEMS or any(len(name) > LONGEST_TEXT for name in record):
        raise ProtocolError(
            f"{len(record)} arrays are refused: at most {MOST_ITEMS}, with names of at most {LONGEST_TEXT} characters"
        )
    return {name: _view(array) for name, array in record.items()}


def model_record(arrays: Mapping[str, NDArray]) -> dict[str, bytes]:
    """Return a model as a record that is none of arrays: what is summed is the message's one record of arrays."""
    return {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}


def model_of(told: Mapping[str, Any], like: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return the model of such a record, with the names, shapes and types of another.

    Raises:
        ProtocolError: it has other names or sizes.
    """
    sizes = {name: len(value) if isinstance(value, bytes) else -1 for name, value in told.items()}
    own = {name: array.nbytes for name, array in like.items()}
    for name in sorted(name for name in sizes | own if sizes.get(name) != own.get(name)):
        raise ProtocolError(
            f"the model to be scored has {sizes.get(name, 'no')} bytes of {name!r:.60}, and the settings' model has "
            f"{own.get(name, 'none')}: nothing was scored; both sides need the same [model]"
        )
    return {name: np.frombuffer(told[name], array.dtype).reshape(array.shape) for name, array in like.items()}


def _view(array: Array) -> NDArray:
    if isinstance(array, LazyArray):
        shared: NDArray = array.__dict__["ndarray"].view()
        shared.flags.writeable = False  # others may read the same memory
        return shared
    if array.stype != "numpy.ndarray":
        raise ProtocolError(f'an array is refused: it is serialised as "{array.stype[:40]}", not as numpy.ndarray')
    return array_from_bytes(array.data, array.dtype, array.shape)


def told(record: Any, own: frozenset[str]) -> Iterator[Any]:
    """Yield a record's kind, and its names and values without a hospital's own part."""
    if isinstance(record, ArrayRecord):
        yield from ("arrays", tuple(arrays_of(record).items()))
    else:
        kind = "config" if isinstance(record, ConfigRecord) else "metrics"
        yield from (kind, tuple((key, value) for key, value in record.items() if key not in own))
