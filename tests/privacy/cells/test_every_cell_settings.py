"""Every cell: which settings name it, what it refuses and why, and the words in which it is told."""

import tomllib

import pytest

from wardround.config import Config, PrivacyConfig, config_from_dict, config_to_toml, load_config
from wardround.errors import ConfigError
from wardround.privacy.cells import CELLS, READERS, Cell, cell_of

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
        (
            "record",
            "central",
            {"training": {"momentum": 0.5}},
            "momentum = 0.5 has no meaning .*: remove it, or use .*server optimizer",
        ),
        ("record", "central", {"training": {"optimizer": "adam"}}, "optimizer = adam has no meaning"),
        ("record", "distributed", {"training": {"optimizer": "adamw"}}, "optimizer = adamw has no .*server optimizer"),
        ("record", "central", {"aggregation": {"strategy": "fedprox", "proximal-mu": 0.1}}, "nothing to pull back"),
        ("record", "distributed", {"training": {"grad-sample-mode": "ghost"}}, "never has single gradients"),
        ("record", "central", {"privacy": {"patient-overlap": 2}}, "share one noise"),
        ("hospital", "local", {"privacy": {"patient-overlap": 2}}, "protects whole hospitals"),
        ("record", "local", {"privacy": {"adaptive-clipping": True}}, "needs updates that are summed"),
        ("record", "central", {"privacy": {"adaptive-clipping": True}}, "needs updates that are summed"),
        ("hospital", "local", {"privacy": {"adaptive-clipping": True}}, "needs updates that are summed"),
        ("hospital", "none", {"privacy": {"adaptive-clipping": True}}, "adaptive-clipping = True has no meaning"),
        ("record", "distributed", {"privacy": {"microbatch-size": 2}}, "microbatch-size = 2 .*no bound is proved"),
        ("hospital", "local", {"privacy": {"microbatch-size": 2}}, "microbatch-size = 2 .*no bound is proved"),
        ("record", "none", {"privacy": {"microbatch-size": 2}}, "microbatch-size = 2 has no meaning"),
        (
            "record",
            "local",
            {"privacy": {"microbatch-size": 2}, "training": {"grad-sample-mode": "ghost"}},
            "can't average the records of a group",
        ),
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


every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


def settings_of(cell: Cell, **sections: dict[str, object]) -> Config:
    """Return settings that name a cell, with what it needs beside unit and placement."""
    beside: dict[str, dict[str, object]] = {}
    if cell.noise_correlation != "none":
        beside = {"privacy": {"noise-correlation": cell.noise_correlation}}
        beside["training"] = {"cohorts": "round-robin", "fraction-train": 0.5}
    if cell.clips_groups:
        beside = {"privacy": {"microbatch-size": 3}}
    return settings(
        cell.unit,
        cell.placement,
        **{name: beside.get(name, {}) | sections.get(name, {}) for name in beside | sections},
    )


@every_cell
def test_settings_name_the_cell_and_the_cell_refuses_nothing_of_its_own(cell):
    config = settings_of(cell)
    assert cell_of(config.privacy) == cell
    assert not list(cell.meaningless(config.privacy))
    assert not list(cell.refusals(config.privacy, config.training, config.aggregation))


SPOILED = [
    {"aggregation": {"protocol": "plain"}},
    {"training": {"local-steps": 2}},
    {"training": {"local-epochs": 1}},
    {"training": {"momentum": 0.5}},
    {"training": {"optimizer": "adam"}},
    {"training": {"grad-sample-mode": "ghost"}},
    {"aggregation": {"strategy": "fedprox", "proximal-mu": 0.1}},
    {"privacy": {"patient-overlap": 2}},
    {"privacy": {"adaptive-clipping": True}},
    {"privacy": {"noise-multiplier": 1.0}},
]


@every_cell
@pytest.mark.parametrize("sections", SPOILED, ids=str)
def test_every_refusal_names_the_setting_where_it_stands_and_what_to_do_instead(cell, sections):
    """Whatever a cell refuses; what it takes, it takes."""
    try:
        settings_of(cell, **sections)
    except ConfigError as error:
        ((section, keys),) = sections.items()
        assert f"[{section}]" in str(error) and any(key in str(error) for key in keys)
        assert any(advice in str(error) for advice in ("set ", "remove it", "use a strategy")), error


@every_cell
@pytest.mark.parametrize("record_is", ["row", "patient"])
@pytest.mark.parametrize("protocol", ["plain", "secure-sum", "secagg+"])
def test_every_cell_has_words_for_everything(cell, record_is, protocol):
    words = cell.words(record_is=record_is, protocol=protocol)
    assert all((words.unit, words.protected, words.noise, words.sent, words.trust))
    assert set(words.sees) == set(READERS) and all(words.sees.values())
    assert ("not against the server" in words.trust) == (cell.placement == "central")
    if cell.is_private:
        assert words.hidden.startswith("whether ") and words.hidden.endswith("public")
        assert ("patient" in words.hidden) == (words.unit == "patient")


def test_who_is_told_of_is_who_is_hidden():
    hidden = "used or replaced by an empty one; that the hospital has n"
    told = {cell_of(PrivacyConfig()).words(record_is=record_is).hidden for record_is in ("row", "patient")}
    assert told == {
        f"whether a record of yours was {hidden} records is public",
        f"whether your record was {hidden} patients is public",
    }
