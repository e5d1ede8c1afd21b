"""The attacks that any Flower app can be put under: Wardround's mod stands, and what Flower's own does is on record.

Each attack that stands has its control: the same code where what stands in its way is left out, and there it succeeds.
"""

import base64
import logging
import os
import re
from dataclasses import replace
from importlib.metadata import version

import attacked
import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.compat.common import recorddict_compat as compat
from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key
from least_squares.data import load_data
from least_squares.sites import AGREED, SEED, simulated_names, site_of
from users_app import BOUNDS, NAMES, WIDTH, UsersSites

from wardround import wire
from wardround.attacks.by_server import (
    ATTACKS,
    another_model,
    asked_in_clear,
    invented_hospitals,
    lists_that_differ,
    lowered_noise,
    overlapping_lists,
    replayed_round,
    singled_out,
    unmask_asked_again,
    weakened_settings,
)
from wardround.attacks.flower_seeds import ALL_SEEDS, guessed_update, pair_seeds, ring_terms, stream_words, word_table
from wardround.attacks.stages import honest_round
from wardround.attacks.targets import Target
from wardround.attacks.wardround_secagg import WardroundSecAgg
from wardround.clients.secagg import SecAggMod, agreed_terms
from wardround.errors import Refusal
from wardround.secagg import read_roster, simulated_site
from wardround.secagg.hospital import Memory

FALLS = {
    overlapping_lists: "both secrets of a hospital are given to who asks",
    lists_that_differ: "hospitals confirm no lists, and take any threshold",
    singled_out: "a hospital takes part alone, with threshold 1",
    invented_hospitals: "keys are signed by nobody",
    another_model: "no key covers the model",
    weakened_settings: "hospitals state no settings of their own",
    replayed_round: "a round has no name, and is answered again",
}
"""What Flower's own SecAgg+ falls to, as it was in flwr 1.41.0, and why."""
STANDS = {
    asked_in_clear: "this hospital sends masked vectors only",
    overlapping_lists: "is listed as active and as dropped, which would give away its vector",
    lists_that_differ: "2 hospitals confirmed the lists, and",
    unmask_asked_again: "a stage was asked for out of turn or twice",
    singled_out: "1 hospitals take part in the secure sum",
    invented_hospitals: "are not signed with the key that the roster has for it",
    another_model: "the parameters or settings that it was sent are not those that the terms name",
    weakened_settings: "the terms are refused: max_update = ",
    replayed_round: "rounds are not redone|of this round was answered before",
}
"""What Wardround's mod says to each."""


@pytest.fixture(autouse=True)
def quiet(caplog):
    with caplog.at_level(logging.CRITICAL + 1, "flwr"):
        yield


@pytest.mark.parametrize("target", [attacked.ours, attacked.flowers], ids=["ours", "flowers"])
def test_an_honest_round_gives_the_mean_and_nothing_of_a_part(target):
    nodes = target.start()
    round_ = honest_round(nodes, target.node_ids, target.protocol.terms(nodes, target.node_ids))
    total, weight = target.protocol.summed(round_, target.node_ids)
    assert round_.refused == ()
    np.testing.assert_allclose(total / weight, target.true_update(target.node_ids), rtol=0, atol=1e-4)
    for part in ([2], [1, 2], [1, 3, 4, 5]):
        assert target.protocol.summed(round_, part) is None


def reading(message):
    """Take arrays by name, as an app of one's own does."""
    return [array.numpy() for array in message.content["arrays"].values()], 0.1


def with_keys_in_files(folder):
    """Return five sites, each with a key and a roster in files, as SuperNodes have them."""
    sites = UsersSites(folder, reading)
    app, plain = ClientApp(mods=[SecAggMod(check_terms=agreed_terms(**BOUNDS))]), ClientApp()
    for each in (app, plain):
        each.train()(sites.train)
    draw = np.random.default_rng(3).normal(size=(WIDTH, WIDTH))
    return Target(
        app=app,
        plain=plain,
        protocol=WardroundSecAgg(roster=read_roster(folder / "roster.json"), **BOUNDS),
        model={"1.weight": draw, "1.bias": np.zeros(WIDTH), "2.weight": draw.T.copy(), "2.bias": np.zeros(WIDTH)},
        node_configs=[sites.node_config(index) for index in range(len(NAMES))],
    )


@pytest.fixture(params=["simulated", "with keys in files"])
def ours(request, tmp_path):
    return attacked.ours if request.param == "simulated" else with_keys_in_files(tmp_path)


@pytest.mark.parametrize("attack", STANDS, ids=lambda attack: attack.__name__)
def test_wardrounds_mod_stands(attack, ours):
    finding = attack(ours)
    assert not finding.fell, finding
    assert finding.learnt is None
    assert re.search(STANDS[attack], finding.refused[0].reason)


def test_every_attack_was_tried_on_wardrounds_mod():
    assert {*STANDS, lowered_noise} == set(ATTACKS)


