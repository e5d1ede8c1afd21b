"""Attacks by the server, alone or with colluding hospitals: each is carried out, and gets a refusal or noise.

Where a check stands in the way, the test also shows what the attacker would have had without it.
"""

from dataclasses import replace

import numpy as np
import pytest
from round_driver import MODEL, Round, combined, looks_random, share_in, summed, terms_of

from wardround.errors import CohortError, ProtocolError
from wardround.secagg import hospital, sent_digest, server, shape_of
from wardround.secagg.keys import agree, new_private_key, public_key, sign
from wardround.secagg.masks import add_masks
from wardround.secagg.members import advertised_text, members_of
from wardround.secagg.records import STAGES, Confirmation, UnmaskRequest, paired
from wardround.secagg.shamir import PRIME

LOW_ORDER_POINTS = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    *((2**255 - 19 + step).to_bytes(32, "little") for step in (-1, 0, 1)),
]


def wide(num_hospitals):
    """Return vectors that are long enough to tell noise from data."""
    return {f"h{i:02}": np.full(2**14, 1000 * i, np.uint32) for i in range(num_hospitals)}


def confirmed(round_, name, active, dropped, sharing=None):
    """Return the signature of a colluder or of an honest hospital on any lists; only the former gives it freely."""
    sharing = list(round_.shares) if sharing is None else sharing
    return sign(round_.sites[name].signing_key, round_.members.confirmed_text(sharing, active, dropped))


def asking(round_, signatures, **changes):
    request = UnmaskRequest(
        session=round_.terms.session,
        active=round_.confirm_request.active,
        dropped=round_.confirm_request.dropped,
        signers=tuple(signatures),
        signatures=tuple(signatures.values()),
    )
    return replace(request, **changes)


def test_both_secrets_of_a_hospital_would_bare_its_vector_and_overlapping_lists_are_refused():
    round_ = Round(5, 4).play("mask")
    victim, others = "h02", ["h00", "h01", "h03", "h04"]
    seed, key = (round_.stolen(others, victim, kind) for kind in ("seed", "key"))
    np.testing.assert_array_equal(round_.bared(victim, seed=seed, keys_of={victim: key}), round_.vectors[victim])
    overlapping = replace(server.confirm_request(round_.members, round_.names, round_.names), dropped=(victim,))
    before = dict(round_.memories)
    round_.confirm()
    for name in others:
        with pytest.raises(ProtocolError, match="h02 is listed as active and as dropped, which would give away"):
            hospital.confirm(round_.sites[name], round_.terms, before[name], overlapping)
        asked = asking(round_, {n: c.signature for n, c in round_.confirmations.items()}, dropped=(victim,))
        with pytest.raises(ProtocolError, match="the lists of active and dropped hospitals changed"):
            hospital.unmask(round_.sites[name], round_.terms, round_.memories[name], asked)


def test_no_reply_ever_has_both_secrets_of_one_hospital():
    round_ = Round(9, 6, drops={0: 2, 1: 3, 2: 4}).play()
    for reply in round_.replies.values():
        assert not set(reply.seeds_of) & set(reply.keys_of)
        assert set(reply.seeds_of) <= set(round_.unmask_request.active)
        assert set(reply.keys_of) <= set(round_.unmask_request.dropped)


def test_a_man_in_the_middle_would_know_every_mask_of_his_victim_and_his_keys_are_refused():
    round_ = Round(4, 3).play("advertise")
    own = {ad.name: new_private_key() for ad in round_.ads}
    others = [ad for ad in round_.ads if ad.name != "h00"]
    known_to_server = [agree(own[ad.name], round_.members.masking_keys["h00"]) for ad in others]
    assert known_to_server == [agree(round_.memories["h00"].masking_key, public_key(own[ad.name])) for ad in others]
    for forge in (lambda ad, text: ad.signature, lambda ad, text: sign(bytes(32), text)):
        ads = [ad for ad in round_.ads if ad.name == "h00"]
        for ad in others:
            keys = ad.sealing_key, public_key(own[ad.name])
            text = advertised_text(round_.terms.session, ad.name, *keys)
            ads.append(replace(ad, masking_key=keys[1], signature=forge(ad, text)))
        request = server.share_request(round_.terms, ads)
        with pytest.raises(ProtocolError, match=r"the keys of h0\d are not signed with the key that the roster has"):
            round_.answer("share", "h00", request)


