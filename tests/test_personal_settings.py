"""[personal]: what it goes with, what it is refused beside, and which parameters are a hospital's own."""

from typing import Any

import pytest
from small_runs import small_config
from torch import nn

from wardround.config import Config, ModelConfig, PersonalConfig, config_from_dict, config_to_toml, unused_settings
from wardround.errors import ConfigError
from wardround.identity import settings_digest
from wardround.models import build_model, own_names
from wardround.simulations.prepared import plan
from wardround.simulations.studies.study import Study

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "distributed noise": (
        {"privacy": {"placement": "distributed"}, "aggregation": {"protocol": "secure-sum"}},
        'placement = "distributed" that is no release by itself: set unit = "record" and placement = "local"',
    ),
    "central noise": ({"privacy": {"placement": "central"}}, "that is no release by itself"),
    "whole hospitals": ({"privacy": {"unit": "hospital"}}, 'unit = "hospital" and placement = "local"'),
    "secure sum": (
        {"aggregation": {"protocol": "secure-sum"}},
        'protocol = "secure-sum" shows it their sum alone, so that real sites take no part',
    ),
    "secagg+": ({"aggregation": {"protocol": "secagg+", "min-survivors": 2}}, 'set .* protocol = "plain"'),
    "fedprox": ({"aggregation": {"strategy": "fedprox", "proximal-mu": 0.1}}, 'goes with strategy = "fedavg"'),
    "a server optimizer": ({"aggregation": {"strategy": "fedadam"}}, 'goes with strategy = "fedavg", not "fedadam"'),
    "one's own strategy": ({"aggregation": {"strategy": "scaffold:scaffold"}}, 'goes with strategy = "fedavg"'),
    "patience": ({"evaluation": {"patience": 3, "public": "a:b"}}, "patience chooses by one model of all"),
    "keep": ({"evaluation": {"keep": "best", "public": "a:b"}}, "keep chooses by one model of all"),
    "a pull past the mean": (
        {"personal": {"strength": 2.1}},
        r"strength = 2\.1 must be <= 1 / learning-rate = 2, .* past the mean",
    ),
    "a negative pull": ({"personal": {"strength": -1}}, r"strength = -1\.0 must be >= 0"),
    "another method": ({"personal": {"method": "mr-mlt"}}, 'method = "mr-mlt" must be one of none, mr-mtl'),
}


def config_with(**sections: Any) -> Config:
    steps = {"local-steps": 1} if sections.get("privacy", {}).get("placement") in ("central", "distributed") else {}
    return config_from_dict(
        {"training": steps} | sections | {"personal": {"method": "mr-mtl"} | sections.get("personal", {})}
    )


@pytest.mark.parametrize("reason", REFUSED)
def test_what_it_can_not_be_with_is_refused_with_a_next_step(reason: str) -> None:
    sections, message = REFUSED[reason]
    with pytest.raises(ConfigError, match=message):
        config_with(**sections)


def test_an_adaptive_step_is_not_held_to_the_pull() -> None:
    assert config_with(training={"optimizer": "adam"}, personal={"strength": 50}).personal.pull == 50


def test_defaults_are_not_written_and_change_no_digest() -> None:
    assert "personal" not in config_to_toml(Config())
    written = config_with()
    assert config_from_dict({"personal": {"method": "mr-mtl", "strength": 0.1}}) == written
    assert written.personal.pull == 0.1
    assert settings_digest(written) != settings_digest(Config())


def test_a_strength_without_a_pull_is_not_used_and_said_so() -> None:
    config = config_from_dict({"personal": {"strength": 0.5}})
    assert config.personal.pull == 0
    assert unused_settings(config) == (
        'strength = 0.5 ([personal] strength) is not used: it goes with method = "mr-mtl"',
    )


def test_what_is_a_hospitals_own_is_named_in_the_models_order() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4), nn.ReLU(), nn.Linear(4, 2))
    for method, names in {
        "none": (),
        "mr-mtl": ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"),
        "local-head": ("3.weight", "3.bias"),
        "fedbn": ("1.weight", "1.bias"),
    }.items():
        assert own_names(PersonalConfig(method=method), model) == names


def test_residual_networks_have_norms_and_a_head() -> None:
    model, _ = build_model(ModelConfig(name="resnet18", width=8), input_shape=(3, 8, 8), num_outputs=2, seed=1)
    norms = own_names(PersonalConfig(method="fedbn"), model)
    assert len(norms) == 2 * sum(isinstance(part, nn.GroupNorm) for part in model.modules())
    assert len(own_names(PersonalConfig(method="local-head"), model)) == 2


@pytest.mark.parametrize(
    ("method", "reason"),
    [("local-head", "a model of one layer nothing that hospitals share"), ("fedbn", "the model has none")],
)
def test_a_part_that_the_model_does_not_have_is_refused_before_anything_is_charged(method: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        plan(small_config(personal={"method": method}))


def test_a_study_varies_the_method_and_the_strength() -> None:
    study = Study(base=config_with(personal={"strength": 0.2}), vary={"personal.method": ["none", "mr-mtl"]})
    assert [run.config.personal.pull for run in study.runs()] == [0.0, 0.2]
    strengths = Study(base=config_with(), vary={"personal.strength": [0.1, 1.0]}, baselines=("alone", "federated"))
    runs = strengths.runs()
    assert [run.config.personal.pull for run in runs if not run.baseline] == [0.1, 1.0]
    assert [run.baseline for run in runs if run.baseline].count("alone") == 1
