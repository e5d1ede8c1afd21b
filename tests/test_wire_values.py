"""Records that are filled at once are the records that Flower makes of the same values."""

import pickle
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from wardround.wire_arrays import array_record
from wardround.wire_values import config_record, content_of, metric_record

_CONFIG: dict[str, Any] = {"a": True, "b": 3, "c": 0.5, "d": "x", "e": b"y"}


@pytest.mark.parametrize("values", [{}, _CONFIG, {**_CONFIG, "f": [1, 2], "g": ["x"]}])
def test_a_config_record_is_flowers(values: dict[str, Any]) -> None:
    record, wanted = config_record(values), ConfigRecord(dict(values))
    assert type(record) is ConfigRecord
    assert list(record.items()) == list(wanted.items())
    assert record.deflate() == wanted.deflate()
    assert pickle.loads(pickle.dumps(record)) == wanted
    record["later"] = 1
    assert "later" not in values


@pytest.mark.parametrize("values", [{}, {"a": 3, "b": 0.5}, {"a": 3, "b": [0.5]}])
def test_a_metric_record_is_flowers(values: dict[str, Any]) -> None:
    record, wanted = metric_record(values), MetricRecord(dict(values))
    assert type(record) is MetricRecord
    assert list(record.items()) == list(wanted.items())
    assert record.deflate() == wanted.deflate()


@pytest.mark.parametrize("values", [{1: 1}, {"a": None}, {"a": {}}, {"a": object()}, {"a": [None]}])
def test_what_flower_refuses_is_refused(values: dict[Any, Any]) -> None:
    for make in (config_record, metric_record):
        with pytest.raises(TypeError):
            make(values)


@pytest.mark.parametrize("value", ["text", True, b"bytes"])
def test_metrics_are_numbers(value: Any) -> None:
    with pytest.raises(TypeError):
        MetricRecord({"a": value})
    with pytest.raises(TypeError):
        metric_record({"a": value})


def test_a_content_is_flowers_and_refuses_what_flower_refuses() -> None:
    records = {"a": array_record({"w": np.zeros(2)}), "c": config_record({"x": 1}), "m": metric_record({"y": 0.5})}
    content = content_of(records)
    assert type(content) is RecordDict
    assert content == RecordDict(records)
    assert content.object_id == RecordDict(records).object_id
    for wrong in ({"a": {"x": 1}}, {1: records["c"]}):
        with pytest.raises(TypeError):
            content_of(wrong)
