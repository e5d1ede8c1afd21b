"""Messages taken apart for the way to a worker: large arrays once, everything small as a private copy per message.

Flower gives every client its own copy of everything. Here the arrays of a round are shared, so they arrive as
`ReceivedArray`s, whose `numpy()` is a copy as Flower's is; all other records are unpickled anew for each message. What
one hospital does to its message can't reach another one, in any engine.
"""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.typing import NDArray

from wardround.simulations.engines.flower_internals import copy_of
from wardround.wire import LazyArray
from wardround.wire_values import config_record, content_of, filled, metric_record

__all__ = ["Envelope", "ReceivedArray", "apart", "own_copy", "pack", "read_once", "received", "unpack"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Envelope:
    """A message without its arrays.

    Attributes:
        message: the metadata, on a message without content.
        records: pickled list of (name, record) in order; in the place of an ArrayRecord stands its index in the wave,
            in that of a record of plain values its class and the values.
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


_RECEIVED = frozenset({ReceivedArray})
_UNCHANGING = frozenset({bool, int, float, str, bytes})
_FILLED: dict[type, Callable[[Mapping[str, Any]], Any]] = {ConfigRecord: config_record, MetricRecord: metric_record}


def pack(messages: Iterable[Message]) -> tuple[list[Envelope], list[ArrayRecord]]:
    """Return one envelope per message, and each distinct ArrayRecord of the wave once."""
    envelopes: list[Envelope] = []
    records: dict[int, tuple[int, ArrayRecord]] = {}
    pickled: dict[int, tuple[bytes, tuple[int, ...]]] = {}
    for message in messages:
        content = message.content
        if id(content) not in pickled:
            items: list[tuple[str, object]] = []
            for name, record in content.items():
                if isinstance(record, ArrayRecord):
                    items.append((name, records.setdefault(id(record), (len(records), record))[0]))
                elif type(record) in (ConfigRecord, MetricRecord):
                    items.append((name, (type(record), dict(record.items()))))
                else:
                    items.append((name, record))
            indices = tuple(item for _, item in items if isinstance(item, int))
            pickled[id(content)] = pickle.dumps(items, protocol=5), indices
        blob, array_indices = pickled[id(content)]
        envelopes.append(Envelope(message=copy_of(message, RecordDict()), records=blob, array_indices=array_indices))
    return envelopes, [received(record) for _, record in records.values()]


def unpack(envelope: Envelope, records: Sequence[ArrayRecord] | dict[int, ArrayRecord]) -> Message:
    """Return the message again, with an ArrayRecord of its own around the shared arrays."""
    items = pickle.loads(envelope.records)
    return copy_of(envelope.message, content_of({name: _unpacked(record, records) for name, record in items}))


def apart(messages: Sequence[Message]) -> list[Message]:
    """Return the messages as they are after the way to a worker, in this process: `unpack` of `pack`, and cheaper."""
    shared: dict[int, ArrayRecord] = {}

    def taken(record: Any) -> Any:
        if isinstance(record, ArrayRecord):
            if id(record) not in shared:
                shared[id(record)] = received(record)
            return received(shared[id(record)])
        values = dict(record.items()) if type(record) in _FILLED else {}
        # Texts and numbers can't be changed; whatever else a record has, or is, travels as it would to a worker.
        if type(record) in _FILLED and _UNCHANGING.issuperset(map(type, values.values())):
            return _FILLED[type(record)](values)
        return pickle.loads(pickle.dumps(record, protocol=5))

    return [
        copy_of(message, content_of({name: taken(record) for name, record in message.content.items()}))
        for message in messages
    ]


def received(record: ArrayRecord) -> ArrayRecord:
    """Return a new record around the same arrays; serialised ones are read once, as Flower reads them."""
    arrays = {
        name: ReceivedArray(array.__dict__["ndarray"] if isinstance(array, LazyArray) else array.numpy())
        for name, array in record.items()
    }
    return filled(ArrayRecord(), arrays, _RECEIVED)


def read_once(record: ArrayRecord) -> ArrayRecord:
    """Return a record whose arrays are there to be read: the same one where none is serialised."""
    return record if all(isinstance(array, LazyArray) for array in record.values()) else received(record)


def own_copy(record: ArrayRecord) -> ArrayRecord:
    """Return a new record around arrays that nobody can write to any more.

    A reply needs it: its arrays may be the memory of a model that the next hospital trains.
    """
    result = received(record)
    for name, array in record.items():
        if isinstance(array, LazyArray) and array.__dict__["ndarray"].flags.writeable:
            result[name] = ReceivedArray(result[name].numpy())
    return result


def _unpacked(item: Any, records: Sequence[ArrayRecord] | dict[int, ArrayRecord]) -> Any:
    if isinstance(item, int):
        return received(records[item])
    if isinstance(item, tuple):
        kind, values = item
        return config_record(values) if kind is ConfigRecord else metric_record(values)
    return item