def test_another_sites_signature_does_not_vouch_for_a_key():
    round_ = Round(4, 3).play("advertise")
    ad = round_.ads[1]
    text = advertised_text(round_.terms.session, "h01", ad.sealing_key, ad.masking_key)
    forged = [replace(ad, signature=sign(round_.sites["h02"].signing_key, text)), *round_.ads[:1], *round_.ads[2:]]
    with pytest.raises(ProtocolError, match="the keys of h01 are not signed"):
        round_.answer("share", "h00", server.share_request(round_.terms, forged))


def test_strangers_to_the_roster_are_no_members():
    round_ = Round(4, 3).play("advertise")
    stranger = Round(5, 3).play("advertise").ads[4]
    with pytest.raises(ProtocolError, match="h04 is not in this site's roster"):
        round_.answer("share", "h00", server.share_request(round_.terms, [*round_.ads, stranger]))


@pytest.mark.parametrize("change", ["missing", "masking_key", "sealing_key"])
def test_a_hospital_insists_on_its_own_keys(change):
    round_ = Round(5, 3).play("advertise")
    ads = [ad for ad in round_.ads if ad.name != "h00"]
    if change != "missing":  # the server even has the hospital's signature: it asked for keys twice
        _, again = hospital.advertise(round_.sites["h00"], round_.terms, 0)
        ads.append(again)
    with pytest.raises(ProtocolError, match="its own keys are missing, or not those it advertised"):
        round_.answer("share", "h00", server.share_request(round_.terms, ads))


@pytest.mark.parametrize("point", LOW_ORDER_POINTS, ids=lambda point: point.hex()[:8])
@pytest.mark.parametrize("field", ["sealing_key", "masking_key"])
def test_keys_that_give_secrets_everyone_knows_are_refused(point, field):
    round_ = Round(3, 3).play("advertise")
    ad = replace(round_.ads[1], **{field: point})
    text = advertised_text(round_.terms.session, ad.name, ad.sealing_key, ad.masking_key)
    ads = [round_.ads[0], replace(ad, signature=sign(round_.sites["h01"].signing_key, text)), round_.ads[2]]
    request = server.share_request(round_.terms, ads)
    members = members_of(round_.terms, request)
    with pytest.raises(ProtocolError, match="not a sound X25519 key"):
        if field == "sealing_key":
            round_.answer("share", "h00", request)
        else:
            members.pairwise_mask(round_.memories["h00"].masking_key, "h00", "h01")


def test_a_quorum_must_have_confirmed_and_nobody_counts_twice():
    round_ = Round(7, 2, drops={6: 2}).play("confirm")
    quorum = round_.members.shape.quorum
    assert quorum == 5
    real = {name: reply.signature for name, reply in round_.confirmations.items()}
    few = dict(list(real.items())[: quorum - 1])
    wrong = {
        "too few": few,
        "another's": few | {"h05": real["h00"]},
        "of a dropped one": few | {"h06": confirmed(round_, "h06", *lists_of(round_))},
        "on other lists": few | {"h05": confirmed(round_, "h05", round_.names, [])},
        "on another sharing list": few | {"h05": confirmed(round_, "h05", *lists_of(round_), sharing=round_.names[:6])},
        "of a stranger": few | {"h99": real["h00"]},
        "empty": few | {"h05": b""},
    }
    for what, signatures in wrong.items():
        with pytest.raises(ProtocolError, match="4 hospitals confirmed the lists, and 5 are needed"):
            round_.answer("unmask", "h00", asking(round_, signatures))
            pytest.fail(what)
    twice = replace(asking(round_, few), signers=(*few, "h00"), signatures=(*few.values(), real["h00"]))
    with pytest.raises(ProtocolError, match="5 confirmations for 5 hospitals, 4 of them different"):
        round_.answer("unmask", "h00", twice)


def lists_of(round_):
    return round_.confirm_request.active, round_.confirm_request.dropped


def test_unmasking_twice_gives_nothing_the_second_time():
    round_ = Round(4, 3, drops={3: 2}).play()
    memory = round_.memories["h00"]
    assert memory == hospital.Memory(stage="unmask", session=round_.terms.session)
    with pytest.raises(ProtocolError, match=r'a stage was asked for out of turn or twice in round 1 .after "unmask"'):
        round_.answer("unmask", "h00", round_.unmask_request)


