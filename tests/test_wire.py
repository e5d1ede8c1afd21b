"""Records as messages, there and back; and nothing leaves a hospital that is not on the list."""

import math
import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from small_runs import small_config

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.datasets import load_federation
from wardround.errors import ProtocolError
from wardround.leaves import LEAVES_HOSPITAL
from wardround.models import build_model, parameters_of
from wardround.rounds import Assignment
from wardround.secagg.records import Advertisement, Confirmation, Shares, UnmaskShares
from wardround.simulations.inline import InlineGrid
from wardround.simulations.nodes import Node

_ASSIGNMENT = Assignment(
    hospital_id="hospital-01",
    round_number=3,
    sample_rate=0.1,
    expected_batch_size=15.2,
    num_steps=2,
    noise_multiplier=1.5,
    max_grad_norm=1.0,
    weight=0.25,
)


@pytest.fixture(scope="module")
def replies() -> dict[str, Message]:
    """A real reply of a real hospital to each kind of message."""
    config = small_config()
    federation = load_federation(config.federation)
    grid = InlineGrid(
        lambda: make_client_app(config, federation), [Node(node_id=1, node_config={"partition-id": 0})], {}
    )
    model, _ = build_model(config.model, input_shape=(30,), num_outputs=2, seed=1, private=True)
    arrays = wire.array_record(parameters_of(model))

    def ask(kind: str, summed: bool = False) -> Message:
        content = RecordDict(
            {wire.ARRAYS: arrays, wire.CONFIG: ConfigRecord({wire.SUM_WEIGHT: 0.25} if summed else {})}
        )
        message = Message(content, dst_node_id=1, message_type=kind)
        if kind == "train":
            wire.with_assignment(message, _ASSIGNMENT)
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
    expected = {"query.profile": {wire.PROFILE}, "evaluate": {wire.METRICS}}
    assert set(content) - {wire.ARRAYS} <= expected.get(kind, {wire.METRICS})
    assert (wire.ARRAYS in content) == (kind == "train")


def test_everything_on_the_list_is_sent_by_someone(replies: dict[str, Message]) -> None:
    sent = {key for reply in replies.values() for record in reply.content.values() for key in record}
    sent |= {key for reply in replies.values() for key in reply.content}
    protocol = (Advertisement, Shares, Confirmation, UnmaskShares)
    sent |= {item.name.replace("_", "-") for kind in protocol for item in fields(kind)}
    # An error is a reply of Flower's own kind; the tests of failing hospitals see its text.
    assert set(LEAVES_HOSPITAL) - {"error"} <= sent


def test_records_come_back_as_they_were(replies: dict[str, Message]) -> None:
    profile = wire.read_profile(replies["query.profile"])
    assert profile.hospital_id == "hospital-01"
    assert profile.input_shape == (30,)
    measures = wire.read_profile_measures(replies["query.profile"])
    assert measures is not None and len(measures.fingerprint) == 64
    execution = wire.read_execution(replies["train"], "hospital-01")
    assert (execution.round_number, execution.num_steps, execution.num_noise_draws) == (3, 2, 2)
    trained = wire.read_training_measures(replies["train"])
    assert trained is not None and trained.num_examples == profile.num_train
    evaluation = wire.read_evaluation(replies["evaluate"], "hospital-01")
    assert 0 <= evaluation.auc <= 1 and math.isfinite(evaluation.loss)


@pytest.mark.parametrize("assignment", [_ASSIGNMENT, replace(_ASSIGNMENT, max_grad_norm=None, noise_multiplier=0.0)])
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
        ({"profile": ConfigRecord({"num-test": 3})}, wire.read_profile_measures, "ProfileMeasures message lacks fing"),
        ({"metrics": MetricRecord({"loss": 3.0})}, wire.read_training_measures, "TrainingMeasures message lacks num_e"),
        ({}, wire.read_profile, "carries no profile"),
        ({}, lambda m: wire.read_execution(m, "a"), "carries no metrics"),
        ({}, lambda m: wire.read_evaluation(m, "a"), "carries no metrics"),
        ({"metrics": MetricRecord({"loss": 1.0})}, lambda m: wire.read_evaluation(m, "a"), "lacks num_examples"),
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


def test_arrays_that_flower_cannot_read_are_refused_as_it_does() -> None:
    with pytest.raises(TypeError, match="Unsupported serialization type"):
        wire.arrays_of(ArrayRecord({"a": Array("float32", (1,), "other", b"")}))
