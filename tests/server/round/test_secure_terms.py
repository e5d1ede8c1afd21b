"""The round loop over secure aggregation: the same model as the ideal sum, whoever drops out, and a true ledger."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower_grid import stage_of
from flwr.app import Message
from grid_runs import HeardGrid, LineGrid, line, losing, run_over
from made_up import PRIVATE, changed_assignment
from safetensors.numpy import load_file
from site_runs import answering_as_sites, run_between_sites
from small_runs import charges_of, draw_in_common, interrupted_before_charging, results_of, rows_of, small_config

from wardround import wire
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.errors import ConfigError, ProtocolError, UpdateError, WardroundError
from wardround.reports.folder import read_run
from wardround.reports.words import assumptions, privacy_sentence
from wardround.secagg.records import STAGES
from wardround.server.plan.alternatives import plan_notes
from wardround.server.plan.margins import update_bound
from wardround.server.record.verify import verify_run
from wardround.simulations.engines.nodes import Node
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run

CELLS = [(*cell, False) for cell in PRIVATE] + [("hospital", "distributed", True), ("hospital", "central", True)]
EXACT = {"hospital-01", "hospital-02", "hospital-03", "hospital-04"}


def settings(unit: str, placement: str, adaptive: bool = False, **sections: dict[str, Any]) -> Config:
    gradient = unit == "record" and placement != "local" and placement != "none"
    whole: dict[str, dict[str, Any]] = {
        "federation": {"num-hospitals": 4},
        "training": {"num-rounds": 2, "local-steps": None if gradient else 2},
        "privacy": {"unit": unit, "placement": placement, "target-delta": 1e-4},
        "aggregation": {"protocol": "secagg+", "min-survivors": 3},
    }
    if adaptive:
        whole["privacy"]["adaptive-clipping"] = True
    if placement == "none":
        whole["privacy"] = {"placement": "none", "noise-multiplier": None, "target-delta": None}
    return small_config(**{name: whole.get(name, {}) | sections.get(name, {}) for name in whole | sections})


def ideal(unit: str, placement: str, adaptive: bool = False, **sections: dict[str, Any]) -> Config:
    protocol = {"protocol": "secure-sum", "min-survivors": 3}
    return settings(unit, placement, adaptive, **{**sections, "aggregation": protocol})


@pytest.mark.parametrize(("unit", "placement", "adaptive"), [("record", "none", False), *CELLS])
def test_every_cell_learns_what_it_learns_from_the_ideal_sum(
    unit: str, placement: str, adaptive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_common(monkeypatch)
    masked = run(settings(unit, placement, adaptive), out=tmp_path / "masked")
    clear = run(ideal(unit, placement, adaptive), out=tmp_path / "clear")
    ours, theirs = (load_file(each.folder / "model.safetensors") for each in (masked, clear))
    for name, array in theirs.items():
        if placement == "distributed":
            np.testing.assert_array_equal(ours[name], array)
        else:
            np.testing.assert_allclose(ours[name], array, rtol=0, atol=2e-6)
    assert masked.summary["epsilon"] == clear.summary["epsilon"]
    assert masked.summary["protocol"] == "secagg+"
    if placement != "none":
        told, acted = " ".join(assumptions(read_run(masked.folder))), privacy_sentence(read_run(clear.folder))
        assert "the sum over a majority" in told
        assert "as long as no hospital sides with it" in told
        assert "acted out by the simulation" in acted
        assert verify_run(masked.folder)[0] == []


class Heard(LineGrid):
    """Keeps the sum of every wave that has one."""

    def came(self, replies: list[Message], total: dict[str, Any]) -> None:
        if total:
            self.given[0].append({name: part.copy() for name, part in total.items()})


def test_what_is_summed_is_uniform_until_the_masks_are_off(tmp_path: Path) -> None:
    wide: dict[str, Any] = {"model": {"name": "mlp", "hidden-sizes": [128, 64]}, "training": {"num-rounds": 1}}
    for protocol, uniform in (("secagg+", True), ("secure-sum", False)):
        heard: list[dict[str, Any]] = []
        config = settings("hospital", "distributed", **wide, aggregation={"protocol": protocol})
        run_over(tmp_path / protocol, config, line(Heard, heard))
        (total,) = heard
        words = np.concatenate([part.reshape(-1) for part in total.values()]).astype(np.uint32)
        expected = len(words) / 256
        chi_square = float(((np.bincount(words >> 24, minlength=256) - expected) ** 2).sum() / expected)
        # 255 degrees of freedom: above 400 with probability 1e-8.
        assert (chi_square < 400) == uniform


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("placement", ["distributed", "local"])
def test_one_drop_at_any_stage_leaves_the_exact_sum_of_the_others(
    placement: str, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_common(monkeypatch)
    lossy = losing(settings("hospital", placement), {1: {"hospital-02": stage}})
    masked = run(lossy, out=tmp_path / "masked").folder
    # Whose vector arrived is in the sum, whatever becomes of it later.
    arrived = stage in ("confirm", "unmask")
    plainly = replace(lossy, aggregation=ideal("hospital", placement).aggregation)
    clear = run(losing(plainly, {}) if arrived else plainly, out=tmp_path / "clear").folder
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (masked, clear))
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=0, atol=0 if placement == "distributed" else 2e-6)
    assert [row["num_completed"] for row in rows_of(masked / "rounds.csv")] == ["0", "4" if arrived else "3", "4"]
    assert verify_run(masked)[0] == []


@pytest.mark.parametrize("stage", STAGES)
def test_below_the_threshold_a_round_is_abandoned_and_paid_for(stage: str, tmp_path: Path) -> None:
    gone = {1: {"hospital-01": stage, "hospital-04": stage}}
    result = run(losing(settings("hospital", "distributed"), gone), out=tmp_path / "run")
    before, after, last = rows_of(result.folder / "rounds.csv")
    assert (after["num_selected"], after["num_completed"], last["num_completed"]) == ("4", "0", "4")
    assert before["loss"] == after["loss"] != last["loss"]
    assert 0 < float(after["epsilon_max"]) < float(last["epsilon_max"])
    assert {name for _, name in charges_of(result.folder, "planned")} == EXACT
    (sentence,) = result.summary["left_out"]
    assert sentence.startswith("round 1 was charged but left the model as it was: 2 ")
    assert verify_run(result.folder)[0] == []


@pytest.mark.parametrize("placement", ["local", "distributed"])
def test_a_resumed_run_ends_in_the_same_bits(placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings("hospital", placement, training={"num-rounds": 3})
    config = losing(config, {3: {"hospital-03": "mask"}})
    whole = run(config, out=tmp_path / "whole").folder
    with interrupted_before_charging(monkeypatch, 2):
        run(config, out=tmp_path / "broken")
    assert results_of(resume(tmp_path / "broken").folder) == results_of(whole)


def test_an_update_that_does_not_fit_stops_the_run_and_is_not_sent(tmp_path: Path) -> None:
    small = {"aggregation": {"protocol": "secagg+", "min-survivors": 3, "max-update": 1e-6}}
    with pytest.raises(WardroundError, match=r"hospital hospital-01 failed.*larger than 1e-06 in magnitude"):
        run(settings("record", "local", **small), out=tmp_path / "run")
    assert {name for _, name in charges_of(tmp_path / "run", "planned")} == EXACT
    assert charges_of(tmp_path / "run", "released") == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        # Held to what all were told alike.
        ({"adaptive_clipping": True}, "are not those that the terms name"),
        ({"noise_multiplier": 1e3}, "are not those that the terms name"),
        ({"round_number": 2}, "are not those that the terms name"),
        # Held to the hospital's own settings.
        ({"sample_rate": 1e-12}, "sample_rate = 1e-12"),
        ({"expected_batch_size": 1e30}, r"expected_batch_size = 1e\+30"),
    ],
)
def test_a_hospital_that_is_told_something_else_sends_nothing(
    changed: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(WardroundError, match=f"hospital hospital-01 failed.*{reason}"):
        run_over(tmp_path / "run", settings("hospital", "central"), line(Treacherous, changed))


class Treacherous(LineGrid):
    """Tells all hospitals but one something else than what the terms name."""

    def sent(self, message: Message) -> None:
        if stage_of(message) == "mask" and message.metadata.dst_node_id != 2:
            told = wire.assignment_of(message)
            message.content = wire.with_assignment(message, changed_assignment(told, **self.given[0])).content


def test_sums_too_large_for_the_exact_sum_are_refused(tmp_path: Path) -> None:
    huge = {"aggregation": {"protocol": "secagg+", "min-survivors": 3, "max-update": 1e12}}
    with pytest.raises(UpdateError, match=r"must be finite and below 4194304 in magnitude"):
        run(settings("record", "none", training={"num-rounds": 1, "learning-rate": 1e9}, **huge), out=tmp_path / "run")


class Failing(LineGrid):
    """Loses what is sent to a hospital at a stage, the first few times: node, stage and times are given in a list."""

    def is_cut(self, message: Message) -> bool:
        node_id, stage, times = self.given[0]
        if (message.metadata.dst_node_id, stage_of(message)) != (node_id, stage) or not times:
            return False
        self.given[0][2] -= 1
        return True


def test_a_simulated_hospital_that_fails_at_a_stage_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match=r'a hospital failed at stage "share".*ConnectionError: gone.*resume'):
        run_over(tmp_path / "run", settings("hospital", "distributed"), line(Failing, [2, "share", 1]))
    assert resume(tmp_path / "run").summary["status"] == "done"
    assert len(charges_of(tmp_path / "run", "planned")) == 3 * 4
    assert verify_run(tmp_path / "run")[0] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_site_that_fails_at_a_stage_is_left_out_of_the_round(stage: str, tmp_path: Path) -> None:
    between = settings("hospital", "distributed")
    summary = run_between_sites(tmp_path / "run", between, make_grid=line(Failing, [2, stage, 1]))
    (sentence,) = summary["left_out"]
    assert sentence.startswith("hospital-02") and "ConnectionError: gone" in sentence
    completed = [row["num_completed"] for row in rows_of(tmp_path / "run" / "rounds.csv")]
    assert completed == ["0", "4" if stage in ("confirm", "unmask") else "3", "4"]
    assert verify_run(tmp_path / "run")[0] == []


class Gone(LineGrid):
    """Keeps the rounds in which keys are exchanged, and breaks down at a stage."""

    def sent(self, message: Message) -> None:
        rounds, stage = self.given
        if stage_of(message) == "advertise":
            rounds.add(message.content[wire.SECAGG]["round-number"])
        if stage_of(message) == stage:
            raise WardroundError("the network is gone")


def test_sites_never_redo_a_round(tmp_path: Path) -> None:
    """Who answers may be others the second time: two sums, charged once, whose difference is one site's."""
    rounds: set[int] = set()
    with pytest.raises(WardroundError, match="the network is gone"):
        run_between_sites(tmp_path / "run", settings("hospital", "distributed"), make_grid=line(Gone, rounds, "unmask"))
    assert rounds == {1}
    summary = run_between_sites(
        tmp_path / "run", settings("hospital", "distributed"), make_grid=line(Gone, rounds, "never")
    )
    assert rounds == {1, 2} and summary["noise"] == "system"
    (sentence,) = summary["left_out"]
    assert "round 1 was charged but left the model as it was: the run was interrupted in it" in sentence
    rows = rows_of(tmp_path / "run" / "rounds.csv")
    assert [row["num_completed"] for row in rows] == ["0", "0", "4"]
    assert 0 < float(rows[1]["epsilon_max"]) < float(rows[2]["epsilon_max"])
    assert verify_run(tmp_path / "run")[0] == []


