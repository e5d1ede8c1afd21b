import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import charge

from wardround.errors import ConfigError, ProtocolError
from wardround.privacy.accounting import headline_epsilon, overlap_epsilon, rdp_epsilon
from wardround.privacy.ledger import open_ledger
from wardround.privacy.spending import account_from_ledger, open_account
from wardround.step_events import StepEvent

DELTAS = {"Basel": 1e-3, "Bern": 1e-5, "Chur": 1e-5}


def steps(noise_multiplier=1.5, sample_rate=0.1, num_steps=10):
    return StepEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, num_steps=num_steps)


def test_epsilons_are_those_of_the_events_at_each_hospitals_delta():
    account = open_account(DELTAS)
    for round_number in range(1, 8):
        account = account.charged([charge("Basel", round_number), charge("Bern", round_number, noise_multiplier=3.0)])
    assert account.epsilons() == {
        "Basel": rdp_epsilon([steps(num_steps=70)], 1e-3),
        "Bern": rdp_epsilon([steps(noise_multiplier=3.0, num_steps=70)], 1e-5),
        "Chur": 0.0,
    }
    assert account.events["Basel"] == (steps(num_steps=70),)
    assert account.events["Chur"] == ()


def test_an_account_is_never_changed():
    account = open_account(DELTAS)
    account.charged([charge("Basel")])
    assert account.epsilons() == dict.fromkeys(DELTAS, 0.0)
    with pytest.raises(ValueError, match="read-only"):
        account.divergences[0][0] = 1.0


@given(
    st.lists(st.lists(st.tuples(st.sampled_from(list(DELTAS)), st.sampled_from([1.5, 3.0])), max_size=4), max_size=6)
)
@settings(max_examples=25, deadline=None)
def test_round_by_round_the_account_is_what_it_is_made_at_once(rounds):
    """Only those who are charged are computed anew; what all have is what a resumed run finds in the ledger."""
    account, plans = open_account(DELTAS), []
    for number, cohort in enumerate(rounds, start=1):
        account = account.charged(
            charge(name, number, noise_multiplier=noise, attempt=place + 1)
            for place, (name, noise) in enumerate(cohort)
        )
        plans += [(name, steps(noise_multiplier=noise)) for name, noise in cohort]
        at_once = open_account(DELTAS).projected(plans)
        assert account.epsilons() == at_once.epsilons()
        assert [account.epsilon_of(name) for name in DELTAS] == list(at_once.epsilons().values())
        assert [account.epsilon_total(k) for k in (1, 2)] == [at_once.epsilon_total(k) for k in (1, 2)]


def test_totals_are_stated_at_the_smallest_delta():
    account = open_account(DELTAS).charged([charge("Basel"), charge("Bern"), charge("Chur", num_steps=20)])
    assert account.common_delta == 1e-5
    assert account.epsilon_total(1) == rdp_epsilon([steps(num_steps=20)], 1e-5)
    assert account.epsilon_total(1) >= max(account.epsilons().values())
    assert account.epsilon_total(2) == pytest.approx(rdp_epsilon([steps(num_steps=30)], 1e-5), rel=1e-12)
    assert account.epsilon_total(3) == account.epsilon_total(9)
    assert account.epsilon_total(3) == pytest.approx(rdp_epsilon([steps(num_steps=40)], 1e-5), rel=1e-12)


def test_headline_is_the_tightest_of_everything():
    account = open_account(DELTAS).charged([charge("Basel", noise_multiplier=1.0), charge("Bern"), charge("Chur")])
    assert account.headline_epsilons() == {
        name: headline_epsilon(account.events[name], target_delta) for name, target_delta in DELTAS.items()
    }
    assert account.headline_total(1) == headline_epsilon(account.events["Basel"], 1e-5)
    assert account.headline_total(2) == overlap_epsilon(account.events, 1e-5, 2)
    assert account.headline_total(1) < account.headline_total(2) <= account.epsilon_total(2)


def test_no_noise_is_infinite():
    account = open_account(DELTAS).charged([charge("Basel", noise_multiplier=0.0)])
    assert math.isinf(account.epsilons()["Basel"])
    assert math.isinf(account.epsilon_total(2))
    assert math.isinf(account.headline_total(2))
    assert account.epsilons()["Bern"] == 0


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(12)), num_kinds=st.integers(1, 4))
def test_order_changes_nothing_not_a_bit(order, num_kinds):
    plans = [("Basel", steps(noise_multiplier=1.0 + k % num_kinds, num_steps=k + 1)) for k in range(12)]
    straight = open_account(DELTAS).projected(plans)
    shuffled = open_account(DELTAS)
    for k in order:
        shuffled = shuffled.projected([plans[k]])
    np.testing.assert_array_equal(straight.divergences, shuffled.divergences)


def test_many_kinds_add_up_all_the_same():
    plans = [("Bern", steps(noise_multiplier=1 + k / 50)) for k in range(40)]
    account = open_account(DELTAS)
    for plan in plans:
        account = account.projected([plan])
    assert account.epsilons()["Bern"] == pytest.approx(rdp_epsilon([item for _, item in plans], 1e-5), rel=1e-12)


def calls_of_one_more_charge(num_kinds):
    """Return how many calls of functions it takes to charge a step of a kind that is new after so many kinds."""
    account = open_account(DELTAS).projected(("Basel", steps(noise_multiplier=2 + n / 1024)) for n in range(num_kinds))
    calls = []
    profile = sys.getprofile()
    sys.setprofile(lambda frame, event, arg: calls.append(event))
    try:
        account.projected([("Basel", steps(noise_multiplier=1.5))])
    finally:
        sys.setprofile(profile)
    return len(calls)


def test_one_more_charge_costs_no_more_after_many_kinds_than_after_few():
    few = calls_of_one_more_charge(32)
    assert calls_of_one_more_charge(256) < 2 * few


def test_the_ledger_gives_the_same_account_to_the_bit(tmp_path):
    live = open_account(DELTAS)
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        for round_number in range(1, 6):
            entries = [charge(name, round_number, noise_multiplier=1.1 + round_number % 2) for name in DELTAS]
            ledger.charge(entries)
            live = live.charged(entries)
        stored = account_from_ledger(ledger, DELTAS)
        np.testing.assert_array_equal(stored.divergences, live.divergences)
        assert stored.events == live.events
        with pytest.raises(ProtocolError, match="hospital Chur is not in the account"):
            account_from_ledger(ledger, {"Basel": 1e-3, "Bern": 1e-5})


@pytest.mark.parametrize("deltas", [{}, {"Basel": 0.0}, {"Basel": 1.0}, {"Basel": math.nan}])
def test_refuses_missing_hospitals_and_wrong_deltas(deltas):
    with pytest.raises(ConfigError, match="target-delta"):
        open_account(deltas)
