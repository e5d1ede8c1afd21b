"""Every strategy by name, its options, and what a user's own strategy may and may not do."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg
from grid_runs import HeardGrid, run_over
from own_strategies import Counting, CountingSums
from safetensors.numpy import load_file
from small_runs import charges_of, draw_in_common, small_config

import wardround
from wardround import wire
from wardround.config import AggregationConfig, Config
from wardround.errors import ConfigError, WardroundError
from wardround.simulations.runs import run
from wardround.strategies import needs_only_sum, only_averages_scores, strategy_of
from wardround.strategies.by_name import STRATEGIES, options_of

_VALUES = {
    "server-learning-rate": 0.9,
    "server-momentum": 0.5,
    "eta": 0.05,
    "eta-l": 0.1,
    "beta-1": 0.8,
    "beta-2": 0.9,
    "tau": 1e-3,
    "proximal-mu": 0.1,
}


def _run(tmp_path: Path, strategy: str, *, num_rounds: int = 2, **options: Any) -> Path:
    config = small_config(
        training={"num-rounds": num_rounds}, aggregation={"strategy": strategy, **options}, privacy={}
    )
    return run(config, out=tmp_path / "run").folder


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_runs_with_its_options_and_keeps_float32(strategy: str, tmp_path: Path) -> None:
    options = [option.replace("_", "-") for option in options_of(strategy)]
    folder = _run(tmp_path, strategy, **{option: _VALUES[option] for option in options})
    model = load_file(folder / "model.safetensors")
    assert {array.dtype for array in model.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(array).all() for array in model.values())
    before, after = (float(line.split(",")[3]) for line in (folder / "rounds.csv").read_text().splitlines()[1:3])
    assert before != after


def test_fedavg_is_the_weighted_mean_of_the_hospitals(tmp_path: Path) -> None:
    heard: list[tuple[Message, Message]] = []
    run_over(tmp_path / "run", small_config(training={"num-rounds": 1}), partial(HeardGrid, heard))
    trained = [(reply.content["metrics"]["num-examples"], wire.arrays_in(reply)) for _, reply in heard]
    total = sum(num for num, _ in trained)
    model = load_file(tmp_path / "run" / "model.safetensors")
    assert len(trained) == 3
    for name, array in model.items():
        mean = sum(num * arrays[name].astype(np.float64) for num, arrays in trained) / total
        np.testing.assert_allclose(array, mean, rtol=1e-7, atol=1e-9)


def test_fedprox_pulls_towards_the_global_model(tmp_path: Path) -> None:
    def distance(mu: float) -> float:
        config = small_config(
            training={"num-rounds": 1, "local-steps": 40},
            privacy={"noise-multiplier": None, "target-delta": None, "placement": "none"},
            aggregation={"strategy": "fedprox", "proximal-mu": mu},
        )
        folder = run(config, out=tmp_path / f"{mu}").folder
        start = run(
            small_config(training={"num-rounds": 1}, simulation={"dropout-rate": 0.999999}), out=tmp_path / f"s{mu}"
        ).folder
        first, last = load_file(start / "model.safetensors"), load_file(folder / "model.safetensors")
        return float(sum(((first[key] - last[key]) ** 2).sum() for key in first))

    assert distance(1.0) < 0.5 * distance(0.0)


def test_fedprox_without_a_pull_is_fedavg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_in_common(monkeypatch)
    prox, average = _run(tmp_path / "a", "fedprox", **{"proximal-mu": 0.0}), _run(tmp_path / "b", "fedavg")
    assert (prox / "model.safetensors").read_bytes() == (average / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "fedavg", "eta": 0.1}, r"eta is no option of strategy = \"fedavg\" \(its options: none\)"),
        (
            {"strategy": "fedadam", "server_momentum": 0.1},
            r"server-momentum is no option .*options: eta, eta-l, beta-1",
        ),
        ({"strategy": "fedadagrad", "beta_2": 0.1}, r"beta-2 is no option"),
        ({"strategy": "fedprox"}, r"needs \[aggregation\] proximal-mu: add proximal-mu = 0.01"),
        ({"strategy": "fedavgg"}, r"strategy = \"fedavgg\" must be one of fedavg, .* or \"package.module:factory\""),
        ({"strategy": "nowhere:factory"}, r"could not be built: ModuleNotFoundError"),
        ({"strategy": "own_strategies:nothing"}, r"could not be built: AttributeError"),
        ({"strategy": "own_strategies:raises"}, r"could not be built: OSError: no such disk"),
        ({"strategy": "own_strategies:not_a_strategy"}, r"returned int, not a flwr Strategy"),
        ({"strategy": "own_strategies:median", "eta": 1.0}, r"eta is no option of strategy"),
        (
            {"strategy": "own_strategies:median", "protocol": "secure-sum"},
            r"wants every hospital's update by itself, which protocol = \"secure-sum\" never shows",
        ),
    ],
)
def test_refused_strategies(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        strategy_of(replace(Config(), aggregation=AggregationConfig(**settings)))


def test_only_flowers_own_classes_are_trusted_with_a_sum() -> None:
    assert needs_only_sum(strategy_of(Config()))
    assert not needs_only_sum(Counting())
    assert needs_only_sum(CountingSums())


def _seen(folder: Path, num_rounds: int) -> list[int]:
    data = (folder / "checkpoints" / f"round-{num_rounds:06d}.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return list(json.loads(header["__metadata__"]["values"])["seen"]["list"])


def test_a_users_strategy_sees_every_reply_unless_it_wants_the_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_common(monkeypatch)
    singles = _run(tmp_path / "a", "own_strategies:counting")
    sums = _run(tmp_path / "b", "own_strategies:counting_sums", protocol="secure-sum")
    assert _seen(singles, 2) == [3, 3]
    assert _seen(sums, 2) == [1, 1]
    models = [load_file(folder / "model.safetensors") for folder in (singles, sums)]
    for name, array in models[0].items():
        np.testing.assert_allclose(array, models[1][name], rtol=1e-6, atol=1e-7)


def test_a_strategy_of_single_replies_runs_under_plain(tmp_path: Path) -> None:
    assert (_run(tmp_path, "own_strategies:median") / "model.safetensors").is_file()


def test_a_strategy_that_asks_nobody_leaves_the_model(tmp_path: Path) -> None:
    folder = _run(tmp_path, "own_strategies:asks_nobody")
    assert [line.split(",")[1:3] for line in (folder / "rounds.csv").read_text().splitlines()[1:]] == [
        ["0", "0"],
        ["3", "0"],
        ["3", "0"],
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asks_twice", r"sent node [0-9] a \"train\" message: configure_train must return at most one"),
        ("asks_by_itself", r"asked hospitals to train by itself, which nobody charged"),
        ("trains_while_evaluating", r"asked hospitals to train by itself, which nobody charged"),
        ("fails", r"strategy Fails failed: KeyError: 'weights'"),
        ("makes_nan", r"is not finite after the strategy's step"),
    ],
)
def test_strategies_that_would_release_more_than_was_charged(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match=message):
        _run(tmp_path, f"own_strategies:{name}")
    # Charged before anything was asked, released never.
    assert charges_of(tmp_path / "run", "released") == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_average_of_scores_that_nobody_reads_is_left_to_those_who_make_something_of_it(name: str) -> None:
    assert only_averages_scores(STRATEGIES[name]())
    own: Any = STRATEGIES[name]
    assert not only_averages_scores(own(evaluate_metrics_aggr_fn=lambda records, key: records[0]["metrics"]))


def test_a_strategy_of_ones_own_is_told_every_score(tmp_path: Path) -> None:
    heard: list[int] = []

    class Listening(FedAvg):
        def aggregate_evaluate(self, server_round: int, replies: Any) -> Any:
            heard.append(len(list(replies)))
            return super().aggregate_evaluate(server_round, [])

    config = small_config(training={"num-rounds": 1}, privacy={})
    hospitals = len(wardround.run(config, strategy=Listening, out=tmp_path / "run").summary["epsilon"]["hospitals"])
    assert heard == [hospitals, hospitals]
