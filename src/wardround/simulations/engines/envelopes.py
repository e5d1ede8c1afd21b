"""Messages taken apart for the way to a worker: large arrays once, everything small as a private copy per message.

Flower gives every client its own copy of everything. Here the arrays of a round are shared, so they arrive as
`ReceivedArray`s, whose `numpy()` is a copy as Flower's is; all other records are unpickled anew for each message. What
one hospital does to its message can't reach another one, in any engine.
"""

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.common.typing import NDArray

from wardround.simulations.engines.flower_internals import copy_of
from wardround.wire import LazyArray

__all__ = ["Envelope", "ReceivedArray", "ndarrays_of", "own_copy", "pack", "received", "unpack"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Envelope:
    """A message without its arrays.

    Attributes:
        message: the metadata, on a message without content.
        records: pickled list of (name, record) in order; in the place of an ArrayRecord stands its index in the wave.
        array_indices: the indices that `records` names.
    """

    message: Message
    records: bytes
    array_indices: tuple[int, ...]


class ReceivedArray(LazyArray):
    """An array shared with other hospitals: reading it as Flower does gives a copy of one's own."""

    def numpy(self) -> NDArray:
        """Return a writable copy of the array."""
        return np.array(self.__dict__["ndarray"])

    def __reduce__(self) -> tuple[Any, ...]:
        return ReceivedArray, (self.__dict__["ndarray"],)


def pack(messages: Iterable[Message]) -> tuple[list[Envelope], list[ArrayRecord]]:
    """Return one envelope per message, and each distinct ArrayRecord of the wave once."""
    envelopes: list[Envelope] = []
    records: list[ArrayRecord] = []
    index_of: dict[int, int] = {}
    pickled: dict[int, tuple[bytes, tuple[int, ...]]] = {}
    for message in messages:
        content = message.content
        if id(content) not in pickled:
            items: list[tuple[str, object]] = []
            indices: list[int] = []
            for name, record in content.items():
                if isinstance(record, ArrayRecord):
                    if id(record) not in index_of:
                        index_of[id(record)] = len(records)
                        records.append(record)
                    indices.append(index_of[id(record)])
                    items.append((name, indices[-1]))
                else:
                    items.append((name, record))
            pickled[id(content)] = pickle.dumps(items, protocol=5), tuple(indices)
        blob, array_indices = pickled[id(content)]
        envelopes.append(Envelope(message=copy_of(message, RecordDict()), records=blob, array_indices=array_indices))
    return envelopes, [received(record) for record in records]


def unpack(envelope: Envelope, records: Sequence[ArrayRecord] | dict[int, ArrayRecord]) -> Message:
    """Return the message again, with an ArrayRecord of its own around the shared arrays."""
    content = RecordDict()
    for name, record in pickle.loads(envelope.records):
        content[name] = received(records[record]) if isinstance(record, int) else record
    return copy_of(envelope.message, content)


def received(record: ArrayRecord) -> ArrayRecord:
    """Return a new record around the same arrays, serialised ones read once."""
    result = ArrayRecord()
    for name, array in ndarrays_of(record).items():
        result[name] = ReceivedArray(array)
    return result


def own_copy(record: ArrayRecord) -> ArrayRecord:
    """Return a new record around arrays that nobody can write to any more.

    A reply needs it: its arrays may be the memory of a model that the next hospital trains.
    """
    result = ArrayRecord()
    for name, array in record.items():
        values = _ndarray(array)
        shared = isinstance(array, LazyArray) and values.flags.writeable
        result[name] = ReceivedArray(np.array(values) if shared else values)
    return result


def ndarrays_of(record: ArrayRecord) -> dict[str, NDArray]:
    """Return the arrays of a record to read from: shared, not copied, where the record holds them unserialised."""
    return {name: _ndarray(array) for name, array in record.items()}


def _ndarray(array: Array) -> NDArray:
    if isinstance(array, LazyArray):
        shared: NDArray = array.__dict__["ndarray"]
        return shared
    return array.numpy()
