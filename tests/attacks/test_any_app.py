"""The attacks that any Flower app can be put under: Wardround's mod stands, and what Flower's own does is on record.

Each attack that stands has its control: the same code where what stands in its way is left out, and there it succeeds.
"""

import logging
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import attacked
import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from least_squares.data import load_data
from least_squares.sites import AGREED, SEED, simulated_names, site_of

from wardround import wire
from wardround.attacks.by_server import (
    ATTACKS,
    another_model,
    invented_hospitals,
    lists_that_differ,
    lowered_noise,
    overlapping_lists,
    replayed_round,
    singled_out,
    unmask_asked_again,
    weakened_settings,
)
from wardround.attacks.stages import honest_round
from wardround.clients.secagg import SecAggMod, agreed_terms
from wardround.errors import ConfigError, ProtocolError
from wardround.secagg import simulated_site
from wardround.secagg.hospital import Memory

WITHOUT_NOISE = [attack for attack in ATTACKS if attack is not lowered_noise]
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


@pytest.mark.parametrize("attack", WITHOUT_NOISE, ids=lambda attack: attack.__name__)
def test_wardrounds_mod_stands(attack):
    finding = attack(attacked.ours)
    assert not finding.fell, finding
    assert finding.learnt is None
    assert finding.refused


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


def test_flowers_own_tells_the_number_of_examples_in_clear():
    nodes = attacked.flowers.start()
    terms = attacked.flowers.protocol.terms(nodes, attacked.flowers.node_ids)
    round_ = honest_round(nodes, attacked.flowers.node_ids, terms)
    names = dict(enumerate(simulated_names(attacked.NUM_NODES), start=1))
    assert round_.weights == {node_id: len(load_data(name)[1]) for node_id, name in names.items()}


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


def noisy(told):
    def train(message: Message, context):
        reply = attacked.train(message, context)
        scale = float(message.content["config"]["noise"]) if told else 0.05
        trained = {
            name: array.numpy() + draws.normal(0, scale, array.shape) for name, array in reply.content["arrays"].items()
        }
        arrays: ArrayRecord = wire.array_record({name: np.float32(array) for name, array in trained.items()})
        return Message(RecordDict({"arrays": arrays, "metrics": reply.content["metrics"]}), reply_to=message)

    app = with_mod(SecAggMod(site_of, check_terms=agreed_terms(**AGREED)), train)
    return replace(app, config={"noise": 0.05}, weak_config={"noise": 1e-6})


def test_noise_that_is_lowered_is_seen_in_the_spread_of_sums():
    assert lowered_noise(noisy(told=True)).learnt.error < 0.01
    finding = lowered_noise(noisy(told=False))
    assert not finding.fell
    assert finding.learnt.error == pytest.approx(1, abs=0.5)


def test_an_app_without_noise_is_not_said_to_stand():
    with pytest.raises(ProtocolError, match="the target names no weak_config"):
        lowered_noise(attacked.ours)
    with pytest.raises(ProtocolError, match="it draws no noise, or from a seed"):
        lowered_noise(replace(attacked.ours, weak_config={"noise": 0.0}))


# The door: the option, and targets that can't be attacked.


def run_pytest(folder: Path, *words):
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "no:cacheprovider", "-rA", "--tb=short", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


PLUGIN = ("-p", "wardround.attacks.plugin", "--pyargs", "wardround.attacks.conformance")
EXAMPLE = Path(attacked.__file__).parent


def test_the_ready_made_tests_pass_where_the_app_stands_and_say_what_was_learnt_where_it_falls():
    code, told = run_pytest(EXAMPLE, *PLUGIN, "--secagg-attacks", "attacked:ours")
    assert code == 0, told
    assert "8 passed, 1 skipped" in told
    code, told = run_pytest(EXAMPLE, *PLUGIN, "--secagg-attacks", "attacked:flowers", "--show-capture=no")
    assert code == 1, told
    assert f"{len(FALLS)} failed, 1 passed, 1 skipped" in told
    assert f"overlapping lists on Flower's SecAgg+ (flwr {version('flwr')}): FELL" in told
    assert "the server has: the update of node 2 by itself (5 numbers, relative error" in told
    assert "a hospital has to refuse: lists of active and dropped hospitals that are not apart" in told


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("attacked:theirs", "has no attribute 'theirs'"),
        ("no_such_file:target", "No module named 'no_such_file'; python -m pytest also looks in this folder"),
        ("attacked:plain", "must be or return a Target"),
    ],
)
def test_what_is_no_target_is_said_to_be_none(named, told):
    code, text = run_pytest(EXAMPLE, *PLUGIN, "--secagg-attacks", named)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert told in text


def test_without_a_target_the_ready_made_tests_are_skipped_and_a_fixture_is_one(tmp_path):
    code, told = run_pytest(EXAMPLE, *PLUGIN)
    assert code == 0
    assert "no app to attack: say --secagg-attacks MODULE:NAME" in told
    (tmp_path / "test_mine.py").write_text(
        "import pytest, sys\n"
        f"sys.path.insert(0, {str(EXAMPLE)!r})\n"
        "from wardround.attacks.conformance import test_a_malicious_server_learns_nothing\n"
        "@pytest.fixture\n"
        "def secagg_target():\n"
        "    import attacked\n"
        "    return attacked.ours\n"
    )
    code, told = run_pytest(tmp_path, "-p", "wardround.attacks.plugin", "test_mine.py")
    assert code == 0, told
    assert "8 passed, 1 skipped" in told


def test_a_target_of_too_few_hospitals_is_refused():
    with pytest.raises(ConfigError, match="node_configs has 3 hospitals, and must have at least 4"):
        replace(attacked.ours, node_configs=attacked.ours.node_configs[:3])
    with pytest.raises(ConfigError, match="victim = 9 must be >= 1 and <= 5"):
        replace(attacked.ours, victim=9)


def test_an_app_that_does_not_train_is_named():
    broken = replace(attacked.ours, plain=ClientApp())
    with pytest.raises(ProtocolError, match="the plain app of node 2 does not train"):
        broken.true_update([2])
