"""Reconstruction: exact without protection, no better than a guess under noise, and no hospital's record in it."""

import numpy as np
import pandas
import pytest
from scipy import stats
from small_runs import command_line, small_config

import wardround
from wardround.audits.inversion import best_fits, inputs_by_matching, inputs_of_linear, labels_of
from wardround.audits.reconstruction import reconstruct
from wardround.audits.stand_ins import stand_ins_of
from wardround.audits.views import LOCAL, SUMMED, UNPROTECTED, receive
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.errors import ConfigError
from wardround.models import build_model, load_parameters
from wardround.privacy.cells import CELLS
from wardround.reports.files import read_audit

RNG = np.random.default_rng(5)
VIEWS = (UNPROTECTED, LOCAL, SUMMED)
_EPSILON_1 = 5.85
"""The noise multiplier that the breast cancer of four hospitals takes in ten rounds for epsilon 1."""


def stand_ins(number=12, seed=2, **sections):
    config = small_config(**sections)
    data = load_federation(config.federation, config.features)
    return config, data, stand_ins_of(data, number, np.random.default_rng(seed))


def seen(config, data, records, protection, noise_multiplier):
    return receive(
        config,
        records.features,
        records.labels,
        protection=protection,
        num_classes=data.num_classes,
        noise_multiplier=noise_multiplier,
        seed=3,
    )


def first_layer(view):
    weights, biases = list(view.received.values())[:2]
    return inputs_of_linear(weights, biases)


def test_an_input_is_the_ratio_of_a_linear_layers_gradients():
    inputs, biases = RNG.normal(size=(7, 5)), RNG.normal(size=(7, 3))
    weights = np.einsum("no,nd->nod", biases, inputs)
    assert inputs_of_linear(weights, biases) == pytest.approx(inputs)
    assert inputs_of_linear(0 * weights, 0 * biases) == pytest.approx(0 * inputs)


@pytest.mark.parametrize("unit", ["record", "hospital"])
@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_a_record_is_read_off_an_unprotected_update_and_off_a_clipped_one_without_noise(model, unit):
    config, data, records = stand_ins(model={"name": model}, privacy={"unit": unit, "target-delta": 0.01})
    for protection in (UNPROTECTED, LOCAL):
        view = seen(config, data, records, protection, 0.0)
        assert first_layer(view) == pytest.approx(records.features, abs=1e-3)
        assert (labels_of(list(view.received.values())[-1]) == records.labels).all()


def test_a_sum_without_noise_is_the_sum_of_what_each_hospital_sends():
    config, data, records = stand_ins(4)
    apart, together = (seen(config, data, records, each, 0.0) for each in (LOCAL, SUMMED))
    for name, total in together.received.items():
        assert total[0] == pytest.approx(apart.received[name].sum(axis=0), abs=1e-3)


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS if cell.is_private and not cell.clips_groups], ids=lambda cell: cell.name
)
def test_there_is_every_view_of_a_run_of_any_cell_and_clipping(cell):
    privacy = {"unit": cell.unit, "placement": cell.placement, "target-delta": 0.01}
    settings = [privacy, {**privacy, "clipping": "automatic"}] if cell.clips_records else [privacy]
    for each in settings:
        protocol = "secure-sum" if cell.needs_secure_sum else "plain"
        training = {"local-steps": None if cell.sends_sum else 2}
        config, data, records = stand_ins(
            3, privacy=each, training=training, aggregation={"protocol": protocol, "min-survivors": 3}
        )
        sizes = {protection: len(first_layer(seen(config, data, records, protection, 1.0))) for protection in VIEWS}
        assert sizes == {UNPROTECTED: 3, LOCAL: 3, SUMMED: 1}


@pytest.mark.parametrize("protection", [LOCAL, SUMMED])
def test_the_noise_in_what_is_received_is_the_runs(protection):
    config, data, records = stand_ins(4)
    bare, noisy = (seen(config, data, records, protection, each) for each in (0.0, 2.0))
    noise = np.concatenate([(noisy.received[name] - bare.received[name]).ravel() for name in bare.received])
    assert noise.std() == pytest.approx(2.0 * config.privacy.max_grad_norm, rel=0.25)


def test_an_image_is_found_by_the_gradient_of_a_convolution():
    config, data, records = stand_ins(
        2, federation={"dataset": "digits"}, model={"name": "cnn", "channels": [8]}, training={"sample-rate": 0.1}
    )
    view = seen(config, data, records, UNPROTECTED, 0.0)
    model, _ = build_model(config.model, input_shape=data.input_shape, num_outputs=10, seed=3)
    load_parameters(model, view.before)
    labels = labels_of(list(view.received.values())[-1])
    assert (labels == records.labels).all()
    found = inputs_by_matching(model, view.received, labels, data.input_shape, low=0.0, high=1.0, num_steps=150, seed=1)
    flat, own = found.reshape(2, -1), records.features.reshape(2, -1)
    assert min(np.corrcoef(*pair)[0, 1] for pair in zip(flat, own, strict=True)) > 0.8


