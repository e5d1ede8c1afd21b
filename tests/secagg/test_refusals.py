"""Every message that a hospital or the server refuses, by its words; attacks proper are in test_attacks."""

from dataclasses import replace

import pytest
from round_driver import MODEL, Round, terms_of

from wardround.errors import CohortError, ProtocolError
from wardround.secagg import faults, hospital, server
from wardround.secagg.keys import seal
from wardround.secagg.records import UnmaskShares, paired


def refuses(words):
    return pytest.raises(ProtocolError, match=f"^h00 refuses, and sends nothing: {words}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"federation": "another"}, "federation = another was asked for, and this site's roster says simulated"),
        ({"min_survivors": 2}, "min_survivors = 2 was asked for, and this site's roster says 3"),
        ({"max_colluding": 0}, "max_colluding = 0 was asked for, and this site's roster says 1"),
    ],
)
def test_terms_must_be_those_of_the_roster(changes, words):
    site = Round(4, 3, 1).sites["h00"]
    agreed = {"min_survivors": 3, "max_colluding": 1}
    hospital.advertise(site, terms_of(**agreed), 0)
    with refuses(words):
        hospital.advertise(site, terms_of(**{**agreed, **changes}), 0)


def test_too_few_members_are_too_few_for_a_hospital_as_well(rounds_until):
    round_ = rounds_until["advertise"]
    with pytest.raises(CohortError, match="2 hospitals take part in the secure sum"):
        round_.answer("share", "h00", server.share_request(round_.terms, round_.ads[:2]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"names": ("h00",)}, "4 sealing keys for 1 hospitals, 1 of them different"),
        ({"names": ("h00", "h00", "h01", "h02")}, "4 sealing keys for 4 hospitals, 3 of them different"),
        ({"masking_keys": ()}, "0 masking keys for 4 hospitals, 4 of them different"),
        ({"signatures": (b"",)}, "1 signatures for 4 hospitals, 4 of them different"),
        ({"sealing_keys": (bytes(31),) * 4}, "a name or a key was advertised twice"),
    ],
)
def test_broken_share_requests(changes, words, rounds_until, whole_round):
    round_ = rounds_until["advertise"]
    request = server.share_request(round_.terms, round_.ads)
    with pytest.raises(ProtocolError, match=words):
        round_.answer("share", "h00", replace(request, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sharing": ("h01", "h02", "h03")}, "the list of those who shared secrets lacks it, has strangers"),
        ({"sharing": ("h00", "h01", "h02", "h09")}, "the list of those who shared secrets lacks it, has strangers"),
        ({"sharing": ("h00", "h01", "h01", "h02", "h03")}, "the list of those .* or names one twice"),
        ({"sharing": ("h00", "h01")}, "2 shared secrets, and 3 are needed"),
        ({"sharing": ("h00", "h01", "h02")}, "the sealed shares are not those of its neighbours who shared secrets"),
        ({"senders": ("h01", "h02", "h00")}, "the sealed shares are not those of its neighbours who shared secrets"),
    ],
)
def test_broken_mask_requests(changes, words, rounds_until):
    round_ = rounds_until["share"]
    request = server.mask_requests(round_.members, round_.shares)["h00"]
    with refuses(words):
        round_.answer("mask", "h00", replace(request, **changes), model_digest=MODEL)


def test_sealed_shares_of_another_length(rounds_until):
    round_ = rounds_until["share"]
    members, request = round_.members, server.mask_requests(round_.members, round_.shares)["h00"]
    key = members.sealing_secret(round_.memories["h01"].sealing_key, "h00", sender="h01", receiver="h00")
    sealed = seal(key, bytes(65), members.sealing_context(sender="h01", receiver="h00"))
    with refuses("h01 sealed 65 bytes, which must be 66"):
        round_.answer("mask", "h00", replace(request, sealed=(sealed, *request.sealed[1:])), model_digest=MODEL)
    with pytest.raises(ProtocolError, match="2 sealed shares for 3 hospitals, 3 of them different"):
        round_.answer("mask", "h00", replace(request, sealed=request.sealed[1:]), model_digest=MODEL)


