"""Membership inference by shadow models: closed forms, what is left out has no part, and what an attack shows where."""

import tempfile
from dataclasses import replace

import numpy as np
import pandas
import pytest
from scipy import special, stats
from small_runs import small_config

import wardround
from wardround.audits.members import attack_models
from wardround.audits.membership import lira, log_likelihoods, rmia, sureness
from wardround.audits.promises import Promise
from wardround.audits.readers import Bill
from wardround.audits.shadows import Shadows, mislabel, train_shadows
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.datasets.records import FederatedData, HospitalData
from wardround.errors import ConfigError
from wardround.privacy.attackers import attacker_of
from wardround.privacy.noise import GaussianNoise
from wardround.privacy.profiles import EPSILONS, Profile
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


def test_likelihood_ratios_are_of_gaussians_about_the_shadows_means():
    used = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [1, 0]], bool)
    shadows, sure = RNG.normal(size=used.shape) + used, RNG.normal(size=(3, 2))

    def of(chosen):
        parts = [shadows[chosen[:, j], j] for j in range(2)]
        spread = np.sqrt(
            sum(((part - part.mean()) ** 2).sum() for part in parts) / sum(len(part) - 1 for part in parts)
        )
        return np.array([part.mean() for part in parts]), spread

    expected = stats.norm.logpdf(sure, *of(used)) - stats.norm.logpdf(sure, *of(~used))
    assert lira(sure, shadows, used) == pytest.approx(expected)


@pytest.mark.parametrize("attack", [lira, rmia])
def test_what_is_made_of_a_model_hangs_on_no_other_that_is_attacked(attack):
    used = RNG.random((6, 9)) < 0.5
    shadows, sure = RNG.normal(size=used.shape), RNG.normal(size=(3, 9))
    together = attack(sure, shadows, used)
    assert together[1] == pytest.approx(attack(sure[1:2], shadows, used)[0])


def test_shadows_that_can_not_say_say_nothing():
    used = np.array([[0], [0]], bool)  # no shadow has it
    for attack in (lira, rmia):
        assert attack(np.array([[3.0]]), np.array([[0.0], [0.1]]), used)[0, 0] == 0.0


def test_patients_that_stand_out_more_than_others_rank_first():
    used = np.array([[1, 1, 0], [0, 0, 1]], bool)
    shadows = np.log(np.array([[0.5, 0.5, 0.5], [0.5, 0.1, 0.5]]))
    likelihoods = np.log(np.array([[0.6, 0.5, 0.2]]))  # 1.2, 1.67 and 0.4 times the mean
    assert rmia(likelihoods, shadows, used)[0].tolist() == [0.0, 0.5, -0.5]


def test_a_regressions_likelihood_is_a_gaussians_with_the_shadows_errors():
    errors, of_shadows = RNG.normal(size=(2, 4)), 1.7 * RNG.normal(size=(5, 4))
    found = log_likelihoods(-(errors**2), -(of_shadows**2), has_classes=False)
    expected = stats.norm.logpdf(errors, 0, np.sqrt((of_shadows**2).mean()))
    assert found - found[0, 0] == pytest.approx(expected - expected[0, 0])
    of_classes = log_likelihoods(special.logit(np.array([0.3])), np.zeros(1), has_classes=True)
    assert of_classes == pytest.approx(np.log([0.3]))


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


def attacked(shadows, bill=None, most_false_alarms=1e-3):
    """Return by attack what was got of all hospitals as though they were one."""
    one = replace(shadows, hospitals=np.zeros_like(shadows.hospitals), names=("all",))
    return attack_models(one, None, {"all": bill} if bill else {}, most_false_alarms)["all"].attacks


def test_attacks_find_what_is_learned_by_heart_and_not_what_noise_hides():
    def shadows(**privacy):
        config, federation = memorising(**privacy)
        return train_shadows(federation.of(config), num_models=12, seed=1)

    bare, noisy = attacked(shadows(placement="none")), attacked(shadows(**{"target-epsilon": 0.5}))
    assert set(bare) == set(noisy) == {"lira", "rmia"}
    assert all(each.auc > 0.8 for each in bare.values())
    assert all(each.auc < 0.6 for each in noisy.values())


