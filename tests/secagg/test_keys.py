"""Keys against the vectors of the standards, through our wrapping of them."""

import hashlib
import hmac

import pytest

from wardround.errors import ProtocolError
from wardround.secagg import keys

ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")


def test_raw_keys_agree_as_in_rfc_7748_section_6_1():
    assert (keys.public_key(ALICE), keys.public_key(BOB)) == (ALICE_PUBLIC, BOB_PUBLIC)
    assert keys.agree(ALICE, BOB_PUBLIC) == keys.agree(BOB, ALICE_PUBLIC) == SHARED


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), bytes(32), b"\x01" + bytes(31)])
def test_unsound_public_keys_are_refused(public):
    with pytest.raises(ProtocolError, match=f"a public key of {len(public)} bytes is not a sound X25519 key"):
        keys.agree(ALICE, public)


def test_derived_keys_are_hkdf_of_rfc_5869_over_the_transcript():
    info = keys.transcript(b"purpose", b"one", b"two")
    extracted = hmac.digest(b"wardround secagg 1", SHARED, "sha256")
    expected = hmac.digest(extracted, info + b"\x01", "sha256")
    assert keys.derive(SHARED, b"purpose", b"one", b"two") == expected


def test_derived_keys_differ_by_secret_purpose_and_context():
    derived = {
        keys.derive(secret, purpose, *context)
        for secret in (SHARED, ALICE)
        for purpose in (b"own mask", b"pairwise mask")
        for context in ((), (b"",), (b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"c", b"ab"))
    }
    assert len(derived) == 24


@pytest.mark.parametrize("length", [0, 4, 16, 31])
def test_short_secrets_are_refused(length):
    with pytest.raises(ProtocolError, match=f"a secret has {length} bytes, which must be >= 32: 256 bits"):
        keys.derive(bytes(length), b"purpose")


def test_transcripts_tell_lists_of_parts_apart():
    lists = [(), (b"",), (b"", b""), (b"ab",), (b"a", b"b"), (b"", b"ab"), (bytes(8),), (bytes(7), b"")]
    lists += [((1).to_bytes(8, "big") + b"a",), (b"a", b"a")]
    assert len({keys.transcript(*parts) for parts in lists}) == len(lists)
    text = b"wardround secagg 1" + (2).to_bytes(8, "big") + b"ab" + (0).to_bytes(8, "big")
    assert keys.transcript(b"ab", b"") == hashlib.sha256(text).digest()


def test_signatures_as_in_rfc_8032_section_7_1():
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b"
    )
    assert keys.verify_key(secret) == public
    assert keys.sign(secret, b"") == signature
    assert keys.is_signed(public, signature, b"")
    for wrong in ((public, signature, b"x"), (ALICE_PUBLIC, signature, b""), (public, signature[:-1], b"")):
        assert not keys.is_signed(*wrong)
    assert not keys.is_signed(b"", signature, b"")
    assert not keys.is_signed(public, bytes(64), b"")


def test_sealed_text_opens_with_its_key_and_context_alone():
    sealed = keys.seal(ALICE, b"secret", b"context")
    assert keys.unseal(ALICE, sealed, b"context") == b"secret"
    assert keys.seal(ALICE, b"secret", b"context") != sealed
    for key, text, context in (
        (BOB, sealed, b"context"),
        (ALICE, sealed, b"other"),
        (ALICE, sealed[:-1], b"context"),
        (ALICE, b"", b"context"),
        (ALICE, sealed[:12], b"context"),
    ):
        with pytest.raises(ProtocolError, match="a sealed share was changed, or is not from who it says"):
            keys.unseal(key, text, context)


def test_new_private_keys_are_new():
    made = {keys.new_private_key() for _ in range(50)}
    assert len(made) == 50
    assert {len(key) for key in made} == {keys.KEY_BYTES} == {32}
