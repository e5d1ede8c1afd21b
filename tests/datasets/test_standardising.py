"""How numbers become features: every mode in closed form, what the data decide, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from table_files import on_command_line, patients, settings, words_for

from wardround.config import FeaturesConfig, FederationConfig, config_from_dict
from wardround.datasets import Dataset, Federation, NumberColumn, build_federation, load_dataset, load_federation
from wardround.datasets.bundled import bundled_table
from wardround.datasets.sources.breast_cancer import _PUBLISHED_RANGES
from wardround.datasets.standardising import mode_of, standardise
from wardround.errors import ConfigError, DataError, WardroundError

CLINICAL = ("breast-cancer", "heart-disease", "ist")
BOUNDS = {"age": (18.0, 100.0), "crp": (0.0, 90.0)}
BOUNDS_IN_TOML = "{age = [18, 100], crp = [0, 90]}"
AGES = ["", 5, 120, *(30 + row % 50 for row in range(57))]
"""Of 60 patients: one that is missing, two beyond the bounds."""
ROWS = np.array([[10.0, 1.0], [20.0, 0.0], [np.nan, 1.0], [60.0, 0.0]])
NUMBERS = (NumberColumn(column=0, centre=20.0, scale=5.0, low=12.0, high=52.0),)
SCHEMA = {"died": {"levels": ["no", "yes"]}, "age": {"range": [18, 110]}}


def source(name: str, real_data: Path) -> FederationConfig:
    """Return the settings of a source, or skip where it is not on this machine."""
    config = FederationConfig(dataset=name, data_dir=str(real_data), min_patients=50)
    try:
        load_dataset(config)
    except DataError as error:
        pytest.skip(str(error))
    return config


def table(folder: Path, **columns: Any) -> FederationConfig:
    """Return the settings of a user's table with an age that is missing, and two beyond the bounds."""
    path = folder / "own.csv"
    path.write_text(patients(**{"age": AGES, **columns}))
    return settings(path)


def standardised(mode: str, numbers: tuple[NumberColumn, ...] = NUMBERS) -> list[list[list[float]]]:
    return [half.tolist() for half in standardise(ROWS.copy(), ROWS[::-1].copy(), numbers, mode)]


def test_every_mode_is_its_formula_for_training_and_test_rows() -> None:
    assert standardised("public") == [[[-2, 1], [0, 0], [0, 1], [8, 0]], [[8, 0], [0, 1], [0, 0], [-2, 1]]]
    assert standardised("none") == [[[10, 1], [20, 0], [0, 1], [60, 0]], [[60, 0], [0, 1], [20, 0], [10, 1]]]
    private, private_test = standardised("private")
    assert [row[0] for row in private[:2]] == [-1, np.float32(8 / 40 * 2 - 1)]
    assert np.isnan(private[2][0]) and private[3] == [1, 0]
    assert np.array_equal(private_test, private[::-1], equal_nan=True)
    mean, deviation = 30.0, np.sqrt((20**2 + 10**2 + 30**2) / 3)
    hospital, hospital_test = standardised("hospital")
    assert [row[0] for row in hospital] == [np.float32(value) for value in ([-20, -10, 0, 30] / deviation)]
    assert hospital_test == hospital[::-1] and mean == np.nanmean(ROWS[:, 0])
    assert standardise(ROWS, ROWS, (), "public")[0].dtype == np.float32


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.floats(-1e300, 1e300), st.just(float("nan"))), min_size=1, max_size=20))
def test_bounded_numbers_are_within_one_or_missing(values: list[float]) -> None:
    rows = np.array(values)[:, None]
    numbers = (NumberColumn(column=0, low=-3.7, high=11.3),)
    train, test = standardise(rows.copy(), rows.copy(), numbers, "private")
    assert train.dtype == np.float32 and np.array_equal(train, test, equal_nan=True)
    assert (np.isnan(train) == np.isnan(rows)).all() and not (np.abs(train) > 1).any()


