"""Later words: what a change leaves without meaning gives way, and nothing that was set together with it."""

from pathlib import Path

import pytest

from wardround.config import STRATEGY_OPTIONS, Config, change_tables, config_from_dict, load_config, unused_settings
from wardround.config.meanings import MEANINGS, default_of
from wardround.errors import ConfigError
from wardround.strategies.by_name import STRATEGIES, options_of

_NOISY = """
[privacy]
unit = "hospital"
placement = "central"
target-epsilon = 2.0
budget-epsilon = 4.0
on-budget = "replan"
adaptive-clipping = true
target-quantile = 0.4
clip-learning-rate = 0.1
"""
_OWN_TABLE = """
[federation]
dataset = "csv"
path = "patients.csv"
target = "died"
hospital-column = "site"
patient-column = "id"
task = "classification"
"""
_BANDED = """
[training]
cohorts = "round-robin"
fraction-train = 0.5
[privacy]
unit = "hospital"
placement = "central"
noise-correlation = "banded"
"""

_GIVES_WAY = [
    (_NOISY, ["privacy.placement=none"], 7),
    ("[privacy]\nnoise-multiplier = 3.0\nmax-grad-norm = 0.5", ["privacy.placement=none"], 2),
    (_BANDED, ["privacy.placement=none"], 2),
    (_BANDED, ["privacy.placement=local"], 1),
    (_NOISY, ["privacy.unit=record"], 3),
    (_NOISY, ["privacy.adaptive-clipping=false"], 2),
    (_NOISY, ["privacy.noise-multiplier=1"], 1),
    ("[privacy]\npatient-overlap = 3", ["privacy.unit=hospital"], 1),
    (
        '[training]\noptimizer = "adam"\nlocal-steps = 5\n[aggregation]\nstrategy = "fedprox"\nproximal-mu = 0.1',
        ["privacy.placement=central"],
        4,
    ),
    ("[training]\nmomentum = 0.9\nlocal-epochs = 2", ["privacy.placement=central"], 2),
    (_OWN_TABLE, ["federation.dataset=digits"], 5),
    ("[training]\nmomentum = 0.9", ["training.optimizer=adam"], 1),
    ("[training]\nbatch-size = 8\nlocal-epochs = 2", ["training.sample-rate=0.1", "training.local-steps=1"], 2),
    ('[model]\nname = "mlp"\nhidden-sizes = [8]', ["model.name=logistic"], 1),
    ('[federation]\npartition = "dirichlet"\ndirichlet-alpha = 0.1', ["federation.partition=iid"], 1),
    ('[federation]\npartition = "iid"\nnum-hospitals = 9', ["federation.partition=natural"], 1),
    (
        '[aggregation]\nstrategy = "fedadam"\neta = 0.1\ntau = 0.001\nbeta-1 = 0.8',
        ["aggregation.strategy=fedadagrad"],
        1,
    ),
    (
        '[aggregation]\nstrategy = "fedavgm"\nserver-momentum = 0.9\nserver-learning-rate = 0.5',
        ["aggregation.strategy=fedavg"],
        2,
    ),
    ('[aggregation]\nprotocol = "secagg+"\nmin-survivors = 5\nmax-colluding = 1', ["aggregation.protocol=plain"], 1),
]


@pytest.mark.parametrize(("text", "overrides", "num_gone"), _GIVES_WAY, ids=lambda value: str(value).split("\n")[-1])
def test_what_an_override_leaves_without_meaning_gives_way_and_is_named(text, overrides, num_gone, tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(text)
    load_config(path)  # means something as it stands
    notes = []
    config = load_config(path, overrides, note=notes.append)
    assert len(notes) == num_gone, notes
    assert all(" gives way: " in note for note in notes)
    assert unused_settings(config) == ()
    for override in overrides:
        name, _, value = override.partition("=")
        section, _, key = name.partition(".")
        assert str(getattr(getattr(config, section), key.replace("-", "_"))).lower() in (value, f"{value}.0")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["privacy.placement=none", "privacy.target-epsilon=2"], "target-epsilon = 2.0 has no meaning without privacy"),
        (["training.optimizer=adam", "training.momentum=0.9"], 'momentum = 0.9 goes with optimizer = "sgd" only'),
        (["training.batch-size=3", "training.sample-rate=0.1"], "batch-size and sample-rate exclude each other"),
        (["federation.dataset=digits", "federation.target=x"], 'target goes with dataset = "csv"'),
    ],
)
def test_what_was_set_together_is_refused_and_never_dropped(overrides, message):
    for given in (overrides, overrides[::-1]):
        with pytest.raises(ConfigError, match=message):
            load_config(None, given)


