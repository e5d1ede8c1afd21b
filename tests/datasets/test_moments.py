"""Moments of records and the constants they give: against closed forms, and longest lengths by property."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import patients, settings

from wardround.config import FeaturesConfig, FederationConfig
from wardround.datasets import FederatedData, load_federation
from wardround.datasets.moments import MomentLayout, layout_of, moment_federation, moments_of, scaling_from
from wardround.datasets.scaling import Scaling
from wardround.errors import ProtocolError

LAYOUT = MomentLayout(num_features=4, numbers=(0, 2), low=(0.0, 0.0), high=(1.0, 1.0), most_norm=math.sqrt(6))


def privately(dataset: str, data_dir: Path) -> FederatedData:
    federation = FederationConfig(dataset=dataset, data_dir=str(data_dir))
    return load_federation(federation, FeaturesConfig(standardise="private"))


def features_like(layout: MomentLayout, seed: int, missing: float = 0.0) -> np.ndarray:
    """Return 400 records: numbers between -1 and 1, some of them missing, and indicators."""
    generator = np.random.default_rng(seed)
    features = (generator.random((400, layout.num_features)) < 0.3).astype(np.float32)
    numbers = generator.uniform(-1, 1, (400, len(layout.numbers))).astype(np.float32)
    features[:, list(layout.numbers)] = np.where(generator.random(numbers.shape) < missing, np.nan, numbers)
    return features


def test_moments_are_missing_numbers_squares_and_indicators() -> None:
    made = moments_of([[0.5, 1.0, np.nan, 0.0]], LAYOUT)
    assert made.dtype == np.float32
    assert made.tolist() == [[0.0, 1.0, 0.5, 0.0, 0.25, 0.0, 1.0, 0.0]]


@given(
    numbers=st.lists(st.one_of(st.just(math.nan), st.floats(-1, 1, width=32)), min_size=2, max_size=2),
    levels=st.integers(0, 2),
)
def test_no_record_s_moments_are_longer_than_the_layout_says(numbers: list[float], levels: int) -> None:
    # Columns: two numbers, and one of three levels of which the first is the reference.
    layout = MomentLayout(num_features=4, numbers=(0, 1), low=(0, 0), high=(1, 1), most_norm=math.sqrt(2 * 2 + 1))
    indicators = [float(levels == 1), float(levels == 2)]
    assert np.linalg.norm(moments_of([[*numbers, *indicators]], layout)) <= layout.most_norm * (1 + 1e-6)


@pytest.mark.parametrize("dataset", ["breast-cancer", "heart-disease", "ist"])
def test_every_record_of_the_sources_is_within_the_layout(dataset: str, real_data: Path) -> None:
    federation = privately(dataset, real_data)
    layout = layout_of(federation)
    assert layout is not None
    released = moment_federation(federation, layout)
    longest = max(np.linalg.norm(hospital.train_features, axis=1).max() for hospital in released.hospitals)
    assert 0.5 * layout.most_norm < longest <= layout.most_norm * (1 + 1e-6)
    assert released.input_shape == (layout.num_values,)


def test_a_table_s_columns_are_groups_and_a_missing_number_takes_its_indicator_s_place(tmp_path: Path) -> None:
    text = patients(age=[str(30 + row % 50) if row % 5 else "" for row in range(60)])
    path = tmp_path / "own.csv"
    path.write_text(text)
    bounds = {"age": (18.0, 100.0), "crp": (0.0, 200.0)}
    federation = load_federation(settings(path), FeaturesConfig(bounds=bounds))
    layout = layout_of(federation)
    assert layout is not None and federation.standardise == "private"
    # Two columns of numbers, one of levels.
    assert layout.most_norm == pytest.approx(math.sqrt(2 + 2 + 1))
    assert (layout.low, layout.high) == ((18.0, 0.0), (100.0, 200.0))
    rows = np.concatenate([hospital.train_features for hospital in federation.hospitals])
    assert np.isnan(rows).any()
    assert np.linalg.norm(moments_of(rows, layout), axis=1).max() <= layout.most_norm * (1 + 1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_an_exact_mean_gives_the_mean_and_deviation_of_what_is_there(missing: float) -> None:
    features = features_like(LAYOUT, 3, missing)
    scaling = scaling_from(moments_of(features, LAYOUT).mean(axis=0, dtype=np.float64), LAYOUT, stddev=0.0)
    assert scaling.centre == pytest.approx(np.nanmean(features, axis=0, dtype=np.float64), abs=1e-6)
    assert scaling.scale == pytest.approx(np.nanstd(features, axis=0, dtype=np.float64), abs=1e-6)
    scaled = scaling.of(features)
    assert np.abs(scaled.mean(axis=0)).max() < 0.02
    assert not scaled[np.isnan(features)].any() and np.isfinite(scaled).all()


def test_what_the_noise_hides_is_not_made_large() -> None:
    features = features_like(LAYOUT, 4)
    features[:, 1], features[:, 0] = 0.0, 0.25  # a level that nobody has, a number that never varies
    mean = moments_of(features, LAYOUT).mean(axis=0, dtype=np.float64)
    stddev = 0.01
    noisy = mean + np.random.default_rng(5).normal(0, stddev, mean.shape)
    scaling = scaling_from(noisy, LAYOUT, stddev=stddev)
    assert scaling.scale[1] >= math.sqrt(0.03 * 0.97) - 1e-12
    assert scaling.scale[0] >= math.sqrt(0.03) - 1e-12
    assert np.abs(scaling.of(features)[:, :2]).max() < 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8), st.floats(0, 1e6))
def test_whatever_noise_makes_of_a_mean_there_are_constants(mean: list[float], stddev: float) -> None:
    scaling = scaling_from(mean, LAYOUT, stddev=stddev)
    assert np.isfinite(scaling.of(features_like(LAYOUT, 1, 0.2))).all()


def test_rows_are_scaled_one_by_one_and_within_five() -> None:
    scaling = Scaling(centre=(0.0, 1.0), scale=(0.1, 2.0))
    rows = np.array([[1.0, 1.0], [np.nan, 3.0], [-1.0, np.nan]], np.float32)
    assert scaling.of(rows).tolist() == [[5.0, 0.0], [0.0, 1.0], [-5.0, 0.0]]
    assert np.array_equal(scaling.of(rows)[1:2], scaling.of(rows[1:2]))


@pytest.mark.parametrize(
    ("centre", "scale"),
    [((0.0,), ()), ((math.nan,), (1.0,)), ((0.0,), (math.inf,)), ((0.0,), (0.0,)), ((0.0,), (-1.0,))],
)
def test_constants_that_are_none_are_refused(centre: tuple[float, ...], scale: tuple[float, ...]) -> None:
    with pytest.raises(ProtocolError, match="finite numbers, and scales > 0"):
        Scaling(centre=centre, scale=scale)


def test_features_of_other_columns_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"shape \(1, 3\) can't be scaled by 2"):
        Scaling(centre=(0.0, 0.0), scale=(1.0, 1.0)).of([[1.0, 2.0, 3.0]])


def test_public_data_have_no_layout() -> None:
    assert layout_of(load_federation(FederationConfig())) is None
