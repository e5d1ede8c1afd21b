"""The plan of a release of test scores: whose noise is sized for it, and who takes part."""

from dataclasses import replace

import pytest
from small_runs import profiles_of, small_config

from wardround.config import Config
from wardround.errors import ConfigError
from wardround.privacy.accounting import headline_epsilon
from wardround.rounds import ProfileMeasures
from wardround.server.plan.planning import plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.score_release import epsilon_of_tests, score_note

SIZES = (100, 101, 102)


def config_of(placement: str, **privacy: object) -> Config:
    return small_config(
        training={"local-steps": None if placement != "local" else 2, "sample-rate": None, "batch-size": 16},
        privacy={"placement": placement, "noise-multiplier": None, "target-epsilon": 3.0} | privacy,
        aggregation={"protocol": "secure-sum", "min-survivors": 2},
        evaluation={"release": "private"},
    )


def planned(config: Config, num_test: tuple[int, ...]) -> FederationPlan:
    profiles = profiles_of(SIZES)
    measures = {
        profile.hospital_id: ProfileMeasures(num_test=number, fingerprint="f", majority_score=float("nan"))
        for profile, number in zip(profiles, num_test, strict=True)
    }
    return plan_federation(config, profiles, 62, measures=measures)


@pytest.mark.parametrize("placement", ["local", "distributed", "central"])
@pytest.mark.parametrize("num_test", [(10, 20, 30), (0, 20, 30), (10, 20, 0)])
def test_the_target_holds_whoever_has_test_records(placement: str, num_test: tuple[int, ...]) -> None:
    """Also where the hospital that its rate exposes most has none, and shares its noise with others that do."""
    plan = planned(config_of(placement), num_test)
    assert plan.scores is not None
    assert plan.scores.names == tuple(f"hospital-00{place}" for place, number in enumerate(num_test) if number)
    assert [bool(hospital.after) for hospital in plan.hospitals] == [number > 0 for number in num_test]
    spent = [headline_epsilon(hospital.events, hospital.target_delta) for hospital in plan.hospitals]
    assert max(spent) <= 3.0
    assert max(spent) > 2.85
    assert 0 < epsilon_of_tests(plan) < epsilon_of_tests(plan, 2) < 3.0


def test_a_patient_of_several_hospitals_is_within_the_target() -> None:
    plan = planned(config_of("local", **{"patient-overlap": 2}), (10, 20, 30))
    assert 2.9 < plan.epsilon_total <= 3.0
    assert epsilon_of_tests(plan) > max(headline_epsilon(hospital.after, 1e-4) for hospital in plan.hospitals)


def test_deltas_of_hospitals_without_test_records_are_left_out() -> None:
    deltas = {f"hospital-00{place}": 10.0**-power for place, power in enumerate((4, 5, 6))}
    plan = planned(config_of("local", **{"target-delta": deltas}), (10, 20, 0))
    assert plan.scores is not None and plan.scores.target_deltas == {k: deltas[k] for k in list(deltas)[:2]}
    # Stated at the smallest delta of the run, not of those that were tested.
    assert epsilon_of_tests(plan) > headline_epsilon(plan.scores.hospitals[0].events, 1e-5)


def test_too_few_hospitals_with_test_records_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"1 hospitals have test records, and min-survivors = 2 are needed"):
        planned(config_of("local"), (10, 0, 0))


def test_the_most_records_of_training_say_nothing_of_test_records() -> None:
    config = config_of("local")
    config = replace(config, federation=replace(config.federation, max_records=120))
    assert planned(config, (10, 20, 500)).scores is not None


def test_a_run_without_a_release_has_no_note() -> None:
    config = config_of("local")
    plan = planned(replace(config, evaluation=replace(config.evaluation, release="none")), (10, 20, 30))
    assert plan.scores is None and score_note(plan) == "" and epsilon_of_tests(plan) == 0.0