def test_a_test_row_is_standardised_by_the_training_rows_alone() -> None:
    rows = np.array([[0.0], [2.0]])
    train, test = standardise(rows, np.array([[1.5], [1e9], [np.nan]]), (NumberColumn(column=0),), "hospital")
    assert (train.tolist(), test.tolist()) == ([[-1], [1]], [[0.5], [5], [0]])


def test_a_number_that_float32_can_not_hold_is_refused_in_its_own_unit() -> None:
    with pytest.raises(DataError, match=r'beyond 3.4e38, .* \(\[features\] standardise = "none"\)'):
        standardise(np.array([[1e39]]), np.array([[1.0]]), (NumberColumn(column=0),), "none")


@pytest.mark.parametrize(
    "values", [{"centre": 1.0}, {"low": 1.0}, {"low": 2.0, "high": 1.0}, {"centre": 0, "scale": 0}]
)
def test_constants_and_bounds_of_a_number_are_both_there_and_in_order(values: dict[str, float]) -> None:
    with pytest.raises(DataError, match=r"number column 3 (has one of two constants|must have a scale > 0)"):
        NumberColumn(column=3, **values)


def assert_all_else_is_an_indicator(dataset: Dataset) -> None:
    places = [number.column for number in dataset.numbers]
    others = np.delete(dataset.features, places, axis=1)
    assert set(np.unique(others)) <= {0, 1}
    assert len(dataset.groups) == dataset.features.shape[1] == len(dataset.feature_names)
    assert sorted(set(dataset.groups)) == list(range(max(dataset.groups) + 1))
    for group in set(dataset.groups):
        own = [place for place, other in enumerate(dataset.groups) if other == group and place not in places]
        assert dataset.features[:, own].sum(axis=1).max(initial=0) <= 1


@pytest.mark.parametrize("name", CLINICAL)
def test_sources_hold_numbers_in_their_own_unit_and_all_else_as_indicators(name: str, real_data: Path) -> None:
    dataset = load_dataset(source(name, real_data))
    assert_all_else_is_an_indicator(dataset)
    for number in dataset.numbers:
        values = dataset.features[:, number.column]
        assert number.is_public and number.bounds
        # Most are within what is plausible, and no bound was read off the data but where these were published.
        assert np.mean((values >= number.bounds[0]) & (values <= number.bounds[1]) | np.isnan(values)) > 0.97
        if (name, dataset.feature_names[number.column]) != ("ist", "delay") and name != "breast-cancer":
            assert not {np.nanmin(values), np.nanmax(values)} & {*number.bounds}


@pytest.mark.parametrize("name", CLINICAL)
def test_public_is_the_default_of_sources_and_is_what_it_was(name: str, real_data: Path) -> None:
    config = source(name, real_data)
    federation, dataset = load_federation(config), load_dataset(config)
    assert federation.standardise == "public" and not federation.own_statistics
    assert (federation.numbers, federation.groups) == (dataset.numbers, dataset.groups)
    expected = np.where(np.isnan(dataset.features), 0.0, dataset.features)
    for number in dataset.numbers:
        values = dataset.features[:, number.column]
        low, high = number.bounds or (0.0, 0.0)
        centre, scale = number.constants or ((low + high) / 2, (high - low) / 2)
        made = (values - centre) / scale
        expected[:, number.column] = np.where(np.isnan(values), 0.0, made)
    found = [rows for item in federation.hospitals for rows in (item.train_features, item.test_features)]
    assert found[0].dtype == np.float32
    rows = {row.tobytes() for row in np.round(np.concatenate(found).astype(np.float64), 4) + 0.0}
    assert rows <= {row.tobytes() for row in np.round(expected.astype(np.float32).astype(np.float64), 4) + 0.0}
    named = load_federation(config, FeaturesConfig(standardise="public"))
    assert [item.fingerprint for item in named.hospitals] == [item.fingerprint for item in federation.hospitals]


