"""The example of a strategy with a hospital side: it is the paper's algorithm, costs nothing, and helps."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower_grid import FlowerGrid
from flwr.app import Context, Message, RecordDict
from grid_runs import HeardGrid, run_over
from safetensors.numpy import load_file
from small_runs import interrupted_before_charging, replaced, results_of, rows_of, small_config

import wardround
from wardround import wire
from wardround.agreed.cohorts import draw_cohort
from wardround.clients.app import app
from wardround.clients.initial_models import built_model
from wardround.config import Config, config_from_dict, config_to_toml
from wardround.datasets import FederatedData, load_federation
from wardround.errors import ConfigError
from wardround.models import parameters_of
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.runs import run
from wardround.strategies import strategy_of

_EXAMPLES = Path(__file__).parents[2] / "examples"
_LINEAR: dict[str, dict[str, Any]] = {
    "federation": {
        "dataset": "synthetic-regression",
        "partition": "shards",
        "num-hospitals": 4,
        "test-fraction": 0.8,
        "seed": 3,
    },
    "model": {"name": "logistic"},
    "training": {"num-rounds": 4, "local-steps": 5, "sample-rate": 1.0, "learning-rate": 0.1},
    "privacy": {"placement": "none"},
    "aggregation": {"strategy": "scaffold:scaffold"},
    "simulation": {"engine": "inline"},
}
"""A quadratic problem, its targets sorted over the hospitals; every step takes all records."""


@pytest.fixture(autouse=True)
def _can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_EXAMPLES))


def linear(**sections: Any) -> Config:
    return config_from_dict(replaced(_LINEAR, sections))


def private(**sections: Any) -> Config:
    aggregation = {"strategy": "scaffold:scaffold"} | sections.pop("aggregation", {})
    return small_config(aggregation=aggregation, **sections)


def start_of(config: Config, federation: FederatedData) -> np.ndarray:
    module, _ = built_model(config, federation.input_shape, federation.num_classes)
    return flat(parameters_of(module))


def flat(arrays: Any) -> np.ndarray:
    """Return weights and the bias, the last one, in float64."""
    parts = sorted(arrays.items(), key=lambda item: item[0].endswith("bias"))
    return np.concatenate([np.asarray(array, np.float64).reshape(-1) for _, array in parts])


def with_ones(features: np.ndarray) -> np.ndarray:
    return np.column_stack([features.reshape(len(features), -1), np.ones(len(features))]).astype(np.float64)


def test_three_rounds_equal_the_papers_loop(tmp_path: Path) -> None:
    """Of hospitals of several sizes, two of three of which are drawn for a round; the rate falls, and weights decay."""
    config = linear(
        federation={"partition": "quantity", "num-hospitals": 3},
        training={
            "num-rounds": 3,
            "fraction-train": 0.67,
            "learning-rate-schedule": "linear",
            "weight-decay": 0.02,
        },
    )
    federation = load_federation(config.federation)
    data = {h.hospital_id: (with_ones(h.train_features), h.train_labels) for h in federation.hospitals}
    x, controls, mean = start_of(config, federation), {}, 0.0
    for round_number in (1, 2, 3):
        models, rate = {}, 0.1 * (1 - (round_number - 1) / 3)
        for name in draw_cohort(config, list(data), round_number):
            y, (features, labels) = x.copy(), data[name]
            for _ in range(5):
                gradient = 2 * features.T @ (features @ y - labels) / len(labels) + 0.02 * y
                y -= rate * (gradient + mean - controls.get(name, mean))
            models[name] = y
        controls |= {name: controls.get(name, mean) - mean + (x - y) / (5 * rate) for name, y in models.items()}
        x = sum(len(data[name][1]) * y for name, y in models.items()) / sum(len(data[name][1]) for name in models)
        sizes = {name: len(data[name][1]) for name in controls}
        mean = sum(sizes[name] * control for name, control in controls.items()) / sum(sizes.values())
    assert len({len(labels) for _, labels in data.values()}) == len(controls) == 3
    model = flat(load_file(run(config, out=tmp_path / "run").folder / "model.safetensors"))
    np.testing.assert_allclose(model, x, atol=2e-6)


def test_it_ends_nearer_the_optimum_than_averaging(tmp_path: Path) -> None:
    federation = load_federation(linear().federation)
    features = np.concatenate([with_ones(hospital.train_features) for hospital in federation.hospitals])
    labels = np.concatenate([hospital.train_labels for hospital in federation.hospitals])
    optimum = np.linalg.lstsq(features, labels, rcond=None)[0]

    def distance(strategy: str) -> float:
        settings = linear(training={"num-rounds": 10, "local-steps": 10}, aggregation={"strategy": strategy})
        folder = run(settings, out=tmp_path / strategy.partition(":")[0]).folder
        return float(np.linalg.norm(flat(load_file(folder / "model.safetensors")) - optimum))

    averaged = distance("fedavg")
    assert averaged > 0.1
    assert distance("scaffold:scaffold") < 0.1 * averaged


@pytest.mark.parametrize("unit", ["record", "hospital"])
def test_what_hospitals_are_sent_sums_to_nothing_and_is_made_of_what_they_released(unit: str, tmp_path: Path) -> None:
    """The mean of all controls is c, whatever the noise."""
    heard: list[tuple[Message, Message]] = []
    config = private(training={"num-rounds": 3}, privacy={"unit": unit})
    run_over(tmp_path / "run", config, partial(HeardGrid, heard))
    heard.sort(key=lambda pair: pair[0].metadata.dst_node_id)
    by_round = [[pair for pair in heard if wire.assignment_of(pair[0]).round_number == number] for number in (1, 2, 3)]
    for number, exchanged in enumerate(by_round):
        sizes = np.array([reply.content["metrics"]["num-examples"] for _, reply in exchanged])
        sent = np.array([flat(wire.arrays_beside(message, wire.HOSPITAL_SIDE)) for message, _ in exchanged])
        assert np.abs(sizes @ sent).max() <= 1e-5 * max(1.0, np.abs(sent).max()) * sizes.sum()
        assert (np.abs(sent).max() > 0) == (number > 0)
    # After a first round that corrected nobody, each control is the mean noisy gradient of two steps.
    means = [
        (flat(wire.arrays_in(m)) - flat(wire.arrays_in(r))) / (2 * config.training.learning_rate)
        for m, r in by_round[0]
    ]
    sizes = [reply.content["metrics"]["num-examples"] for _, reply in by_round[0]]
    for (message, _), own in zip(by_round[1], means, strict=True):
        wanted = np.average(means, axis=0, weights=sizes) - own
        np.testing.assert_allclose(
            flat(wire.arrays_beside(message, wire.HOSPITAL_SIDE)), wanted, atol=1e-4 * np.abs(own).max()
        )


def test_nothing_is_charged_for_it(tmp_path: Path) -> None:
    bills = [
        rows_of(
            run(private(aggregation={"strategy": name}), out=tmp_path / name.partition(":")[0]).folder / "hospitals.csv"
        )
        for name in ("scaffold:scaffold", "fedavg")
    ]
    epsilons = [[(row["round"], row["hospital"], row["epsilon"]) for row in rows] for rows in bills]
    assert epsilons[0] == epsilons[1]


def test_a_resumed_run_ends_in_the_same_bits_also_where_flower_numbers_its_nodes_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = private(training={"num-rounds": 4, "fraction-train": 0.67})

    def numbered(first: int, make_app: Any, nodes: list[Node]) -> InlineGrid:
        return InlineGrid(make_app, [Node(node_id=n.node_id + first, node_config=n.node_config) for n in nodes])

    run_over(tmp_path / "whole", config, partial(numbered, 0))
    with interrupted_before_charging(monkeypatch, 3):
        run_over(tmp_path / "parts", config, partial(numbered, 0))
    run_over(tmp_path / "parts", config, partial(numbered, 40))
    assert results_of(tmp_path / "parts") == results_of(tmp_path / "whole")
    notes = json.loads((tmp_path / "parts" / "summary.json").read_text())["notes"]
    assert not any("what the strategy keeps" in note for note in notes)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"training": {"optimizer": "adam"}}, r"SCAFFOLD takes plain steps, .* optimizer = \"adam\""),
        ({"training": {"momentum": 0.9}}, r"with momentum = 0.9 .*set optimizer = \"sgd\" and momentum = 0.0"),
        ({"privacy": {"placement": "central"}, "training": {"local-steps": None}}, r"takes no step: set placement"),
        (
            {
                "privacy": {"placement": "distributed"},
                "training": {"local-steps": None},
                "aggregation": {"protocol": "secure-sum", "min-survivors": 2},
            },
            r"takes no step",
        ),
        ({"privacy": {"unit": "hospital", "placement": "central"}}, r"wants every hospital's update by itself"),
        (
            {"aggregation": {"protocol": "secagg+", "min-survivors": 3}},
            r"strategy Scaffold has a hospital side, .* with protocol = \"secagg\+\" a hospital trains by its own",
        ),
        ({"aggregation": {"protocol": "secure-sum", "min-survivors": 2}}, r"wants every hospital's update by itself"),
    ],
)
def test_settings_that_it_does_not_go_with_are_refused(sections: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        strategy_of(private(**sections))


def test_it_is_at_most_a_hundred_and_twenty_lines() -> None:
    assert len((_EXAMPLES / "scaffold.py").read_text().splitlines()) <= 120


def test_as_a_factory_from_python_it_is_the_same_job_and_as_an_object_the_same_bill(tmp_path: Path) -> None:
    import scaffold

    config = private(training={"num-rounds": 2})
    plain = small_config(training={"num-rounds": 2})
    named = run(config, out=tmp_path / "named").folder
    factory = wardround.run(plain, strategy=scaffold.scaffold, out=tmp_path / "factory")
    handed = wardround.run(plain, strategy=scaffold.Scaffold(plain), out=tmp_path / "object")
    assert results_of(factory.folder) == results_of(named)
    assert handed.epsilon == factory.epsilon
    again = wardround.resume(handed.folder, strategy=scaffold.Scaffold(plain))
    assert results_of(again.folder) == results_of(handed.folder)


class FlowersEngine(FlowerGrid):
    """The app that `flwr run` loads, with settings that it reads by itself."""

    def __init__(self, path: Path, nodes: list[Node]) -> None:
        told = {"config": str(path), "set": ""}
        of = {n.node_id: n.node_config | {"num-partitions": len(nodes)} for n in nodes}
        super().__init__(app, {node: Context(1, node, of[node], RecordDict(), told) for node in of})

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        for message in (messages := list(messages)):
            self.number(message)
        return [self.reply_to(message) for message in messages]


def test_the_app_that_flower_loads_has_the_same_side(tmp_path: Path) -> None:
    config = private(training={"num-rounds": 2})
    (tmp_path / "settings.toml").write_text(config_to_toml(config))
    run_over(tmp_path / "flower", config, lambda make_app, nodes: FlowersEngine(tmp_path / "settings.toml", nodes))
    here = run(config, out=tmp_path / "inline").folder
    assert results_of(tmp_path / "flower") == results_of(here)
