"""Runs on the engine of one program: bill and scores are those of hospitals one by one, resumed ones the same bits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import PRIVATE
from safetensors.numpy import load_file
from small_runs import (
    draw_in_common,
    interrupted_before_charging,
    results_of,
    rows_of,
    small_config,
)
from test_every_cell import settings

from wardround.config import Config
from wardround.privacy.entries import ENTRY_COLUMNS
from wardround.privacy.ledger import open_ledger
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import resume, run

CELLS = [(*cell, False) for cell in PRIVATE]
CELLS += [("hospital", "distributed", True), ("hospital", "central", True), ("record", "none", False)]
_TABLE = {"dataset": "breast-cancer", "num-hospitals": 3}
_IMAGES = {"dataset": "digits", "num-hospitals": 2, "partition": "quantity", "class-weights": [0.1] * 10}
_SEQUENCES = ("lstm", "transformer")
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "logistic": (_TABLE, {}),
    "mlp": (_TABLE, {"hidden-sizes": [8]}),
    "cnn": (_IMAGES, {"channels": [4]}),
    "lstm": (_IMAGES, {"width": 8}),
    "transformer": (_IMAGES, {"width": 8, "num-heads": 2}),
}


def asked(unit: str, placement: str, adaptive: bool, engine: str, **sections: dict[str, Any]) -> Config:
    if placement == "none":
        none = {"placement": "none", "noise-multiplier": None, "target-delta": None}
        whole: dict[str, dict[str, Any]] = {"training": {"num-rounds": 2}, "privacy": none}
        whole |= {name: whole.get(name, {}) | table for name, table in sections.items()}
        return small_config(**whole | {"simulation": {"engine": engine} | sections.get("simulation", {})})
    return settings(
        unit, placement, adaptive, **sections | {"simulation": {"engine": engine} | sections.get("simulation", {})}
    )


def charges(folder: Path) -> list[list[Any]]:
    """Return all that the ledger says was charged and released, but for the names that a run has for it."""
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        frame = ledger.to_frame()
    return (
        frame[["state", *(name for name in ENTRY_COLUMNS if name not in ("charge_id", "run_id"))]].to_numpy().tolist()
    )


# Recording a model of sequences takes seconds: they are tried with one cell of each kind of steps.
_OF_EACH_KIND = [("record", "local", False), ("hospital", "central", False), ("record", "none", False)]
TRIED = [(*cell, model) for model in MODELS for cell in (CELLS if model not in _SEQUENCES else _OF_EACH_KIND)]


@pytest.mark.parametrize(("unit", "placement", "adaptive", "model"), TRIED)
def test_every_cell_and_model_has_the_bill_and_the_scores_of_hospitals_one_by_one(
    unit: str, placement: str, adaptive: bool, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_common(monkeypatch)
    federation, sizes = MODELS[model]
    sections: dict[str, Any] = {"federation": federation, "model": {"name": model, **sizes}}
    if federation is _IMAGES:
        sections["training"] = {"num-rounds": 1}
    done = {}
    for engine in ("inline", "stacked"):
        done[engine] = run(asked(unit, placement, adaptive, engine, **sections), out=tmp_path / engine)
    one_by_one, together = done["inline"], done["stacked"]
    assert together.summary["engine"] == "stacked"
    assert charges(together.folder) == charges(one_by_one.folder)
    assert together.summary["epsilon"] == one_by_one.summary["epsilon"]
    assert verify_run(together.folder)[0] == []
    for found, right in zip(*(rows_of(each.folder / "hospitals.csv") for each in (together, one_by_one)), strict=True):
        for name, text in right.items():
            assert found[name] == text or float(found[name]) == pytest.approx(float(text), abs=1e-4), name
    parameters, expected = (load_file(each.folder / "model.safetensors") for each in (together, one_by_one))
    for name, array in expected.items():
        np.testing.assert_allclose(parameters[name], array, atol=1e-4)


@pytest.mark.parametrize(("unit", "placement", "adaptive"), CELLS)
def test_a_run_that_is_resumed_ends_in_the_same_bits(
    unit: str, placement: str, adaptive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections: dict[str, Any] = {"training": {"num-rounds": 3}, "simulation": {"dropout-rate": 0.2}}
    config = asked(unit, placement, adaptive, "stacked", **sections)
    whole = run(config, out=tmp_path / "whole").folder
    with interrupted_before_charging(monkeypatch, 2):
        run(config, out=tmp_path / "broken")
    resumed = resume(tmp_path / "broken").folder
    assert results_of(resumed) == results_of(whole)
    assert verify_run(resumed)[0] == []
