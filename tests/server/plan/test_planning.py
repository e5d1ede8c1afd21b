"""Cohorts by name, dropouts, rates and steps, and the noise that a target needs."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from small_runs import profiles_of, small_config

from wardround.agreed.cohorts import draw_cohort, rounds_joined
from wardround.config import Config
from wardround.errors import CohortError, ConfigError
from wardround.privacy.accounting import headline_epsilon, rdp_epsilon
from wardround.rounds import HospitalProfile
from wardround.server.plan.dropouts import draw_dropouts
from wardround.server.plan.planning import (
    assign_round,
    plan_federation,
)


def _profiles(*sizes: int) -> list[HospitalProfile]:
    return profiles_of(sizes, digits=1)


_NAMES = [f"hospital-{index}" for index in range(10)]


@given(some.permutations(_NAMES), some.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_a_cohort_does_not_depend_on_the_order_of_names(names: list[str], round_number: int) -> None:
    config = small_config(training={"fraction-train": 0.3})
    cohort = draw_cohort(config, names, round_number)
    assert cohort == draw_cohort(config, _NAMES, round_number)
    assert len(cohort) == 3 == len(set(cohort))
    assert list(cohort) == sorted(cohort)


def test_cohorts_differ_by_round_and_seed_and_are_fair() -> None:
    config = small_config(training={"fraction-train": 0.3, "num-rounds": 1000})
    other = small_config(training={"fraction-train": 0.3, "num-rounds": 1000}, federation={"seed": 8})
    cohorts = [draw_cohort(config, _NAMES, number) for number in range(1, 1001)]
    assert len(set(cohorts)) > 100
    assert cohorts != [draw_cohort(other, _NAMES, number) for number in range(1, 1001)]
    joined = rounds_joined(config, _NAMES)
    assert joined == {name: sum(name in cohort for cohort in cohorts) for name in _NAMES}
    # Each count is binomial(1000, 0.3): 300 +- 14.5; six deviations never happen by chance.
    assert all(abs(count - 300) < 87 for count in joined.values())
    late = rounds_joined(config, _NAMES, first_round=1000)
    assert sorted(name for name, count in late.items() if count) == list(cohorts[-1])


def test_dropouts_follow_the_rate_and_nobody_elses_presence() -> None:
    config = small_config(simulation={"dropout-rate": 0.25})
    drops = [draw_dropouts(config, _NAMES, number) for number in range(1, 401)]
    assert abs(sum(map(len, drops)) / 4000 - 0.25) < 0.04
    alone = [draw_dropouts(config, ["hospital-3"], number) for number in range(1, 401)]
    assert [("hospital-3" in drop) for drop in drops] == [bool(drop) for drop in alone]
    assert draw_dropouts(small_config(), _NAMES, 1) == {}


@pytest.mark.parametrize(
    ("training", "sample_rate", "num_steps"),
    [
        ({"batch-size": 32, "sample-rate": None, "local-steps": None}, 0.32, 4),
        ({"batch-size": 500, "sample-rate": None, "local-steps": None}, 1.0, 1),
        ({"sample-rate": 0.1, "local-steps": None}, 0.1, 10),
        ({"sample-rate": 0.1, "local-steps": None, "local-epochs": 3}, 0.1, 30),
        ({"sample-rate": 0.3, "local-steps": None}, 0.3, 4),
        ({"sample-rate": 1.0, "local-steps": 7}, 1.0, 7),
    ],
)
def test_rates_and_steps(training: dict[str, Any], sample_rate: float, num_steps: int) -> None:
    (hospital,) = plan_federation(small_config(training=training), _profiles(100)).hospitals
    assert hospital.schedule.sample_rate == sample_rate
    assert hospital.schedule.num_steps == num_steps
    assert hospital.schedule.expected_batch_size == sample_rate * 100


@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("rate", [{"sample-rate": 0.1}, {"batch-size": 16, "sample-rate": None}])
def test_a_target_is_reached_from_below_by_every_hospital(fraction: float, rate: dict[str, Any]) -> None:
    config = small_config(
        training={"fraction-train": fraction, "num-rounds": 12, **rate},
        privacy={"noise-multiplier": None, "target-epsilon": 2.0, "target-delta": 1e-4},
    )
    plan = plan_federation(config, _profiles(80, 150, 400, 1000))
    for hospital in plan.hospitals:
        assert 0.999 * 2.0 < hospital.epsilon <= 2.0
        assert hospital.epsilon == headline_epsilon([hospital.event], 1e-4) < rdp_epsilon([hospital.event], 1e-4)
    assert 0.999 * 2.0 < plan.epsilon_max == plan.epsilon_total <= 2.0


@pytest.mark.parametrize("sizes", [(200, 200, 200, 200), (80, 150, 400, 1000)])
@pytest.mark.parametrize("overlap", [2, 3, 5])
def test_a_target_is_held_for_a_patient_in_several_hospitals(sizes: tuple[int, ...], overlap: int) -> None:
    config = small_config(
        training={"batch-size": 16, "sample-rate": None, "num-rounds": 6},
        privacy={"noise-multiplier": None, "target-epsilon": 2.0, "target-delta": 1e-4, "patient-overlap": overlap},
    )
    plan = plan_federation(config, _profiles(*sizes))
    assert 0.999 * 2.0 < plan.epsilon_total <= 2.0
    assert max(hospital.epsilon for hospital in plan.hospitals) == plan.epsilon_max < 0.8 * 2.0
    assert min(hospital.epsilon for hospital in plan.hospitals) > 0.999 * plan.epsilon_max


def test_a_target_is_held_at_the_common_delta_and_so_at_each_hospitals_own() -> None:
    deltas = {"hospital-0": 1e-3, "hospital-1": 1e-6}
    config = small_config(privacy={"noise-multiplier": None, "target-epsilon": 2.0, "target-delta": deltas})
    plan = plan_federation(config, _profiles(100, 400))
    assert 0.999 * 2.0 < plan.epsilon_total <= 2.0
    assert plan.hospitals[0].epsilon < 0.9 * 2.0 < plan.hospitals[1].epsilon <= 2.0


def test_weights_are_shares_of_the_cohort() -> None:
    plan = plan_federation(small_config(), _profiles(100, 300, 600))
    noise = {name: 1.0 + index for index, name in enumerate(plan.names)}
    assignments = assign_round(plan, ["hospital-2", "hospital-0"], 4, noise)
    assert [a.hospital_id for a in assignments] == ["hospital-0", "hospital-2"]
    assert [a.weight for a in assignments] == [100 / 700, 600 / 700]
    assert [a.event.noise_multiplier for a in assignments] == [1.0, 3.0]
    assert assign_round(plan, [], 4, noise) == ()


def test_without_privacy_nothing_is_clipped_and_epsilon_is_infinite() -> None:
    config = small_config(privacy={"placement": "none", "noise-multiplier": None})
    plan = plan_federation(config, _profiles(100, 200))
    assert plan.epsilon_max == plan.epsilon_total == math.inf
    assert plan.to_dict()["epsilon"] == {
        "max": "inf",
        "total": "inf",
        "target_delta": 1e-4,
        "readers": {"server": "inf", "hospital": "inf", "recipient": "inf"},
    }
    assert {a.max_grad_norm for a in assign_round(plan, plan.names, 1, dict.fromkeys(plan.names, 0.0))} == {None}


def test_patients_in_several_hospitals_pay_for_each() -> None:
    def total(overlap: int) -> float:
        config = small_config(privacy={"patient-overlap": overlap})
        return plan_federation(config, _profiles(100, 200, 300)).epsilon_total

    assert total(1) < total(2) < total(3)


@pytest.mark.parametrize(
    ("config", "profiles", "error", "message"),
    [
        (small_config(), [], CohortError, r"no hospital takes part"),
        (small_config(), [*_profiles(100), *_profiles(100)], CohortError, r"two hospitals share a name"),
        (
            small_config(aggregation={"min-survivors": 2}, training={"fraction-train": 0.5}),
            _profiles(100, 100),
            ConfigError,
            r"min-survivors = 2 must be <= 1, the hospitals in a round",
        ),
        (small_config(privacy={"target-delta": 0.01}), _profiles(50, 100), ConfigError, r"for hospital hospital-1"),
        (
            small_config(privacy={"target-delta": {"hospital-0": 1e-4}}),
            _profiles(50, 50),
            ConfigError,
            r"target-delta has no value for hospital-1",
        ),
        (
            small_config(privacy={"target-delta": {"hospital-O": 1e-4, "hospital-1": 1e-4}}),
            _profiles(50, 50),
            ConfigError,
            r"unknown hospital hospital-O .*did you mean hospital-",
        ),
    ],
)
def test_refusals(config: Config, profiles: list[HospitalProfile], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plan_federation(config, profiles)
