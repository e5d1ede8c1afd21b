import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import charge

from wardround.privacy.accounting import headline_epsilon, overlap_epsilon
from wardround.privacy.policy import Decision, RemainingPlan, decide
from wardround.privacy.spending import open_account
from wardround.step_events import EventShape, StepEvent

DELTAS = {"Basel": 1e-3, "Bern": 1e-5}


def plan(num_participations, noise_multiplier=1.5):
    return RemainingPlan(
        noise_multiplier=noise_multiplier,
        shape=EventShape(event=StepEvent(noise_multiplier=0.0, sample_rate=0.1)),
        num_steps=10,
        num_participations=num_participations,
    )


def spent(**steps):
    return open_account(DELTAS).projected(
        (name, StepEvent(noise_multiplier=1.5, sample_rate=0.1, num_steps=count)) for name, count in steps.items()
    )


BOTH = [charge("Basel"), charge("Bern")]
THIS_ROUND = {"Basel": plan(1), "Bern": plan(1)}


def held(account):
    """What a budget is held against with patients in one hospital each: the reported epsilons at the common delta."""
    return {name: headline_epsilon(events, account.common_delta) for name, events in account.events.items()}


@pytest.mark.parametrize("on_budget", ["stop", "drop", "replan"])
def test_goes_on_without_a_budget_or_far_from_it(on_budget):
    assert decide(spent(Basel=10_000), BOTH, THIS_ROUND, math.inf, on_budget) == Decision()
    assert decide(spent(), BOTH, {"Basel": plan(2), "Bern": plan(2)}, 50.0, on_budget) == Decision()


def test_stop_stops_before_the_overspend():
    account = spent(Bern=1000)
    budget = held(account)["Bern"]
    decision = decide(account, BOTH, THIS_ROUND, budget, "stop")
    assert decision.stop
    assert decision.dropped == ("Bern",)
    assert "would take Bern beyond epsilon" in decision.reason
    assert not decide(account, BOTH[:1], THIS_ROUND, budget, "stop").stop, "Bern isn't asked in that round"


def test_drop_leaves_out_who_would_overspend_and_stops_when_nobody_is_left():
    account = spent(Bern=1000)
    budget = held(account)["Bern"]
    decision = decide(account, BOTH, THIS_ROUND, budget, "drop")
    assert (decision.stop, decision.dropped) == (False, ("Bern",))
    assert "left out from now on" in decision.reason
    assert decide(account, BOTH[1:], THIS_ROUND, budget, "drop").stop


def test_replan_raises_the_noise_as_soon_as_the_projection_overspends():
    remaining = {"Basel": plan(20), "Bern": plan(20)}
    budget = (held(spent(Basel=200))["Basel"] + held(spent(Bern=300))["Bern"]) / 2
    remaining["Bern"] = plan(30)
    decision = decide(spent(), BOTH, remaining, budget, "replan")
    assert not decision.stop
    assert decision.dropped == ()
    assert set(decision.noise_multipliers) == {"Bern"}, "Basel, with fewer steps to come, stays within"
    noise = decision.noise_multipliers["Bern"]
    assert noise > 1.5
    account = spent()
    for round_number in range(1, 31):
        account = account.charged([charge("Bern", round_number, noise_multiplier=noise)])
    assert budget * 0.999 < held(account)["Bern"] <= budget
    again = decide(account, [charge("Basel", 31)], {"Basel": plan(1)}, budget, "replan")
    assert again == Decision()


def test_replan_is_calm_once_the_noise_is_right():
    budget, account, remaining = 3.0, spent(), 20
    noise = decide(account, BOTH[1:], {"Bern": plan(remaining)}, budget, "replan").noise_multipliers["Bern"]
    for round_number in range(1, remaining + 1):
        here = [charge("Bern", round_number, noise_multiplier=noise)]
        left = {"Bern": plan(remaining - round_number + 1, noise)}
        assert decide(account, here, left, budget, "replan") == Decision()
        account = account.charged(here)
    assert held(account)["Bern"] <= budget


