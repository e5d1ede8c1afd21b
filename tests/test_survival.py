"""Censored times: how they are held, and scores against counting, and against the library that computes them."""

import math

import numpy as np
import pytest
from sksurv.metrics import concordance_index_censored, integrated_brier_score
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from wardround.errors import ConfigError
from wardround.survival import (
    SurvivalReference,
    check_scoring_library,
    check_time_edges,
    concordance,
    integrated_brier,
    kaplan_meier,
    labels_of_times,
    times_and_events,
)

EDGES = (0.0, 100.0, 200.0, 400.0, 800.0)


def made_up(num, seed=0, share=0.4):
    """Return labels and survival curves: whole days, many of them alike, one at 0, and curves that are often tied."""
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 900, num).astype(float)
    times[0] = 0.0
    events = rng.random(num) < share
    hazards = np.round(rng.uniform(0.02, 0.4, (num, 1)) + 0.1 * (times[:, None] < 300), 1) / 4
    return labels_of_times(times, events), np.exp(-np.cumsum(np.tile(hazards, (1, len(EDGES) - 1)), axis=1))


def test_a_label_says_time_and_event_at_time_0_too():
    times, events = np.array([0.0, 0.0, 3.5, 7.0]), np.array([True, False, True, False])
    labels = labels_of_times(times, events)
    for held in (labels, labels.astype(np.float32)):
        found = times_and_events(held)
        assert found[0].tolist() == times.tolist() and found[1].tolist() == events.tolist()
    assert np.signbit(labels).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    "edges", [(), (0.0,), (1.0, 2.0), (0.0, 2.0, 1.0), (0.0, 1.0, 1.0), (0.0, math.inf), (0.0, 1.0, 1.0 + 1e-9)]
)
def test_edges_that_cut_no_intervals_are_refused(edges):
    with pytest.raises(ConfigError, match=r"time-edges = .* finite numbers that ascend from 0 \(here\): write"):
        check_time_edges(edges, "(here)")
    check_time_edges(EDGES, "(here)")


@pytest.mark.parametrize("num", [2, 11, 60])
def test_concordance_is_the_share_of_pairs_that_are_in_order(num):
    labels, survival = made_up(num, seed=num)
    times, events = times_and_events(labels)
    area = survival.sum(axis=1)
    pairs = [
        1.0 if area[i] < area[j] - 1e-8 else 0.5 if area[i] <= area[j] + 1e-8 else 0.0
        for i in range(num)
        for j in range(num)
        if events[i] and (times[i] < times[j] or (times[i] == times[j] and not events[j]))
    ]
    assert concordance(survival, labels) == pytest.approx(np.mean(pairs) if pairs else math.nan, nan_ok=True)
    if pairs:
        assert concordance(survival, labels) == concordance_index_censored(events, times, -area)[0]


def test_concordance_is_that_of_an_answer_that_knows_all_or_nothing():
    times = np.arange(1.0, 9.0)
    labels, survival = labels_of_times(times, np.ones(8)), np.linspace(0.1, 0.9, 8)[:, None]
    assert (concordance(survival, labels), concordance(1 - survival, labels)) == (1.0, 0.0)
    assert concordance(np.full((8, 3), 0.4), labels) == 0.5


@pytest.mark.parametrize(
    ("times", "events"), [([], []), ([3.0], [True]), ([3.0, 5.0], [False, False]), ([3.0, 3.0], [True, True])]
)
def test_concordance_is_not_defined_where_no_order_is_known(times, events):
    labels = labels_of_times(times, events)
    assert math.isnan(concordance(np.full((len(labels), 2), 0.5), labels))


def test_a_prediction_that_is_no_number_has_no_score():
    labels, survival = made_up(30)
    survival[4, 1] = np.nan
    assert math.isnan(concordance(survival, labels))
    assert math.isnan(integrated_brier(survival, labels, SurvivalReference(edges=EDGES, train=labels)))