@pytest.mark.parametrize(
    ("text", "override"),
    [
        ('[privacy]\nplacement = "none"\ntarget-epsilon = 2.0', "training.num-rounds=3"),
        ('[training]\noptimizer = "adam"\nmomentum = 0.9', "training.learning-rate=0.1"),
    ],
)
def test_a_contradiction_of_the_file_stays_one(text, override, tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(path, [override])


@pytest.mark.parametrize(
    "override", ["aggregation.protocol=plain", "privacy.noise-multiplier=0", "privacy.placement=central"]
)
def test_what_protects_never_gives_way(override, tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(
        '[privacy]\nplacement = "distributed"\nbudget-epsilon = 1.0\n[aggregation]\nprotocol = "secure-sum"\n'
        "min-survivors = 2\n"
        if "central" not in override
        else "[privacy]\npatient-overlap = 2\n"
    )
    with pytest.raises(ConfigError):
        load_config(path, [override])


def test_a_value_of_none_is_the_default_again_and_the_tables_are_left_as_they_are():
    tables = {"training": {"batch-size": 8, "num-rounds": 3}}
    changed = change_tables(tables, {"training": {"batch-size": None}})
    assert changed == ({"training": {"num-rounds": 3}}, ())
    assert tables == {"training": {"batch-size": 8, "num-rounds": 3}}


def test_a_setting_at_its_default_gives_way_without_a_word():
    changed = change_tables({"model": {"name": "mlp", "hidden-sizes": [64]}}, {"model": {"name": "logistic"}})
    assert changed.gave_way == ()
    assert config_from_dict(changed.tables) == Config()


def test_the_options_of_strategies_are_those_that_flower_takes():
    theirs = {name: tuple(option.replace("_", "-") for option in options_of(name)) for name in STRATEGIES}
    assert theirs == dict(STRATEGY_OPTIONS)


def test_the_defaults_use_every_setting_and_the_table_names_settings_that_there_are():
    assert unused_settings(Config()) == ()
    names = {f"{section}.{key}" for section, table in _keys().items() for key in table}
    assert {name for name, _, _ in MEANINGS} <= names
    assert default_of("training.no-such-key") is None


def _keys() -> dict[str, set[str]]:
    text = (Path(__file__).parents[1] / "docs" / "config.md").read_text()
    sections = [part.split("]", 1) for part in text.split("\n## [")[1:]]
    return {name: {word for word in part.split("`") if word.islower()} for name, part in sections}


@pytest.mark.parametrize(
    ("tables", "unused"),
    [
        ({"federation": {"partition": "natural", "num-hospitals": 100_000}}, "num-hospitals = 100000"),
        ({"federation": {"partition": "iid", "dirichlet-alpha": 0.1}}, "dirichlet-alpha = 0.1"),
        ({"federation": {"shards-per-hospital": 3}}, "shards-per-hospital = 3"),
        ({"model": {"hidden-sizes": [8]}}, "hidden-sizes = [8]"),
        ({"model": {"name": "mlp", "width": 8}}, "width = 8"),
        ({"training": {"cohorts": "round-robin"}}, 'cohorts = "round-robin"'),
        ({"training": {"grad-sample-mode": "ghost"}, "privacy": {"placement": "none"}}, 'grad-sample-mode = "ghost"'),
        ({"privacy": {"placement": "none", "max-grad-norm": 0.5}}, "max-grad-norm = 0.5"),
        ({"privacy": {"on-budget": "drop"}}, 'on-budget = "drop"'),
        ({"aggregation": {"max-update": 8.0}}, "max-update = 8.0"),
        ({"simulation": {"engine": "inline", "num-workers": 2}}, "num-workers = 2"),
        ({"simulation": {"engine": "inline", "gpus-per-worker": 1.0}}, "gpus-per-worker = 1.0"),
    ],
)
def test_a_setting_that_is_not_used_says_so(tables, unused):
    (sentence,) = unused_settings(config_from_dict(tables))
    assert sentence.startswith(f"{unused} ([") and " is not used: it goes with " in sentence


def test_a_record_changes_as_a_file_does():
    private = Config(privacy={"target_epsilon": 2.0, "budget_epsilon": 3.0}, training={"momentum": 0.9})
    open_to_all = private.change(privacy={"placement": "none"}, training={"optimizer": "adam"})
    assert open_to_all == Config(privacy={"placement": "none"}, training={"optimizer": "adam"})
    with pytest.raises(ConfigError, match="has no meaning without privacy"):
        private.change(privacy={"placement": "none", "target_epsilon": 2.0})
