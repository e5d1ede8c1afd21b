"""[features] extract: images become features at load, in every cell; what are none is refused with the reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_runs import small_config

import wardround as wr
from wardround.config import Config, FeaturesConfig, FederationConfig
from wardround.config.changes import change_tables
from wardround.datasets import Dataset, build_federation, extracted
from wardround.datasets.scattering import scattered
from wardround.errors import ConfigError
from wardround.simulations.studies.data_once import DataOnce

SCATTERING = FeaturesConfig(extract="scattering", group_norm=27)


def images(shape: tuple[int, ...] = (1, 8, 8), number: int = 40, seed: int = 0) -> Dataset:
    drawn = np.random.default_rng(seed)
    return Dataset(
        name="pictures",
        task="classification",
        features=drawn.uniform(-1, 1, (number, *shape)).astype(np.float32),
        labels=np.arange(number) % 2,
        class_names=("well", "ill"),
        feature_names=(),
    )


def handed(number: int = 40) -> wr.Federation:
    made = images(number=3 * number)
    parts = zip("abc", np.split(made.features, 3), np.split(made.labels, 3), strict=True)
    return wr.Federation.from_arrays({name: (features, labels) for name, features, labels in parts})


def test_every_record_of_a_federation_has_the_features_of_its_image() -> None:
    dataset = images()
    made = extracted(dataset, SCATTERING)
    np.testing.assert_array_equal(made.features, scattered(dataset.features, 27))
    assert made.features.dtype == np.float32 and not made.features.flags.writeable
    assert any("81 channels), normalised in 27 groups" in note for note in made.notes)
    federation = build_federation(made, FederationConfig(num_hospitals=2), SCATTERING)
    assert federation.input_shape == (81, 2, 2)
    assert extracted(dataset, FeaturesConfig()) is dataset


@pytest.mark.parametrize(
    ("shape", "features", "words"),
    [
        ((64,), {}, r"needs images, .* and those of pictures have shape \(64,\) .*: remove it"),
        ((8, 8), {}, r"have shape \(8, 8\)"),
        ((1, 8, 7), {}, r"at least 8 pixels along height and width"),
        ((1, 8, 8), {"group_norm": 5}, r"group-norm = 5 must divide the 81 channels .* set one of 1, 3, 9, 27, 81"),
        ((3, 8, 8), {"group_norm": 82}, r"must divide the 243 channels"),
    ],
)
def test_what_can_not_be_is_refused(shape: tuple[int, ...], features: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        extracted(images(shape), FeaturesConfig(extract="scattering", **features))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"extract": "resnet"}, r'extract = "resnet" must be one of none, scattering'),
        ({"group-norm": 27}, r'group-norm = 27 is of features that are extracted, .* set extract = "scattering"'),
        ({"extract": "scattering", "group-norm": 0}, r"group-norm = 0 must be >= 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Config.of({"features": keys})


def test_tables_are_refused_with_or_without_a_schema() -> None:
    with pytest.raises(ConfigError, match=r"needs images, .* breast-cancer have shape \(30,\)"):
        wr.plan(small_config(features={"extract": "scattering"}))
    schema = {"died": {"levels": ["no", "yes"]}, "age": {"range": [18, 110]}}
    federation = {"dataset": "csv", "path": "x.csv", "target": "died", "schema": schema}
    with pytest.raises(ConfigError, match="is for images, and a schema is of a table"):
        Config.of({"federation": federation, "features": {"extract": "scattering"}})


@pytest.mark.parametrize("mode", ["private", "hospital"])
def test_statistics_of_images_are_refused_as_they_were(mode: str) -> None:
    features = FeaturesConfig(extract="scattering", standardise=mode)
    with pytest.raises(ConfigError, match=f'standardise = "{mode}" needs columns that are known to be numbers'):
        build_federation(extracted(images(), features), FederationConfig(num_hospitals=2), features)


def test_groups_give_way_to_no_extraction() -> None:
    file = {"features": {"extract": "scattering", "group-norm": 27}}
    changed = change_tables(file, {"features": {"extract": "none"}})
    assert changed.tables["features"] == {"extract": "none"}
    assert "group-norm = 27 ([features] group-norm) gives way" in changed.gave_way[0]


def test_a_study_keeps_features_and_knows_them_from_others() -> None:
    data, digits = DataOnce(), FederationConfig(dataset="digits", num_hospitals=2)
    if data.load(digits, FeaturesConfig()).input_shape[1:] == (8, 8):
        plain = data.load(digits, FeaturesConfig())
        made = data.load(digits, FeaturesConfig(extract="scattering"))
        normed = data.load(digits, FeaturesConfig(extract="scattering", group_norm=9))
        assert plain.input_shape == (1, 8, 8) and made.input_shape == normed.input_shape == (81, 2, 2)
        assert not np.array_equal(made.hospitals[0].train_features, normed.hospitals[0].train_features)


@pytest.mark.parametrize(
    ("engine", "privacy"),
    [
        ("inline", {"placement": "none", "noise-multiplier": None}),
        ("stacked", {"placement": "local"}),
        ("inline", {"placement": "central"}),
        ("inline", {"placement": "distributed"}),
        ("stacked", {"placement": "distributed"}),
        ("stacked", {"unit": "hospital", "placement": "central", "target-delta": 1e-2}),
    ],
    ids=lambda keys: keys if isinstance(keys, str) else "-".join(map(str, keys.values())),
)
def test_runs_of_every_kind_train_on_the_features_and_say_so(
    privacy: dict[str, Any], engine: str, tmp_path: Path
) -> None:
    sends_sums = privacy["placement"] in ("central", "distributed") and "unit" not in privacy
    sections: dict[str, dict[str, Any]] = {
        "features": {"extract": "scattering", "group-norm": 27},
        "training": {"num-rounds": 2, "local-steps": None if sends_sums else 2, "sample-rate": 0.5},
        "privacy": privacy,
        "aggregation": {"strategy": "fedavgm", "server-momentum": 0.9},
        "simulation": {"engine": engine},
    }
    if privacy["placement"] == "distributed":
        sections["aggregation"] |= {"protocol": "secure-sum", "min-survivors": 3}
    made = wr.run(small_config(**sections), federation=handed(), out=tmp_path)
    assert sum(array.size for array in load_file(tmp_path / "model.safetensors").values()) == 81 * 4 * 2 + 2
    assert any("scattering" in note for note in made.summary["notes"])