def test_breast_cancer_has_the_very_bits_of_its_published_ranges() -> None:
    """Runs of earlier versions are resumed, and their data are told by these bits."""
    dataset = load_dataset(FederationConfig())
    found, _ = standardise(dataset.features.copy(), dataset.features[:0].copy(), dataset.numbers, "public")
    rows = bundled_table("breast_cancer.csv", num_rows=569, num_columns=31, skip_lines=1)[:, :-1]
    low, high = np.array(_PUBLISHED_RANGES).T
    assert found.tobytes() == (2 * (rows - low) / (high - low) - 1).astype(np.float32).tobytes()


@pytest.mark.parametrize("name", CLINICAL)
def test_hospitals_own_statistics_can_be_asked_for_everywhere(name: str, real_data: Path) -> None:
    federation = load_federation(source(name, real_data), FeaturesConfig(standardise="hospital"))
    assert federation.standardise == "hospital" and federation.own_statistics
    assert any("each hospital's own statistics" in n and "not covered by the record" in n for n in federation.notes)
    for hospital in federation.hospitals[:5]:
        for number in federation.numbers:
            values = hospital.train_features[:, number.column].astype(np.float64)
            # Missing numbers are at the mean, and clipped ones move it a little.
            assert abs(values.mean()) < 0.1 and values.std() < 1.001 and np.abs(values).max() <= 5
        assert np.isfinite(hospital.test_features).all()


@pytest.mark.parametrize("mode", ["public", "hospital", "none", "private"])
@pytest.mark.parametrize("name", CLINICAL)
def test_every_mode_makes_features_and_says_itself_once(name: str, mode: str, real_data: Path) -> None:
    federation = load_federation(source(name, real_data), FeaturesConfig(standardise=mode))
    assert (federation.standardise, federation.own_statistics) == (mode, mode == "hospital")
    assert sum(note.startswith("normalisation: ") for note in federation.notes) == 1
    for hospital in federation.hospitals[:5]:
        for features in (hospital.train_features, hospital.test_features):
            assert features.dtype == np.float32
            places = [number.column for number in federation.numbers]
            if mode == "private":
                assert not (np.abs(features[:, places]) > 1).any()
                assert np.isfinite(np.delete(features, places, axis=1)).all()
            else:
                assert np.isfinite(features).all()


def test_a_missing_number_stays_missing_in_private_alone(real_data: Path) -> None:
    config, place = source("heart-disease", real_data), load_dataset(source("heart-disease", real_data))
    cholesterol = place.feature_names.index("cholesterol")
    for mode in ("public", "hospital", "none", "private"):
        federation = load_federation(config, FeaturesConfig(standardise=mode))
        values = next(item for item in federation.hospitals if item.hospital_id == "va-long-beach").train_features
        missing = np.isnan(values[:, cholesterol]) if mode == "private" else values[:, cholesterol] == 0
        assert 20 < missing.sum() < 79


def test_a_users_table_is_standardised_by_each_hospital_unless_bounds_name_every_number(tmp_path: Path) -> None:
    config = table(tmp_path)
    plain = load_federation(config)
    assert (plain.standardise, plain.own_statistics, plain.groups) == ("hospital", True, (0, 0, 1, 1, 2))
    bounded = load_federation(config, FeaturesConfig(bounds=BOUNDS))
    assert (bounded.standardise, bounded.own_statistics) == ("private", False)
    assert [number.bounds for number in bounded.numbers] == list(BOUNDS.values())
    rows = np.concatenate([rows for item in bounded.hospitals for rows in (item.train_features, item.test_features)])
    ages = rows[:, bounded.feature_names.index("age")]
    expected = [(min(max(age, 18), 100) - 18) / 82 * 2 - 1 for age in AGES if isinstance(age, int)]
    assert np.isnan(ages).sum() == 1 and (rows[:, 1] == np.isnan(ages)).all()
    assert np.allclose(np.sort(ages[~np.isnan(ages)]), np.sort(expected), atol=1e-6)
    named = load_federation(config, FeaturesConfig(standardise="private", bounds=BOUNDS))
    assert [item.fingerprint for item in named.hospitals] == [item.fingerprint for item in bounded.hospitals]
    own = load_federation(config, FeaturesConfig(standardise="none"))
    assert {5, 120} <= set(np.concatenate([h.train_features for h in own.hospitals])[:, 0].tolist()) | set(
        np.concatenate([h.test_features for h in own.hospitals])[:, 0].tolist()
    )


