"""Settings that a cell of unit x placement can't honour are refused with the reason, and nothing else is."""

import tomllib

import pytest

from wardround.config import Config, config_from_dict, config_to_toml, load_config
from wardround.errors import ConfigError

SUM = {"aggregation": {"protocol": "secure-sum"}}


def settings(unit: str, placement: str, **sections: dict[str, object]) -> Config:
    tables: dict[str, dict[str, object]] = {"privacy": {"unit": unit, "placement": placement}}
    if placement == "distributed":
        tables |= {name: dict(table) for name, table in SUM.items()}
    for name, table in sections.items():
        tables[name] = tables.get(name, {}) | table
    return config_from_dict(tables)


@pytest.mark.parametrize("unit", ["record", "hospital"])
@pytest.mark.parametrize("placement", ["none", "local", "distributed", "central"])
def test_every_cell_can_be_asked_for(unit, placement):
    config = settings(unit, placement)
    assert (config.privacy.unit, config.privacy.placement) == (unit, placement)
    assert config_from_dict(tomllib.loads(config_to_toml(config))) == config


@pytest.mark.parametrize(
    ("unit", "placement", "sections", "message"),
    [
        ("record", "distributed", {"aggregation": {"protocol": "plain"}}, 'set .aggregation. protocol = "secagg'),
        ("hospital", "distributed", {"aggregation": {"protocol": "plain"}}, "while the sum is all it sees"),
        ("record", "central", {"training": {"local-steps": 2}}, "local-steps = 2 has no meaning .*set local-steps = 1"),
        ("record", "distributed", {"training": {"local-epochs": 1}}, "local-epochs = 1 has no meaning"),
        ("record", "central", {"training": {"momentum": 0.5}}, "momentum = 0.5 has no meaning .*server optimizer"),
        ("record", "central", {"training": {"optimizer": "adam"}}, "optimizer = adam has no meaning"),
        ("record", "central", {"aggregation": {"strategy": "fedprox", "proximal-mu": 0.1}}, "nothing to pull back"),
        ("record", "distributed", {"training": {"grad-sample-mode": "ghost"}}, "never has single gradients"),
        ("record", "central", {"privacy": {"patient-overlap": 2}}, "share one noise"),
        ("hospital", "local", {"privacy": {"patient-overlap": 2}}, "protects whole hospitals"),
        ("record", "local", {"privacy": {"adaptive-clipping": True}}, "needs updates that are summed"),
        ("record", "central", {"privacy": {"adaptive-clipping": True}}, "needs updates that are summed"),
        ("hospital", "local", {"privacy": {"adaptive-clipping": True}}, "needs updates that are summed"),
        ("hospital", "none", {"privacy": {"adaptive-clipping": True}}, "adaptive-clipping = True has no meaning"),
        ("hospital", "central", {"privacy": {"target-quantile": 0.5}}, "goes with adaptive-clipping = true only"),
        ("hospital", "central", {"privacy": {"clip-learning-rate": 0.5}}, "goes with adaptive-clipping = true only"),
        ("hospital", "central", {"privacy": {"adaptive-clipping": 1}}, "adaptive-clipping = 1 must be true or false"),
        (
            "hospital",
            "central",
            {"privacy": {"adaptive-clipping": True, "target-quantile": 1.5}},
            "target-quantile = 1.5 must be >= 0 and <= 1",
        ),
    ],
)
def test_contradictions_are_refused_with_the_reason(unit, placement, sections, message):
    with pytest.raises(ConfigError, match=message):
        settings(unit, placement, **sections)


@pytest.mark.parametrize(
    ("unit", "placement", "sections"),
    [
        ("record", "local", {"training": {"local-steps": 5, "momentum": 0.9}, "privacy": {"patient-overlap": 3}}),
        ("record", "central", {"training": {"local-steps": 1, "grad-sample-mode": "ghost"}}),
        ("hospital", "central", {"training": {"local-epochs": 3, "optimizer": "adam"}}),
        ("hospital", "local", {"aggregation": {"strategy": "fedprox", "proximal-mu": 0.1}}),
        ("hospital", "none", {"privacy": {"patient-overlap": 3}}),
    ],
)
def test_what_a_cell_can_do_is_allowed(unit, placement, sections):
    settings(unit, placement, **sections)


def test_adaptive_clipping_has_defaults():
    privacy = settings("hospital", "central", privacy={"adaptive-clipping": True}).privacy
    assert (privacy.target_quantile, privacy.clip_learning_rate) == (0.5, 0.2)
    assert load_config(None, ["privacy.adaptive-clipping=false"]).privacy.target_quantile is None