def test_why_hospitals_refused_is_told(tmp_path: Path) -> None:
    theirs = settings("hospital", "distributed", aggregation={"protocol": "secagg+", "min-survivors": 4})
    ours = settings("hospital", "distributed", training={"num-rounds": 1})

    def make_grid(make_app: Any, nodes: Any) -> LineGrid:
        return LineGrid(answering_as_sites(theirs, load_federation(theirs.federation), [], set(), ()), nodes)

    summary = run_between_sites(tmp_path / "run", ours, make_grid=make_grid)
    sentence, *each = summary["left_out"]
    reason = "the server's settings are not this hospital's: give both the same settings"
    assert reason in sentence
    assert len(each) == 4 and all(reason in told for told in each)


def test_the_plan_says_how_many_must_stay() -> None:
    notes = plan_notes(plan(settings("record", "local", federation={"num-hospitals": 5})))
    assert "with secure aggregation 4 of the 5 hospitals of a round must stay to its end" in notes[0]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"min_survivors": 4}, r"min-survivors = 3 must be the 4 of the roster"),
        ({"max_colluding": 1}, r"max-colluding = 0 must be the 1 of the roster"),
    ],
)
def test_settings_that_are_not_the_rosters(numbers: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_between_sites(tmp_path / "run", settings("hospital", "distributed"), agreed=numbers)


def test_a_hospital_outside_the_roster(tmp_path: Path) -> None:
    def make_grid(make_app: Any, nodes: Any) -> LineGrid:
        return LineGrid(make_app, [*nodes, Node(node_id=5, node_config={"partition-id": 4})])

    config = settings("hospital", "distributed", federation={"num-hospitals": 5})
    (sentence,) = run_between_sites(tmp_path / "run", config, make_grid=make_grid)["left_out"]
    assert (
        sentence.startswith("node 5 is left out of the run") and "hospital-05, which is not in the roster" in sentence
    )
    assert {name for _, name in charges_of(tmp_path / "run", "planned")} == EXACT


class Heavier(LineGrid):
    """One vector weighs more than its hospital has records."""

    def came(self, replies: list[Message], total: dict[str, Any]) -> None:
        if wire.SUM_OF_WEIGHTS in total:
            total[wire.SUM_OF_WEIGHTS] -= 2**26


def test_weights_that_are_not_the_known_ones_are_found_out(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"weights in the sum add up to [0-9]{3}.*, and must to 4[0-9]{2}"):
        run_over(tmp_path / "run", settings("record", "local"), line(Heavier))


@pytest.mark.parametrize(("colluding", "survivors"), [(0, 3), (0, 4), (1, 4)])
def test_honest_survivors_share_the_noise(colluding: int, survivors: int) -> None:
    numbers = {"min-survivors": survivors, "max-colluding": colluding}
    planned = plan(settings("hospital", "distributed", aggregation={"protocol": "secure-sum", **numbers}))
    assert {hospital.shape.event.num_shares for hospital in planned.hospitals} == {survivors - colluding}


@pytest.mark.parametrize(
    ("unit", "placement", "adaptive"),
    [("record", "central", False), ("hospital", "local", False), ("hospital", "central", False), CELLS[-1]],
)
def test_clips_bound_what_is_sent(unit: str, placement: str, adaptive: bool, tmp_path: Path) -> None:
    """The bound of the sum's numbers from the clip, against the largest that is really sent."""
    heard: list[tuple[Message, Message]] = []
    config = ideal(unit, placement, adaptive, training={"num-rounds": 1})
    run_over(tmp_path / "run", config, partial(HeardGrid, heard))
    assert len(heard) == 4
    largest = 0.0
    for message, reply in heard:
        sent, before = wire.arrays_in(reply), wire.arrays_in(message)
        moved = {name: array - before[name] if placement == "local" else array for name, array in sent.items()}
        largest = max(largest, *(float(np.abs(array).max()) for array in moved.values()))
    bound = update_bound(plan(config), [wire.assignment_of(message) for message, _ in heard])
    assert 0 < largest <= bound < math.inf


@pytest.mark.parametrize(
    ("aggregation", "message"),
    [
        ({"min-survivors": 1}, r"min-survivors = 1 must be >= 2 with protocol = \"secagg\+\""),
        ({"min-survivors": 3, "max-colluding": 2}, r"min-survivors = 3 must be >= 4 .* max-colluding = 2"),
        ({"protocol": "plain", "max-colluding": 1}, r"max-colluding = 1 has no meaning with protocol = \"plain\""),
        ({"protocol": "secure-sum", "max-colluding": 3}, r"min-survivors = 3 must be >= 4 .*\"secure-sum\""),
        ({"max-update": 0.0}, r"max-update = 0.0 must be >= 1e-30"),
        ({"strategy": "flwr.serverapp.strategy:FedMedian"}, r"wants every hospital's update by itself"),
    ],
)
def test_settings_that_contradict_the_protocol(aggregation: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen = {"protocol": "secagg+", "min-survivors": 3} | aggregation
        run(settings("record", "local", aggregation=chosen), out=tmp_path / "run")
