"""The noise for a target: the least that keeps the reported figure within it, whatever reports it."""

import math

import pytest
from dp_accounting import dp_event, privacy_accountant
from dp_accounting.pld import PLDAccountant

from wardround.errors import BudgetError, ConfigError
from wardround.privacy.accounting import headline_epsilon, overlap_epsilon, pld_epsilon, rdp_epsilon
from wardround.privacy.calibration import calibrate_noise_multiplier, calibrate_overlap
from wardround.privacy.cells import cell_named
from wardround.privacy.spending import open_account
from wardround.step_events import EventShape, StepEvent


def dp_sgd(sample_rate):
    return EventShape(event=StepEvent(noise_multiplier=0.0, sample_rate=sample_rate))


def event(noise_multiplier, sample_rate, num_steps):
    return StepEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=num_steps)


# The settings of examples/heart-disease.toml, stroke-trial.toml and fashion-mnist.toml; by Renyi divergences alone they
# would take 1.921, 4.132 and 1.007. Found with dp-accounting 0.6.0, PLDAccountant, bisection.
EXAMPLES = [(5.0, 1e-5, 0.2, 75, 1.795), (5.0, 1e-3, 1.0, 30, 3.778), (3.0, 1e-5, 0.04, 80, 0.934)]


@pytest.mark.parametrize(("target", "target_delta", "rate", "steps", "expected"), EXAMPLES)
def test_a_target_is_spent_whole_by_an_independent_accountant(target, target_delta, rate, steps, expected):
    noise = calibrate_noise_multiplier(target, target_delta, dp_sgd(rate), steps)
    assert noise == pytest.approx(expected, abs=1e-3)
    relation = privacy_accountant.NeighboringRelation.REPLACE_SPECIAL
    accountant = PLDAccountant(relation, value_discretization_interval=1e-4)
    accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise)), steps)
    assert 0.999 * target < accountant.get_epsilon(target_delta) <= target


@pytest.mark.parametrize("spent", [[], [event(2.0, 0.1, 20)], [event(3.0, 1.0, 1), event(1.5, 0.01, 100)]])
@pytest.mark.parametrize(("target", "rate", "steps"), [(3.0, 0.1, 300), (8.0, 0.9, 50), (4.0, 1.0, 10)])
def test_calibration_is_tight_and_never_above(target, rate, steps, spent):
    noise = calibrate_noise_multiplier(target, 1e-3, dp_sgd(rate), steps, tuple(spent))
    assert headline_epsilon([*spent, event(noise, rate, steps)], 1e-3) <= target
    assert headline_epsilon([*spent, event(noise * (1 - 1.01e-4), rate, steps)], 1e-3) > target


@pytest.mark.parametrize("target", [0.01, 0.5, 50.0, 1e4])
def test_calibration_reaches_far_targets(target):
    noise = calibrate_noise_multiplier(target, 1e-5, dp_sgd(0.02), 500)
    assert headline_epsilon([event(noise, 0.02, 500)], 1e-5) <= target
    assert headline_epsilon([event(noise * (1 - 1.01e-4), 0.02, 500)], 1e-5) > target


def test_calibration_survives_adding_up_round_by_round():
    noise = calibrate_noise_multiplier(3.0, 1e-5, dp_sgd(0.05), 1000)
    account = open_account({"Basel": 1e-5})
    for _ in range(200):
        account = account.projected([("Basel", event(noise, 0.05, 5))])
    assert 0.995 * 3.0 < account.headline_total(1) <= 3.0
    assert account.exceeding(3.0, ["Basel"]) == () and not account.total_exceeds(3.0, 1)


def test_much_spent_and_little_to_come_is_found_too():
    spent = [event(1.5, 0.1, 300)]
    target = 1.001 * headline_epsilon(spent, 1e-5)
    noise = calibrate_noise_multiplier(target, 1e-5, dp_sgd(0.1), 10, tuple(spent))
    assert noise > 3
    assert headline_epsilon([*spent, event(noise, 0.1, 10)], 1e-5) <= target


def test_what_renyi_divergences_call_spent_can_be_gone_on_with_where_the_distribution_is_below():
    spent = [event(1.5, 0.1, 300)]
    target = (pld_epsilon(spent, 1e-5) + rdp_epsilon(spent, 1e-5)) / 2
    noise = calibrate_noise_multiplier(target, 1e-5, dp_sgd(0.1), 100, tuple(spent))
    assert 0.995 * target < headline_epsilon([*spent, event(noise, 0.1, 100)], 1e-5) <= target


FEDERATIONS = {
    "equal": dict.fromkeys("abcd", (0.2, 75)),
    "whole batches": dict.fromkeys("abcd", (1.0, 30)),
    "fewer than the overlap": {"a": (0.1, 50), "b": (0.3, 20)},
    "all different": {"a": (0.05, 200), "b": (0.4, 10), "c": (1.0, 3), "d": (0.2, 40)},
}


@pytest.mark.parametrize("federation", FEDERATIONS.values(), ids=FEDERATIONS)
@pytest.mark.parametrize("patient_overlap", [2, 3])
def test_the_total_of_a_patient_in_several_hospitals_meets_the_target(federation, patient_overlap):
    to_come = {name: (dp_sgd(rate), steps, 2.0) for name, (rate, steps) in federation.items()}
    factor = calibrate_overlap(3.0, 1e-5, to_come, patient_overlap, {})

    def total(more):
        events = {name: [event(2.0 * factor * more, *job)] for name, job in federation.items()}
        return overlap_epsilon(events, 1e-5, patient_overlap)

    assert 0.999 * 3.0 < total(1.0) <= 3.0 < total(1 - 1.01e-4)


def test_the_total_can_be_spent_already():
    spent = {"a": [event(1.0, 0.2, 100)], "b": [event(1.0, 0.2, 100)]}
    to_come = {"a": (dp_sgd(0.2), 5, 2.0)}
    with pytest.raises(BudgetError, match="can't be kept for a patient in 2 hospitals"):
        calibrate_overlap(1.0, 1e-5, to_come, 2, spent)


def test_calibration_refuses_the_impossible():
    with pytest.raises(BudgetError, match=r"target-epsilon = 1 can't be kept .* is spent already"):
        calibrate_noise_multiplier(1.0, 1e-5, dp_sgd(0.1), 10, (event(1.0, 0.5, 100),))
    with pytest.raises(BudgetError, match="spent already"):
        calibrate_noise_multiplier(1e9, 1e-5, dp_sgd(0.1), 10, (event(0.0, 0.5, 1),))
    for target in (0.0, -1.0, math.nan):
        with pytest.raises(BudgetError, match=rf"target-epsilon = {target:g} can't be kept"):
            calibrate_noise_multiplier(target, 1e-5, dp_sgd(0.1), 10)
    with pytest.raises(ConfigError, match="num-steps = -1 must be >= 0"):
        calibrate_noise_multiplier(1.0, 1e-5, dp_sgd(0.1), -1)


def test_integer_noise_shared_by_few_of_many_is_calibrated_within_32_bits():
    cell = cell_named("hospital-distributed")
    shape = cell.shape(
        dimension=1000,
        num_shares=1,
        most_contributions=1000,
        most_replies=1000,
    )
    noise = calibrate_noise_multiplier(3.0, 1e-4, shape, 20)
    assert rdp_epsilon([cell.step_event(shape, noise, 20)], 1e-4) <= 3.0
    with pytest.raises(BudgetError, match=r"can be .* at most"):
        calibrate_noise_multiplier(1e-7, 1e-4, shape, 20)
