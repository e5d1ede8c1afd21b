"""Remedies for classes of few records: in every cell and engine, in the bill, told to all, taken up again, refused."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message
from grid_runs import LineGrid, line, run_over
from made_up import PRIVATE
from safetensors.numpy import load_file
from sklearn.utils.class_weight import compute_class_weight
from small_runs import interrupted_before_charging, results_of, rows_of, small_config
from torch import nn

from wardround import wire
from wardround.clients.trainers import build_trainer, training_tensors
from wardround.config import Config
from wardround.datasets import HospitalData, load_federation
from wardround.datasets.constants import NO_CONSTANTS, Balance
from wardround.datasets.moments import layout_of, vectors_of
from wardround.datasets.oversampling import oversampled
from wardround.errors import ConfigError, WardroundError
from wardround.models import parameters_of
from wardround.privacy.ledger import open_ledger
from wardround.server.plan.planning import assign_round
from wardround.server.record.beginnings import opening_in
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run
from wardround.simulations.studies.baselines import evaluate_baseline

CELLS = [*PRIVATE, ("record", "none")]
RARE = {"class-weights": [1.0, 0.2]}
"""Of each class the share that is kept: one malignant in ten."""


def settings(unit: str = "record", placement: str = "local", **sections: Mapping[str, Any]) -> Config:
    gradient = unit == "record" and placement in ("central", "distributed")
    private = placement != "none"
    whole: dict[str, dict[str, Any]] = {
        "federation": RARE,
        "training": {"num-rounds": 2, "local-steps": None if gradient else 2},
        "privacy": {
            "unit": unit,
            "placement": placement,
            "target-delta": 1e-4 if unit == "record" else 1e-2,
            "noise-multiplier": None,
            "target-epsilon": 4.0 if private else None,
        },
        "aggregation": {"protocol": "secure-sum", "min-survivors": 2},
        "imbalance": {"remedy": "loss-weights"},
    }
    return small_config(**{name: whole.get(name, {}) | dict(sections.get(name, {})) for name in whole | sections})


def balance_of(folder: Path) -> Balance:
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        opening = opening_in(ledger)
    assert opening is not None and opening.balance is not None
    return opening.balance


def labels_of(config: Config) -> np.ndarray:
    federation = load_federation(config.federation, config.features)
    return np.concatenate([hospital.train_labels for hospital in federation.hospitals])


def sensitivities(folder: Path) -> dict[int, set[float]]:
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        entries = ledger.entries()
    found: dict[int, set[float]] = {}
    for entry in entries:
        found.setdefault(entry.round_number, set()).add(entry.sensitivity)
    return found


@pytest.mark.parametrize(("unit", "placement"), CELLS)
@pytest.mark.parametrize("remedy", ["loss-weights", "duplicate"])
@pytest.mark.parametrize("engine", ["inline", "stacked"])
def test_every_cell_releases_shares_charges_and_verifies(
    unit: str, placement: str, remedy: str, engine: str, tmp_path: Path
) -> None:
    config = settings(unit, placement, imbalance={"remedy": remedy}, simulation={"engine": engine})
    done = run(config, out=tmp_path / "run")
    assert verify_run(done.folder)[0] == []
    balance = balance_of(done.folder)
    shares = np.bincount(labels_of(config)) / len(labels_of(config))
    if placement == "none":
        assert done.summary["epsilon"]["max"] == math.inf
        if remedy == "loss-weights":
            expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels_of(config))
            assert balance.loss_weights == pytest.approx(tuple(expected), rel=1e-4)
        else:
            assert balance.copies == (1, 4)
        return
    assert 3.9 < done.summary["epsilon"]["max"] <= 4.0
    assert max(balance.copies) <= (4 if remedy == "duplicate" else 1)
    mean = float(np.dot(shares, balance.loss_weights))
    assert remedy == "duplicate" or mean == pytest.approx(1.0, abs=0.7)
    counted = 4.0 if remedy == "duplicate" and unit == "record" else 1.0
    apart = 2.0 if (unit, placement) == ("hospital", "local") else 1.0
    found = sensitivities(done.folder)
    assert found[0] == {apart}  # one indicator of each class, of which one is 1
    assert found[1] == found[2] == {apart * counted * config.privacy.max_grad_norm}


@pytest.mark.parametrize("remedy", ["loss-weights", "duplicate"])
@pytest.mark.parametrize("placement", ["local", "central", "distributed"])
def test_secure_aggregation_releases_them_too_and_counts_alike(placement: str, remedy: str, tmp_path: Path) -> None:
    config = settings("record", placement, imbalance={"remedy": remedy}, aggregation={"protocol": "secagg+"})
    assert verify_run(run(config, out=tmp_path / "run").folder)[0] == []


def test_shares_are_released_with_the_features_in_one_sum(tmp_path: Path) -> None:
    config = settings(features={"standardise": "private"})
    planned = plan(config)
    alone = plan(settings(features={"standardise": "private"}, imbalance={"remedy": "none"}))
    assert planned.moments is not None and alone.moments is not None
    assert planned.moments.most_norm**2 == pytest.approx(alone.moments.most_norm**2 + 1)
    assert planned.moments.num_values == alone.moments.num_values + 2
    done = run(config, out=tmp_path / "run")
    assert verify_run(done.folder)[0] == [] and balance_of(done.folder).loss_weights[1] > 1
    (note,) = [note for note in done.summary["notes"] if "moments is released" in note]
    assert "means and deviations and classes are weighed by their shares over all hospitals" in note


def test_no_records_vector_is_longer_than_the_layout_says() -> None:
    config = settings(features={"standardise": "private"})
    federation = load_federation(config.federation, config.features)
    layout = layout_of(federation, has_shares=True)
    assert layout is not None
    rows = np.concatenate([vectors_of(hospital, layout) for hospital in federation.hospitals])
    assert rows.shape[1] == layout.num_values
    assert np.linalg.norm(rows, axis=1).max() <= layout.most_norm * (1 + 1e-6)
    assert rows[:, -2:].sum(axis=1).tolist() == [1.0] * len(rows)


@pytest.mark.parametrize("remedy", ["loss-weights", "duplicate"])
def test_a_run_that_is_resumed_ends_in_the_same_bits(
    remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(training={"num-rounds": 3}, imbalance={"remedy": remedy})
    whole = run(config, out=tmp_path / "whole").folder
    with interrupted_before_charging(monkeypatch, 2):
        run(config, out=tmp_path / "broken")
    assert results_of(resume(tmp_path / "broken").folder) == results_of(whole)


def test_public_copies_release_nothing_and_are_in_every_sensitivity(tmp_path: Path) -> None:
    config = settings(imbalance={"remedy": "duplicate", "copies": [1, 3]})
    assert plan(config).statistics is None
    done = run(config, out=tmp_path / "run")
    assert sensitivities(done.folder) == {1: {3.0}, 2: {3.0}} and verify_run(done.folder)[0] == []
    assert any("a record counts up to 3 times" in note for note in done.summary["notes"])


def test_public_weights_release_nothing_and_change_no_bill() -> None:
    weighted = plan(settings(training={"loss-weights": [0.6, 5.0]}))
    plain = plan(settings(imbalance={"remedy": "none"}))
    assert weighted.statistics is None
    assert weighted.noise_multipliers == plain.noise_multipliers


@pytest.mark.parametrize("remedy", ["loss-weights", "duplicate"])
@pytest.mark.parametrize("baseline", ["alone", "pooled"])
def test_baselines_take_exact_shares(remedy: str, baseline: str) -> None:
    config = settings("record", "none", imbalance={"remedy": remedy}, federation={"class-weights": [1.0, 0.1]})
    federation = load_federation(config.federation, config.features)
    balanced = evaluate_baseline(config, federation, baseline)
    plain = evaluate_baseline(config.change(imbalance={"remedy": "none"}), federation, baseline)
    assert balanced.evaluations != plain.evaluations


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"federation": {"dataset": "synthetic-regression"}}, 'remedy = "loss-weights" is for classes'),
        ({"imbalance": {"remedy": "duplicate", "copies": [1, 2, 3]}}, "copies = .* must have 2 numbers"),
    ],
)
def test_what_does_not_fit_the_classes_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(small_config(**{"imbalance": {"remedy": "loss-weights"}} | sections))


@pytest.mark.parametrize("remedy", ["loss-weights", "duplicate"])
def test_a_schema_is_refused_without_public_numbers(remedy: str) -> None:
    schema = {"died": {"levels": ["no", "yes"]}, "age": {"range": [0, 100]}}
    table = {"dataset": "csv", "num-hospitals": None, "target": "died", "schema": schema}
    with pytest.raises(ConfigError, match="give public numbers with"):
        small_config(federation=table, imbalance={"remedy": remedy})
    small_config(federation=table, imbalance={"remedy": "duplicate", "copies": [1, 4]})
    small_config(federation=table, imbalance={"remedy": "loss-weights"}, training={"loss-weights": [1.0, 4.0]})


@pytest.mark.parametrize(
    ("unit", "placement"), [("record", "none"), *(cell for cell in PRIVATE if cell[0] == "hospital")]
)
def test_synthetic_records_are_trained_on_and_counted_nowhere(unit: str, placement: str, tmp_path: Path) -> None:
    # Of all records, as who trains together draws other batches than who trains alone.
    config = settings(unit, placement, imbalance={"remedy": "smote"}, training={"sample-rate": 1.0})
    models = []
    for engine in ("inline", "stacked"):
        done = run(config.change(simulation={"engine": engine}), out=tmp_path / engine)
        assert verify_run(done.folder)[0] == []
        told = {row["num_examples"] for row in rows_of(done.folder / "hospitals.csv")}
        assert told == {str(hospital.num_train) for hospital in plan(config).hospitals}
        models.append(load_file(done.folder / "model.safetensors"))
    plain = plan(config.change(imbalance={"remedy": "none"}))
    assert plan(config).noise_multipliers == plain.noise_multipliers
    if placement == "none":
        for name, array in models[0].items():
            np.testing.assert_allclose(models[1][name], array, atol=1e-4)


def test_a_step_on_all_is_that_on_the_oversampled_rows() -> None:
    """One step of rate 1 without privacy: the mean gradient over a hospital's own and its synthetic records."""
    config = settings("record", "none", imbalance={"remedy": "smote"}, training={"sample-rate": 1.0, "local-steps": 1})
    federation = load_federation(config.federation, config.features)
    hospital = federation.hospitals[0]
    rows, number = oversampled(hospital, config.federation.seed, 5)
    assert number > 0 and len(set(np.bincount(rows.train_labels))) == 1
    own = len(hospital.train_labels)
    np.testing.assert_array_equal(rows.train_features[:own], hospital.train_features)
    trainer = build_trainer(config, federation)
    tensors = training_tensors(config, hospital, NO_CONSTANTS, trainer.device)
    assignment = assign_round(plan(config), [hospital.hospital_id], 1, {hospital.hospital_id: 0.0})[0]
    before = parameters_of(trainer.model)
    after, _, measures = trainer.train(before, tensors, assignment)
    model = nn.Linear(30, 2)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    labels = torch.tensor(rows.train_labels)
    loss = nn.functional.cross_entropy(model(torch.tensor(rows.train_features)), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    (weight,) = [array for array in after.values() if array.shape == (2, 30)]
    assert model.weight.grad is not None
    np.testing.assert_allclose(weight, -config.training.learning_rate * model.weight.grad.numpy(), atol=1e-5)
    assert measures.num_examples == own


def test_synthetic_rows_are_patients_of_their_own_and_lone_classes_stay() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(12, 3)).astype(np.float32)
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 0, 0])
    hospital = HospitalData(
        hospital_id="north",
        train_features=features,
        train_labels=labels,
        test_features=features[:0],
        test_labels=labels[:0],
        fingerprint="0" * 64,
        train_owners=np.array([0, 0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 7]),
    )
    rows, number = oversampled(hospital, 1, 5)
    assert number == 5 and np.bincount(rows.train_labels).tolist() == [8, 8, 1]
    assert rows.train_owners is not None
    assert rows.train_owners[12:].tolist() == [8, 9, 10, 11, 12] and rows.num_train == 8 + 5
    low, high = features[labels == 1].min(axis=0), features[labels == 1].max(axis=0)
    assert ((rows.train_features[12:] >= low - 1e-6) & (rows.train_features[12:] <= high + 1e-6)).all()


