"""Membership inference by shadow models: closed forms, what is left out has no part, and what an attack shows where."""

import numpy as np
import pytest
from scipy import special, stats
from small_runs import small_config

import wardround
from wardround.audits.membership import lira, rmia, sureness
from wardround.audits.shadows import _apart, mislabel, train_shadows
from wardround.config import Config
from wardround.datasets.records import FederatedData, HospitalData
from wardround.errors import ConfigError
from wardround.privacy.noise import GaussianNoise
from wardround.scores import macro_auc
from wardround.simulations import runs

RNG = np.random.default_rng(8)


def test_a_model_is_as_sure_as_the_logit_of_the_right_answer():
    two = sureness(np.array([0.9, 0.2]), np.array([1, 1]))
    assert two == pytest.approx(special.logit([0.9, 0.2]))
    assert sureness(np.array([0.9]), np.array([0])) == pytest.approx(special.logit([0.1]))
    three = sureness(np.array([[0.2, 0.5, 0.3]]), np.array([1]))
    assert three == pytest.approx([0.0])
    assert sureness(np.array([2.5]), np.array([2.0])) == pytest.approx([-0.25])


def test_likelihood_ratios_are_of_gaussians_about_the_other_models_means():
    used = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [1, 0]], bool)
    sure = RNG.normal(size=used.shape) + used
    scores = lira(sure, used)
    around = [(sure[used[:, j], j] - sure[used[:, j], j].mean()) for j in range(2)]
    spread_used = np.sqrt(sum((part**2).sum() for part in around) / sum(len(part) - 1 for part in around))
    around = [(sure[~used[:, j], j] - sure[~used[:, j], j].mean()) for j in range(2)]
    spread_unused = np.sqrt(sum((part**2).sum() for part in around) / sum(len(part) - 1 for part in around))
    others_used, others_unused = sure[[1, 4], 0].mean(), sure[[2, 3], 0].mean()
    expected = stats.norm.logpdf(sure[0, 0], others_used, spread_used) - stats.norm.logpdf(
        sure[0, 0], others_unused, spread_unused
    )
    assert scores[0, 0] == pytest.approx(expected)


def test_shadows_that_can_not_say_say_nothing():
    used = np.array([[1], [0], [0]], bool)  # no other model has it
    assert lira(np.array([[3.0], [0.0], [0.1]]), used)[0, 0] == 0.0
    assert rmia(np.array([[3.0], [0.0], [0.1]]), used)[0, 0] == 0.5


def test_records_that_stand_out_more_than_others_rank_first():
    used = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]], bool)
    sure = np.zeros(used.shape)
    sure[0] = [2.0, 0.0, -1.0]
    assert rmia(sure, used)[0].tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("engine", ["inline", "stacked"])
def test_what_is_left_out_is_counted_and_has_no_part(engine, tmp_path):
    """The model is that of the others alone, in steps that are shorter by the share of those who are left out."""
    features = RNG.normal(size=(40, 5)).astype(np.float32)
    labels, left_out = (features[:, 0] > 0).astype(np.int64), RNG.random(40) < 0.4
    config = Config(
        training={"num-rounds": 3, "local-steps": 2, "sample-rate": 1.0, "learning-rate": 0.4},
        privacy={"placement": "none"},
        simulation={"engine": engine},
    )

    def trained(config, name, **arrays):
        hospital = HospitalData(
            hospital_id="one",
            test_features=features,
            test_labels=labels,
            fingerprint="0" * 64,
            **arrays,
        )
        data = FederatedData(
            dataset_name="made up",
            task="classification",
            class_names=("a", "b"),
            feature_names=(),
            input_shape=(5,),
            hospitals=(hospital,),
            excluded=(),
            notes=(),
            partition="natural",
        )
        run = runs.run(config, out=tmp_path / name, load=lambda *_: data)
        return wardround.Run(run.folder, run.outcome, config).model().state_dict()

    whole = trained(config, "whole", train_features=features, train_labels=labels, left_out=left_out)
    shorter = config.change(training={"learning_rate": 0.4 * (~left_out).mean()})
    part = trained(shorter, "part", train_features=features[~left_out], train_labels=labels[~left_out])
    for name, value in whole.items():
        assert value.numpy() == pytest.approx(part[name].numpy(), abs=1e-6)