def test_a_users_table_holds_numbers_in_their_own_unit_and_all_else_as_indicators(tmp_path: Path) -> None:
    columns = {"stage": ["I", "II", "", "III"] * 15, "ward": ["a", "b"] * 30, "grade": [1, 2, "x"] * 20}
    dataset = load_dataset(replace(table(tmp_path, **columns), categorical_columns=("grade",)))
    assert_all_else_is_an_indicator(dataset)
    assert [dataset.feature_names[number.column] for number in dataset.numbers] == ["age", "crp"]
    with pytest.raises(DataError, match=r"groups are of 1 features, and csv has"):
        replace(dataset, groups=(0,))


def test_describing_data_says_the_mode_and_what_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "describe", *words_for(Path(str(table(tmp_path).path))), "--set", "features.statistics-share=0.3"]
    code, told, _ = on_command_line(monkeypatch, capfd, *words)
    assert code == 0 and "normalisation: each hospital's own statistics" in told
    assert "statistics-share = 0.3" in told and "is not used" in told
    code, told, _ = on_command_line(monkeypatch, capfd, *words, "--set", f"features.bounds={BOUNDS_IN_TOML}")
    assert code == 0 and "normalisation: means and deviations of all hospitals" in told
    assert "is not used" not in told


def test_bounds_of_dates_are_days_since_2000(tmp_path: Path) -> None:
    days = [f"2020-01-{1 + row % 31:02d}" for row in range(60)]
    config = replace(table(tmp_path, admitted=days), date_columns=("admitted",))
    dataset = load_dataset(config)
    features = FeaturesConfig(bounds={**BOUNDS, "admitted": (7305, 7335)})
    assert mode_of(dataset, features) == "private"
    federation = build_federation(dataset, config, features)
    values = np.concatenate([item.train_features for item in federation.hospitals])
    admitted = values[:, federation.feature_names.index("admitted")]
    assert (admitted.min(), admitted.max()) == (-1, 1)


def test_stated_bounds_take_the_place_of_a_sources_own(real_data: Path) -> None:
    features = FeaturesConfig(standardise="private", bounds={"age": (20, 90)})
    federation = load_federation(source("heart-disease", real_data), features)
    assert federation.numbers[0].bounds == (20, 90) and federation.numbers[0].centre == 55
    assert federation.numbers[1].bounds == (60, 230)


def test_data_without_numbers_are_taken_as_they_are() -> None:
    for name in ("digits", "synthetic-regression"):
        federation = load_federation(FederationConfig(dataset=name))
        assert (federation.standardise, federation.own_statistics, federation.numbers) == ("public", False, ())
    for mode in ("public", "none"):
        assert load_federation(FederationConfig(dataset="digits"), FeaturesConfig(standardise=mode)).numbers == ()


def test_a_table_of_texts_alone_can_have_a_private_release_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("sex,died\n" + "f,0\nm,1\nm,0\nf,1\n" * 10)
    config = FederationConfig(dataset="csv", path=str(path), target="died", num_hospitals=2)
    assert load_federation(config).standardise == "public"
    assert load_federation(config, FeaturesConfig(standardise="private")).groups == (0, 0)
    with pytest.raises(ConfigError, match=r'standardise = "hospital" needs columns that are known to be numbers'):
        load_federation(config, FeaturesConfig(standardise="hospital"))


def _handed() -> Dataset:
    return Federation.from_arrays({"a": (np.ones((20, 3)), np.arange(20) % 2)}).dataset