@pytest.mark.parametrize(
    ("active", "dropped", "words"),
    [
        (("h00", "h01", "h02", "h03"), ("h03",), "h03 is listed as active and as dropped, which would give away"),
        (("h00", "h01", "h02"), (), "the active and the dropped are not those who shared secrets, each once"),
        (("h00", "h01", "h02", "h03", "h09"), (), "the active and the dropped are not those who shared secrets"),
        (("h00", "h01", "h02", "h02"), ("h03",), "the active and the dropped are not those who .* each once"),
        (("h01", "h02", "h03"), ("h00",), "it is listed as dropped, and has sent its vector"),
        (("h00", "h01"), ("h02", "h03"), "2 hospitals would be in the sum, and 3 are needed"),
    ],
)
def test_broken_confirm_requests(active, dropped, words, rounds_until):
    round_ = rounds_until["mask"]
    request = server.confirm_request(round_.members, round_.names, round_.names)
    with refuses(words):
        round_.answer("confirm", "h00", replace(request, active=active, dropped=dropped))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"active": ("h00", "h01", "h02")},
            "the lists of active and dropped hospitals changed after it confirmed them",
        ),
        ({"active": ("h00", "h01", "h02", "h03", "h03")}, "the lists of active and dropped hospitals changed"),
        ({"dropped": ("h03",)}, "the lists of active and dropped hospitals changed after it confirmed them"),
        ({"signers": (), "signatures": ()}, "0 hospitals confirmed the lists, and 3 are needed"),
    ],
)
def test_broken_unmask_requests(changes, words, rounds_until):
    round_ = rounds_until["confirm"]
    request = server.unmask_request(round_.members, round_.confirm_request, round_.confirmations)
    with refuses(words):
        round_.answer("unmask", "h00", replace(request, **changes))


def test_the_server_waits_for_a_quorum_at_every_stage(whole_round):
    members, two = whole_round.members, ["h00", "h01"]
    few = {
        "shared their secrets": lambda: server.mask_requests(members, {n: whole_round.shares[n] for n in two}),
        "sent their masked vector": lambda: server.confirm_request(members, whole_round.names, two),
        "confirmed who is in the sum": lambda: server.unmask_request(
            members, whole_round.confirm_request, {n: whole_round.confirmations[n] for n in two}
        ),
        "helped to unmask": lambda: server.take_off_masks(
            whole_round.masked["h00"], members, whole_round.unmask_request, {}, {n: whole_round.replies[n] for n in two}
        ),
    }
    for what, ask in few.items():
        with pytest.raises(CohortError, match=f"^2 of 4 hospitals {what}, and 3 are needed$"):
            ask()


def test_the_server_refuses_shares_for_others_than_neighbours(whole_round):
    reply = whole_round.shares["h00"]
    broken = replace(reply, receivers=reply.receivers[:2], sealed=reply.sealed[:2])
    with pytest.raises(ProtocolError, match=r"^it sealed shares for others than its neighbours, or for one twice"):
        faults.check_shares(whole_round.members, "h00", broken)


def test_the_server_says_whose_secret_is_missing(whole_round):
    empty = UnmaskShares(seeds_of=(), seed_shares=(), keys_of=(), key_shares=())
    replies, before = dict.fromkeys(whole_round.names, empty), whole_round.masked["h00"].copy()
    commitments = {name: shares.commitment for name, shares in whole_round.shares.items()}
    with pytest.raises(ProtocolError, match="the sum stays masked, as the seed of h00 can't be had: 0 shares"):
        server.take_off_masks(before, whole_round.members, whole_round.unmask_request, commitments, replies)
    assert (before == whole_round.masked["h00"]).all()


def test_a_stranger_s_shares_do_not_count():
    """A hospital that is no neighbour can't put a share of its own in the place of one that counts."""
    round_ = Round(14, 13).play()
    total = round_.total()
    stranger = round_.members.order[0]  # the lowest points are the ones that are used
    owner = min(set(round_.names) - round_.members.neighbours(stranger) - {stranger})
    reply = round_.replies[stranger]
    round_.replies[stranger] = replace(
        reply, seeds_of=(*reply.seeds_of, owner), seed_shares=(*reply.seed_shares, bytes(33))
    )
    assert (round_.total() == total).all()


@pytest.mark.parametrize("names", [("a", "a"), ("a",), ("a", "b", "c"), ()])
def test_lists_that_do_not_pair_up(names):
    with pytest.raises(
        ProtocolError, match=f"2 things for {len(names)} hospitals, {len(set(names))} of them different"
    ):
        paired(names, (b"1", b"2"), "things")
    assert paired(("a", "b"), (b"1", b"2"), "things") == {"a": b"1", "b": b"2"}


def test_memory_does_not_show_its_secrets(rounds_until):
    for stage, round_ in rounds_until.items():
        memory = round_.memories["h00"]
        assert repr(memory) == str(memory) == f"Memory(stage={stage!r})"
