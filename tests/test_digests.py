"""Digests: any two different inputs are told apart, and only those."""

import numpy as np

from wardround.digests import array_digest, digest_of


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
