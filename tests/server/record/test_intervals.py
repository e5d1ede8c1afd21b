"""Intervals of scores, against SciPy's and against how often they hold."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, sem, t
from sklearn.metrics import roc_auc_score

from wardround.scores import ClassCounts, Predictions, r2
from wardround.server.record.intervals import (
    auc_interval,
    f1_interval,
    intervals_of,
    share_interval,
    spread_interval,
    standard_errors,
    widest_auc_interval,
)
from wardround.server.record.records import HospitalFigures, Outcome, RoundFigures, RoundRecord, Saved
from wardround.server.record.score_intervals import hospital_intervals, run_intervals
from wardround.server.record.summaries import HospitalSummary


def counts_of(*confusion: tuple[int, ...]) -> ClassCounts:
    return ClassCounts(confusion=confusion, bins=(), probabilities=(), hits=())


@pytest.mark.parametrize(("right", "number"), [(0, 10), (10, 10), (3, 12), (911, 1000), (1, 1)])
def test_a_share_s_interval_is_wilson_s(right: int, number: int) -> None:
    expected = binomtest(right, number).proportion_ci(method="wilson")
    assert share_interval(right, number) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("distance", [0.5, 1.2, 2.5])
def test_an_auc_s_interval_holds_as_often_as_it_says(distance: float) -> None:
    generator, held = np.random.default_rng(3), 0
    true = 0.5 * (1 + math.erf(distance / 2))
    labels = np.repeat([0, 1], [200, 60])
    for _ in range(400):
        scores = generator.normal(labels * distance)
        low, high = auc_interval(float(roc_auc_score(labels, scores)), num_positive=60, num_negative=200)
        held += low <= true <= high
    assert 0.92 <= held / 400 <= 0.99


def test_balanced_accuracy_s_interval_holds_as_often_as_it_says() -> None:
    generator, held, numbers, shares = np.random.default_rng(4), 0, (150, 40, 30), (0.9, 0.6, 0.3)
    for _ in range(500):
        right = [int(generator.binomial(number, share)) for number, share in zip(numbers, shares, strict=True)]
        confusion = np.diag(right)
        confusion[:, 0] += np.array(numbers) - right
        confusion[0, 0], confusion[0, 1] = right[0], numbers[0] - right[0]
        low, high = intervals_of(counts_of(*map(tuple, confusion.tolist())), math.nan)["recall_macro"]
        held += low <= np.mean(shares) <= high
    assert 0.92 <= held / 500 <= 0.98


def test_what_has_too_few_records_has_no_interval() -> None:
    assert intervals_of(counts_of((3, 1), (2, 3)), 0.7) == {}
    assert set(intervals_of(counts_of((30, 1), (2, 3)), 0.7)) == {"accuracy"}
    of_classes = {"accuracy", "recall_macro", "precision_macro", "precision", "recall", "f1"}
    assert set(intervals_of(counts_of((30, 1), (2, 13)), 0.7)) == of_classes | {"auc_pooled"}
    assert set(intervals_of(counts_of((30, 1), (2, 13)), math.nan)) == of_classes
    assert set(intervals_of(counts_of((30, 1), (9, 5)), math.nan)) == {"accuracy", "recall_macro", "recall"}
    assert "auc_pooled" not in intervals_of(counts_of((30, 1), (2, 13)), 1.0)  # of which the formula tells no spread


def test_scores_at_the_ends_have_intervals_within() -> None:
    assert auc_interval(1.0, num_positive=20, num_negative=20) == (1.0, 1.0)
    for low, high in intervals_of(counts_of((30, 0), (0, 15)), 1.0).values():
        assert 0 <= low <= high <= 1


def test_an_f1_s_interval_holds_as_often_as_it_says() -> None:
    generator, held = np.random.default_rng(5), 0
    chances = np.array([0.6, 0.1, 0.08, 0.22])  # neither, said, real, both
    true = 2 * 0.22 / (2 * 0.22 + 0.18)
    for _ in range(500):
        _, said, real, both = generator.multinomial(300, chances).tolist()
        low, high = f1_interval(both, said + both, real + both)
        assert low <= 2 * both / (2 * both + said + real) <= high
        held += low <= true <= high
    assert 0.92 <= held / 500 <= 0.98


def test_a_loss_s_interval_is_student_s() -> None:
    generator = np.random.default_rng(6)
    values, labels = generator.uniform(0.05, 0.95, 40), generator.integers(0, 2, 40)
    losses = -np.log(np.where(labels == 1, values, 1 - values))
    error = standard_errors(Predictions(values=values, labels=labels))["loss"]
    expected = t.interval(0.95, 39, loc=losses.mean(), scale=sem(losses))
    assert spread_interval(float(losses.mean()), error, 40) == pytest.approx(expected)
    three = np.stack([values / 2, values / 2, 1 - values], axis=1)
    assert standard_errors(Predictions(values=three, labels=labels))["loss"] == pytest.approx(sem(-np.log(values / 2)))


def test_an_r2_s_interval_holds_as_often_as_it_says() -> None:
    generator, held, number = np.random.default_rng(7), 0, 200
    for _ in range(400):
        answers = generator.normal(size=number)
        labels = answers + generator.normal(size=number) * 0.8
        found = standard_errors(Predictions(values=answers, labels=labels))
        low, high = spread_interval(r2(answers, labels), found["r2"], number)
        held += low <= 1 - 0.64 / 1.64 <= high
    assert 0.91 <= held / 400 <= 0.985


def test_what_has_no_spread_or_few_records_has_no_standard_error() -> None:
    few = Predictions(values=np.full(9, 0.5), labels=np.arange(9) % 2)
    sure = Predictions(values=np.r_[np.zeros(19), 1.0], labels=np.zeros(20, np.int64))
    flat = Predictions(values=np.zeros(20), labels=np.ones(20))
    assert standard_errors(few) == {} and standard_errors(sure) == {}
    assert "r2" not in standard_errors(flat)


def of_round(*lines: HospitalFigures, confusion: tuple[tuple[int, ...], ...], auc: float) -> RoundRecord:
    row = RoundFigures(
        round=3,
        num_selected=2,
        num_completed=2,
        loss=0.4,
        score=0.9,
        auc=auc,
        epsilon_max=1.0,
        epsilon_total=1.0,
        seconds=1.0,
    )
    return RoundRecord(
        run_id="run",
        attempt=1,
        round_row=row,
        hospital_rows=lines,
        noise_multipliers={},
        max_grad_norm=1.0,
        left={},
        other_versions=(),
        target_deltas={},
        outcome=Outcome(abandoned="", dropped={}, num_scrubbed={}),
        saved=Saved(strategy_forgets=(), model="", checkpoint="", sha256=""),
        class_counts=counts_of(*confusion),
        standard_errors={"loss": 0.05},
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


def test_hospitals_have_intervals_where_what_they_follow_from_is_shown() -> None:
    record = of_round(line_of("north", 0.9, 0.8), line_of("south", 0.8, 0.7), confusion=((60, 5), (5, 30)), auc=0.75)
    sizes = {"north": (40, 0.6), "south": (60, 0.7), "east": ("<10", None), "west": (40, None)}
    shown = {
        name: HospitalSummary(hospital=name, num_train=100, num_test=number, majority_score=majority)
        for name, (number, majority) in sizes.items()
    }
    lines = {line.hospital: (line, record.class_counts) for line in record.hospital_rows}
    north = hospital_intervals(shown["north"], *lines["north"])
    assert north == {"accuracy": share_interval(36, 40), "auc": widest_auc_interval(0.8, 24, 16)}
    assert hospital_intervals(shown["east"], None, record.class_counts) is None
    hidden = hospital_intervals(
        HospitalSummary(hospital="north", num_train=100, num_test=40, majority_score=None), *lines["north"]
    )
    assert hidden == {"accuracy": share_interval(36, 40)}
    both = [
        replace(shown[name], intervals=hospital_intervals(shown[name], *lines[name])) for name in ("north", "south")
    ]
    found = run_intervals(record, 0.76, both)
    assert found is not None
    halves = [(high - low) / 2 for low, high in (each.intervals["auc"] for each in both if each.intervals)]
    half = math.hypot(0.4 * halves[0], 0.6 * halves[1])
    assert found["auc"] == pytest.approx((0.75 - half, 0.75 + half))
    assert found["loss"] == spread_interval(0.4, 0.05, 100)
    without = run_intervals(record, 0.76, [both[0], shown["east"]])
    assert without is not None and "auc" not in without


def test_an_area_whose_positive_class_nobody_named_has_the_wider_interval() -> None:
    low, high = widest_auc_interval(0.8, 15, 80)
    for positive, negative in ((15, 80), (80, 15)):
        own = auc_interval(0.8, num_positive=positive, num_negative=negative)
        assert low <= own[0] and own[1] <= high
