"""What both sides make of the same advertisements, and that any difference in them shows."""

from dataclasses import replace

import pytest
from round_driver import terms_of

from wardround.errors import CohortError, ProtocolError
from wardround.secagg.keys import new_private_key, public_key
from wardround.secagg.members import advertised_text, members_of
from wardround.secagg.records import Advertisement
from wardround.secagg.server import share_request

PRIVATE = {name: (new_private_key(), new_private_key()) for name in ("a", "b", "c", "d", "é")}
ADS = tuple(
    Advertisement(name=name, sealing_key=public_key(sealing), masking_key=public_key(masking), signature=b"")
    for name, (sealing, masking) in PRIVATE.items()
)


def members_among(ads, **changes):
    return members_of(terms_of(**changes), share_request(terms_of(), ads))


MEMBERS = members_among(ADS)


def test_the_order_of_advertisements_and_their_signatures_do_not_matter():
    signed = tuple(replace(ad, signature=bytes(64)) for ad in ADS[::-1])
    assert members_among(signed) == MEMBERS
    assert sorted(MEMBERS.point(name) for name in PRIVATE) == [1, 2, 3, 4, 5]


def test_the_ring_has_everyone_once_and_changes_from_round_to_round():
    ads = [
        Advertisement(name=f"h{i}", sealing_key=bytes([i, 0]) * 16, masking_key=bytes([i, 1]) * 16, signature=b"")
        for i in range(20)
    ]
    orders = {members_among(ads, round_number=number).order for number in range(1, 11)}
    assert len(orders) == 10
    assert all(sorted(order) == sorted(ad.name for ad in ads) for order in orders)


@pytest.mark.parametrize(
    "ads",
    [
        ADS[:-1],
        (*ADS[:-1], replace(ADS[-1], name="e")),
        (*ADS[:-1], replace(ADS[-1], sealing_key=bytes(32))),
        (*ADS[:-1], replace(ADS[-1], masking_key=bytes(32))),
        (*ADS[:-1], replace(ADS[-1], sealing_key=ADS[-1].masking_key, masking_key=ADS[-1].sealing_key)),
        (
            *ADS[2:],
            replace(ADS[0], masking_key=ADS[1].masking_key),
            replace(ADS[1], masking_key=ADS[0].masking_key),
        ),
    ],
    ids=["fewer", "renamed", "sealing key", "masking key", "swapped in one", "swapped between two"],
)
def test_any_other_members_have_another_digest(ads):
    assert members_among(ads).digest != MEMBERS.digest


def test_other_terms_have_another_digest():
    assert members_among(ADS, run_id="another").digest != MEMBERS.digest


@pytest.mark.parametrize(
    ("ads", "error", "message"),
    [
        (
            (*ADS, replace(ADS[0], sealing_key=bytes(32), masking_key=b"1" * 32)),
            ProtocolError,
            "6 .* 5 of them different",
        ),
        ((*ADS[1:], replace(ADS[0], masking_key=ADS[1].sealing_key)), ProtocolError, "advertised twice"),
        ((*ADS[1:], replace(ADS[0], masking_key=ADS[0].sealing_key)), ProtocolError, "advertised twice"),
        ((*ADS[1:], replace(ADS[0], masking_key=b"short")), ProtocolError, "advertised key must have 32 bytes"),
        (ADS[:1], CohortError, "1 hospitals take part in the secure sum"),
        ((), CohortError, "0 hospitals take part in the secure sum"),
    ],
)
def test_what_is_no_round(ads, error, message):
    with pytest.raises(error, match=message):
        members_among(ads)


def test_two_neighbours_have_one_mask_which_one_adds_and_the_other_subtracts():
    for first in PRIVATE:
        for second in set(PRIVATE) - {first}:
            mine, mine_added = MEMBERS.pairwise_mask(PRIVATE[first][1], first, second)
            theirs, theirs_added = MEMBERS.pairwise_mask(PRIVATE[second][1], second, first)
            assert mine == theirs
            assert mine_added != theirs_added
            assert mine_added == (first.encode() < second.encode())


def test_sealing_secrets_are_one_at_both_ends_and_another_in_each_direction():
    there = MEMBERS.sealing_secret(PRIVATE["a"][0], "b", sender="a", receiver="b")
    assert there == MEMBERS.sealing_secret(PRIVATE["b"][0], "a", sender="a", receiver="b")
    back = MEMBERS.sealing_secret(PRIVATE["a"][0], "b", sender="b", receiver="a")
    assert there != back
    other = members_among(ADS, round_number=2)
    assert there != other.sealing_secret(PRIVATE["a"][0], "b", sender="a", receiver="b")
    contexts = {all_.sealing_context(sender=s, receiver=r) for all_ in (MEMBERS, other) for s in "abc" for r in "abc"}
    assert len(contexts) == 18


def test_own_masks_and_commitments_are_of_one_hospital_in_one_round():
    other = members_among(ADS, round_number=2)
    seed = bytes(32)
    masks = {members.own_mask(seed, name)[0] for members in (MEMBERS, other) for name in ("a", "b")}
    commitments = {members.commitment(seed, name) for members in (MEMBERS, other) for name in ("a", "b")}
    assert len(masks | commitments) == 8
    assert MEMBERS.own_mask(seed, "a")[1]


def test_confirmed_texts_differ_whenever_a_list_does():
    lists = [
        (["a", "b"], ["a"], ["b"]),
        (["a", "b"], ["b"], ["a"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], [], ["a", "b"]),
        (["a", "b", "c"], ["a"], ["b"]),
        (["ab"], ["a"], ["b"]),
    ]
    assert len({MEMBERS.confirmed_text(*three) for three in lists}) == len(lists)
    assert MEMBERS.confirmed_text(["b", "a"], ["a"], ["b"]) == MEMBERS.confirmed_text(["a", "b"], ["a"], ["b"])


def test_advertised_texts_differ_by_session_name_and_key():
    texts = {
        advertised_text(session, name, *keys)
        for session in (bytes(32), b"1" * 32)
        for name in ("a", "b")
        for keys in ((b"1" * 32, b"2" * 32), (b"2" * 32, b"1" * 32))
    }
    assert len(texts) == 8
