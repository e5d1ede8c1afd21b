"""Records as messages, there and back; and nothing leaves a hospital that is not on the list."""

import math
import pickle
import tracemalloc
from contextlib import suppress
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import changed_assignment
from small_runs import ASSIGNMENT, small_config

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.datasets import load_federation
from wardround.errors import ProtocolError
from wardround.leaves import LEAVES_HOSPITAL
from wardround.models import build_model, parameters_of
from wardround.rounds import Assignment, Evaluation, Execution, ProfileMeasures, TrainingMeasures
from wardround.secagg.records import Advertisement, Confirmation, Shares, UnmaskShares
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.typed_records import LONGEST_TEXT, MOST_ITEMS


@pytest.fixture(scope="module")
def replies() -> dict[str, Message]:
    """A real reply of a real hospital to each kind of message."""
    config = small_config()
    federation = load_federation(config.federation)
    grid = InlineGrid(lambda: make_client_app(config, federation), [Node(node_id=1, node_config={"partition-id": 0})])
    model, _ = build_model(config.model, input_shape=(30,), num_outputs=2, seed=1, private=True)
    arrays = wire.array_record(parameters_of(model))

    def ask(kind: str, summed: bool = False) -> Message:
        content = RecordDict(
            {wire.ARRAYS: arrays, wire.CONFIG: ConfigRecord({wire.SUM_WEIGHT: 0.25} if summed else {})}
        )
        message = Message(content, dst_node_id=1, message_type=kind)
        if kind == "train":
            wire.with_assignment(message, ASSIGNMENT)
        (reply,), _ = grid.send_and_sum([message])
        assert not reply.has_error(), reply.error
        return reply

    return {
        "query.profile": ask("query.profile"),
        "train": ask("train"),
        "train for a sum": ask("train", summed=True),
        "evaluate": ask("evaluate"),
    }


@pytest.mark.parametrize("kind", ["query.profile", "train", "train for a sum", "evaluate"])
def test_a_reply_carries_nothing_that_is_not_on_the_list(kind: str, replies: dict[str, Message]) -> None:
    content = replies[kind].content
    keys: set[str] = set()
    for name, record in content.items():
        keys |= {name} if isinstance(record, ArrayRecord) else set(record)
        # Counts and scores only: no list of them, which could be one for each record.
        if not isinstance(record, ArrayRecord):
            assert all(isinstance(v, int | float | str) or key == "input-shape" for key, v in record.items())
    assert keys <= set(LEAVES_HOSPITAL)
    grounds = {"charged", "public by decision", "independent of the data", "simulation only"}
    assert set(LEAVES_HOSPITAL.values()) <= grounds
    expected = {"query.profile": {wire.PROFILE}, "evaluate": {wire.METRICS, wire.PREDICTIONS}}
    assert set(content) - {wire.ARRAYS} <= expected.get(kind, {wire.METRICS})
    assert (wire.ARRAYS in content) == (kind == "train")


def test_everything_on_the_list_is_sent_by_someone(replies: dict[str, Message]) -> None:
    sent = {key for reply in replies.values() for record in reply.content.values() for key in record}
    sent |= {key for reply in replies.values() for key in reply.content}
    protocol = (Advertisement, Shares, Confirmation, UnmaskShares)
    sent |= {item.name.replace("_", "-") for kind in protocol for item in fields(kind)}
    # Errors and refusals are replies of Flower's own kind; the tests of failing hospitals see their text. Here are
    # classes; what is sent of numbers is seen in test_leaves, and what real sites' scores are of in test_site_scores.
    elsewhere = {"test-mean", "test-spread", "majority-error", "num-scored"}
    assert set(LEAVES_HOSPITAL) - {"error", "refusal"} - elsewhere <= sent


