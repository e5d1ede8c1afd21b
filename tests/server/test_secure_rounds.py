"""The round loop over secure aggregation: the same model as the ideal sum, whoever drops out, and a true ledger."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_runs import charges_of, results_of, rows_of, small_config

from wardround.clients.training import LocalTrainer
from wardround.config import Config
from wardround.errors import ConfigError, WardroundError
from wardround.privacy.mechanisms import MECHANISMS
from wardround.secagg.records import STAGES
from wardround.server import sums
from wardround.server.secure_rounds import update_bound
from wardround.server.verify import verify_run
from wardround.simulations.runs import plan, resume, run

CELLS = [(*cell, False) for cell in MECHANISMS] + [("hospital", "distributed", True), ("hospital", "central", True)]
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


def lose(monkeypatch: pytest.MonkeyPatch, names: set[str], round_number: int, stage: str) -> None:
    monkeypatch.setattr(
        "wardround.server.loop.draw_dropouts", lambda *given: frozenset(names if given[2] == round_number else ())
    )
    monkeypatch.setattr("wardround.server.secure_rounds.draw_drop_stage", lambda *given: stage)


@pytest.mark.parametrize(("unit", "placement", "adaptive"), [("record", "none", False), *CELLS])
def test_every_cell_learns_what_it_learns_from_the_ideal_sum(
    unit: str, placement: str, adaptive: bool, tmp_path: Path
) -> None:
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
        assert verify_run(masked.folder)[0] == []


def test_what_is_summed_is_uniform_until_the_masks_are_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    real = sums.close_round

    def watched(send: Any, opened: Any, active: Any, total: np.ndarray) -> None:
        seen.append(total.copy())
        real(send, opened, active, total)
        seen.append(total.copy())

    monkeypatch.setattr(sums, "close_round", watched)
    wide = {"name": "mlp", "hidden-sizes": [128, 64]}
    run(settings("record", "local", model=wide, training={"num-rounds": 1}), out=tmp_path / "run")
    masked, unmasked = seen
    expected = len(masked) / 256
    for words, uniform in ((masked, True), (unmasked, False)):
        chi_square = float(((np.bincount(words >> 24, minlength=256) - expected) ** 2).sum() / expected)
        # 255 degrees of freedom: above 400 with probability 1e-8.
        assert (chi_square < 400) == uniform


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("placement", ["distributed", "local"])
def test_one_drop_at_any_stage_leaves_the_exact_sum_of_the_others(
    placement: str, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, {"hospital-02"}, 1, stage)
    masked = run(settings("hospital", placement), out=tmp_path / "masked").folder
    # Whose vector arrived is in the sum, whatever becomes of it later.
    arrived = stage in ("confirm", "unmask")
    lose(monkeypatch, set() if arrived else {"hospital-02"}, 1, stage)
    clear = run(ideal("hospital", placement), out=tmp_path / "clear").folder
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (masked, clear))
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=0, atol=0 if placement == "distributed" else 2e-6)
    assert [row["num_completed"] for row in rows_of(masked / "rounds.csv")] == ["0", "4" if arrived else "3", "4"]
    assert verify_run(masked)[0] == []


@pytest.mark.parametrize("stage", STAGES)
def test_below_the_threshold_a_round_is_abandoned_and_paid_for(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, {"hospital-01", "hospital-04"}, 1, stage)
    result = run(settings("hospital", "distributed"), out=tmp_path / "run")
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
    lose(monkeypatch, {"hospital-03"}, 3, "mask")
    config = settings("hospital", placement, training={"num-rounds": 3})
    whole = run(config, out=tmp_path / "whole").folder
    real = LocalTrainer.train

    def failing(self: Any, arrays: Any, tensors: Any, assignment: Any, **options: Any) -> Any:
        result = real(self, arrays, tensors, assignment, **options)
        if assignment.round_number == 2:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LocalTrainer, "train", failing)
        run(config, out=tmp_path / "broken")
    assert results_of(resume(tmp_path / "broken").folder) == results_of(whole)


def test_an_update_that_does_not_fit_stops_the_run_and_is_not_sent(tmp_path: Path) -> None:
    small = {"aggregation": {"protocol": "secagg+", "min-survivors": 3, "max-update": 1e-6}}
    with pytest.raises(WardroundError, match=r"hospital hospital-01 failed.*larger than 1e-06 in magnitude"):
        run(settings("record", "local", **small), out=tmp_path / "run")
    assert {name for _, name in charges_of(tmp_path / "run", "planned")} == EXACT
    assert charges_of(tmp_path / "run", "released") == []


@pytest.mark.parametrize(("colluding", "survivors"), [(0, 3), (0, 4), (1, 4)])
def test_honest_survivors_share_the_noise(colluding: int, survivors: int) -> None:
    numbers = {"min-survivors": survivors, "max-colluding": colluding}
    planned = plan(settings("hospital", "distributed", aggregation={"protocol": "secure-sum", **numbers}))
    assert {hospital.release.num_shares for hospital in planned.hospitals} == {survivors - colluding}


@pytest.mark.parametrize(
    ("unit", "placement", "adaptive"),
    [("record", "central", False), ("hospital", "local", False), ("hospital", "central", False), CELLS[-1]],
)
def test_clips_bound_what_is_sent(
    unit: str, placement: str, adaptive: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The bound of the sum's numbers from the clip, against the largest that is really sent."""
    largest: list[float] = []
    bounds: list[float] = []
    real = LocalTrainer.train

    def watched(self: Any, before: Any, *args: Any, **options: Any) -> Any:
        sent, execution = real(self, before, *args, **options)
        like = before if placement == "local" else dict.fromkeys(sent, 0.0)
        largest.append(max(float(np.abs(np.asarray(a, np.float64) - like[name]).max()) for name, a in sent.items()))
        return sent, execution

    def noting(*given: Any) -> float:
        bounds.append(update_bound(*given))
        return 1e3

    monkeypatch.setattr(LocalTrainer, "train", watched)
    monkeypatch.setattr("wardround.server.secure_rounds.update_bound", noting)
    run(settings(unit, placement, adaptive, training={"num-rounds": 1}), out=tmp_path / "run")
    assert len(largest) == 4
    assert 0 < max(largest) <= bounds[0] < math.inf


@pytest.mark.parametrize(
    ("aggregation", "message"),
    [
        ({"min-survivors": 1}, r"min-survivors = 1 must be >= 2 with protocol = \"secagg\+\""),
        ({"min-survivors": 3, "max-colluding": 2}, r"min-survivors = 3 must be >= 4 .* max-colluding = 2"),
        ({"protocol": "plain", "max-colluding": 1}, r"max-colluding = 1 has no meaning with protocol = \"plain\""),
        ({"protocol": "secure-sum", "max-colluding": 3}, r"min-survivors = 3 must be >= 4 .*\"secure-sum\""),
        ({"max-update": 0.0}, r"max-update = 0.0 must be > 0"),
        ({"strategy": "flwr.serverapp.strategy:FedMedian"}, r"wants every hospital's update by itself"),
    ],
)
def test_settings_that_contradict_the_protocol(aggregation: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen = {"protocol": "secagg+", "min-survivors": 3} | aggregation
        run(settings("record", "local", aggregation=chosen), out=tmp_path / "run")
