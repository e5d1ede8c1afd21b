"""Shares that are wrong: found by what they must give, left aside while enough are right, and their senders named."""

from dataclasses import replace

import numpy as np
import pytest
from round_driver import Round, summed

from wardround.errors import ProtocolError
from wardround.secagg import server
from wardround.secagg.shamir import combine, split

GARBAGE = {"zeros": bytes(33), "ones": b"\xff" * 33, "none": b"", "one": bytes(32) + b"\1"}


@pytest.fixture(scope="module")
def played():
    """Six hospitals of which two may drop out; every secret has five shares, and three give it."""
    round_ = Round(6, 4).play()
    assert round_.members.shape.threshold == 3
    return round_


def unmask(round_, replies):
    total = summed(round_.masked.values())
    commitments = {name: shares.commitment for name, shares in round_.shares.items()}
    wrong = server.take_off_masks(total, round_.members, round_.unmask_request, commitments, replies)
    return total, wrong


def lying(round_, holder, share, field="seed_shares", owners=None):
    """Return a holder's reply with another share in the place of those of some owners, or of all."""
    reply = round_.replies[holder]
    named = getattr(reply, "seeds_of" if field == "seed_shares" else "keys_of")
    shares = zip(named, getattr(reply, field), strict=True)
    return replace(reply, **{field: tuple(share if owners is None or n in owners else old for n, old in shares)})


@pytest.mark.parametrize("share", GARBAGE)
@pytest.mark.parametrize("place", range(6))
def test_a_liar_at_any_place_is_named_and_the_sum_finished(place, share, played):
    liar = played.members.order[place]
    total, wrong = unmask(played, {**played.replies, liar: lying(played, liar, GARBAGE[share])})
    np.testing.assert_array_equal(total, summed(played.vectors.values()))
    assert set(wrong) == {liar}
    assert wrong[liar].startswith(f"{liar} sent a wrong share of what ")
    assert all(owner in wrong[liar] for owner in played.members.neighbours(liar))


@pytest.mark.parametrize("place", range(6))
def test_one_wrong_share_names_who_sent_and_who_dealt_it(place, played):
    liar = played.members.order[place]
    owner = min(played.members.neighbours(liar))
    total, wrong = unmask(played, {**played.replies, liar: lying(played, liar, bytes(33), owners={owner})})
    np.testing.assert_array_equal(total, summed(played.vectors.values()))
    assert wrong == {
        liar: f"{liar} sent a wrong share of what {owner} dealt it: {liar} is at fault, or {owner}; the sum was "
        "finished without"
    }


def test_as_many_liars_as_there_are_shares_to_spare_are_named(played):
    liars = played.members.order[:2]
    total, wrong = unmask(played, played.replies | {liar: lying(played, liar, bytes(33)) for liar in liars})
    np.testing.assert_array_equal(total, summed(played.vectors.values()))
    assert set(wrong) == set(liars)


def test_one_liar_more_leaves_the_sum_masked(played):
    before = summed(played.masked.values())
    total = before.copy()
    liars = {liar: lying(played, liar, bytes(33)) for liar in played.members.order[:3]}
    commitments = {name: shares.commitment for name, shares in played.shares.items()}
    with pytest.raises(
        ProtocolError, match=r"the sum stays masked, as the seed of h0. can't be had: 5 shares of it came"
    ):
        server.take_off_masks(total, played.members, played.unmask_request, commitments, played.replies | liars)
    np.testing.assert_array_equal(total, before)


@pytest.mark.parametrize("place", range(5))
def test_wrong_shares_of_a_masking_key_are_found_like_those_of_a_seed(place):
    """The key of one who dropped out has five shares; a seed of the others has four."""
    round_ = Round(6, 4, drops={5: 2}).play()
    liar = [name for name in round_.members.order if name != "h05"][place]
    total, wrong = unmask(round_, {**round_.replies, liar: lying(round_, liar, bytes(33), "key_shares")})
    np.testing.assert_array_equal(total, summed(vector for name, vector in round_.vectors.items() if name != "h05"))
    assert set(wrong) == {liar} and "dealt" in wrong[liar]


def test_a_dealer_whose_shares_are_all_of_another_secret_is_named(played):
    """As where it committed itself to another seed than the one that it shared."""
    dealer = "h02"
    points = {name: played.members.point(name) for name in played.members.neighbours(dealer)}
    dealt = split(bytes(range(32)), points.values(), played.members.shape.threshold)
    replies = {
        name: lying(played, name, dealt[points[name]], owners={dealer}) if name in points else reply
        for name, reply in played.replies.items()
    }
    with pytest.raises(
        ProtocolError, match=r"the seed of h02 can't be had: all 5 shares are of another one.*dealt them"
    ):
        unmask(played, replies)


def test_of_many_shares_four_wrong_ones_are_found():
    secret, points = bytes(range(32)), range(1, 29)
    shares = split(secret, points, 17)
    for wrong in ([1, 2, 3, 4], [14, 15, 16, 17], [5, 7, 20, 28], [25, 26, 27, 28]):
        found, odd = combine({**shares, **dict.fromkeys(wrong, bytes(33))}, 17, secret.__eq__)
        assert (found, odd) == (secret, frozenset(wrong))


def test_too_few_shares_are_said_to_be_too_few():
    with pytest.raises(ProtocolError, match="1 shares of it came back, and 2 are needed"):
        combine({1: bytes(33)}, 2, lambda secret: True)
