"""A hospital side gives the same bits wherever hospitals run, by name or as an object that no one can import."""

from pathlib import Path
from typing import Any

import pytest
from flwr.serverapp.strategy import FedAvg
from small_runs import results_of, small_config

from wardround.config import Config
from wardround.objects import hand_over
from wardround.simulations.engines.opening import ENGINES
from wardround.simulations.runs import run

_EXAMPLES = Path(__file__).parents[2] / "examples"


def half() -> FedAvg:
    """Return a strategy whose class is of this function alone, and travels by value."""

    class Half(FedAvg):
        @staticmethod
        def hospital_side(gradient: Any, received: Any) -> Any:
            return {name: part * 0.5 for name, part in gradient.items()}

    return Half(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)


def settings(strategy: str, engine: str) -> Config:
    simulation = {"engine": engine} | ({"num-workers": 2} if engine == "ray" else {})
    named = "scaffold:scaffold" if strategy == "scaffold" else "fedavg"
    config = small_config(training={"num-rounds": 2}, simulation=simulation, aggregation={"strategy": named})
    return config if strategy == "scaffold" else config.with_object("aggregation", hand_over(half(), "strategy"))


@pytest.mark.slow
@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "inline"])
@pytest.mark.parametrize("strategy", ["scaffold", "object"])
def test_a_hospital_side_gives_the_same_bits_in_every_engine(
    strategy: str, engine: str, ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(_EXAMPLES))
    here = run(settings(strategy, "inline"), out=tmp_path / "inline").folder
    there = run(settings(strategy, engine), out=tmp_path / engine).folder
    assert results_of(there) == results_of(here)
    plain = run(small_config(training={"num-rounds": 2}), out=tmp_path / "plain").folder
    assert results_of(plain)[0] != results_of(here)[0]