def test_records_come_back_as_they_were(replies: dict[str, Message]) -> None:
    profile = wire.read_profile(replies["query.profile"])
    assert profile.hospital_id == "hospital-01"
    assert profile.input_shape == (30,)
    measures = wire.read_measures(ProfileMeasures, replies["query.profile"])
    assert measures is not None and len(measures.fingerprint) == 64
    execution = wire.read_metrics(Execution, replies["train"], "hospital-01")
    assert (execution.round_number, execution.num_steps, execution.num_noise_draws) == (3, 2, 2)
    trained = wire.read_measures(TrainingMeasures, replies["train"])
    assert trained is not None and trained.num_examples == profile.num_train
    evaluation = wire.read_metrics(Evaluation, replies["evaluate"], "hospital-01")
    assert 0 <= evaluation.auc <= 1 and math.isfinite(evaluation.loss)


UNPROTECTED = changed_assignment(ASSIGNMENT, cell="none", max_grad_norm=None, noise_multiplier=0.0)


@pytest.mark.parametrize("assignment", [ASSIGNMENT, UNPROTECTED])
def test_assignments_come_back_as_they_were(assignment: Assignment) -> None:
    shared = RecordDict({wire.CONFIG: ConfigRecord({"server-round": 3})})
    messages = [Message(shared, dst_node_id=node, message_type="train") for node in (1, 2)]
    wire.with_assignment(messages[0], assignment)
    assert wire.assignment_of(messages[0]) == assignment
    # The other hospital's message, which shared its content, has none.
    with pytest.raises(ProtocolError, match="carries no assignment"):
        wire.assignment_of(messages[1])


@pytest.mark.parametrize(
    ("content", "read", "message"),
    [
        ({}, wire.arrays_in, "carries no arrays"),
        ({"arrays": ConfigRecord({})}, wire.arrays_in, "carries no arrays"),
        ({"assignment": MetricRecord({"num-steps": 3})}, wire.assignment_of, "carries no assignment"),
        ({"assignment": ConfigRecord({"num-steps": 3})}, wire.assignment_of, "lacks hospital_id, round_number"),
        ({"profile": ConfigRecord({"num-train": 3})}, wire.read_profile, "HospitalProfile message lacks hospital_id"),
        (
            {"profile": ConfigRecord({"num-test": 3})},
            partial(wire.read_measures, ProfileMeasures),
            "ProfileMeasures message lacks fing",
        ),
        (
            {"metrics": MetricRecord({"loss": 3.0})},
            partial(wire.read_measures, TrainingMeasures),
            "TrainingMeasures message lacks num_e",
        ),
        ({}, wire.read_profile, "carries no profile"),
        ({}, lambda m: wire.read_metrics(Execution, m, "a"), "carries no metrics"),
        ({}, lambda m: wire.read_metrics(Evaluation, m, "a"), "carries no metrics"),
        (
            {"metrics": MetricRecord({"loss": 1.0})},
            lambda m: wire.read_metrics(Evaluation, m, "a"),
            "lacks num_examples",
        ),
    ],
)
def test_incomplete_messages(content: Any, read: Any, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        read(Message(RecordDict(content), dst_node_id=1, message_type="train"))


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array(2.5, np.float32), np.zeros((0, 3))])
def test_lazy_arrays_are_what_flowers_are(array: Any) -> None:
    lazy, eager = wire.LazyArray(array), Array(array)
    assert (lazy.dtype, lazy.shape, lazy.stype, lazy.data) == (eager.dtype, eager.shape, eager.stype, eager.data)
    # What travels between SuperLink and SuperNodes: objects, by the hash of their bytes.
    assert (lazy.deflate(), list(lazy.children), lazy.object_id) == (
        eager.deflate(),
        list(eager.children),
        eager.object_id,
    )
    assert lazy.numpy() is array
    buffers: list[Any] = []
    again = pickle.loads(pickle.dumps(lazy, protocol=5, buffer_callback=buffers.append), buffers=buffers)
    np.testing.assert_array_equal(again.numpy(), array)
    record = wire.array_record({"a": array})
    assert np.shares_memory(wire.arrays_of(record)["a"], array) == bool(array.size)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(2.5),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.arange(3, dtype=">i4"),
    ],
)
def test_arrays_are_read_as_flower_reads_them_without_a_copy(array: Any) -> None:
    record = ArrayRecord({"eager": Array(array)})
    record["lazy"] = wire.LazyArray(array)
    read = wire.arrays_of(record)
    for name in record:
        np.testing.assert_array_equal(read[name], record[name].numpy())
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert not (read[name].flags.owndata or read[name].flags.writeable)
    assert np.shares_memory(read["lazy"], array) == bool(array.size)


