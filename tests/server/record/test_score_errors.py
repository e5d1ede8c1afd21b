"""Standard errors of scores, against other libraries, against leaving out, and against how often intervals hold."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import norm, sem, t
from sklearn.metrics import roc_auc_score
from test_run_folder import RECORD

from wardround.clients.losses import loss_per_record
from wardround.scores import NORMAL_95, ClassCounts, Predictions, auc_parts, macro_auc, macro_aucs, r2
from wardround.server.record.intervals import (
    area_error,
    error_of_few,
    share_interval,
    share_spread_interval,
    spread_interval,
)
from wardround.server.record.records import HospitalFigures, RoundRecord
from wardround.server.record.score_errors import errors_by_hospital, left_out_error, mean_errors, standard_errors
from wardround.server.record.score_intervals import hospital_intervals, run_intervals
from wardround.server.record.summaries import HospitalSummary
from wardround.survival import (
    SurvivalReference,
    brier_by_record,
    concordance,
    concordance_without_each,
    integrated_brier,
    labels_of_times,
    losses_by_record,
)

Drawn = tuple[Predictions, float]


def held(draw: Callable[[np.random.Generator], Drawn], name: str, true: float, *, times: int = 400) -> float:
    """Return how often the interval of a score holds the truth, of predictions that are drawn with their score."""
    generator, count = np.random.default_rng(7), 0
    for _ in range(times):
        predictions, score = draw(generator)
        interval = spread_interval if name == "r2" else share_spread_interval
        low, high = interval(score, standard_errors(predictions)[name], predictions.num_test)
        count += low <= true <= high
    return count / times


def test_a_loss_s_error_is_that_of_a_mean() -> None:
    generator = np.random.default_rng(6)
    values, labels = generator.uniform(0.05, 0.95, 40), generator.integers(0, 2, 40)
    losses = -np.log(np.where(labels == 1, values, 1 - values))
    error = standard_errors(Predictions(values=values, labels=labels))["loss"]
    expected = t.interval(0.95, 39, loc=losses.mean(), scale=sem(losses))
    assert spread_interval(float(losses.mean()), error, 40) == pytest.approx(expected)
    three = np.stack([values / 2, values / 2, 1 - values], axis=1)
    assert standard_errors(Predictions(values=three, labels=labels))["loss"] == pytest.approx(sem(-np.log(values / 2)))


def test_an_r2_s_interval_holds_as_often_as_it_says() -> None:
    def draw(generator: np.random.Generator) -> Drawn:
        answers = generator.normal(size=200)
        labels = answers + generator.normal(size=200) * 0.8
        return Predictions(values=answers, labels=labels), r2(answers, labels)

    assert 0.91 <= held(draw, "r2", 1 - 0.64 / 1.64) <= 0.985


@pytest.mark.parametrize("distance", [0.5, 1.2, 2.5])
def test_an_area_s_interval_holds_as_often_as_it_says(distance: float) -> None:
    labels = np.repeat([0, 1], [200, 60])

    def draw(generator: np.random.Generator) -> Drawn:
        values = norm.cdf(generator.normal(labels * distance))
        return Predictions(values=values, labels=labels), float(roc_auc_score(labels, values))

    assert 0.92 <= held(draw, "auc_pooled", 0.5 * (1 + math.erf(distance / 2))) <= 0.985


def test_the_interval_of_several_classes_area_holds_as_often_as_it_says() -> None:
    def draw(generator: np.random.Generator, number: int = 150) -> Drawn:
        labels = generator.integers(0, 3, number)
        scores = softmax(generator.normal(size=(number, 3)) + np.eye(3)[labels], axis=1)
        return Predictions(values=scores, labels=labels), macro_auc(scores, labels)

    true = draw(np.random.default_rng(1), 400_000)[1]
    assert 0.92 <= held(draw, "auc_pooled", true) <= 0.98


def test_the_interval_of_several_classes_area_holds_less_often_where_a_class_is_small_and_spread() -> None:
    """By so much as docs/for/researcher.md says."""
    labels, spread = np.repeat([0, 1, 2], [10, 400, 400]), np.array([2.5, 1.0, 1.0])

    def draw(generator: np.random.Generator, copies: int = 1) -> Drawn:
        drawn = np.repeat(labels, copies)
        noise = generator.normal(size=(len(drawn), 3)) * spread[drawn][:, None]
        scores = softmax(noise + 2.0 * np.eye(3)[drawn], axis=1)
        return Predictions(values=scores, labels=drawn), macro_auc(scores, drawn)

    assert 0.84 <= held(draw, "auc_pooled", draw(np.random.default_rng(1), 200)[1]) <= 0.95


def test_a_c_of_1_has_the_error_of_an_area_of_1() -> None:
    times = np.arange(1.0, 31.0)
    sure = Predictions(values=np.stack([times / 40, times / 41], axis=1), labels=labels_of_times(times, times < 21))
    error = area_error(1.0, 0.0, 15, 30)
    assert errors_by_hospital({"north": sure}) == {"north": error}
    assert mean_errors({"north": sure}, {"north": error}) == {"concordance": error}


def test_an_area_s_error_is_delong_s_also_with_ties_and_by_hospital() -> None:
    generator = np.random.default_rng(2)
    sizes = [40, 25, 0, 35]
    labels = generator.integers(0, 2, 100)
    values = np.round(generator.normal(size=100) + labels, 1)
    scores = np.stack([-values, values], axis=1)
    areas, parts, fewest = auc_parts(scores, labels, sizes)
    assert areas == pytest.approx(macro_aucs(scores, labels, sizes), nan_ok=True)
    for own, value, label, few in zip(
        *(np.split(array, np.cumsum(sizes)[:-1]) for array in (parts, values, labels)), fewest, strict=True
    ):
        inside, outside = value[label == 1], value[label == 0]
        assert few == min(len(inside), len(outside))
        if few:
            wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
            square = wins.mean(1).var(ddof=1) / len(inside) + wins.mean(0).var(ddof=1) / len(outside)
            assert math.sqrt((own**2).sum()) / len(own) == pytest.approx(math.sqrt(square))


def score_interval(area: float, inside: int, outside: int) -> tuple[float, float]:
    """Return the interval whose ends' own variance is Hanley and McNeil's, by another way of finding roots."""

    def apart(end: float) -> float:
        q1, q2, k = end / (2 - end), 2 * end**2 / (1 + end), (inside + outside) / 2 - 1
        square = (end * (1 - end) + k * (q1 - end**2) + k * (q2 - end**2)) / (inside * outside)
        return (area - end) ** 2 - NORMAL_95**2 * square

    return brentq(apart, 0.0, area - 1e-12), 1.0 if area == 1 else brentq(apart, area + 1e-12, 1 - 1e-12)


@pytest.mark.parametrize(("inside", "outside"), [(12, 28), (10, 400), (30, 30)])
@pytest.mark.parametrize("area", [0.55, 0.8, 0.99, 1.0])
def test_an_area_s_interval_reaches_as_far_as_each_of_two(area: float, inside: int, outside: int) -> None:
    number, few = inside + outside, min(inside, outside)
    steady = area_error(area, 0.0, few, number)
    low, _ = share_spread_interval(area, steady, number)
    assert low == pytest.approx(score_interval(area, inside, outside)[0], abs=1e-9)
    mirrored = share_spread_interval(1 - area, area_error(1 - area, 0.0, few, number), number)
    assert mirrored == pytest.approx(tuple(1 - end for end in share_spread_interval(area, steady, number))[::-1])
    if area < 1:
        wide = share_spread_interval(area, area_error(area, error_of_few(0.2, few, number), few, number), number)
        assert wide == pytest.approx(share_spread_interval(area, 0.2, few))


def test_an_area_of_1_has_an_error() -> None:
    known = Predictions(values=np.linspace(0.1, 0.9, 40), labels=np.repeat([0, 1], [28, 12]))
    error = errors_by_hospital({"north": known})["north"]
    assert standard_errors(known)["auc_pooled"] == error == area_error(1.0, 0.0, 12, 40)


@pytest.mark.parametrize(("inside", "outside"), [(10, 100), (20, 20), (20, 400)])
@pytest.mark.parametrize(("distance", "spread"), [(1.8, 1.0), (3.3, 1.0), (5.1, 2.5)])
def test_an_area_s_interval_holds_with_few_cases_near_1(
    inside: int, outside: int, distance: float, spread: float
) -> None:
    labels = np.repeat([0, 1], [outside, inside])

    def draw(generator: np.random.Generator) -> Drawn:
        values = norm.cdf(generator.normal(labels * distance, np.where(labels, spread, 1.0)) - distance / 2)
        return Predictions(values=values, labels=labels), float(roc_auc_score(labels, values))

    assert held(draw, "auc_pooled", float(norm.cdf(distance / math.hypot(1, spread)))) >= 0.94


def of_survival(number: int, *, seed: int = 3) -> tuple[Predictions, SurvivalReference]:
    generator = np.random.default_rng(seed)

    def labels(size: int) -> np.ndarray:
        return labels_of_times(generator.exponential(4, size).round(), generator.random(size) < 0.6)

    values = np.cumprod(generator.uniform(0.5, 0.95, (number, 4)).round(1), axis=1)
    reference = SurvivalReference(edges=(0.0, 1.0, 2.0, 4.0, 7.0), train=labels(2 * number))
    return Predictions(values=values, labels=labels(number)), reference


@pytest.mark.parametrize("number", [12, 60])
def test_what_records_bring_to_a_survival_s_scores_adds_up_to_the_libraries_scores(number: int) -> None:
    known, reference = of_survival(number)
    values, labels, each = known.values, known.labels, np.arange(number)
    without = [concordance(values[each != index], labels[each != index]) for index in range(number)]
    assert concordance_without_each(values, labels) == pytest.approx(without)
    assert brier_by_record(values, labels, reference).mean() == pytest.approx(
        integrated_brier(values, labels, reference), abs=1e-12
    )
    hazards = 1 - values / np.concatenate([np.ones((number, 1)), values[:, :-1]], axis=1)
    outputs, targets = torch.tensor(np.log(hazards / (1 - hazards))), torch.tensor(labels)
    losses = loss_per_record("survival", edges=reference.edges)(outputs, targets).numpy()
    assert losses_by_record(values, labels, reference.edges) == pytest.approx(losses)
    found = standard_errors(known, reference)
    assert found["loss"] == pytest.approx(sem(losses))
    area = {"concordance_pooled"} if (~np.signbit(labels)).sum() >= 10 else set()
    assert set(found) == {"loss", "brier_integrated", "brier_kaplan_meier"} | area
    assert set(standard_errors(known)) == area


def test_a_concordance_s_interval_holds_as_often_as_it_says() -> None:
    def draw(generator: np.random.Generator, number: int = 120) -> Drawn:
        risks = generator.normal(size=number)
        times, censored = generator.exponential(np.exp(-risks)), generator.exponential(2.0, number)
        values = 1 / (1 + np.exp(risks))[:, None] * np.ones((1, 2))
        labels = labels_of_times(np.minimum(times, censored), times <= censored)
        return Predictions(values=values, labels=labels), concordance(values, labels)

    true = draw(np.random.default_rng(1), 20_000)[1]
    assert 0.92 <= held(draw, "concordance_pooled", true, times=300) <= 0.985


def test_leaving_out_parts_tells_the_error_of_a_mean_and_nothing_of_what_is_not_defined() -> None:
    generator = np.random.default_rng(4)
    errors = []
    for _ in range(300):
        values = np.sort(generator.normal(size=200))
        known = Predictions(values=values, labels=np.zeros(200))
        errors.append(left_out_error(lambda part: float(part.values.mean()), known))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(1 / math.sqrt(200), rel=0.05)
    assert math.isnan(left_out_error(lambda part: math.nan if part.num_test < 200 else 0.5, known))
    few = Predictions(values=np.zeros(9), labels=np.zeros(9))
    assert math.isnan(left_out_error(lambda part: 0.5, few))


def test_what_has_no_spread_or_few_records_has_no_standard_error() -> None:
    few = Predictions(values=np.full(9, 0.5), labels=np.arange(9) % 2)
    sure = Predictions(values=np.r_[np.zeros(19), 1.0], labels=np.zeros(20, np.int64))
    flat = Predictions(values=np.zeros(20), labels=np.ones(20))
    lost = Predictions(values=np.r_[np.nan, np.full(39, 0.5)], labels=np.arange(40) % 2)
    assert standard_errors(few) == standard_errors(sure) == standard_errors(lost) == {}
    assert "r2" not in standard_errors(flat)
    assert errors_by_hospital({"few": few, "sure": sure, "none": few}) == errors_by_hospital({}) == {}


def of_round(*lines: HospitalFigures, errors: dict[str, float], auc: float = 0.75) -> RoundRecord:
    return replace(
        RECORD,
        round_row=replace(RECORD.round_row, round=3, loss=0.4, score=0.9, auc=auc),
        hospital_rows=lines,
        class_counts=ClassCounts(confusion=((60, 5), (5, 30)), bins=(), probabilities=(), hits=()),
        standard_errors=errors,
    )


def line_of(name: str, score: float, auc: float) -> HospitalFigures:
    return HospitalFigures(
        round=3,
        hospital=name,
        selected=1,
        completed=1,
        num_train=100,
        num_steps=1,
        sample_rate=0.1,
        noise_multiplier=1.0,
        epsilon=1.0,
        loss=0.4,
        score=score,
        auc=auc,
    )


def shown(name: str, number: int | str) -> HospitalSummary:
    return HospitalSummary(hospital=name, num_train=100, num_test=number, majority_score=None)


def test_hospitals_have_intervals_of_what_is_known_of_ten_records_or_more() -> None:
    north = line_of("north", 0.9, 0.8)
    found = hospital_intervals(shown("north", 40), north, 0.05, "classification")
    assert found == {"accuracy": share_interval(36, 40), "auc": share_spread_interval(0.8, 0.05, 40)}
    assert hospital_intervals(shown("north", 40), north, None, "classification") == {"accuracy": share_interval(36, 40)}
    assert hospital_intervals(shown("north", 40), north, 0.04, "regression") == {"r2": spread_interval(0.9, 0.04, 40)}
    assert hospital_intervals(shown("north", 40), north, 0.05, "survival") == {
        "concordance": share_spread_interval(0.9, 0.05, 40)
    }
    assert hospital_intervals(shown("east", "<10"), None, None, "classification") is None
    assert hospital_intervals(shown("east", 9), line_of("east", 0.9, 0.8), 0.1, "classification") is None


def test_a_run_has_intervals_of_what_is_known() -> None:
    errors = {"loss": 0.05, "auc_pooled": 0.03, "metrics.own": 0.02, "auc": 0.04}
    found = run_intervals(of_round(errors=errors), {"auc_pooled": 0.76, "own": 0.4}, [], "classification")
    assert found is not None
    assert found["auc"] == spread_interval(0.75, 0.04, 100)
    assert found["loss"] == spread_interval(0.4, 0.05, 100)
    assert found["auc_pooled"] == share_spread_interval(0.76, 0.03, 100)
    assert found["metrics.own"] == spread_interval(0.4, 0.02, 10)
    many = run_intervals(of_round(errors={"auc": 0.4}), {}, [], "classification")
    assert many is not None and many["auc"] == (0.0, 1.0)


def test_a_regression_whose_hospitals_hide_their_counts_has_an_interval() -> None:
    record = replace(of_round(errors={"r2": 0.03}), class_counts=None)
    found = run_intervals(record, {}, [shown("east", "<10"), shown("west", "<10")], "regression")
    assert found == {"r2": spread_interval(0.9, 0.03, 10)}


def classified(generator: np.random.Generator, inside: int, outside: int, distance: float) -> Predictions:
    labels = np.repeat([0, 1], [outside, inside])
    return Predictions(values=norm.cdf(generator.normal(labels * distance)), labels=labels)


def test_a_mean_s_error_is_of_independent_hospitals_and_of_a_share_where_theirs_are_not_known() -> None:
    generator = np.random.default_rng(5)
    large = {name: classified(generator, 15, 15, 1.0) for name in ("north", "south")}
    large["west"] = classified(generator, 30, 30, 1.0)
    own = errors_by_hospital(large)
    expected = math.hypot(own["north"] / 4, own["south"] / 4, own["west"] / 2)
    assert mean_errors(large, own) == {"auc": pytest.approx(expected)}
    none = {"lost": Predictions(values=np.full(30, 0.3), labels=np.zeros(30, np.int64))}
    assert mean_errors(large | none, own) == mean_errors(large, own) and mean_errors(none, {}) == {}
    sure = {name: Predictions(values=np.linspace(0, 1, 10), labels=np.repeat([0, 1], [7, 3])) for name in "abcd"}
    error = mean_errors(sure, {})["auc"]
    assert 1 - NORMAL_95 * error == pytest.approx(share_interval(12, 12)[0])
    both = mean_errors(large | sure, own)["auc"]
    assert both == pytest.approx(math.hypot(expected * 120 / 160, error * 40 / 160))


def test_a_class_of_few_records_counts_as_much_as_its_area_does_in_a_hospital_s() -> None:
    """An area of 1 in ten classes, of which one has a record: Wilson's of the records that count like all of them."""
    labels = np.repeat(np.arange(10), [1, *[50] * 9])
    sure = Predictions(values=np.eye(10)[labels], labels=labels)
    number = ((1 + 9 / math.sqrt(50)) / 10) ** -2
    error = mean_errors({"north": sure}, errors_by_hospital({"north": sure}))["auc"]
    assert 1 - NORMAL_95 * error == pytest.approx(share_interval(number, number)[0])


