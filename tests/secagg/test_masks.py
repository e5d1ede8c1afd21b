"""Masks: the standard's stream, all 256 bits of the key, exact cancellation, and no other source of randomness."""

import ast
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from round_driver import looks_random

import wardround.secagg
from wardround.errors import ProtocolError
from wardround.secagg.masks import add_masks

PACKAGE = sorted(Path(wardround.secagg.__file__).parent.glob("*.py"))


def stream(key, size=8):
    vector = np.zeros(size, np.uint32)
    add_masks(vector, [(key, True)])
    return vector


def test_the_stream_of_the_zero_key_is_that_of_the_standard():
    # AES-256 of counters 0, 1, 2 under the zero key: cases 13 and 14 of McGrew and Viega's GCM vectors (SP 800-38D).
    expected = "dc95c078a2408989ad48a21492842087530f8afbc74536b9a963b4f1c4cb738bcea7403d4d606b6e074ec5d3baf39d18"
    assert stream(bytes(32), 12).astype("<u4").tobytes().hex() == expected


def test_the_library_counts_as_sp_800_38a_f_5_5_and_our_stream_is_its_stream_from_0():
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    counter = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    text = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    cipher = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    assert cipher.update(text).hex() == "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    blocks = b"".join(number.to_bytes(16, "big") for number in range(3))
    one_by_one = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)
    assert stream(key, 12).astype("<u4").tobytes() == one_by_one


@pytest.mark.parametrize("size", [1, 3, 4, 5, 65_535, 65_536, 65_537, 131_075])
def test_a_stream_goes_on_over_the_edges_of_blocks(size):
    key = bytes(range(32))
    whole = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(4 * size))
    np.testing.assert_array_equal(stream(key, size), np.frombuffer(whole, "<u4"))


def test_every_bit_of_the_key_changes_every_part_of_the_stream():
    key = bytes(range(100, 132))
    streams = [stream(key)]
    for bit in range(256):
        flipped = bytearray(key)
        flipped[bit // 8] ^= 1 << bit % 8
        streams.append(stream(bytes(flipped)))
    for word in range(8):
        # 257 random words of 32 bits have two alike once in 130,000 times; with these keys they have none.
        assert len({int(made[word]) for made in streams}) == 257


def test_keys_with_the_same_xor_of_their_words_have_different_streams():
    """Folding 256 bits to 32, or to fewer, would make these equal."""
    folded = [bytes(32), b"\x01\x02\x03\x04" * 8, b"\xff\x00" * 16, bytes(16) + b"\x09" * 16]
    words = {np.bitwise_xor.reduce(np.frombuffer(key, np.uint32)) for key in folded}
    assert words == {0}
    assert len({stream(key).tobytes() for key in folded}) == 4


@pytest.mark.parametrize("length", [0, 4, 16, 24, 31, 33, 64])
def test_keys_of_another_length_are_refused(length):
    with pytest.raises(ProtocolError, match=f"a mask key has {length} bytes, which must be 32: 256 bits"):
        add_masks(np.zeros(3, np.uint32), [(bytes(length), True)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint64])
def test_only_residues_can_be_masked(dtype):
    with pytest.raises(ProtocolError, match=f"a vector of {np.dtype(dtype)} can't be masked, which must be uint32"):
        add_masks(np.zeros(3, dtype), [(bytes(32), True)])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=40),
    st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.booleans()), max_size=6),
    st.randoms(use_true_random=False),
)
def test_masks_cancel_exactly_in_any_order(numbers, masks, order):
    vector = np.array(numbers, np.uint32)
    opposite = [(key, not adds) for key, adds in masks]
    order.shuffle(opposite)
    add_masks(vector, masks)
    add_masks(vector, opposite)
    assert vector.tolist() == numbers


def test_a_masked_constant_looks_random_and_the_test_knows_what_does_not():
    size = 2**16
    assert looks_random(stream(bytes(32), size))
    assert not looks_random(np.full(size, 7, np.uint32))
    assert not looks_random(stream(bytes(32), size) >> np.uint32(1))
    assert not looks_random(stream(bytes(32), size) & np.uint32(0xFFFFFFFE))
    assert not looks_random((stream(bytes(32), size) >> np.uint32(9)) - np.uint32(2**22))


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.stem)
def test_no_generator_but_the_operating_systems_is_used(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
            assert not {name for name in names if name.split(".")[0] in ("random", "torch") or "random" in name}
        elif isinstance(node, ast.ImportFrom):
            assert "random" not in (node.module or "")
            assert not {alias.name for alias in node.names} & {"random", "default_rng", "Generator"}
        elif isinstance(node, ast.Attribute):
            assert node.attr != "random", f"{path.name}:{node.lineno}"
    assert len(PACKAGE) >= 11
