"""Every cell of unit x placement from settings to run folder: figures, resume, dropouts, what leaves."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from grid_runs import LineGrid, line, losing, run_over
from made_up import PRIVATE
from safetensors.numpy import load_file
from small_runs import (
    charges_of,
    draw_in_common,
    interrupted_before_charging,
    interrupted_in_training,
    results_of,
    rows_of,
    small_config,
)

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.clients.initial_models import built_model
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.errors import ConfigError
from wardround.leaves import LEAVES_HOSPITAL
from wardround.models import parameters_of
from wardround.privacy.clipping import COUNT_NAME
from wardround.privacy.ledger import open_ledger
from wardround.reports.folder import read_run
from wardround.reports.numbers import epsilon_text
from wardround.reports.report import write_report
from wardround.reports.words import privacy_sentence
from wardround.server.record.verify import verify_run
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run

CELLS = [(*cell, False) for cell in PRIVATE] + [("hospital", "distributed", True), ("hospital", "central", True)]
DELTA = 1e-4


def settings(unit: str, placement: str, adaptive: bool = False, **sections: dict[str, Any]) -> Config:
    gradient = unit == "record" and placement != "local"
    whole: dict[str, dict[str, Any]] = {
        "training": {"num-rounds": 2, "local-steps": None if gradient else 2},
        "privacy": {"unit": unit, "placement": placement, "target-delta": DELTA},
        "aggregation": {"protocol": "secure-sum", "min-survivors": 2},
    }
    if adaptive:
        whole["privacy"]["adaptive-clipping"] = True
    return small_config(**{name: whole.get(name, {}) | sections.get(name, {}) for name in whole | sections})


@pytest.mark.parametrize(("unit", "placement", "adaptive"), CELLS)
def test_a_run_says_what_it_protects_and_its_ledger_verifies(
    unit: str, placement: str, adaptive: bool, tmp_path: Path
) -> None:
    summary = run(settings(unit, placement, adaptive), out=tmp_path / "run").summary
    cell = PRIVATE[unit, placement]
    assert {key: summary[key] for key in ("unit", "placement", "relation", "mechanism")} == {
        "unit": unit,
        "placement": placement,
        "relation": cell.relation,
        "mechanism": cell.mechanism,
    }
    epsilon = summary["epsilon"]
    assert epsilon["total"] == epsilon["max"] == max(epsilon["hospitals"].values()) == epsilon["readers"]["recipient"]
    written = json.loads((tmp_path / "run" / "summary.json").read_text())["epsilon"]["readers"]
    if placement == "central":
        assert written["server"] == "inf" and math.isinf(epsilon["readers"]["server"])
    else:
        assert epsilon["readers"]["server"] == epsilon["total"]
    assert (epsilon["readers"]["hospital"] > epsilon["total"]) == (placement == "distributed")
    if placement != "distributed":
        event = eval(summary["events"]["hospital-01"][0], vars(dp_accounting))
        accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4)
        assert epsilon["total"] == pytest.approx(accountant.compose(event).get_epsilon(DELTA), rel=2e-3)
    findings, sentence = verify_run(tmp_path / "run")
    assert not findings and "every epsilon recomputed" in sentence
    rows = rows_of(tmp_path / "run" / "hospitals.csv")
    steps = 1 if unit == "hospital" or placement != "local" else 2
    assert {row["num_steps"] for row in rows if row["selected"] == "1"} == {str(steps)}
    with open_ledger(tmp_path / "run" / "ledger.sqlite", read_only=True) as ledger:
        clips = {json.loads(text)["max_grad_norm"] for _, text in ledger.rounds()}
    # Noise can take a clip back to where it began, so the last one alone tells nothing.
    assert (len(clips) > 1) == adaptive and summary["max_grad_norm"] in clips
    page = write_report(tmp_path / "run").read_text()
    sentence = privacy_sentence(read_run(tmp_path / "run"))
    assert ("but not from the server" in sentence) == (placement == "central")
    weaker = f"other hospitals (epsilon <= {epsilon_text(epsilon['readers']['hospital'])})"
    assert (weaker in sentence) == (placement == "distributed")
    assert ("Against another hospital that takes part it is" in page) == (placement == "distributed")


@pytest.mark.parametrize(("unit", "placement", "adaptive"), CELLS)
def test_a_run_that_is_resumed_between_rounds_ends_in_the_same_bits(
    unit: str, placement: str, adaptive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(unit, placement, adaptive, training={"num-rounds": 3}, simulation={"dropout-rate": 0.2})
    whole = run(config, out=tmp_path / "whole").folder
    with interrupted_before_charging(monkeypatch, 2):
        run(config, out=tmp_path / "broken")
    resumed = resume(tmp_path / "broken").folder
    assert results_of(resumed) == results_of(whole)
    assert verify_run(resumed)[0] == []


@pytest.mark.parametrize(("unit", "placement", "adaptive"), CELLS)
def test_a_round_that_is_done_again_is_charged_again(
    unit: str, placement: str, adaptive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(unit, placement, adaptive, training={"num-rounds": 3})
    with interrupted_in_training(monkeypatch, 2):
        run(config, out=tmp_path / "broken")
    resumed = resume(tmp_path / "broken")
    assert [number for number, _ in charges_of(resumed.folder, "planned")] == [1] * 3 + [2] * 6 + [3] * 3
    assert [number for number, _ in charges_of(resumed.folder, "released")] == [1] * 3 + [2] * 3 + [3] * 3
    four = plan(settings(unit, placement, adaptive, training={"num-rounds": 4}))
    if not adaptive:  # whose clip, and so whose integer scale, follows the data
        assert resumed.summary["epsilon"]["max"] == pytest.approx(four.epsilon_max, rel=1e-9)
    assert verify_run(resumed.folder)[0] == []


class Listening(LineGrid):
    """Notes what hospitals send, and the arrays of their sums."""

    def came(self, replies: list[Message], total: dict[str, Any]) -> None:
        seen, arrays = self.given
        arrays.update(total)
        for reply in replies:
            for name, record in reply.content.items():
                if isinstance(record, ArrayRecord):
                    seen.add(name)
                    arrays.update(record if name == "arrays" else ())
                else:
                    assert isinstance(record, ConfigRecord | MetricRecord)
                    seen.update(record)


@pytest.mark.parametrize(("unit", "placement", "adaptive"), CELLS)
def test_nothing_leaves_a_hospital_that_is_not_on_the_list(
    unit: str, placement: str, adaptive: bool, tmp_path: Path
) -> None:
    seen: set[str] = set()
    arrays: set[str] = set()
    run_over(tmp_path / "run", settings(unit, placement, adaptive), line(Listening, seen, arrays))
    assert seen <= set(LEAVES_HOSPITAL)
    parameters = set(load_file(tmp_path / "run" / "model.safetensors"))
    assert parameters <= arrays
    assert arrays - parameters == ({COUNT_NAME} if adaptive else set())
    assert "arrays" not in seen  # only their sum reached the server


def test_a_reply_with_anything_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shorter = {key: value for key, value in LEAVES_HOSPITAL.items() if key != "num-scrubbed"}
    monkeypatch.setattr(wire, "LEAVES_HOSPITAL", shorter)
    with pytest.raises(Exception, match="num-scrubbed must not leave a hospital"):
        run(settings("record", "central"), out=tmp_path / "run")


@pytest.mark.parametrize(("unit", "placement"), [cell for cell in PRIVATE if cell[1] != "local"])
def test_a_round_below_the_least_replies_is_abandoned_and_paid_for(unit: str, placement: str, tmp_path: Path) -> None:
    gone = {1: dict.fromkeys(("hospital-01", "hospital-03"), "mask")}
    folder = run(losing(settings(unit, placement, training={"num-rounds": 1}), gone), out=tmp_path / "run").folder
    before, after = rows_of(folder / "rounds.csv")
    assert (after["num_selected"], after["num_completed"]) == ("3", "0")
    assert before["loss"] == after["loss"] and float(after["epsilon_max"]) > 0
    start, end = (load_file(folder / "checkpoints" / f"round-{k:06d}.safetensors") for k in (0, 1))
    assert {name: array.tobytes() for name, array in start.items()} == {k: v.tobytes() for k, v in end.items()}
    assert verify_run(folder)[0] == []


@pytest.mark.parametrize(("unit", "placement"), PRIVATE)
def test_a_target_is_met_by_all_and_nearly_spent_by_the_worst(unit: str, placement: str) -> None:
    planned = plan(settings(unit, placement, privacy={"noise-multiplier": None, "target-epsilon": 3.0}))
    epsilons = [hospital.epsilon for hospital in planned.hospitals]
    assert max(epsilons) <= 3.0 and max(epsilons) > 2.99
    noises = {hospital.noise_multiplier for hospital in planned.hospitals}
    assert len(noises) == 1 or placement == "local"


@pytest.mark.parametrize("on_budget", ["stop", "drop", "replan"])
@pytest.mark.parametrize(("unit", "placement"), [cell for cell in PRIVATE if cell != ("record", "local")])
def test_the_budget_holds_in_every_cell(unit: str, placement: str, on_budget: str, tmp_path: Path) -> None:
    five = {"num-rounds": 5}
    whole = plan(settings(unit, placement, training=five, privacy={"noise-multiplier": 3.0}))
    budget = 0.7 * whole.epsilon_max
    privacy = {"noise-multiplier": 3.0, "budget-epsilon": budget, "on-budget": on_budget}
    summary = run(settings(unit, placement, training=five, privacy=privacy), out=tmp_path / "run").summary
    assert 0.5 * budget < max(summary["epsilon"]["hospitals"].values()) <= budget
    assert (summary["num_rounds"] == 5) == (on_budget == "replan")
    assert verify_run(tmp_path / "run")[0] == []


@pytest.mark.parametrize(("unit", "placement"), [*PRIVATE, ("record", "none")])
def test_server_optimizers_step_from_the_private_sum(
    unit: str, placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step of each from what federated averaging makes of the round, by its paper's formula."""
    draw_in_common(monkeypatch)

    def after_one(strategy: str, **options: float) -> dict[str, Any]:
        one = {"num-rounds": 1, "local-steps": None if unit == "record" and placement != "local" else 2}
        quiet = {"noise-multiplier": None} if placement == "none" else {}
        aggregation = {"strategy": strategy, **options}
        config = settings(unit, placement, training=one, privacy=quiet, aggregation=aggregation)
        folder = run(config, out=tmp_path / strategy).folder
        assert verify_run(folder)[0] == []
        return load_file(folder / "model.safetensors")

    module, _ = built_model(settings("record", "local"), (30,), 2)
    first, mean = parameters_of(module), after_one("fedavg")
    found = {
        "fedavgm": after_one("fedavgm", **{"server-learning-rate": 0.7, "server-momentum": 0.9}),
        "fedadam": after_one("fedadam", eta=0.05, tau=1e-3, **{"beta-1": 0.9, "beta-2": 0.99}),
        "fedyogi": after_one("fedyogi", eta=0.05, tau=1e-3, **{"beta-1": 0.9, "beta-2": 0.99}),
        "fedadagrad": after_one("fedadagrad", eta=0.05, tau=1e-3),
    }
    for name, begun in first.items():
        moved = mean[name].astype(np.float64) - begun
        np.testing.assert_allclose(found["fedavgm"][name], begun + 0.7 * moved, atol=1e-6)
        # Flower corrects Adam's rate for the round after the first.
        rate = 0.05 * math.sqrt(1 - 0.99**2) / (1 - 0.9**2)
        tenth = 0.1 * moved
        for strategy, step in (
            ("fedadam", rate * tenth / (np.abs(tenth) + 1e-3)),
            ("fedyogi", 0.05 * tenth / (np.abs(tenth) + 1e-3)),
            ("fedadagrad", 0.05 * moved / (np.abs(moved) + 1e-3)),
        ):
            np.testing.assert_allclose(found[strategy][name], begun + step, atol=1e-5)