@pytest.mark.parametrize("attack", FALLS, ids=lambda attack: attack.__name__)
def test_what_flowers_own_secagg_falls_to(attack):
    finding = attack(attacked.flowers)
    assert finding.fell, (
        f"flwr {version('flwr')} no longer falls to this, as 1.41.0 did ({FALLS[attack]}): tell it in docs/security.md "
        f"and docs/how-to/attack-your-app.md.\n{finding}"
    )
    assert finding.learnt.error < 0.01


def test_flowers_own_answers_no_stage_twice_and_so_stands_there():
    finding = unmask_asked_again(attacked.flowers)
    assert not finding.fell
    assert {refusal.stage for refusal in finding.refused} == {"unmask"}


def test_flowers_own_refuses_what_is_asked_in_clear_and_not_by_its_other_name():
    """The mod passes all that is not called "train". Apps with a client_fn know no other name, of functions do."""
    assert not asked_in_clear(attacked.flowers).fell

    def train(message, context):
        instructions = compat.recorddict_to_fitins(message.content, keep_input=True)
        client = attacked.LeastSquares(simulated_names(attacked.NUM_NODES)[context.node_config["partition-id"]])
        trained, num_examples, _ = client.fit(parameters_to_ndarrays(instructions.parameters), {})
        result = FitRes(Status(Code.OK, ""), ndarrays_to_parameters(trained), num_examples, {})
        return Message(compat.fitres_to_recorddict(result, keep_input=False), reply_to=message)

    app = ClientApp(mods=[secaggplus_mod])
    app.train()(train)
    registered = replace(attacked.flowers, app=app)
    assert overlapping_lists(registered).learnt.error < 0.01  # so the mod masks what this app trains
    finding = asked_in_clear(registered)
    assert finding.fell
    assert [refusal.stage for refusal in finding.refused] == ["train"]
    assert finding.learnt.error < 1e-6


def test_flowers_own_tells_the_number_of_examples_in_clear():
    nodes = attacked.flowers.start()
    terms = attacked.flowers.protocol.terms(nodes, attacked.flowers.node_ids)
    round_ = honest_round(nodes, attacked.flowers.node_ids, terms)
    names = dict(enumerate(simulated_names(attacked.NUM_NODES), start=1))
    assert round_.weights == {node_id: len(load_data(name)[1]) for node_id, name in names.items()}


def test_an_old_round_is_not_answered_after_a_restart_of_all_sites(tmp_path):
    target = with_keys_in_files(tmp_path)
    nodes = target.start()
    first = honest_round(nodes, target.node_ids, target.protocol.terms(nodes, target.node_ids))
    assert first.refused == ()
    again = honest_round(target.start(), target.node_ids[1:], first.terms)
    assert not again.keys
    assert {refusal.stage for refusal in again.refused} == {"advertise"}


# Masks that can be guessed.


@pytest.mark.parametrize("num_neighbours", [1, 2])
def test_masks_of_flowers_own_are_guessed_after_an_honest_round(num_neighbours):
    """All 2^28 guesses take minutes; here, those around the right ones, which the test reads off a hospital's state."""
    target = attacked.flowers
    nodes, cohort = target.start(), (1, 2) if num_neighbours == 1 else target.node_ids
    terms = ring_terms(target.protocol.terms(nodes, cohort, lowered=True), num_neighbours)
    round_ = honest_round(nodes, cohort, terms)
    assert round_.refused == ()
    assert target.protocol.summed(round_, [2]) is None
    total, weight = target.protocol.summed(round_, cohort)
    np.testing.assert_allclose(total / weight, target.true_update(cohort), rtol=0, atol=1e-4)
    partners = list(round_.shares[2])
    assert partners == ([1] if num_neighbours == 1 else [1, 3])
    state = nodes.contexts[2].state.config_records["secaggplus_state"]
    places = []
    for partner in partners:
        key = generate_shared_key(bytes_to_private_key(state["sk1"]), bytes_to_public_key(round_.keys[partner][0]))
        places.append(place_of(key))
    assert guessed_update(round_, 2, [range(place - 5000, place) for place in places]) is None
    found = guessed_update(round_, 2, [range(place - 5000, place + 5000) for place in places])
    np.testing.assert_allclose(found, target.true_update([2]), rtol=0, atol=1e-4)


def place_of(key):
    """Return at which of all seeds of a pair the one of a key is, which is a place only where they are 2^28."""
    octets = np.bitwise_xor.reduce(np.frombuffer(key, np.uint8).reshape(-1, 4))
    assert (octets < 128).all()
    return sum(int(octet) << (7 * byte) for byte, octet in enumerate(octets))


def test_every_key_of_a_pair_in_flowers_own_has_28_bits_of_effect():
    for _ in range(200):
        place = place_of(base64.urlsafe_b64encode(os.urandom(32)))
        assert place in ALL_SEEDS[0]
    assert pair_seeds(ALL_SEEDS[0][-1:])[0] == 0x7F7F7F7F


def test_the_words_of_a_stream_are_numpys():
    seeds = np.random.default_rng(1).integers(2**32, size=300, dtype=np.uint32)
    drawn = [np.random.RandomState(seed).randint(0, 2**32, 4, dtype=np.int64) for seed in seeds]
    np.testing.assert_array_equal(stream_words(seeds, 4).T, np.array(drawn, np.uint32))
    table = word_table([range(10, 30_000), range(50_000, 50_001)])
    assert (table[1:] > table[:-1]).all()
    assert set((table & np.uint64(2**32 - 1)).tolist()) == {
        *pair_seeds(range(10, 30_000)).tolist(),
        *pair_seeds(range(50_000, 50_001)).tolist(),
    }


