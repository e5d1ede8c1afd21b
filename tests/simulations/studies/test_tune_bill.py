"""What a tune on private data costs: every repetition against those who see all, the best against who sees one."""

import math
from itertools import combinations_with_replacement

import pytest
from dp_accounting import NeighboringRelation
from dp_accounting import dp_event as events
from dp_accounting.pld import PLDAccountant
from tunes import BASE, NOISY, small_tune

from wardround.errors import BudgetError
from wardround.privacy.cells import cell_named
from wardround.server.plan.statistics import gaussian_mu
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.tune_bill import (
    Sizing,
    bill,
    planning_with,
    shares_of,
    size_repetitions,
    together,
)

CENTRAL = BASE + '\n[aggregation]\nprotocol = "secure-sum"\n'


def sized(tune):
    return size_repetitions(tune, planning_with(tune, DataOnce().load))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    tune = small_tune(
        tmp_path_factory.mktemp("bill"),
        NOISY,
        study={"vary": {"training.learning-rate": [0.1, 2.0], "training.num-rounds": [1, 8]}},
    )
    return tune, sized(tune)


def test_whatever_is_drawn_the_whole_keeps_the_target_and_takes_most_of_it(noisy):
    _, sizing = noisy
    spent = [
        max(*whole.headline_epsilons().values(), whole.headline_total(1))
        for whole in map(together, combinations_with_replacement(sizing.planned, 3))
    ]
    assert 0.85 * 4.0 < max(spent) <= 4.0


def test_all_repetitions_are_added_up_as_dp_accounting_adds_them(noisy):
    tune, sizing = noisy
    drawn = [sizing.planned[place] for place in (3, 0, 3)]
    found = bill(tune, sizing.planned, drawn)
    epsilons = {}
    for name in found.hospitals:
        accountant = PLDAccountant(NeighboringRelation.REPLACE_SPECIAL, value_discretization_interval=1e-3)
        did = [event for account in drawn for event in account.events[name]]
        accountant.compose(events.ComposedDpEvent([cell_named(event.cell).dp_event(event) for event in did]))
        epsilons[name] = accountant.get_epsilon(1e-4)
    for name, epsilon in epsilons.items():
        assert found.hospitals[name] == pytest.approx(epsilon, rel=2e-2)
    assert found.readers["server"] == found.readers["hospital"] == pytest.approx(max(found.hospitals.values()))
    assert found.total >= max(found.readers.values())


def test_a_recipient_is_billed_for_the_best_whatever_the_number_was(noisy):
    tune, sizing = noisy
    few, many = (bill(tune, sizing.planned, sizing.planned[:1] * number) for number in (1, 3))
    assert few.readers["recipient"] == many.readers["recipient"] <= 4.0
    assert few.readers["server"] < few.readers["recipient"] == few.total  # one run alone, told by nobody to be one
    assert many.readers["recipient"] < many.readers["server"] == many.total
    costliest = max(max(account.headline_epsilons().values()) for account in sizing.planned)
    assert few.readers["recipient"] > costliest


def test_what_was_charged_again_after_an_interruption_is_in_both_figures(noisy):
    tune, sizing = noisy
    usual = bill(tune, sizing.planned, sizing.planned[:2])
    charged_twice = together([sizing.planned[0]] * 2)
    more = bill(tune, sizing.planned, [charged_twice, sizing.planned[1]])
    assert more.readers["server"] > usual.readers["server"]
    assert more.readers["recipient"] > usual.readers["recipient"]


def test_a_trusted_server_is_told_to_see_everything_and_other_hospitals_all_repetitions(tmp_path):
    tune = small_tune(tmp_path, NOISY, base=CENTRAL, set={"privacy": {"placement": "central"}})
    sizing = sized(tune)
    found = bill(tune, sizing.planned, sizing.planned)
    assert math.isinf(found.readers["server"])
    assert 0 < found.readers["hospital"] <= found.total <= 4.0


def test_shares_of_distributed_noise_leave_another_hospital_more(tmp_path):
    base = CENTRAL + "min-survivors = 3\n"
    tune = small_tune(tmp_path, NOISY, base=base, set={"privacy": {"placement": "distributed"}})
    sizing = sized(tune)
    found = bill(tune, sizing.planned, sizing.planned)
    assert found.readers["hospital"] > found.readers["server"]
    assert found.readers["server"] <= 4.0


def test_a_patient_in_two_hospitals_is_billed_for_both_and_within_the_target(tmp_path):
    one = small_tune(tmp_path, NOISY)
    two = small_tune(tmp_path, NOISY, set={"privacy": {"patient-overlap": 2}})
    alone, both = sized(one), sized(two)
    assert both.shares.whole < alone.shares.whole
    found = bill(two, both.planned, both.planned)
    assert found.max < found.total <= 4.0


def test_each_once_is_exact_and_hides_nothing(tmp_path):
    tune = small_tune(tmp_path, {"on": "private", "score": "noisy-brier", "repetitions": "each-once"})
    sizing = sized(tune)
    found = bill(tune, sizing.planned, sizing.planned)
    assert 0.96 * 4.0 < found.total <= 4.0
    assert found.readers["recipient"] == found.readers["server"] == found.total


def test_hospitals_are_the_unit_where_they_are(tmp_path):
    base = BASE.replace("target-delta = 1e-4", 'unit = "hospital"\ntarget-delta = 1e-2')
    tune = small_tune(tmp_path, NOISY, base=base)
    sizing = sized(tune)
    assert 0 < bill(tune, sizing.planned, sizing.planned).total <= 4.0


def test_what_a_score_costs_is_taken_from_its_training(tmp_path):
    tune = small_tune(tmp_path, NOISY | {"score-share": 0.2})
    shares = shares_of(tune, 1.5)
    whole, training, score = (gaussian_mu(each, 1e-4) for each in (1.5, shares.training, shares.score))
    assert training**2 + score**2 == pytest.approx(whole**2, rel=1e-4)
    assert score**2 / whole**2 == pytest.approx(0.2, rel=1e-4)
    free = small_tune(tmp_path, {"on": "private"}, set={"evaluation": {"public": "tunes:public_records"}})
    assert shares_of(free, 1.5).training == 1.5 and shares_of(free, 1.5).score is None


def test_a_target_that_no_share_keeps_is_refused(noisy, tmp_path):
    tune, sizing = noisy
    with pytest.raises(BudgetError, match=r"can't be kept over 3 repetitions .* lower \[tune\] mean-repetitions"):
        size_repetitions(
            tune, lambda shares: Sizing(shares=shares, planned=sizing.planned * 1 and (together(sizing.planned * 8),))
        )