def test_cohorts_drawn_from_the_hospitals_pay_only_where_they_take_part(tmp_path: Path) -> None:
    for unit, placement in PRIVATE:
        config = settings(
            unit, placement, federation={"num-hospitals": 5}, training={"num-rounds": 3, "fraction-train": 0.4}
        )
        folder = run(config, out=tmp_path / f"{unit}-{placement}").folder
        joined = [row for row in rows_of(folder / "hospitals.csv") if row["selected"] == "1"]
        assert len(joined) == 6
        assert verify_run(folder)[0] == []


@pytest.mark.parametrize("strategy", ["own_strategies:counting"])
@pytest.mark.parametrize("placement", ["central", "distributed"])
def test_a_strategy_that_wants_single_updates_is_refused_where_they_carry_no_noise(
    placement: str, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "strategies"))
    protocol = "plain" if placement == "central" else "secure-sum"
    config = settings("hospital", placement, aggregation={"strategy": strategy, "protocol": protocol})
    with pytest.raises(ConfigError, match="carries no noise with placement"):
        run(config, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_hospital_refuses_to_send_what_another_cell_sends(tmp_path: Path) -> None:
    asked, own = settings("hospital", "central"), settings("hospital", "local")
    lied_to = partial(make_client_app, own, load_federation(own.federation))
    with pytest.raises(
        Exception, match="the assignment's cell = hospital-central, and this hospital's settings say hospital-local"
    ):
        run_over(tmp_path / "run", asked, lambda make_app, nodes: InlineGrid(lied_to, nodes))


@pytest.mark.parametrize("placement", ["local", "distributed", "central"])
def test_hospital_level_says_when_little_is_learned(placement: str, tmp_path: Path) -> None:
    notes = run(settings("hospital", placement), out=tmp_path / "run").summary["notes"]
    assert any("hospitals are the unit, and 3 are few" in note for note in notes)


def test_delta_at_hospital_level_is_held_against_the_number_of_hospitals() -> None:
    with pytest.raises(ConfigError, match="since one of 3 hospitals is what is protected"):
        plan(settings("hospital", "central", privacy={"target-delta": 0.5}))
    with pytest.raises(ConfigError, match="a promise that fails more often than one time in a hundred is none"):
        plan(settings("hospital", "central", privacy={"target-delta": 0.3}))
    # A delta that hospitals' records would not allow: the unit is the hospital.
    assert plan(settings("hospital", "central", privacy={"target-delta": 0.009})).epsilon_max > 0


def test_counts_of_few_people_are_not_shown(tmp_path: Path) -> None:
    config = settings("hospital", "central", federation={"num-hospitals": 60}, privacy={"target-delta": 1e-3})
    folder = run(config, out=tmp_path / "run").folder
    summary = json.loads((folder / "summary.json").read_text())
    shown = [hospital[key] for hospital in summary["hospitals"] for key in ("num_train", "num_test")]
    shown += [row["num_examples"] for row in rows_of(folder / "hospitals.csv")]
    assert "<10" in shown
    assert all(value == "<10" or int(value) >= 10 for value in shown)
    write_report(folder)


def test_an_update_that_is_not_finite_is_listed(tmp_path: Path) -> None:
    config = settings("hospital", "central", training={"learning-rate": 3e38, "local-steps": 4})
    summary = run(config, out=tmp_path / "run").summary
    assert any("not finite counted as zero" in sentence for sentence in summary["left_out"])
    assert math.isfinite(summary["loss"])


def test_a_tampered_bill_is_found(tmp_path: Path) -> None:
    folder = run(settings("record", "distributed"), out=tmp_path / "run").folder
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    summary["epsilon"]["readers"]["hospital"] = summary["epsilon"]["total"]
    path.write_text(json.dumps(summary))
    findings, _ = verify_run(folder)
    assert len(findings) == 1 and "summary.json epsilon readers hospital says" in findings[0]


@pytest.mark.parametrize(("unit", "placement"), PRIVATE)
def test_real_hospitals(unit: str, placement: str, real_data: Path, tmp_path: Path) -> None:
    config = settings(
        unit,
        placement,
        federation={"dataset": "heart-disease", "num-hospitals": None, "data-dir": str(real_data)},
        privacy={"target-delta": 1e-3},
        aggregation={"min-survivors": 4},
    )
    summary = run(config, out=tmp_path / "run").summary
    assert summary["num_hospitals"] == 4 and summary["status"] == "done"
    assert verify_run(tmp_path / "run")[0] == []