def test_lists_can_not_change_between_confirming_and_unmasking_even_with_a_quorum_of_signatures():
    round_ = Round(5, 3).play("confirm")
    active, dropped = round_.names[:4], round_.names[4:]
    signatures = {name: confirmed(round_, name, active, dropped) for name in round_.names}
    asked = asking(round_, signatures, active=tuple(active), dropped=tuple(dropped))
    with pytest.raises(ProtocolError, match="the lists of active and dropped hospitals changed after it confirmed"):
        round_.answer("unmask", "h00", asked)
    with pytest.raises(ProtocolError, match="out of turn or twice"):
        round_.answer("confirm", "h00", round_.confirm_request)


@pytest.mark.parametrize(("num_hospitals", "max_colluding"), [(5, 0), (6, 0), (7, 1), (8, 2), (14, 3)])
def test_two_halves_that_are_told_different_lists_of_survivors_unmask_neither(num_hospitals, max_colluding):
    round_ = Round(num_hospitals, max_colluding + 2, max_colluding).play("mask")
    colluders = round_.names[:max_colluding]
    honest = round_.names[max_colluding:]
    halves = honest[::2], honest[1::2]
    # The victim is active for one half and dropped for the other: both its secrets, were both to answer.
    victim = honest[0]
    told = [(round_.names, []), ([name for name in round_.names if name != victim], [victim])]
    refused = 0
    for half, (active, dropped) in zip(halves, told, strict=True):
        request = server.confirm_request(round_.members, round_.names, active)
        signatures = {name: confirmed(round_, name, active, dropped) for name in colluders if name in active}
        signatures |= {name: round_.answer("confirm", name, request).signature for name in half}
        assert len(signatures) < round_.members.shape.quorum
        round_.confirm_request = request
        for name in half:
            with pytest.raises(ProtocolError, match="hospitals confirmed the lists"):
                round_.answer("unmask", name, asking(round_, signatures))
            refused += 1
    assert refused == len(honest)


def test_a_victim_told_another_list_of_those_who_shared_stays_masked():
    round_ = Round(7, 2, vectors=wide(7)).play("share")
    shape, victim = round_.members.shape, "h00"
    assert (shape.num_members, shape.quorum) == (7, 5)
    # Two edges of the victim are cut by its own list, one more by a hospital that is listed as dropped.
    told_victim = [name for name in round_.names if name not in ("h01", "h02")]
    round_.mask_requests = server.mask_requests(round_.members, round_.shares)
    lying = server.mask_requests(round_.members, {name: round_.shares[name] for name in told_victim})
    for name, request in ({**round_.mask_requests, victim: lying[victim]}).items():
        round_.masked[name] = round_.vectors[name].copy()
        add_masks(round_.masked[name], round_.answer("mask", name, request, model_digest=MODEL))
    request = server.confirm_request(round_.members, round_.names, [name for name in round_.names if name != "h06"])
    with pytest.raises(ProtocolError, match="the active and the dropped are not those who shared secrets"):
        round_.answer("confirm", victim, request)
    round_.confirm_request, helpers = request, ["h01", "h02", "h03", "h04", "h05"]
    signatures = {name: round_.answer("confirm", name, request).signature for name in helpers}
    before = dict(round_.memories)
    replies = {name: round_.answer("unmask", name, asking(round_, signatures)) for name in helpers}
    seed = given_away(round_, replies, victim, "seed")
    key = given_away(round_, replies, "h06", "key")
    assert public_key(key) == round_.members.masking_keys["h06"]
    assert looks_random(round_.bared(victim, seed=seed, keys_of={"h06": key}))
    # Only the keys of the three that are left would bare the vector.
    left = {"h06": key} | {name: before[name].masking_key for name in ("h03", "h04", "h05")}
    np.testing.assert_array_equal(round_.bared(victim, seed=seed, keys_of=left), round_.vectors[victim])
    for name in ("h03", "h04", "h05"):
        but_one = {other: known for other, known in left.items() if other != name}
        assert looks_random(round_.bared(victim, seed=seed, keys_of=but_one))


def given_away(round_, replies, owner, what):
    """Return the secret that the server puts together from what hospitals replied."""
    shares = {}
    for holder, reply in replies.items():
        names, values = (reply.seeds_of, reply.seed_shares) if what == "seed" else (reply.keys_of, reply.key_shares)
        if owner in names:
            shares[round_.members.point(holder)] = values[names.index(owner)]
    return combined(shares, round_.members.shape.threshold)


