"""The digest of what all are told: two different things never have the same."""

import math
import struct
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from made_up import changed_assignment
from small_runs import ASSIGNMENT

from wardround import wire
from wardround.errors import ProtocolError
from wardround.secagg import sent_digest
from wardround.simulations.engines.flower_internals import take_identity

take_identity()
NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(), st.booleans())
PLAIN = st.one_of(NUMBERS, st.sampled_from([0, 1, 0.0, -0.0, 1.0, True, False, "1", b"1", ""]), st.text(), st.binary())
ARRAYS = arrays_of.arrays(
    dtype=st.sampled_from(["<f4", ">f4", "<f8", "<i4", "|b1", "|u1"]),
    shape=arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
TOLD = st.recursive(
    st.one_of(PLAIN, ARRAYS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple)),
    max_leaves=8,
)


def form(told):
    """The same for the same things only, as Python's own comparison has it once types and bits are spelled out."""
    if isinstance(told, np.ndarray):
        return ("array", told.dtype.str, told.shape, told.tobytes())
    if isinstance(told, float):
        return ("float", struct.pack("<d", told))
    if isinstance(told, list | tuple):
        return (type(told).__name__, tuple(map(form, told)))
    return (type(told).__name__, told)


@settings(max_examples=400, deadline=None)
@given(TOLD, TOLD)
def test_digests_are_equal_only_where_everything_is(one, other):
    assert (sent_digest(one) == sent_digest(other)) == (form(one) == form(other))


@settings(max_examples=200, deadline=None)
@given(st.lists(TOLD, min_size=1, max_size=4), st.data())
def test_no_part_can_change_or_move_or_hide_in_its_neighbour(parts, data):
    place = data.draw(st.integers(0, len(parts) - 1))
    rest = parts[:place] + parts[place + 1 :]
    others = [
        rest,
        [*rest, parts[place]],
        [parts[place], *rest],
        [*parts, parts[place]],
        [*parts[:place], [parts[place]], *parts[place + 1 :]],
        [*parts[:place], data.draw(TOLD), *parts[place + 1 :]],
        tuple(parts),
        [parts],
    ]
    for other in others:
        assert (sent_digest(parts) == sent_digest(other)) == (form(parts) == form(other))


def message_of(content, message_type="train", **more):
    message = Message(RecordDict(content), dst_node_id=1, message_type=message_type, **more)
    return sent_digest(wire.told_to_all(message))


WEIGHT, BIAS = np.arange(4.0).reshape(2, 2), np.zeros(4)
LOOK_ALIKES = {
    "as it is": {"arrays": {"weight": WEIGHT, "bias": BIAS}, "config": {"rate": 1, "names": ["a", "b"]}},
    "arrays in another order": {"arrays": {"bias": BIAS, "weight": WEIGHT}, "config": {"rate": 1, "names": ["a", "b"]}},
    "arrays with their names exchanged": {
        "arrays": {"bias": WEIGHT, "weight": BIAS},
        "config": {"rate": 1, "names": ["a", "b"]},
    },
    "records in another order": {
        "config": {"rate": 1, "names": ["a", "b"]},
        "arrays": {"weight": WEIGHT, "bias": BIAS},
    },
    "keys in another order": {"arrays": {"weight": WEIGHT, "bias": BIAS}, "config": {"names": ["a", "b"], "rate": 1}},
    "an empty record": {
        "arrays": {"weight": WEIGHT, "bias": BIAS},
        "config": {"rate": 1, "names": ["a", "b"]},
        "x": {},
    },
    "a config/train": {"arrays": {"weight": WEIGHT}, "config": {"train/rate": 1}},
    "a train/rate": {"arrays": {"weight": WEIGHT}, "config/train": {"rate": 1}},
    "whole": {"arrays": {"weight": WEIGHT}, "config": {"rate": 1}},
    "fractional": {"arrays": {"weight": WEIGHT}, "config": {"rate": 1.0}},
    "true": {"arrays": {"weight": WEIGHT}, "config": {"rate": True}},
    "text": {"arrays": {"weight": WEIGHT}, "config": {"rate": "1"}},
    "bytes": {"arrays": {"weight": WEIGHT}, "config": {"rate": b"1"}},
    "a list": {"arrays": {"weight": WEIGHT}, "config": {"rate": [1]}},
    "zero": {"arrays": {"weight": WEIGHT}, "config": {"rate": 0.0}},
    "minus zero": {"arrays": {"weight": WEIGHT}, "config": {"rate": -0.0}},
    "no number": {"arrays": {"weight": WEIGHT}, "config": {"rate": math.nan}},
    "a name with NUL": {"arrays": {"weight": WEIGHT}, "config": {"rate\0": 1}},
    "text that looks like a list": {"arrays": {"weight": WEIGHT}, "config": {"rate": "[1]"}},
    "flat": {"arrays": {"weight": WEIGHT.reshape(-1)}, "config": {"rate": 1}},
    "other type": {"arrays": {"weight": WEIGHT.view(np.int64)}, "config": {"rate": 1}},
}


