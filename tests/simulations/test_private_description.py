"""A noisy description of a federation: near the truth, at the price that its ledger has, and in every cell."""

import json
import math
from pathlib import Path

import dp_accounting
import numpy as np
import pytest
from made_up import PRIVATE
from small_runs import rows_of, small_config
from table_files import on_command_line, patients, settings

from wardround.config import Config, FeaturesConfig
from wardround.datasets import load_federation
from wardround.datasets.descriptions import NUM_BINS, description_layout, description_rows
from wardround.errors import CohortError, ConfigError
from wardround.server.record.verify import verify_run
from wardround.simulations.private_description import PrivateDescription, describe_privately


def config_of(unit: str, placement: str, epsilon: float | None) -> Config:
    return small_config(
        privacy={
            "unit": unit,
            "placement": placement,
            "noise-multiplier": None,
            "target-epsilon": epsilon,
            "target-delta": 1e-4 if unit == "record" else 1e-2,
        },
        training={"local-steps": None},
        aggregation={"protocol": "secure-sum", "min-survivors": 2},
    )


def exactly(config: Config) -> tuple[np.ndarray, np.ndarray]:
    federation = load_federation(config.federation, FeaturesConfig(standardise="none"))
    features = np.concatenate([hospital.train_features for hospital in federation.hospitals])
    return features.astype(np.float64), np.concatenate([hospital.train_labels for hospital in federation.hospitals])


def held_to(told: PrivateDescription, config: Config) -> None:
    """Hold a description to the records, within 6 standard deviations of its noise."""
    features, labels = exactly(config)
    numbers, classes = told.columns[: features.shape[1]], told.columns[features.shape[1] :]
    room = 6 * told.stddev + 1e-3 * len(labels) ** 0.5
    assert told.num_records == len(labels)
    for column, values in zip(numbers, features.T, strict=True):
        edges = np.linspace(float(column.low or 0), float(column.high or 0), NUM_BINS + 1)
        assert column.count == pytest.approx(len(labels), abs=room)
        # Noise may hide that anybody has the number.
        if column.mean is not None:
            assert column.mean == pytest.approx(values.mean(), abs=(edges[-1] - edges[0]) * 2 * room / len(labels))
        # A number at an edge is on either side of it in float32.
        assert column.histogram == pytest.approx(np.histogram(values, edges)[0], abs=room + 3)
    counts = {column.name: column.count for column in classes}
    assert counts == pytest.approx(
        {"benign": float((labels == 0).sum()), "malignant": float((labels == 1).sum())}, abs=room
    )


@pytest.mark.parametrize(("unit", "placement"), PRIVATE)
def test_every_cell_tells_what_is_there_at_its_price(unit: str, placement: str, tmp_path: Path) -> None:
    config = config_of(unit, placement, 8.0)
    told = describe_privately(config, out=tmp_path / "run")
    held_to(told, config)
    assert 7.5 < told.epsilon <= 8.0 and (told.unit, told.placement) == (unit, placement)
    assert verify_run(told.folder)[0] == []


def test_without_privacy_it_is_exact_and_says_so(tmp_path: Path) -> None:
    config = config_of("record", "none", None)
    told = describe_privately(config, out=tmp_path / "run")
    held_to(told, config)
    assert told.epsilon == math.inf and told.stddev == 0


def test_its_epsilon_is_one_gaussian_release_s(tmp_path: Path) -> None:
    told = describe_privately(config_of("record", "central", 2.0), out=tmp_path / "run")
    layout = description_layout(load_federation(small_config().federation, FeaturesConfig(standardise="private")))
    noise = told.stddev / layout.most_norm
    accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4)
    event = dp_accounting.GaussianDpEvent(noise)
    assert told.epsilon == pytest.approx(accountant.compose(event).get_epsilon(1e-4), rel=2e-3)


def test_its_epsilon_is_that_of_a_patient_of_several_hospitals(tmp_path: Path) -> None:
    config = config_of("record", "local", 2.0).change(privacy={"patient-overlap": 3})
    told = describe_privately(config, out=tmp_path / "run")
    assert 1.9 < told.epsilon <= 2.0


def test_no_record_is_longer_than_the_layout_says(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(patients(age=[str(30 + row % 50) if row % 5 else "" for row in range(60)]))
    features = FeaturesConfig(bounds={"age": (18.0, 60.0), "crp": (0.0, 50.0)})
    federation = load_federation(settings(path), features)
    layout = description_layout(federation)
    rows = np.concatenate([description_rows(hospital, layout) for hospital in federation.hospitals])
    assert rows.shape[1] == layout.num_values
    # Two numbers with a bin each, a column of levels, a class.
    assert layout.most_norm == pytest.approx(math.sqrt(3 + 3 + 1 + 1))
    assert np.linalg.norm(rows, axis=1).max() <= layout.most_norm * (1 + 1e-6)


def test_the_error_is_that_of_the_hospitals_who_answered(tmp_path: Path) -> None:
    """With local noise: that of as many sums as there are, divided by their records."""
    config = config_of("record", "local", 1.0).change(federation={"num_hospitals": 8}, simulation={"dropout_rate": 0.7})
    told = describe_privately(config, out=tmp_path / "run")
    rows = [row for row in rows_of(tmp_path / "run" / "hospitals.csv") if row["round"] == "1"]
    answered = [row for row in rows if row["completed"] == "1"]
    assert 2 <= len(answered) < 8
    clip = description_layout(load_federation(config.federation, FeaturesConfig(standardise="private"))).most_norm
    stddevs = [float(row["noise_multiplier"]) * clip for row in answered]
    share = sum(int(row["num_examples"]) for row in answered) / told.num_records
    assert told.stddev == pytest.approx(math.hypot(*stddevs) / share)


def test_what_too_few_hospitals_answered_is_no_description(tmp_path: Path) -> None:
    aggregation = {"protocol": "secure-sum", "min-survivors": 3}
    config = small_config(aggregation=aggregation, simulation={"dropout-rate": 0.7})
    with pytest.raises(
        CohortError, match=r"was charged and not released: 1 of 3 hospitals answered.*min-survivors = 3"
    ):
        describe_privately(config, out=tmp_path / "run")


def test_numbers_without_bounds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(patients())
    with pytest.raises(ConfigError, match="needs bounds of every number"):
        describe_privately(Config(federation=settings(path)), out=tmp_path / "run")


def test_the_command_prints_figures_and_their_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("data", "describe", "--set", "privacy.target-epsilon=1")
    status, printed, _ = on_command_line(monkeypatch, capfd, *words, "--private", "--out", str(tmp_path / "run"))
    assert status == 0 and "epsilon <= 1.00" in printed and "mean radius" in printed and "class malignant" in printed
    assert "[simulation] noise" in printed  # no markup
    status, printed, _ = on_command_line(
        monkeypatch, capfd, *words, "--private", "--json", "--out", str(tmp_path / "json")
    )
    told = json.loads(printed)
    assert status == 0 and 0.9 < told["epsilon"] <= 1 and told["folder"] == str(tmp_path / "json")
    assert {column["name"] for column in told["columns"]} > {"mean radius", "malignant"}
    status, _, said = on_command_line(monkeypatch, capfd, *words, "--out", str(tmp_path / "other"))
    assert status == 2 and "--out goes with --private" in said