def test_replan_drops_who_no_noise_can_help():
    account = spent(Bern=1000)
    budget = held(account)["Bern"]
    decision = decide(account, BOTH, {"Basel": plan(1), "Bern": plan(5)}, budget, "replan")
    assert (decision.stop, decision.dropped) == (False, ("Bern",))
    assert decide(account, BOTH[1:], {"Bern": plan(5)}, budget, "replan").stop


def test_replan_counts_this_round_where_it_is_the_last():
    account = spent(Bern=300)
    budget = held(account)["Bern"] * 1.001
    decision = decide(account, BOTH[1:], THIS_ROUND, budget, "replan")
    noise = decision.noise_multipliers["Bern"]
    assert held(account.charged([charge("Bern", noise_multiplier=noise)]))["Bern"] <= budget


@settings(max_examples=8, deadline=None)
@given(
    budget=st.floats(0.3, 8),
    before=st.integers(0, 300),
    noise=st.floats(0.6, 4),
    rounds=st.integers(1, 6),
    on_budget=st.sampled_from(["stop", "drop", "replan"]),
)
def test_never_admits_an_overspend(budget, before, noise, rounds, on_budget):
    account = spent(Basel=before)
    start, noises, cohort = held(account), dict.fromkeys(DELTAS, noise), set(DELTAS)
    for round_number in range(1, rounds + 1):
        entries = [charge(name, round_number, noise_multiplier=noises[name]) for name in sorted(cohort)]
        left = {name: plan(rounds - round_number + 1, noises[name]) for name in cohort}
        decision = decide(account, entries, left, budget, on_budget)
        if decision.stop:
            break
        noises |= decision.noise_multipliers
        cohort -= set(decision.dropped)
        account = account.charged(charge(name, round_number, noise_multiplier=noises[name]) for name in sorted(cohort))
        for name, epsilon in held(account).items():
            assert epsilon <= max(budget, start[name])


def total(account, overlap):
    return overlap_epsilon(account.events, account.common_delta, overlap)


def test_the_budget_holds_for_a_patient_in_two_hospitals():
    """Each hospital alone is far below the budget, both together pass it."""
    account = spent(Basel=200, Bern=200)
    budget = total(account, 2) * 1.01
    assert max(held(account).values()) < 0.7 * budget
    after = account.charged(BOTH)
    assert total(after, 2) > budget
    assert decide(account, BOTH, THIS_ROUND, budget, "stop", 1) == Decision()
    stopped = decide(account, BOTH, THIS_ROUND, budget, "stop", 2)
    assert stopped.stop and stopped.dropped
    dropped = decide(account, BOTH, THIS_ROUND, budget, "drop", 2)
    stay = [item for item in BOTH if item.hospital_id not in dropped.dropped]
    assert dropped.stop or total(account.charged(stay), 2) <= budget
    noise = decide(account, BOTH, THIS_ROUND, budget, "replan", 2).noise_multipliers
    assert set(noise) == set(DELTAS)
    again = account.charged(charge(name, noise_multiplier=noise[name]) for name in DELTAS)
    assert 0.995 * budget < total(again, 2) <= budget


def test_a_budget_that_several_hospitals_have_spent_stops_all():
    account = spent(Basel=200, Bern=200)
    budget = total(account, 2) * 0.99
    for on_budget in ("stop", "drop", "replan"):
        assert decide(account, BOTH, THIS_ROUND, budget, on_budget, 2).stop


def test_what_renyi_divergences_would_refuse_goes_on_where_the_report_is_within():
    account = spent(Bern=990)
    budget = held(account.charged(BOTH))["Bern"]
    assert account.charged(BOTH).epsilons()["Bern"] > budget * 1.05
    for on_budget in ("stop", "drop", "replan"):
        assert decide(account, BOTH, THIS_ROUND, budget, on_budget) == Decision()
