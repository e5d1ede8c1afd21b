"""The section [features]: what it may hold, how it is written, and which of its settings are used."""

import tomllib
from typing import Any

import pytest

from wardround.config import Config, FeaturesConfig, config_from_dict, config_to_toml, load_config, unused_settings
from wardround.errors import ConfigError

BOUNDS = {"age": (18.0, 100.0), "systolic blood pressure": (60.0, 230.0)}


def test_bounds_are_read_and_written_as_toml(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text('[features]\nbounds = { age = [18, 100], "systolic  blood pressure" = [60, 230.0] }\n')
    config = load_config(path)
    assert config.features == FeaturesConfig(bounds=BOUNDS)
    assert config_from_dict(tomllib.loads(config_to_toml(config))) == config
    assert load_config(None, ["features.bounds={age = [18, 100]}"]).features.bounds == {"age": (18, 100)}
    assert Config(features={"bounds": {"age": [18, 100]}}).change(features={"statistics_share": 0.2}).features == (
        FeaturesConfig(bounds={"age": (18.0, 100.0)}, statistics_share=0.2)
    )


def test_defaults_are_not_written_so_that_older_settings_keep_their_digest():
    assert "features" not in tomllib.loads(config_to_toml(Config()))
    assert Config().features == FeaturesConfig(standardise=None, bounds=None, statistics_share=0.1)
    written = tomllib.loads(config_to_toml(Config(features={"standardise": "none", "statistics-share": 0.2})))
    assert written["features"] == {"standardise": "none", "statistics-share": 0.2}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"standardise": "privat"}, r'standardise = "privat" must be one of public, private, .*did you mean private\?'),
        ({"statistics_share": 0}, r"statistics-share = 0.0 must be > 0 and < 1 \(\[features\] statistics-share\)"),
        ({"statistics_share": 1.0}, r"statistics-share = 1.0 must be > 0 and < 1"),
        ({"bounds": {"age": [100, 18]}}, r"bounds of 'age' = \[100, 18\] must be two numbers, the lowest first"),
        ({"bounds": {"age": [18, 18]}}, r"bounds of 'age' = \[18, 18\] must be two numbers, the lowest first"),
        ({"bounds": {"age": [18]}}, r"bounds = \[18\] must be two numbers, the lowest first \(\[features\] bounds\)"),
        ({"bounds": {"age": [18, 50, 100]}}, r"must be two numbers"),
        ({"bounds": {"age": 18}}, r"bounds = 18 must be two numbers"),
        ({"bounds": {"age": ["18", 100]}}, r"bounds = '18' must be a number"),
        ({"bounds": {"age": [float("-inf"), 100]}}, r"bounds = -inf must be finite"),
        ({"bounds": {"age": [float("nan"), 100]}}, r"bounds = nan must be a number"),
        ({"bounds": {"age": [-1e308, 1e308]}}, r"bounds of 'age' = "),
        ({"bounds": [18, 100]}, r"bounds = \(18, 100\) must be a table of two numbers for each name"),
        ({"bounds": {}}, r"bounds must name columns, each once"),
        ({"bounds": {"": [1, 2]}}, r"bounds of '' = "),
        ({"bounds": {7: [1, 2]}}, r"bounds of 7 = "),
        ({"bounds": {"age": [1, 2], " age": [1, 2]}}, r"bounds must name columns, each once"),
        ({"bounds": {"age": [1, 2]}, "standardise": "none"}, r'bounds go with standardise = "private", not "none"'),
    ],
)
def test_what_it_can_not_hold_is_refused(features: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FeaturesConfig(**features)


def test_settings_that_lose_their_meaning_give_way_and_are_named(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text("[features]\nstatistics-share = 0.3\nbounds = { age = [18, 100] }\n")
    told: list[str] = []
    config = load_config(path, ["features.standardise=hospital"], note=told.append)
    assert config.features == FeaturesConfig(standardise="hospital")
    assert len(told) == 2 and all('it goes with standardise = "private"' in sentence for sentence in told)
    idle = unused_settings(Config(features={"standardise": "public", "statistics-share": 0.3}))
    assert idle == (
        'statistics-share = 0.3 ([features] statistics-share) is not used: it goes with standardise = "private", '
        "or a remedy for imbalance that is made of released shares",
    )
    assert unused_settings(Config(features={"standardise": "private", "statistics-share": 0.3})) == ()


def test_a_mode_gives_way_to_a_schema():
    schema = {"died": {"levels": ["no", "yes"]}, "age": {"range": [18, 110]}}
    config = Config(features={"standardise": "private", "bounds": BOUNDS})
    changed = config.change(federation={"dataset": "csv", "target": "died", "schema": schema})
    assert changed.features == FeaturesConfig()


@pytest.mark.parametrize("mode", ["public", "private", "hospital", "none"])
def test_the_mode_is_private_where_it_is_named_or_bounds_are_stated(mode):
    assert FeaturesConfig(standardise=mode).is_private == (mode == "private")
    assert FeaturesConfig(bounds={"age": (1, 2)}).is_private and not FeaturesConfig().is_private
