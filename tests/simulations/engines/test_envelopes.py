"""Packing shares the arrays and nothing else."""

import pickle

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from wardround.simulations.engines.envelopes import ReceivedArray, apart, own_copy, pack, received, unpack
from wardround.simulations.engines.flower_internals import take_identity
from wardround.wire import LazyArray, array_record, arrays_of


def wave(content: RecordDict, num: int = 3) -> list[Message]:
    take_identity()
    return [Message(content, node_id, "train") for node_id in range(num)]


def test_each_record_travels_once() -> None:
    model, state = array_record({"w": np.ones(3)}), array_record({"s": np.zeros(2)})
    shared = wave(RecordDict({"arrays": model, "config": ConfigRecord({"x": 1})}))
    apart = [Message(RecordDict({"state": state, "arrays": model}), 9, "train")]
    envelopes, records = pack(shared + apart)
    assert [envelope.array_indices for envelope in envelopes] == [(0,), (0,), (0,), (1, 0)]
    assert [list(record) for record in records] == [["w"], ["s"]]
    assert envelopes[0].records is envelopes[1].records


def test_message_comes_back_whole() -> None:
    content = RecordDict(
        {
            "config": ConfigRecord({"x": 1, "list": [1.5, 2.5]}),
            "arrays": ArrayRecord([np.arange(6, dtype=np.float32).reshape(2, 3), np.asarray(4.0)]),
            "metrics": MetricRecord({"loss": 0.5}),
        }
    )
    (message,) = wave(content, 1)
    envelopes, records = pack([message])
    again = unpack(pickle.loads(pickle.dumps(envelopes[0])), pickle.loads(pickle.dumps(records)))
    assert again.metadata == message.metadata
    assert list(again.content) == ["config", "arrays", "metrics"]
    assert again.content["config"] == content["config"]
    assert again.content["metrics"] == content["metrics"]
    for left, right in zip(again.content["arrays"].values(), content["arrays"].values(), strict=True):
        assert np.array_equal(left.numpy(), right.numpy())
        assert (left.dtype, left.shape, left.stype, left.data) == (right.dtype, right.shape, right.stype, right.data)


def test_messages_share_memory_but_nothing_that_can_be_changed() -> None:
    values = np.arange(3.0)
    envelopes, records = pack(
        wave(RecordDict({"arrays": array_record({"w": values}), "config": ConfigRecord({"x": 1})}))
    )
    first, second = (unpack(envelope, records) for envelope in envelopes[:2])
    first.content["config"]["x"] = 2
    first.content["arrays"]["w"].numpy()[...] = 7
    del first.content["arrays"]["w"]
    assert second.content["config"]["x"] == 1
    assert np.shares_memory(arrays_of(second.content["arrays"])["w"], values)
    assert values.tolist() == [0, 1, 2]


def test_messages_that_stay_in_the_process_are_what_a_worker_is_given() -> None:
    values = np.arange(3.0)
    content = RecordDict(
        {
            "arrays": array_record({"w": values}),
            "serialised": ArrayRecord([np.arange(6, dtype=np.float32)]),
            "config": ConfigRecord({"x": 1, "y": "z", "b": b"0", "list": [1.5, 2.5]}),
            "metrics": MetricRecord({"loss": 0.5, "all": [1, 2]}),
        }
    )
    messages = wave(content, 2)
    envelopes, records = pack(messages)
    first, second = apart(messages)
    for here, there in zip((first, second), (unpack(envelope, records) for envelope in envelopes), strict=True):
        assert here.metadata == there.metadata
        assert list(here.content) == list(there.content)
        for name in ("config", "metrics"):
            assert here.content[name] == there.content[name]
            assert type(here.content[name]) is type(there.content[name])
        for name in ("arrays", "serialised"):
            mine, theirs = here.content[name], there.content[name]
            assert list(mine) == list(theirs)
            assert all(mine[key].numpy().tobytes() == theirs[key].numpy().tobytes() for key in mine)
    # Nothing that one hospital does to its message reaches the other's, or the server's.
    first.content["config"]["x"] = 2
    first.content["config"]["list"].append(3.5)
    first.content["metrics"]["all"].append(3)
    first.content["arrays"]["w"].numpy()[...] = 7
    del first.content["arrays"]["w"]
    for other in (second.content, content):
        assert (other["config"]["x"], other["config"]["list"]) == (1, [1.5, 2.5])
        assert other["metrics"]["all"] == [1, 2]
        assert other["arrays"]["w"].numpy().tolist() == [0, 1, 2]
    assert np.shares_memory(arrays_of(second.content["arrays"])["w"], values)


def test_received_array_pickles_out_of_band() -> None:
    values = np.zeros(100_000)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(received(array_record({"w": values})), protocol=5, buffer_callback=buffers.append)
    assert len(data) < 2000
    assert [buffer.raw().nbytes for buffer in buffers] == [values.nbytes]
    again = pickle.loads(data, buffers=buffers)
    assert isinstance(again["w"], ReceivedArray)


def test_own_copy_freezes_what_others_may_write() -> None:
    live = np.arange(3.0)
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    record = ArrayRecord()
    record["live"], record["frozen"], record["flower"] = LazyArray(live), LazyArray(frozen), Array(live)
    own = own_copy(record)
    live[:] = -1
    assert {name: array.numpy().tolist() for name, array in own.items()} == {name: [0.0, 1.0, 2.0] for name in record}
    assert np.shares_memory(arrays_of(own)["frozen"], frozen)
