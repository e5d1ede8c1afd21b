"""Digests: any two different inputs are told apart, and only those."""

import json
from dataclasses import asdict

import numpy as np

from wardround.digests import array_digest, by_field, digest_of
from wardround.rounds import Assignment, Schedule
from wardround.step_events import StepEvent


def test_digests_tell_where_one_part_ends() -> None:
    parts = [(b"",), (b"", b""), (b"a",), (b"a", b""), (b"", b"a"), (b"ab", b"c"), (b"a", b"bc"), (b"abc",)]
    assert len({digest_of(*each) for each in parts}) == len(parts)


def test_arrays_differ_by_name_dtype_shape_and_every_value_but_not_by_order() -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(1.5)}
    others = [
        {"a": arrays["a"]},
        {"a": arrays["a"], "c": arrays["b"]},
        {"a": arrays["a"].astype(np.float32), "b": arrays["b"]},
        {"a": arrays["a"].reshape(3, 2), "b": arrays["b"]},
        {"a": arrays["a"].T, "b": arrays["b"]},
        {"a": arrays["a"], "b": arrays["b"].reshape(1)},
        {"a": arrays["a"] + np.eye(2, 3)[::-1] * 1e-15, "b": arrays["b"]},
        {"a": arrays["a"], "b": -arrays["b"]},
    ]
    digests = [array_digest(each) for each in (arrays, *others)]
    assert len(set(digests)) == len(digests)
    assert array_digest({"b": arrays["b"], "a": np.asfortranarray(arrays["a"])}) == digests[0]


def test_a_record_by_field_is_what_dataclasses_make_of_it() -> None:
    assignment = Assignment(
        hospital_id="north",
        round_number=3,
        schedule=Schedule(expected_batch_size=6.5, sample_rate=0.25, num_steps=4),
        event=StepEvent(noise_multiplier=1.5, sample_rate=0.25, num_steps=4),
        weight=0.5,
        max_grad_norm=None,
        sensitivity=1.0,
    )
    assert json.dumps(by_field(assignment)) == json.dumps(asdict(assignment))
