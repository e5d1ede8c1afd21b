"""Flower's records filled at once, of which a round makes a dozen for every hospital.

Flower looks at a record's values one by one as they are put in, which costs more than all else that a message does.
Here they are looked at together, and what is not plainly of the right type is left to Flower. What is left out on
purpose: which values a message has (see `wire`).
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

__all__ = ["config_record", "content_of", "filled", "metric_record"]

_Record = TypeVar("_Record", ArrayRecord, ConfigRecord, MetricRecord, RecordDict)
_RECORDS = frozenset({ArrayRecord, ConfigRecord, MetricRecord})
_TEXT = frozenset({str})
_OF_CONFIG = frozenset({bool, int, float, str, bytes})
_OF_METRICS = frozenset({int, float})


def config_record(values: Mapping[str, Any]) -> ConfigRecord:
    """Return `ConfigRecord(values)`.

    Raises:
        TypeError: a key or a value is not of a type that Flower has.
    """
    return filled(ConfigRecord(), values, _OF_CONFIG)


def metric_record(values: Mapping[str, Any]) -> MetricRecord:
    """Return `MetricRecord(values)`.

    Raises:
        TypeError: a key or a value is not of a type that Flower has.
    """
    return filled(MetricRecord(), values, _OF_METRICS)


def content_of(records: Mapping[str, Any]) -> RecordDict:
    """Return `RecordDict(records)`.

    Raises:
        TypeError: a key or a record is not of a type that Flower has.
    """
    return filled(RecordDict(), records, _RECORDS)


def filled(record: _Record, values: Mapping[str, Any], kinds: frozenset[type]) -> _Record:
    """Return a fresh record that has taken the values; kinds are types that Flower lets it have, whatever the value.

    Raises:
        TypeError: a key or a value is not of a type that Flower has.
    """
    inside = record.__dict__.get("_data")
    is_plain = kinds.issuperset(map(type, values.values())) and _TEXT.issuperset(map(type, values))
    if is_plain and type(inside) is dict:
        inside.update(values)
    else:
        record.update(values)
    return record