@pytest.mark.parametrize(
    ("name", "features", "message"),
    [
        ("own", {"standardise": "public"}, r'"public" needs public constants, and csv has none of age, crp \(\[feat'),
        (
            "own",
            {"standardise": "private"},
            r"needs bounds of every number, and there are none of age, crp \(\[features\] b",
        ),
        ("own", {"standardise": "private", "bounds": {"age": (1, 2)}}, r"there are none of crp .*and never from these"),
        ("own", {"bounds": {"age": (1, 2)}}, r'for csv it is "hospital" .*: add those of crp, or remove bounds'),
        ("own", {"bounds": {"agee": (1, 2)}}, r"bounds name 'agee', which is no number of csv .*did you mean age\?"),
        ("own", {"bounds": {"sex": (1, 2)}}, r"bounds name 'sex', which is no number .*: it is used as levels"),
        ("own", {"bounds": {"died": (1, 2)}}, r"'died', which is no number .*: it is used as classification target"),
        ("own", {"bounds": {"same": (1, 2)}}, r"'same', which is no number .*: it is left out, as it never varies"),
        ("own", {"bounds": {"age is missing": (1, 2)}}, r"bounds name 'age is missing', which is no number"),
        ("breast-cancer", {"bounds": {"mean area": (1, 2)}}, r'it is "public" .*: set standardise = "private", or rem'),
        (
            "breast-cancer",
            {"standardise": "private", "bounds": {"zzz": (1, 2)}},
            r"its numbers are mean radius, .* and 25 m",
        ),
        ("digits", {"standardise": "private"}, r'"private" needs columns that are known .*and digits has none'),
        ("digits", {"standardise": "hospital"}, r'"hospital" needs columns that are known .*and digits has none'),
        ("digits", {"bounds": {"x": (1, 2)}}, r"bounds name 'x', which is no number of digits .*: it has none"),
        (
            "synthetic-regression",
            {"standardise": "private"},
            r"its features are taken as they are .*: remove it, or set",
        ),
        ("handed", {"standardise": "private"}, r'"private" needs columns .*and python has none'),
        ("handed", {"standardise": "hospital"}, r'"hospital" needs columns .*and python has none'),
    ],
)
def test_what_the_data_can_not_have_is_refused(
    name: str, features: Mapping[str, Any], message: str, tmp_path: Path
) -> None:
    if name == "handed":
        dataset = _handed()
    else:
        dataset = load_dataset(table(tmp_path, same=["x"] * 60) if name == "own" else FederationConfig(dataset=name))
    with pytest.raises(ConfigError, match=message):
        mode_of(dataset, FeaturesConfig(**features))


def test_at_most_five_numbers_are_listed(tmp_path: Path) -> None:
    columns = {f"x{place}": [place * 1000 + row * 7 % 59 + 0.5 for row in range(60)] for place in range(9)}
    with pytest.raises(ConfigError, match=r"none of age, crp, x0, x1, x2 and 6 more \("):
        load_federation(table(tmp_path, **columns), FeaturesConfig(standardise="private"))


@pytest.mark.parametrize("mode", ["private", "hospital", "none"])
def test_a_table_with_a_schema_is_scaled_by_its_ranges(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("age,died\n" + "".join(f"{20 + row},{('no', 'yes')[row % 2]}\n" for row in range(40)))
    keys: dict[str, Any] = {"dataset": "csv", "path": str(path), "target": "died", "schema": SCHEMA}
    config = FederationConfig(**keys)
    for features in (FeaturesConfig(), FeaturesConfig(standardise="public")):
        assert load_federation(config, features).standardise == "public"
    with pytest.raises(ConfigError, match=rf'standardise = "{mode}" can\'t be with a schema, whose numbers are scaled'):
        load_federation(config, FeaturesConfig(standardise=mode))
    with pytest.raises(ConfigError, match=r"bounds can't be with a schema"):
        load_federation(config, FeaturesConfig(bounds={"age": (1, 2)}))
    with pytest.raises(WardroundError, match=r"can't be with a schema"):
        config_from_dict({"federation": keys, "features": {"standardise": mode}})