def test_without_noise_all_are_told_apart_and_with_that_of_epsilon_1_hardly_any():
    config = small_config()
    planted, noisy = (reconstruct(config, noise, num_hospitals=3, seed=7) for noise in (0.0, _EPSILON_1))
    for found in (planted, noisy):
        assert found.views[UNPROTECTED].identified == 1.0
        assert found.views[UNPROTECTED].error < 1e-3
    assert planted.views[LOCAL].identified == 1.0
    assert planted.views[LOCAL].error < 1e-3
    assert planted.views[LOCAL].shown == pytest.approx(planted.shown, abs=1e-2)
    # A sum of three hides a record from the closed form, and not from whoever tries gradients one by one.
    assert planted.views[SUMMED].error > 0.5
    assert planted.views[SUMMED].identified > 0.5
    for protection in (LOCAL, SUMMED):
        view = noisy.views[protection]
        assert view.error > noisy.guessed_error
        assert view.identified <= 0.06  # of 100, by chance, more than 6 are right once in 1,000


def test_no_more_are_told_apart_than_the_noise_of_a_step_allows():
    """Of an attacker who is right once in n: Hayes, Mahloujifar, Balle 2023 (arXiv 2302.07225), for Gaussian noise."""
    config, data, records = stand_ins(100)
    most = stats.norm.cdf(stats.norm.ppf(1 / 100) + 1 / 1.0)

    def num_told(noise_multiplier):
        view = seen(config, data, records, LOCAL, noise_multiplier)
        model, _ = build_model(config.model, input_shape=data.input_shape, num_outputs=2, seed=3)
        load_parameters(model, view.before)
        return (best_fits(model, view.received, records.features, records.labels) == np.arange(100)).sum()

    allowed = stats.binom.ppf(1 - 1e-4, 100, most)
    assert num_told(1.0) <= allowed < num_told(0.1)  # planted: a tenth of the noise


def test_no_record_of_a_hospital_has_a_part_in_stand_ins():
    _, data, records = stand_ins(50)
    own = np.concatenate([np.concatenate([each.train_features, each.test_features]) for each in data.hospitals])
    assert np.abs(records.features[:, None] - own).max(axis=2).min() > 0.1
    assert np.abs(records.features).max() <= 1.0
    _, _, twice = stand_ins(50, federation={"seed": 8})
    assert (records.features == twice.features).all()  # another split of the same data


def test_levels_of_a_column_are_one_at_a_time_in_a_stand_in():
    levels = RNG.choice(["a", "b", "c"], size=60)
    frame = pandas.DataFrame({"level": levels, "number": RNG.normal(size=60), "sick": RNG.choice(["no", "yes"], 60)})
    federation = wardround.Federation.from_frame(frame, target="sick", positive_class="yes")
    config = federation.of(Config())
    data = load_federation(config.federation, config.features)
    drawn = stand_ins_of(data, 40, np.random.default_rng(1))
    indicators = [place for place in range(data.input_shape[0]) if place not in {each.column for each in data.numbers}]
    assert (drawn.features[:, indicators].sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"federation": {"dataset": "synthetic-regression"}}, "records are reconstructed of classifications"),
        ({"federation": {"dataset": "digits"}, "model": {"name": "resnet18"}}, 'and this is a classification by "resn'),
    ],
)
def test_what_can_not_be_reconstructed_is_refused_with_a_reason(sections, said):
    with pytest.raises(ConfigError, match=said):
        reconstruct(small_config(**sections), 1.0, num_hospitals=3, seed=1)


def test_records_are_reconstructed_where_hospitals_are_what_is_protected():
    config = small_config(privacy={"unit": "hospital", "placement": "central", "target-delta": 0.1})
    assert set(reconstruct(config, 1.0, num_hospitals=3, seed=1).views) == set(VIEWS)


def test_a_reconstruction_is_written_printed_and_shown(tmp_path, capsys, monkeypatch):
    run = wardround.run(small_config(training={"num-rounds": 2}), out=tmp_path / "run")
    assert command_line(monkeypatch, "audit", str(run.folder), "--canaries", "60", "--reconstruct") == 0
    printed, page = capsys.readouterr().out, (run.folder / "report.html").read_text()
    found = read_audit(run.folder).reconstruction
    assert (found.model, found.num_records, found.input_shape) == ("logistic", 100, (30,))
    assert {name: len(view.shown) for name, view in found.views.items()} == dict.fromkeys(VIEWS, 30)
    assert "securely summed, 3 hospitals" in printed
    assert found.feature_names[0] in page
    for text in ("Records from gradients", "no record of a hospital is used or shown"):
        assert text in page
    assert wardround.audit(run, canaries=60).reconstruction is None
    assert "Records from gradients" not in (run.folder / "report.html").read_text()