def test_halves_that_are_told_different_members_share_no_masks_and_read_no_shares():
    round_ = Round(8, 2).play("advertise")
    halves = round_.ads[:6], round_.ads[2:]
    requests = [server.share_request(round_.terms, half) for half in halves]
    told = [members_of(round_.terms, request) for request in requests]
    _, first = hospital.share(round_.sites["h02"], round_.terms, round_.memories["h02"], requests[0])
    memory, _ = hospital.share(round_.sites["h03"], round_.terms, round_.memories["h03"], requests[1])
    crossed = dict.fromkeys(sorted(told[1].neighbours("h03")), paired(first.receivers, first.sealed, "")["h03"])
    request = server.MaskRequest(
        session=round_.terms.session, sharing=told[1].order, senders=tuple(crossed), sealed=tuple(crossed.values())
    )
    with pytest.raises(ProtocolError, match="from h02: a sealed share was changed, or is not from who it says"):
        hospital.mask(round_.sites["h03"], round_.terms, memory, request, model_digest=MODEL)
    keys = round_.memories["h02"].masking_key, round_.memories["h03"].masking_key
    assert told[0].pairwise_mask(keys[0], "h02", "h03")[0] != told[1].pairwise_mask(keys[1], "h03", "h02")[0]
    assert told[0].confirmed_text(["h02"], ["h02"], []) != told[1].confirmed_text(["h02"], ["h02"], [])


def test_messages_of_an_old_round_are_refused_whole_or_in_part():
    old, new = Round(4, 3).play("confirm"), Round(4, 3, round_number=2).play("advertise")
    with pytest.raises(ProtocolError, match="a message is of another round or run than round 2"):
        new.answer("share", "h00", old.share_request)
    with pytest.raises(ProtocolError, match="the keys of h01 are not signed"):
        ads = [new.ads[0], old.ads[1], *new.ads[2:]]
        new.answer("share", "h00", server.share_request(new.terms, ads))
    new.share()
    with pytest.raises(ProtocolError, match="a message is of another round or run than round 2"):
        new.answer("mask", "h00", old.mask_requests["h00"], model_digest=MODEL)
    stale = replace(old.mask_requests["h00"], session=new.terms.session)
    with pytest.raises(ProtocolError, match="a sealed share was changed, or is not from who it says"):
        new.answer("mask", "h00", stale, model_digest=MODEL)
    new.mask()
    with pytest.raises(ProtocolError, match="a message is of another round or run than round 2"):
        new.answer("confirm", "h00", old.confirm_request)
    new.confirm()
    stale = {name: reply.signature for name, reply in old.confirmations.items()}
    with pytest.raises(ProtocolError, match="0 hospitals confirmed the lists, and 3 are needed"):
        new.answer("unmask", "h00", asking(new, stale))


@pytest.mark.parametrize(("round_number", "last_round"), [(1, 1), (3, 7)])
def test_a_round_is_not_redone(round_number, last_round):
    round_ = Round(3, 3)
    with pytest.raises(ProtocolError, match=f"round {round_number} was asked for after round {last_round}"):
        hospital.advertise(round_.sites["h00"], terms_of(3, round_number=round_number), last_round)


def test_the_same_round_number_of_another_run_is_another_session():
    here, there = Round(4, 3).play("advertise"), Round(4, 3, run_id="another").play("share")
    with pytest.raises(ProtocolError, match="a message is of another round or run"):
        here.answer("share", "h00", there.share_request)
    with pytest.raises(ProtocolError, match="are not signed"):
        here.answer("share", "h00", replace(there.share_request, session=here.terms.session))


@pytest.mark.parametrize("stage", ["share", "mask", "confirm", "unmask"])
def test_terms_can_not_be_swapped_for_others_after_keys_were_advertised(stage):
    """A lower quorum would let two halves confirm different lists."""
    round_ = Round(6, 6).play({"share": "advertise", "mask": "share", "confirm": "mask", "unmask": "confirm"}[stage])
    weaker = terms_of(2)
    assert shape_of(6, 2, 0).quorum < round_.members.shape.quorum
    request = {
        "share": lambda: server.share_request(round_.terms, round_.ads),
        "mask": lambda: server.mask_requests(round_.members, round_.shares)["h00"],
        "confirm": lambda: server.confirm_request(round_.members, round_.names, round_.names),
        "unmask": lambda: server.unmask_request(round_.members, round_.confirm_request, round_.confirmations),
    }[stage]()
    round_.terms, more = weaker, {"model_digest": MODEL} if stage == "mask" else {}
    with pytest.raises(ProtocolError, match="a message is of another round or run"):
        round_.answer(stage, "h00", replace(request, session=weaker.session), **more)


