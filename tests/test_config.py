"""Settings: every value is checked once, every message says what to do."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.config import Config, config_from_dict, config_to_toml, load_config
from wardround.errors import ConfigError


def test_defaults_are_the_main_job():
    config = Config()
    assert config.federation.dataset == "breast-cancer"
    assert config.federation.num_hospitals == 5
    assert config.privacy.noise_multiplier == 2.0
    assert (config.privacy.unit, config.privacy.placement) == ("record", "local")


@given(
    num_rounds=st.integers(1, 1000),
    fraction=st.floats(1e-6, 1.0),
    deltas=st.one_of(st.floats(1e-12, 0.5), st.dictionaries(st.text(min_size=1), st.floats(1e-12, 0.5), max_size=3)),
    hidden=st.lists(st.integers(1, 512), min_size=1, max_size=3),
    weights=st.one_of(st.none(), st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4)),
)
def test_toml_round_trip_is_exact(num_rounds, fraction, deltas, hidden, weights):
    tables = {
        "training": {"num-rounds": num_rounds, "fraction-train": fraction},
        "privacy": {"target-delta": deltas},
        "model": {"hidden-sizes": hidden},
        "federation": {} if weights is None else {"class-weights": weights},
    }
    config = config_from_dict(tables)
    assert config_from_dict(tomllib.loads(config_to_toml(config))) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainng.x=1", r"unknown section \[trainng\]: did you mean training\?"),
        ("training.num-round=3", r"unknown key num-round in \[training\]: did you mean num-rounds\?"),
        ("training.num_rounds=3", r"did you mean num-rounds\?"),
        ("training.num-rounds=0", r"num-rounds = 0 must be >= 1 and <= 1000000 \(\[training\] num-rounds\)"),
        ("training.num-rounds=2.5", "num-rounds = 2.5 must be a whole number"),
        ("training.num-rounds=true", "num-rounds = True must be a whole number"),
        ("training.learning-rate=nan", "learning-rate = nan must be a number"),
        ("training.learning-rate=inf", "learning-rate = inf must be > 0"),
        ("training.fraction-train=1.01", "fraction-train = 1.01 must be > 0 and <= 1"),
        ("training.momentum=1.0", "momentum = 1.0 must be >= 0 and < 1"),
        ("training.optimizer=sdg", r'optimizer = "sdg" must be one of sgd, adam, adamw .*did you mean sgd\?'),
        ("model.num-layers=0", "num-layers = 0 must be >= 1 and <= 100"),
        ("training.weight-decay=-0.1", "weight-decay = -0.1 must be >= 0"),
        (
            "training.learning-rate-schedule=cosin",
            r"must be one of constant, linear, cosine, step .*did you mean cosine",
        ),
        ("training.loss-weights=[1.0, 0]", r"loss-weights = 0.0 must be > 0 \(\[training\] loss-weights\)"),
        ("training.loss-weights=2.0", "loss-weights = 2.0 must be a list of numbers"),
        ("training.evaluate-every=0", r"evaluate-every = 0 must be >= 1 \(\[training\] evaluate-every\)"),
        (
            "privacy.noise-multiplier=-1.0",
            r"noise-multiplier = -1.0 must be >= 0 and <= 1000000.0 \(\[privacy\] noise-multiplier\)",
        ),
        ("privacy.target-delta=1.0", "target-delta = 1.0 must be > 0 and < 1"),
        ("privacy.target-delta={a = 2.0}", "target-delta = 2.0 must be > 0 and < 1"),
        ("privacy.on-budget=stp", r"did you mean stop\?"),
        ("federation.class-weights=[1, 0]", "class-weights = 0.0 must be > 0 and <= 1"),
        ("federation.target=x", r'target goes with dataset = "csv", not "breast-cancer"'),
        ("federation.min-patients=1", "min-patients = 1 must be >= 2"),
        ("simulation.dropout-rate=1.0", "dropout-rate = 1.0 must be >= 0 and < 1"),
        ("model.hidden-sizes=[]", None),
        ("simulation.engine=magic", r'engine = "magic" must be one of auto, ray, inline, stacked'),
        ("nonsense", r"--set nonsense must be section.key=value"),
    ],
)
def test_each_wrong_value_is_refused_by_name(override, message):
    if message is None:
        assert load_config(None, [override]).model.hidden_sizes == ()
        return
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("section", "first", "second"),
    [
        ("training", "local-steps", "local-epochs"),
        ("training", "batch-size", "sample-rate"),
        ("privacy", "noise-multiplier", "target-epsilon"),
    ],
)
def test_settings_that_exclude_each_other(section, first, second, tmp_path):
    with pytest.raises(ConfigError, match=f"{first} and {second} exclude each other"):
        config_from_dict({section: {first: 1, second: 1}})
    path = tmp_path / "job.toml"
    path.write_text(f"[{section}]\n{first} = 1\n")
    config = getattr(load_config(path, [f"{section}.{second}=1"]), section)
    assert getattr(config, first.replace("-", "_")) is None
    assert getattr(config, second.replace("-", "_")) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["privacy.noise-multiplier=0", "privacy.budget-epsilon=1"], "noise-multiplier = 0 spends infinite epsilon"),
        (["privacy.placement=none", "privacy.budget-epsilon=1"], "budget-epsilon = 1.0 has no meaning without privacy"),
        (["privacy.placement=none", "privacy.noise-multiplier=0"], "noise-multiplier = 0.0 has no meaning without pri"),
        (["training.optimizer=adam", "training.momentum=0.9"], 'momentum = 0.9 goes with optimizer = "sgd" only'),
        (
            ["training.weight-decay=2"],
            "weight-decay = 2 must be below 1 / learning-rate = 2, or a step would take every",
        ),
        (["training.optimizer=adamw", "training.weight-decay=3"], "weight-decay = 3 must be below 1 / learning-rate"),
        (["training.optimizer=adamw", "training.momentum=0.9"], 'momentum = 0.9 goes with optimizer = "sgd" only'),
        (["federation.dataset=csv"], r'dataset = "csv" needs \[federation\] target'),
    ],
)
def test_contradictions_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, overrides)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match=r"no file .*nowhere"):
        load_config(tmp_path / "nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[training\nnum-rounds = 3")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_config(broken)
    broken.write_text("training = 3")
    with pytest.raises(ConfigError, match=r"\[training\] must be a table"):
        load_config(broken)
    with pytest.raises(ConfigError, match="cannot read "):
        load_config(tmp_path)


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text("[training]\nnum-rounds = 3\nlearning-rate = 1\n")
    config = load_config(path, ["training.num-rounds=7", "federation.dataset=digits"])
    assert (config.training.num_rounds, config.training.learning_rate) == (7, 1.0)
    assert config.federation.dataset == "digits"


def test_settings_without_the_newer_keys_are_written_as_they_were():
    """So they have the digest that they had before, by which runs and real sites are told apart."""
    written = tomllib.loads(config_to_toml(config_from_dict({})))
    newer = {
        "training": {"weight-decay", "learning-rate-schedule", "loss-weights", "evaluate-every"},
        "model": {"num-layers", "num-heads"},
    }
    assert all(not keys & written[section].keys() for section, keys in newer.items())
    given = {
        "training": {"weight-decay": 0.1, "learning-rate-schedule": "step", "loss-weights": [1.0, 2.5]},
        "model": {"num-layers": 2, "num-heads": 8},
    }
    given["training"]["evaluate-every"] = 5
    written = tomllib.loads(config_to_toml(config_from_dict(given)))
    assert all(written[section].items() >= table.items() for section, table in given.items())