def content_of(records, rest=ConfigRecord):
    return {
        name: wire.array_record(values) if name == "arrays" else rest(values)  # as a strategy has it
        for name, values in records.items()
    }


def test_messages_that_look_alike_have_digests_of_their_own():
    digests = {message_of(content_of(records)) for records in LOOK_ALIKES.values()}
    digests.add(message_of(content_of(LOOK_ALIKES["whole"], MetricRecord)))
    digests.add(message_of(content_of(LOOK_ALIKES["whole"]), "train.other"))
    digests.add(message_of(content_of(LOOK_ALIKES["whole"]), group_id="other"))
    assert len(digests) == len(LOOK_ALIKES) + 3


def test_an_array_is_what_it_holds_however_it_is_kept():
    kept = [WEIGHT, np.asfortranarray(WEIGHT), np.repeat(WEIGHT, 2, axis=1)[:, ::2]]
    records = [wire.array_record({"weight": array}) for array in kept]
    records += [ArrayRecord({"weight": Array(array)}) for array in kept]
    assert len({message_of({"arrays": record}) for record in records}) == 1


def test_a_large_array_is_hashed_where_it_is():
    array = np.zeros(4_000_000)
    tracemalloc.start()
    sent_digest(("weight", array))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100_000


@pytest.mark.parametrize(
    "told", [None, {"a": 1}, ("a", {1}), np.array(["a"]), np.array([None]), 1j, np.datetime64(1, "s")]
)
def test_what_has_no_digest_is_refused(told):
    with pytest.raises(ProtocolError, match="can't be told to all hospitals"):
        sent_digest(told)


def assigned(message_type="train", **changes):
    values = wire.record_values(changed_assignment(ASSIGNMENT, cell="record-central")) | changes
    content = {"arrays": wire.array_record({"weight": WEIGHT}), wire.ASSIGNMENT: ConfigRecord(values)}
    return Message(RecordDict(content), dst_node_id=1, message_type=message_type)


def test_of_an_assignment_a_hospitals_own_part_is_left_out_and_nothing_else():
    def digest(**changes):
        return sent_digest(wire.told_to_all(assigned(**changes), has_assignment=True))

    own = {"hospital-id": "south", "schedule-sample-rate": 0.2, "schedule-expected-batch-size": 9.0, "weight": 0.5}
    own |= {"schedule-num-steps": 3, "event-sample-rate": 0.2, "event-num-steps": 3}
    for key, value in {**own, "contribution": 0.5}.items():
        assert digest(**{key: value}) == digest()
    all_else = {"max-grad-norm": 2.0, "round-number": 4, "event-cell": "record-distributed", "new": 1}
    all_else["event-noise-multiplier"] = 1.0
    assert len({digest(**{key: value}) for key, value in all_else.items()} | {digest()}) == 6
    assert digest(**{"event-cell": "record-local"}) == digest(
        **{"event-cell": "record-local", "event-noise-multiplier": 2.0}
    )


def test_of_an_app_that_has_no_assignments_nothing_is_left_out():
    """Also where one of its records is called so."""
    one, other = assigned(), assigned(weight=0.5)
    assert sent_digest(wire.told_to_all(one)) != sent_digest(wire.told_to_all(other))
