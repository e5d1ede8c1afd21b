"""What a strategy may do at hospitals: it changes steps alone, after the noise, or is refused and why."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from hostile_rounds import HostileServer
from own_strategies import Pushes, SideIsAMethod
from planned_parts import config_of
from safetensors.numpy import load_file
from site_files import write_sites
from small_runs import charges_of, draw_in_common, results_of, small_config

from wardround import wire
from wardround.clients.released import read_releases
from wardround.config import Config, config_to_toml
from wardround.errors import ConfigError, WardroundError
from wardround.simulations.runs import run
from wardround.strategies import hospital_side_of, strategy_of


def config_with(strategy: str, **sections: Any) -> Config:
    sections = {"training": {"num-rounds": 2}} | sections
    return small_config(aggregation={"strategy": strategy} | sections.pop("aggregation", {}), **sections)


def test_a_side_that_changes_nothing_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_in_common(monkeypatch)
    for unit in ("record", "hospital"):
        with_side, without = (
            results_of(run(config_with(name, privacy={"unit": unit}), out=tmp_path / unit / name[-3:]).folder)
            for name in ("own_strategies:with_side", "fedavg")
        )
        assert with_side == without


@pytest.mark.parametrize(("unit", "placement"), [("record", "local"), ("hospital", "local"), ("hospital", "central")])
def test_a_constant_direction_moves_the_model_as_far_as_its_steps(
    unit: str, placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a learning rate so small that gradients stay the same, and a clip that never cuts."""
    draw_in_common(monkeypatch)
    privacy = {"unit": unit, "placement": placement, "max-grad-norm": 100.0, "noise-multiplier": 1e-3}
    training = {"num-rounds": 1, "local-steps": 4, "learning-rate": 1e-4}
    pushed, plain = (
        load_file(
            run(config_with(name, privacy=privacy, training=training), out=tmp_path / name[-3:]).folder
            / "model.safetensors"
        )
        for name in ("own_strategies:pushes", "fedavg")
    )
    for name, array in plain.items():
        np.testing.assert_allclose(pushed[name], array - 4 * 1e-4 * 0.5, atol=2e-6)


def test_the_sum_of_a_round_is_all_that_a_strategy_with_a_side_may_want(tmp_path: Path) -> None:
    secure = {"protocol": "secure-sum", "min-survivors": 2}
    privacy = {"unit": "hospital", "placement": "central"}
    summed, plain = (
        results_of(
            run(config_with("own_strategies:pushes", privacy=privacy, aggregation=more), out=tmp_path / name).folder
        )
        for name, more in (("sum", secure), ("plain", {}))
    )
    assert summed[0] != b"" and len(summed[2]) == len(plain[2]) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "side_fails",
            r"hospital-0[123] failed: ConfigError: the hospital side of strategy SideFails failed: KeyError",
        ),
        ("sends_without_side", r"sent \"hospital-side\", and has no hospital_side that would take it"),
        ("side_is_a_method", r"hospital_side of strategy SideIsAMethod must be a function .* make it a @staticmethod"),
    ],
)
def test_a_side_that_goes_wrong_is_told_by_the_strategys_name(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match=reason):
        run(config_with(f"own_strategies:{name}"), out=tmp_path / "run")
    if (tmp_path / "run").exists():
        assert charges_of(tmp_path / "run", "released") == []


@pytest.mark.parametrize("side", [3, "add", SideIsAMethod().hospital_side])
def test_what_is_no_function_of_what_was_sent_is_refused(side: Any) -> None:
    strategy = Pushes()
    strategy.hospital_side = side  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="must be a function of a step's gradient and of the arrays"):
        hospital_side_of(strategy)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"privacy": {"placement": "central"}, "training": {"local-steps": None}}, "sends the gradient of a batch"),
        (
            {"aggregation": {"protocol": "secagg+", "min-survivors": 3}},
            r"is told nothing that the others are not: a real site takes no part in it",
        ),
    ],
)
def test_settings_under_which_there_can_be_no_side(sections: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        strategy_of(config_with("own_strategies:pushes", **sections))


class SendsMore(HostileServer):
    """Sends arrays for a hospital side along."""

    def _training(self, arrays: Any, assignment: Any) -> Message:
        message = super()._training(arrays, assignment)
        message.content[wire.HOSPITAL_SIDE] = wire.array_record({"1.bias": np.full(2, 1e6, np.float32)})
        return message


def test_a_real_site_takes_no_side_from_a_server(tmp_path: Path) -> None:
    config = config_of("hospital", "local")
    tables = {name: table for name, table in tomllib.loads(config_to_toml(config)).items() if name != "simulation"}
    server = SendsMore(tmp_path, config, write_sites(tmp_path, tables))
    assert server.round(server.model()) == {}
    assert len(server.errors) == 3
    assert [read_releases(path.parent / "site.key-released") for path in server.paths.values()] == [()] * 3
