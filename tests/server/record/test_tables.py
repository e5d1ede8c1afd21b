"""Rows of the tables, and means over hospitals that leave out what is not defined."""

import math

import pytest
from small_runs import profiles_of, small_config

from wardround.privacy.spending import open_account
from wardround.rounds import Evaluation, ProfileMeasures
from wardround.server.plan.planning import plan_federation
from wardround.server.record.evaluated import Evaluated
from wardround.server.record.tables import mean_over_tests, table_rows


def _evaluation(name: str, num: int, auc: float) -> Evaluation:
    return Evaluation(hospital_id=name, num_examples=num, loss=1.0, score=0.5, auc=auc)


def test_means_are_weighted_by_test_records() -> None:
    evaluations = {"a": _evaluation("a", 10, 0.8), "b": _evaluation("b", 30, 0.4)}
    assert mean_over_tests(evaluations, "auc") == pytest.approx(0.5)


def test_what_is_not_defined_somewhere_is_left_out_there() -> None:
    evaluations = {
        "a": _evaluation("a", 10, 0.8),
        "b": _evaluation("b", 30, math.nan),
        "c": _evaluation("c", 0, math.nan),
    }
    assert mean_over_tests(evaluations, "auc") == pytest.approx(0.8)
    assert mean_over_tests(evaluations, "loss") == 1.0


def test_rows_of_hospitals_that_measured_nothing_have_no_score() -> None:
    """Of two plans that differ in nothing else, and with evaluations that nobody should have sent."""
    profiles = profiles_of([100, 80])
    names = [profile.hospital_id for profile in profiles]
    measures = {name: ProfileMeasures(num_test=50, fingerprint="0" * 64, majority_score=0.5) for name in names}
    evaluations = {name: _evaluation(name, 50, 0.8) for name in names}
    for measured, scores in ((measures, (1.0, 0.5, pytest.approx(0.8))), ({}, (None, None, None))):
        plan = plan_federation(small_config(), profiles, measures=measured)
        what = (plan, open_account(plan.target_deltas), 0, (), {}, Evaluated(evaluations=evaluations))
        of_round, of_hospitals = table_rows(*what, 1.0)
        for row in (of_round, *of_hospitals):
            assert (row.loss, row.score, row.auc) == scores


def test_what_is_defined_nowhere_is_nan() -> None:
    assert math.isnan(mean_over_tests({}, "auc"))
    assert math.isnan(mean_over_tests({"a": _evaluation("a", 0, 0.5)}, "auc"))
