"""Rows of the tables, and means over hospitals that leave out what is not defined."""

import math

import pytest

from wardround.rounds import Evaluation
from wardround.server.tables import mean_over_tests


def _evaluation(name: str, num: int, auc: float) -> Evaluation:
    return Evaluation(hospital_id=name, num_examples=num, loss=1.0, accuracy=0.5, auc=auc)


def test_means_are_weighted_by_test_records() -> None:
    evaluations = {"a": _evaluation("a", 10, 0.8), "b": _evaluation("b", 30, 0.4)}
    assert mean_over_tests(evaluations, lambda item: item.auc) == pytest.approx(0.5)


def test_what_is_not_defined_somewhere_is_left_out_there() -> None:
    evaluations = {
        "a": _evaluation("a", 10, 0.8),
        "b": _evaluation("b", 30, math.nan),
        "c": _evaluation("c", 0, math.nan),
    }
    assert mean_over_tests(evaluations, lambda item: item.auc) == pytest.approx(0.8)
    assert mean_over_tests(evaluations, lambda item: item.loss) == 1.0


def test_what_is_defined_nowhere_is_nan() -> None:
    assert math.isnan(mean_over_tests({}, lambda item: item.auc))
    assert math.isnan(mean_over_tests({"a": _evaluation("a", 0, 0.5)}, lambda item: item.auc))