def memorising(**privacy):
    """Return settings under which a linear model learns its records by heart: labels are tosses of a coin."""
    rng = np.random.default_rng(4)
    hospitals = {
        f"hospital-{number}": (rng.normal(size=(40, 150)).astype(np.float32), rng.integers(2, size=40))
        for number in range(3)  # of which 32 are for training
    }
    federation = wardround.Federation.from_arrays(hospitals, test=None)
    config = Config(
        training={"num-rounds": 30, "local-steps": 1, "sample-rate": 1.0, "learning-rate": 2.0},
        privacy={"placement": "local", "target-delta": 1e-3, **privacy},
        simulation={"engine": "stacked"},
    )
    return config, federation


def area(scores, used):
    flat = scores.T.ravel()
    return macro_auc(np.stack([-flat, flat], axis=1), used.T.ravel().astype(np.int64))


@pytest.mark.parametrize("attack", [lira, rmia])
def test_attacks_find_what_is_learned_by_heart_and_not_what_noise_hides(attack):
    def shadows(**privacy):
        config, federation = memorising(**privacy)
        return train_shadows(federation.of(config), num_models=8, seed=1)

    bare = shadows(placement="none")
    assert area(attack(bare.sure, bare.used), bare.used) > 0.8
    noisy = shadows(**{"target-epsilon": 0.5})
    assert area(attack(noisy.sure, noisy.used), noisy.used) < 0.6


def test_wrong_labels_that_are_learned_by_heart_are_found_in_one_run():
    config, federation = memorising(placement="none")
    config = federation.of(config)
    found = mislabel(config, seed=2)
    assert found.sure.shape == found.used.shape == (1, found.hospitals.size)
    assert 30 < found.hospitals.size < 70  # half of three times 32
    assert area(found.sure, found.used) > 0.75
    noisy = mislabel(config.change(privacy={"placement": "local", "target_epsilon": 0.5}), seed=2)
    assert area(noisy.sure, noisy.used) < 0.7


def test_an_audit_has_the_members_of_every_hospital(tmp_path):
    config, federation = memorising(**{"target-epsilon": 2.0})
    run = wardround.run(config, federation=federation, out=tmp_path / "run")
    found = wardround.audit(run, canaries=60, shadow_models=4, federation=federation)
    assert not found.is_alarm
    for hospital in found.hospitals.values():
        assert (hospital.membership.num_models, hospital.membership.num_records) == (4, 32)
        assert set(hospital.membership.attacks) == {"lira", "rmia", "mislabelled"}
        assert all(0 <= each.epsilon_lower <= 2.0 for each in hospital.membership.attacks.values())


def test_noise_that_is_not_there_is_seen_on_real_records(tmp_path, monkeypatch):
    config, federation = memorising(**{"target-epsilon": 0.2, "max-grad-norm": 20.0})
    run = wardround.run(config, federation=federation, out=tmp_path / "run")

    def silent(self, drawn, stddev):
        self._count(len(drawn), stddev)
        drawn.zero_()

    monkeypatch.setattr(GaussianNoise, "fill", silent)
    found = wardround.audit(run, canaries=60, shadow_models=16, federation=federation)
    assert any("on real records" in each for each in found.suspicions)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"privacy": {"microbatch-size": 2}}, "clips records in groups"),
        ({"imbalance": {"remedy": "smote"}, "privacy": {"unit": "hospital"}}, "makes records of others"),
        ({"federation": {"dataset": "tcga-brca"}}, "no model is sure of a time"),
    ],
)
def test_what_has_no_shadows_is_refused_with_the_reason(sections, said, real_data, monkeypatch):
    monkeypatch.setenv("WARDROUND_DATA", str(real_data))
    with pytest.raises(ConfigError, match=said):
        train_shadows(small_config(**sections), num_models=4, seed=1)
    with pytest.raises(ConfigError, match="shadow-models = 3 must be >= 4"):
        train_shadows(small_config(), num_models=3, seed=1)


def test_thresholds_are_tried_on_other_records_than_chose_them():
    record = np.tile(np.arange(7), (4, 1))
    apart, _ = _apart(record.astype(float), record % 2 == 0)
    assert set(apart[::2]).isdisjoint(apart[1::2])
    assert set(apart) == set(range(6))


def test_shadow_models_look_at_no_scores_that_the_settings_do_not_tell():
    with pytest.raises(ConfigError, match='release = "none" does not tell'):
        train_shadows(small_config(evaluation={"release": "none"}), num_models=4, seed=1)
    with pytest.raises(ConfigError, match='release = "none" does not tell'):
        small_config(evaluation={"release": "none"}, audit={"shadow-models": 4})