def test_a_victim_that_is_sent_another_model_is_not_masked_together_with_the_others():
    """Were all others to return zeros, as a model with dead units makes them, the sum would be the victim's update."""
    dead = sent_digest((("weight", np.full(3, -1e9, np.float32)), ("learning-rate", 0.1)))
    still = sent_digest((("weight", np.zeros(3, np.float32)), ("learning-rate", 0.0)))
    round_ = Round(4, 3).play("share")
    request = server.mask_requests(round_.members, round_.shares)["h00"]
    for other in (dead, still):
        with pytest.raises(ProtocolError, match="the parameters or settings that it was sent are not those"):
            round_.answer("mask", "h00", request, model_digest=other)
        # Naming each model in terms of its own makes two rounds of it, whose hospitals do not take each other's keys.
        elsewhere = Round(4, 3, model_digest=other).play("advertise")
        ads = [*round_.ads[:1], *elsewhere.ads[1:]]
        alone = Round(4, 3).play("advertise")
        ads[0] = alone.ads[0]
        with pytest.raises(ProtocolError, match="are not signed"):
            alone.answer("share", "h00", server.share_request(alone.terms, ads))


@pytest.mark.parametrize("num_hospitals", [7, 16])
def test_colluders_who_pool_their_shares_know_nothing_of_a_secret(num_hospitals):
    round_ = Round(num_hospitals, 5 if num_hospitals == 7 else 14, 3).play("mask")
    members, victim = round_.members, round_.names[0]
    threshold = members.shape.threshold
    pool = sorted(members.neighbours(victim))[:3]
    for kind, truth in (("key", "masking_key"), ("seed", "seed")):
        with pytest.raises(ProtocolError, match=f"3 shares of it came back, and {threshold} are needed"):
            round_.stolen(pool, victim, kind)
        shares = {}
        for holder in pool:
            shares[members.point(holder)] = int.from_bytes(share_in(round_.memories[holder], victim, kind), "big")
        # Whatever they guess, there are shares of the others that make it true.
        for guess in (0, 12345, int.from_bytes(getattr(round_.memories[victim], truth), "big")):
            free = [p for p in range(1, num_hospitals + 1) if p not in shares][: threshold - len(shares)]
            made = dict(shares) | dict.fromkeys(free[1:], 7)
            made[free[0]] = solve_share(made, free[0], guess)
            as_bytes = {point: value.to_bytes(33, "big") for point, value in made.items()}
            assert int.from_bytes(combined(as_bytes, threshold), "big") == guess


def solve_share(others, point, secret):
    """Return the value at the point of the polynomial through the others and (0, secret)."""
    through, value = {0: secret, **others}, 0
    for at, share in through.items():
        term = share
        for other in through:
            if other != at:
                term = term * (point - other) * pow(at - other, -1, PRIME) % PRIME
        value += term
    return value % PRIME


def test_sealed_shares_can_not_be_swapped_altered_or_sent_back():
    round_ = Round(5, 4).play("share")
    honest = server.mask_requests(round_.members, round_.shares)
    request = honest["h00"]
    first, second, *rest = request.sealed
    own = paired(round_.shares["h00"].receivers, round_.shares["h00"].sealed, "")[request.senders[0]]
    flipped = [first[:at] + bytes([first[at] ^ 1]) + first[at + 1 :] for at in (0, 11, 12, 40, len(first) - 1)]
    meant_for_another = paired(round_.shares["h01"].receivers, round_.shares["h01"].sealed, "")["h02"]
    wrong = [(second, first), (own, second), (meant_for_another, second), (first[:-1], second), (b"", second)]
    for sealed in [*wrong, *((share, second) for share in flipped)]:
        with pytest.raises(ProtocolError, match="a sealed share was changed, or is not from who it says"):
            round_.answer("mask", "h00", replace(request, sealed=(*sealed, *rest)), model_digest=MODEL)