def test_the_brier_score_of_times_that_are_all_seen_is_the_squared_error():
    times = np.array([50.0, 150.0, 300.0, 700.0, 900.0])
    labels, survival = labels_of_times(times, np.ones(5)), np.random.default_rng(0).uniform(0, 1, (5, 4))
    at = np.array(EDGES[1:])
    errors = ((survival - (times[:, None] > at)) ** 2).mean(axis=0)
    wanted = ((errors[1:] + errors[:-1]) / 2 * np.diff(at)).sum() / (at[-1] - at[0])
    found = integrated_brier(survival, labels, SurvivalReference(edges=EDGES, train=labels))
    assert found == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("seed", "last"), [(1, 899.0), (2, 650.0), (3, 450.0)])
def test_the_brier_score_weighs_by_the_training_records_censoring(seed, last):
    """The last training time cuts edges off that nobody was followed beyond."""
    labels, survival = made_up(80, seed)
    train, _ = made_up(300, seed + 10)
    train = np.copysign(np.minimum(np.abs(train), last), train)
    train[0] = -last
    reference = SurvivalReference(edges=EDGES, train=train)
    (times, events), (train_times, train_events) = times_and_events(labels), times_and_events(train)
    at = np.array([edge for edge in EDGES[1:] if edge < min(times.max(), last)])

    def still_followed(when):
        share = 1.0
        for time in np.unique(train_times[(train_times <= when) & ~train_events]):
            # Of an event and a censoring on one day the event is the first.
            at_risk = (train_times >= time).sum() - ((train_times == time) & train_events).sum()
            share *= 1 - ((train_times == time) & ~train_events).sum() / at_risk
        return share

    errors = []
    for place, edge in enumerate(at):
        of_one = [
            s**2 / still_followed(t) if event and t <= edge else (1 - s) ** 2 / still_followed(edge) if t > edge else 0
            for t, event, s in zip(times, events, survival[:, place], strict=True)
        ]
        errors.append(np.mean(of_one))
    wanted = np.trapezoid(errors, at) / (at[-1] - at[0])
    assert integrated_brier(survival, labels, reference) == pytest.approx(wanted, rel=1e-9)


def test_the_brier_score_is_the_librarys_where_it_takes_the_times_as_they_are():
    labels, survival = made_up(80)
    keep = np.abs(labels) < 850
    labels, survival = labels[keep], survival[keep]
    train, _ = made_up(300, seed=4)
    pairs = [Surv.from_arrays(*times_and_events(each)[::-1]) for each in (train, labels)]
    wanted = integrated_brier_score(*pairs, survival, EDGES[1:])
    assert integrated_brier(survival, labels, SurvivalReference(edges=EDGES, train=train)) == pytest.approx(wanted)


@pytest.mark.parametrize("times", [[], [50.0, 90.0], [50.0, 150.0]])
def test_the_brier_score_is_not_defined_where_fewer_than_two_edges_are_left(times):
    labels = labels_of_times(times, np.ones(len(times)))
    train = labels_of_times([900.0, 30.0], [0, 1])
    assert math.isnan(
        integrated_brier(np.full((len(labels), 4), 0.5), labels, SurvivalReference(edges=EDGES, train=train))
    )


def test_kaplan_meier_is_read_at_the_edges():
    train, _ = made_up(200, seed=9)
    times, events = times_and_events(train)
    at, share = kaplan_meier_estimator(events, times)
    wanted = [share[at <= edge][-1] for edge in EDGES[1:]]
    assert kaplan_meier(SurvivalReference(edges=EDGES, train=train)).tolist() == wanted
    # Nobody was seen to have the event before the first edges.
    late = labels_of_times([500.0, 600.0], [1, 0])
    assert kaplan_meier(SurvivalReference(edges=EDGES, train=late)).tolist() == [1.0, 1.0, 1.0, 0.5]


def test_a_library_that_is_missing_is_named_with_the_next_step():
    with pytest.raises(ConfigError, match=r'scored by scikit-survival, .*: pip install "wardround\[survival\]"'):
        check_scoring_library("survival", "no_such_library")
    check_scoring_library("classification", "no_such_library")