@pytest.mark.parametrize("distance", [0.7, 1.8, 3.3])
@pytest.mark.parametrize(("num_hospitals", "size"), [(2, 20), (8, 14), (8, 40), (30, 12)])
def test_a_mean_s_interval_holds_more_often_than_it_says(num_hospitals: int, size: int, distance: float) -> None:
    generator, count = np.random.default_rng(8), 0
    true, times = float(norm.cdf(distance / math.sqrt(2))), 100
    for _ in range(times):
        sizes = generator.integers(size // 2, size * 3 // 2, num_hospitals)
        sides = [int(generator.binomial(number - 2, 0.3)) + 1 for number in sizes]
        parts = {
            f"{place}": classified(generator, side, int(number) - side, distance)
            for place, (number, side) in enumerate(zip(sizes, sides, strict=True))
        }
        error = mean_errors(parts, errors_by_hospital(parts))["auc"]
        areas = [macro_auc(np.stack([-part.values, part.values], axis=1), part.labels) for part in parts.values()]
        count += abs(np.average(areas, weights=sizes) - true) <= NORMAL_95 * error
    assert count >= 94


def test_a_mean_concordance_counts_a_hospital_of_few_events_with_the_largest_error() -> None:
    parts = {"north": of_survival(60)[0], "south": of_survival(60, seed=4)[0], "east": of_survival(8)[0]}
    own = errors_by_hospital(parts)
    assert set(own) == {"north", "south"}
    weights = np.array([60, 60, 8]) / 128
    expected = math.hypot(*(weights * [own["north"], own["south"], 0.5]))
    assert mean_errors(parts, own) == {"concordance": pytest.approx(expected)}
    assert mean_errors({"east": parts["east"]}, {}) == {}


def test_no_interval_holds_what_a_score_can_t_be() -> None:
    record = of_round(line_of("north", 0.9, 0.8), errors={"loss": 0.4, "brier_integrated": 0.2, "r2": 0.3})
    found = run_intervals(record, {"brier_integrated": 0.1}, [shown("north", 40)], "regression") or {}
    assert found["loss"][0] == found["brier_integrated"][0] == 0.0 and found["r2"][1] == 1.0


def test_an_area_over_all_records_has_no_interval_where_a_class_has_too_few() -> None:
    record = of_round(errors={"auc_pooled": 0.03})
    few = replace(record, class_counts=ClassCounts(confusion=((60, 5), (5, 4)), bins=(), probabilities=(), hits=()))
    assert "auc_pooled" in (run_intervals(record, {"auc_pooled": 0.76}, [], "classification") or {})
    assert "auc_pooled" not in (run_intervals(few, {"auc_pooled": 0.76}, [], "classification") or {})