def test_a_vector_that_comes_late_keeps_its_own_mask():
    round_ = Round(5, 3, vectors=wide(5)).play("mask")
    late, rest = "h04", round_.names[:4]
    kept = round_.masked[late]
    round_.drops[late] = 3
    round_.masked = {name: round_.masked[name] for name in rest}
    for stage in ("confirm", "unmask"):
        getattr(round_, stage)()
    np.testing.assert_array_equal(round_.total(), summed(round_.vectors[name] for name in rest))
    round_.masked[late] = kept
    key = given_away(round_, round_.replies, late, "key")
    left = round_.bared(late, keys_of={late: key})
    assert looks_random(left)
    bare = round_.bared(late, seed=round_.memories[late].seed, keys_of={late: key})
    np.testing.assert_array_equal(bare, round_.vectors[late])


@pytest.mark.parametrize(
    ("stage", "memory_after"),
    [(asked, last) for asked in STAGES[1:] for last in STAGES if STAGES.index(asked) != STAGES.index(last) + 1],
)
def test_a_stage_is_answered_once_and_in_its_turn(stage, memory_after, whole_round, rounds_until):
    request = {
        "share": whole_round.share_request,
        "mask": whole_round.mask_requests["h00"],
        "confirm": whole_round.confirm_request,
        "unmask": whole_round.unmask_request,
    }[stage]
    asked = rounds_until[memory_after]
    with pytest.raises(ProtocolError, match=f'out of turn or twice in round 1 .after "{memory_after}"'):
        asked.answer(stage, "h00", request, **({"model_digest": MODEL} if stage == "mask" else {}))


def test_the_same_masks_on_two_vectors_would_show_their_difference_so_they_are_given_once():
    round_ = Round(4, 3).play("share")
    request, before = server.mask_requests(round_.members, round_.shares)["h00"], round_.memories["h00"]
    masks = round_.answer("mask", "h00", request, model_digest=MODEL)
    vectors = np.arange(4, dtype=np.uint32), np.array([9, 9, 9, 9], np.uint32)
    difference = vectors[0] - vectors[1]
    for vector in vectors:
        add_masks(vector, masks)
    np.testing.assert_array_equal(vectors[0] - vectors[1], difference)
    assert before.stage == "share"
    with pytest.raises(ProtocolError, match="out of turn or twice"):
        round_.answer("mask", "h00", request, model_digest=MODEL)


def test_no_key_is_ever_used_in_two_rounds_or_for_two_ends():
    rounds = [Round(4, 3, round_number=number).play("share") for number in (1, 2)]
    keys = []
    for round_ in rounds:
        requests = server.mask_requests(round_.members, round_.shares)
        for name in round_.names:
            keys += [key for key, adds in round_.answer("mask", name, requests[name], model_digest=MODEL) if adds]
            memory = round_.memories[name]
            keys += [memory.masking_key, memory.sealing_key, memory.seed]
        keys += [
            round_.members.sealing_secret(round_.memories[a].sealing_key, b, sender=a, receiver=b)
            for a in round_.names
            for b in round_.names
            if a != b
        ]
    assert {len(key) for key in keys} == {32}
    # Each pair's mask is added by one of the two, each own mask by its owner.
    assert len(set(keys)) == len(keys) == 2 * (6 + 4 + 3 * 4 + 12)


def test_a_sum_of_fewer_than_the_quorum_is_never_confirmed():
    round_ = Round(6, 5).play("mask")
    with pytest.raises(CohortError, match="4 of 6 hospitals sent their masked vector, and 5 are needed"):
        server.confirm_request(round_.members, round_.names, round_.names[:4])
    asked = replace(
        server.confirm_request(round_.members, round_.names, round_.names),
        active=tuple(round_.names[:4]),
        dropped=tuple(round_.names[4:]),
    )
    with pytest.raises(ProtocolError, match="4 hospitals would be in the sum, and 5 are needed"):
        round_.answer("confirm", "h00", asked)


def test_a_confirmation_has_no_meaning_in_any_other_place():
    round_ = Round(4, 3).play("confirm")
    signature = round_.confirmations["h01"].signature
    fresh = Round(4, 3).play("advertise")
    ads = [fresh.ads[0], replace(fresh.ads[1], signature=signature), *fresh.ads[2:]]
    with pytest.raises(ProtocolError, match="the keys of h01 are not signed"):
        fresh.answer("share", "h00", server.share_request(fresh.terms, ads))
    as_confirmation = {
        name: Confirmation(signature=ad.signature) for name, ad in zip(round_.names, round_.ads, strict=True)
    }
    request = server.unmask_request(round_.members, round_.confirm_request, as_confirmation)
    with pytest.raises(ProtocolError, match="0 hospitals confirmed"):
        round_.answer("unmask", "h00", request)