def _npy(array: Any) -> bytes:
    return Array(np.asarray(array)).data


GOOD = _npy(np.arange(6, dtype=np.float32).reshape(2, 3))


@pytest.mark.parametrize(
    ("dtype", "shape", "stype", "data"),
    [
        ("float32", (1,), "pickle", GOOD),
        ("float32", (2, 3), "numpy.ndarray", b""),
        ("float32", (2, 3), "numpy.ndarray", GOOD[:-1]),
        ("float32", (2, 3), "numpy.ndarray", GOOD + b"\0"),
        ("float32", (2, 3), "numpy.ndarray", GOOD.replace(b"(2, 3)", b"(2, 4)")),
        ("float32", (3, 2), "numpy.ndarray", GOOD),
        ("float32", (2, True), "numpy.ndarray", GOOD),
        ("float64", (2, 3), "numpy.ndarray", GOOD),
        ("float32", (2, 3), "numpy.ndarray", b"\x93NUMPY\x02\x00" + GOOD[8:]),
        ("float32", (2, 3), "numpy.ndarray", GOOD.replace(b"\x76\x00", b"\x77\x00")),
        ("object", (1,), "numpy.ndarray", GOOD.replace(b"<f4", b"|O ")),
        ("complex64", (2,), "numpy.ndarray", _npy(np.zeros(2, np.complex64))),
        ("<U3", (1,), "numpy.ndarray", _npy(np.array(["abc"]))),
        ("bool", (2,), "numpy.ndarray", _npy(np.array([True, False]))[:-2] + b"\2\0"),
        # 32 GiB that are not there, and shapes that NumPy has not.
        ("float32", (2**33,), "numpy.ndarray", GOOD.replace(b"(2, 3), } ", b"(8589934592,), }")),
        ("float32", (2**70, 0), "numpy.ndarray", GOOD[:-24].replace(b"(2, 3), }" + b" " * 16, b"(%d, 0), }" % 2**70)),
        ("float32", (-1, 6), "numpy.ndarray", GOOD.replace(b"(2, 3), } ", b"(-1, 6), }")),
    ],
)
def test_arrays_that_are_not_what_they_say_are_refused_before_memory_is_asked_for(
    dtype: str, shape: Any, stype: str, data: bytes
) -> None:
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="an array is refused"):
        wire.arrays_of(ArrayRecord({"a": Array(dtype, shape, stype, data)}))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100_000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=8), st.integers(0, len(GOOD)), st.integers(0, 4))
def test_whatever_bytes_come_an_array_is_read_or_refused(patch: bytes, place: int, cut: int) -> None:
    data = GOOD[:place] + patch + GOOD[place + cut :]
    with suppress(ProtocolError):
        (array,) = wire.arrays_of(ArrayRecord({"a": Array("float32", (2, 3), "numpy.ndarray", data)})).values()
        assert array.shape == (2, 3) and array.dtype == np.float32


def test_the_number_and_the_names_of_arrays_are_bounded() -> None:
    with pytest.raises(ProtocolError, match=r"65537 arrays are refused: at most 65536"):
        wire.arrays_of(wire.array_record({str(number): np.zeros(1) for number in range(MOST_ITEMS + 1)}))
    with pytest.raises(ProtocolError, match="names of at most 1000 characters"):
        wire.arrays_of(wire.array_record({"a" * (LONGEST_TEXT + 1): np.zeros(1)}))


def test_a_reply_that_is_an_error_is_no_content() -> None:
    message = Message(RecordDict(), dst_node_id=1, message_type="train")
    message.metadata.__dict__["_message_id"] = "1"
    reply = Message(Error(code=1, reason="gone"), reply_to=message)
    for read in (wire.arrays_in, wire.config_in, wire.assignment_of, wire.read_profile):
        with pytest.raises(ProtocolError, match="carries an error"):
            read(reply)
    with pytest.raises(ProtocolError, match="carries an error"):
        wire.read_metrics(Execution, reply, "a")