def test_groups_of_records_have_no_class_to_count_by() -> None:
    with pytest.raises(ConfigError, match=r"max-copies = 1 must be .*2"):
        settings(imbalance={"remedy": "duplicate", "max-copies": 1})
    with pytest.raises(ConfigError, match=r"copies = \[1, 1\] counts every record once"):
        settings(imbalance={"remedy": "duplicate", "copies": [1, 1]})
    with pytest.raises(ConfigError, match="microbatch-size = 2 clips records of several classes as one"):
        settings(privacy={"microbatch-size": 2}, imbalance={"remedy": "duplicate"})


@pytest.mark.parametrize("remedy", ["loss-weights", "duplicate"])
def test_automatic_clipping_goes_with_it(remedy: str, tmp_path: Path) -> None:
    config = settings(privacy={"clipping": "automatic"}, imbalance={"remedy": remedy})
    done = run(config, out=tmp_path / "run")
    assert verify_run(done.folder)[0] == []
    assert sensitivities(done.folder)[1] == {4.0 if remedy == "duplicate" else 1.0}


@pytest.mark.parametrize("placement", ["local", "central", "distributed"])
def test_synthetic_records_are_refused_where_a_record_is_protected(placement: str) -> None:
    config = settings("record", placement, imbalance={"remedy": "smote"})
    federation = load_federation(config.federation, config.features)
    largest = max(hospital.num_train for hospital in federation.hospitals)
    message = f"one of {largest} can shape up to {largest - 2} of them, .* a group of {2 * largest - 3}"
    with pytest.raises(ConfigError, match=message):
        plan(config)


def test_synthetic_images_are_refused() -> None:
    with pytest.raises(ConfigError, match='remedy = "smote" is for tables'):
        plan(
            settings(
                "record", "none", federation={"dataset": "digits"} | dict.fromkeys(RARE), imbalance={"remedy": "smote"}
            )
        )


class Generous(LineGrid):
    """Tells hospitals that records count more often than the settings say."""

    def sent(self, message: Message) -> None:
        if wire.CLASSES in message.content:
            told = Balance(loss_weights=(1.0, 1.0), copies=(1, 40))
            wire.with_record(message, wire.CLASSES, wire.record_values(told))


class Forgetful(LineGrid):
    """Takes what classes count out of what hospitals are sent."""

    def sent(self, message: Message) -> None:
        if wire.CLASSES in message.content:
            del message.content[wire.CLASSES]


@pytest.mark.parametrize(
    ("grid", "message"),
    [(Generous, "a record may count 4 times at most"), (Forgetful, "the server sends no constants of classes")],
)
def test_a_hospital_refuses_what_its_settings_do_not_say(grid: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match=message):
        run_over(tmp_path / "run", settings(imbalance={"remedy": "duplicate"}), line(grid))