def bill_of(delta):
    """Return the bill of a release that tells all with a probability, and nothing otherwise."""
    profile = Profile(deltas=np.full(len(EPSILONS), delta), by="pld")
    promise = Promise(events=(), target_delta=delta)
    return Bill(promise=promise, epsilon=0.0, profile=profile, attacker=attacker_of(profile, delta))


def of_chance(rng, *, num_models=16, num_patients=60, is_told):
    """Return models of which none tells anything, or, where it is told, each all of its patients at once."""
    used = rng.random((num_models, num_patients)) < 0.5
    told = np.array([is_told() for _ in range(num_models)])
    sure = 0.1 * rng.normal(size=used.shape) + np.where(told[:, None], 3.0 * used, 0.0)
    return Shadows(sure=sure, used=used, hospitals=np.zeros(num_patients, np.int64), names=("all",))


def test_models_that_share_one_fate_do_not_refute_a_bill_that_holds():
    """One in thirty models gives all of its patients away, which delta allows: guesses of one model are no trials."""
    rng, bill = np.random.default_rng(9), bill_of(1 / 30)
    found = [attacked(of_chance(rng, is_told=lambda: rng.random() < 1 / 30), bill, 0.05) for _ in range(60)]
    assert np.mean([any(each.is_refuted for each in attacks.values()) for attacks in found]) <= 0.05
    # Of independent trials so many would be right in no case.
    assert max(attacks["lira"].num_correct / attacks["lira"].num_guesses for attacks in found) > 0.6
    every = attacked(of_chance(rng, is_told=lambda: True), bill_of(1e-3), 0.01)
    assert all(each.is_refuted for each in every.values())


def test_a_patient_with_several_rows_is_one_coin_and_one_score():
    rng = np.random.default_rng(2)
    frame = pandas.DataFrame(rng.normal(size=(90, 4)), columns=list("abcd"))
    frame["patient"], frame["sick"] = np.arange(90) // 3, rng.choice(["no", "yes"], 90)
    federation = wardround.Federation.from_frame(frame, target="sick", positive_class="yes", patient="patient")
    config = federation.of(memorising(placement="none")[0])
    shadows = train_shadows(config, num_models=4, seed=3)
    data = load_federation(config.federation, config.features)
    num_patients = sum(each.num_train for each in data.hospitals)
    assert shadows.sure.shape == shadows.used.shape == (4, num_patients)
    assert num_patients < sum(len(each.train_labels) for each in data.hospitals)


def test_what_a_record_changes_in_a_hospitals_update_is_not_held_against_a_bill_of_hospitals():
    config, federation = memorising(
        unit="hospital", placement="central", **{"noise-multiplier": 1.0, "target-delta": 0.01}
    )
    config = config.change(training={"local_steps": 2, "sample_rate": 0.5})
    with tempfile.TemporaryDirectory() as folder:
        run = wardround.run(config, federation=federation, out=f"{folder}/run")
        found = wardround.audit(run, canaries=60, shadow_models=4, federation=federation)
    for hospital in found.hospitals.values():
        for each in hospital.membership.attacks.values():
            assert (each.epsilon_lower, each.is_refuted, each.roc_most) == (None, False, None)


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
        members = hospital.membership
        assert (members.num_models, members.num_attacked, members.num_records) == (4, 2, 32)
        assert set(hospital.membership.attacks) == {"lira", "rmia", "mislabelled"}
        for each in members.attacks.values():
            assert 0 <= each.epsilon_lower <= 2.0
            assert each.roc[-1] == (1.0, 1.0)
            assert all(low <= most for low, most in zip(dict(each.roc), each.roc_most, strict=True))
            x, y = zip((0.0, 0.0), *each.roc, strict=True)
            assert np.trapezoid(y, x) == pytest.approx(each.auc, abs=0.2)


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


def test_shadow_models_look_at_no_scores_that_the_settings_do_not_tell():
    with pytest.raises(ConfigError, match='release = "none" does not tell'):
        train_shadows(small_config(evaluation={"release": "none"}), num_models=4, seed=1)
    with pytest.raises(ConfigError, match='release = "none" does not tell'):
        small_config(evaluation={"release": "none"}, audit={"shadow-models": 4})