# Controls: what the attacks on Wardround's mod get where one thing is left out.


def memory_of(nodes, node_id):
    return wire.read_record(Memory, dict(nodes.contexts[node_id].state["secagg-memory"]))


def test_both_secrets_of_a_hospital_bare_its_update():
    """So overlapping lists would: the kit reads masked vectors where it is given what hospitals refuse to give."""
    target = attacked.ours
    nodes = target.start()
    terms = target.protocol.terms(nodes, target.node_ids)
    round_ = honest_round(nodes, target.node_ids, terms)
    again = target.start()
    round_ = target.protocol.set_up(replace(round_, nodes=again, secrets={}, terms=replace(terms, run_id="another")))
    round_ = target.protocol.collect(target.protocol.share_keys(round_))
    memory = memory_of(again, target.victim)
    for secrets, enough in (
        ({("seed", 2): memory.seed}, False),
        ({("key", 2): memory.masking_key}, False),
        ({("seed", 2): memory.seed, ("key", 2): memory.masking_key}, True),
        ({("seed", 2): memory.seed, **{("key", n): memory_of(again, n).masking_key for n in (1, 3, 4, 5)}}, True),
    ):
        summed = target.protocol.summed(replace(round_, secrets=secrets), [2])
        assert (summed is not None) == enough
        if summed is not None:
            np.testing.assert_allclose(summed[0] / summed[1], target.true_update([2]), rtol=0, atol=1e-6)


def test_who_has_the_long_term_keys_of_all_others_can_invent_them():
    names = simulated_names(attacked.NUM_NODES)
    keys = {n: simulated_site(SEED, n, names, min_survivors=4, max_colluding=0).signing_key for n in names}
    stolen = replace(attacked.ours, protocol=replace(attacked.ours.protocol, signing_keys=keys))
    finding = invented_hospitals(stolen)
    assert finding.fell
    assert finding.learnt.error < 1e-4


def with_mod(mod, train=attacked.train):
    app = ClientApp(mods=[mod])
    app.train()(train)
    return replace(attacked.ours, app=app)


def test_who_takes_any_bound_tells_its_largest_coordinate():
    lax = with_mod(SecAggMod(site_of, check_terms=lambda terms, message: None))
    finding = weakened_settings(lax)
    assert finding.fell
    assert finding.learnt.error < 1e-3


def test_the_difference_of_two_sums_that_all_agreed_to_is_one_hospitals_update():
    """In a new run of four of the five. Noise stands against it, and who counts runs; no protocol does."""
    target, nodes = attacked.ours, attacked.ours.start()
    others = [node_id for node_id in target.node_ids if node_id != target.victim]
    rounds = [honest_round(nodes, cohort, target.protocol.terms(nodes, cohort)) for cohort in (target.node_ids, others)]
    (whole, of_whole), (rest, of_rest) = (target.protocol.summed(round_, round_.cohort) for round_ in rounds)
    np.testing.assert_allclose((whole - rest) / (of_whole - of_rest), target.true_update([2]), rtol=0, atol=1e-5)


# An app that draws noise, as much as the server says or as it knows itself.

draws = np.random.default_rng(5)


NOISE = 0.05


def noisy(told, check_terms=None):
    """Return the app with noise, as much as the message says or as it knows itself."""

    def train(message: Message, context):
        reply = attacked.train(message, context)
        scale = float(message.content["config"]["noise"]) if told else NOISE
        trained = {name: array.numpy() for name, array in reply.content["arrays"].items()}
        noise = {name: draws.normal(0, scale, array.shape) for name, array in trained.items()}
        arrays: ArrayRecord = wire.array_record({name: np.float32(trained[name] + noise[name]) for name in trained})
        return Message(RecordDict({"arrays": arrays, "metrics": reply.content["metrics"]}), reply_to=message)

    app = with_mod(SecAggMod(site_of, check_terms=check_terms or agreed_terms(**AGREED)), train)
    return replace(app, config={"noise": NOISE}, weak_config={"noise": 1e-6})


def test_noise_that_is_lowered_is_seen_in_the_spread_of_sums():
    assert lowered_noise(noisy(told=True)).learnt.error < 0.01
    finding = lowered_noise(noisy(told=False))
    assert not finding.fell
    assert finding.learnt.error == pytest.approx(1, abs=0.5)


def test_an_app_that_holds_the_messages_noise_to_its_own_refuses_less():
    def check(terms, message):
        agreed_terms(**AGREED)(terms, message)
        if message is not None and message.content["config"]["noise"] != NOISE:
            raise Refusal("noise other than agreed")

    finding = lowered_noise(noisy(told=True, check_terms=check))
    assert finding.learnt is None
    assert {refusal.reason for refusal in finding.refused if refusal.stage == "mask"} == {
        "Refusal: noise other than agreed"
    }
