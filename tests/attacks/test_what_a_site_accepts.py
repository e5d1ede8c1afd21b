"""A server that asks for less noise, another scale, more rounds, more runs, another payload or another bound.

In every attack all sites are asked alike, so that no digest gives it away: each has to know by itself. The control is
the same attack on sites whose own computation is left out, who do as they are asked.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message
from made_up import changed_assignment
from real_sites import NAMES, VICTIM, Attack, Sites, attack, refused_by_all, settings, without_own_checks

from wardround import wire
from wardround.agreed.cohorts import draw_cohort
from wardround.config import Config
from wardround.privacy.accounting import headline_epsilon
from wardround.rounds import Assignment, Schedule
from wardround.server.round.secure_terms import SecureSum
from wardround.step_events import StepEvent

ONE_ROUND = {"num-rounds": 1}
GRADIENT_SUM = {"num-rounds": 1, "local-steps": None}
TARGET = settings(training=ONE_ROUND, privacy={"noise-multiplier": None, "target-epsilon": 1.0})
DISTRIBUTED = settings(training=GRADIENT_SUM, privacy={"placement": "distributed"})
UPDATES = settings(training=ONE_ROUND, privacy={"unit": "hospital", "placement": "distributed"})
LOCAL = settings(training=ONE_ROUND)

Change = dict[str, Any]


def asking(**changes: Any) -> Attack:
    return Attack(assignment=lambda assignment: changed_assignment(assignment, **changes))


@pytest.mark.parametrize(
    ("config", "noise_multiplier"),
    [
        *((TARGET, noise_multiplier) for noise_multiplier in (1e-12, 1e-3, 0.5)),
        *((config, noise_multiplier) for config in (LOCAL, DISTRIBUTED, UPDATES) for noise_multiplier in (1e-3, 0.99)),
    ],
)
def test_noise_that_costs_more_than_agreed_is_refused_before_training(
    config: Config, noise_multiplier: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = attack(Sites(tmp_path / "own", config), monkeypatch, asking(noise_multiplier=noise_multiplier))
    assert refused_by_all(outcome), outcome.failure
    assert all("noise" in reason for reason in outcome.grid.errors())
    without_own_checks(monkeypatch)
    control = attack(Sites(tmp_path / "trusting", config), monkeypatch, asking(noise_multiplier=noise_multiplier))
    assert control.grid.sent("mask") == set(NAMES)


def test_what_the_refused_noise_would_have_cost() -> None:
    one = headline_epsilon([StepEvent(noise_multiplier=1e-3, sample_rate=0.5, num_steps=2)], 1e-3)
    assert one > 5e5
    shares = StepEvent(
        noise_multiplier=1.0,
        sample_rate=0.5,
        num_steps=1,
        cell="record-distributed",
        scaled_norm=0.01,
        dimension=12,
        num_shares=3,
    )
    assert headline_epsilon([shares], 1e-3) > 1e4


def test_another_scale_than_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = attack(Sites(tmp_path / "own", DISTRIBUTED), monkeypatch, asking(scaled_norm=0.01))
    assert refused_by_all(outcome), outcome.failure
    without_own_checks(monkeypatch)
    control = attack(Sites(tmp_path / "trusting", DISTRIBUTED), monkeypatch, asking(scaled_norm=0.01))
    assert control.grid.sent("mask") == set(NAMES)


FIELDS: list[tuple[Config, Change]] = [
    *((DISTRIBUTED, {"scaled_norm": value}) for value in (1e-3, 1.0)),
    *((DISTRIBUTED, {"dimension": value}) for value in (1, 10**9)),
    *((DISTRIBUTED, {"num_shares": value}) for value in (1, 10**6)),
    (DISTRIBUTED, {"contribution": 1e-9}),
    *((UPDATES, {"contribution": value}) for value in (1e-9, 1.0)),
    (DISTRIBUTED, {"max_grad_norm": 100.0, "sensitivity": 100.0}),
    (DISTRIBUTED, {"sample_rate": 1.0, "expected_batch_size": 40.0}),
    (DISTRIBUTED, {"cell": "record-local"}),
    (DISTRIBUTED, {"cell": "none", "max_grad_norm": None, "noise_multiplier": 0.0}),
    (DISTRIBUTED, {"cell": "hospital-distributed"}),
    (LOCAL, {"max_grad_norm": 1e-9}),
    (LOCAL, {"max_grad_norm": None, "noise_multiplier": 0.0}),
    (LOCAL, {"sample_rate": 1e-9}),
    (LOCAL, {"expected_batch_size": 1e30}),
    (LOCAL, {"num_steps": 1}),
    (LOCAL, {"num_steps": 10**6}),
    (LOCAL, {"cell": "record-central"}),
    (LOCAL, {"adaptive_clipping": True}),
    (LOCAL, {"attempt": 2}),
    (UPDATES, {"sensitivity": 1e6}),
]


@pytest.mark.parametrize(
    ("config", "changes"), FIELDS, ids=lambda value: " ".join(value) if type(value) is dict else ""
)
def test_an_assignment_that_is_not_the_sites_own_is_refused_in_every_field(
    config: Config, changes: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = attack(Sites(tmp_path, config), monkeypatch, asking(**changes))
    assert refused_by_all(outcome), outcome.failure
    # It is the value that they refuse, by its name, and not something else that is wrong with the message.
    told = outcome.grid.errors()
    # Another cell may be billed at another rate, which is found first.
    named = {*changes, *(("sample_rate", "num_steps") if "cell" in changes else ())}
    assert all(any(name in reason for name in named) for reason in told), told


def test_nobody_trains_with_anothers_assignment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose noise would be drawn, and which site would pay, is what the name in it says."""

    def anothers(name: str, message: Message) -> None:
        if wire.ASSIGNMENT in message.content:
            assignment = dict(message.content[wire.ASSIGNMENT])  # type: ignore[call-overload]
            message.content[wire.ASSIGNMENT] = ConfigRecord({**assignment, "hospital-id": VICTIM})

    outcome = attack(Sites(tmp_path, LOCAL), monkeypatch, Attack(message=anothers))
    assert outcome.moved is None
    assert outcome.grid.sent("mask") == {VICTIM}
    refused = [reason for name in set(NAMES) - {VICTIM} for reason in outcome.grid.errors(name)]
    assert all("the assignment is hospital north's" in reason for reason in refused)


def test_no_field_of_an_assignment_is_left_to_the_server() -> None:
    """Its noise is bounded by what it costs; a weight says what the server makes of the sum, and sways nothing here."""
    tried = {name for _, changes in FIELDS for name in changes} | {"noise_multiplier", "round_number"}
    known = {item.name for kind in (Assignment, Schedule, StepEvent) for item in fields(kind)} - {"schedule", "event"}
    assert known - tried == {"weight", "hospital_id"}


@pytest.mark.parametrize("changes", [{"num_steps": 1}, {"num_steps": 3}, {"sample_rate": 0.1}])
def test_a_bill_that_is_not_of_the_schedule_is_refused(
    changes: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Attack(assignment=lambda asked: replace(asked, event=replace(asked.event, **changes)))
    outcome = attack(Sites(tmp_path, LOCAL), monkeypatch, plan)
    assert refused_by_all(outcome), outcome.failure
    assert all(next(iter(changes)) in reason for reason in outcome.grid.errors())


@pytest.mark.parametrize("round_number", [3, 10_001, 2**40])
def test_only_planned_rounds_are_answered(round_number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites = Sites(tmp_path / "own", settings())
    plan = Attack(
        assignment=lambda assignment: changed_assignment(assignment, round_number=round_number),
        secure=lambda secure: replace(secure, round_number=round_number),
    )
    outcome = attack(sites, monkeypatch, plan)
    assert refused_by_all(outcome), outcome.failure
    assert not outcome.grid.sent("advertise")
    without_own_checks(monkeypatch)
    control = attack(Sites(tmp_path / "trusting", settings()), monkeypatch, plan)
    assert control.grid.sent("mask") == set(NAMES)


def test_a_run_more_than_agreed_is_refused_after_a_restart_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites = Sites(tmp_path, LOCAL, runs=2)
    outcomes = [attack(sites, monkeypatch, Attack()) for _ in range(3)]
    assert [len(outcome.grid.sent("mask")) for outcome in outcomes] == [len(NAMES), len(NAMES), 0]
    assert all("runs" in reason for reason in outcomes[2].grid.errors())


def test_a_site_that_lost_no_file_answers_no_round_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server says the same run and the same round again, after all SuperNodes were started anew."""
    sites = Sites(tmp_path, LOCAL, runs=5)
    same = Attack(secure=lambda secure: replace(secure, run_id="the same"))
    first, second = (attack(sites, monkeypatch, same) for _ in range(2))
    assert first.grid.sent("mask") == set(NAMES)
    assert not second.grid.sent("mask")


@pytest.mark.parametrize("payload", ["values", "parameters"])
def test_another_payload_or_bound_is_refused(payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Residues taken as values would say, coordinate by coordinate, how many sites have a negative one."""
    plan = Attack(secure=lambda secure: replace(secure, payload=payload, max_update=2.0**32, max_weight=1.0))
    outcome = attack(Sites(tmp_path / "own", DISTRIBUTED), monkeypatch, plan)
    assert refused_by_all(outcome)
    assert not outcome.grid.sent("advertise")
    without_own_checks(monkeypatch)
    control = attack(Sites(tmp_path / "trusting", DISTRIBUTED), monkeypatch, plan)
    assert control.grid.sent("mask") == set(NAMES)


@pytest.mark.parametrize("bound", ["max_update", "max_weight"])
def test_refused_bounds_say_nothing_of_what_they_bound(
    bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten rounds of halving found a weight exactly, and twenty-three a coordinate."""
    sites, told = Sites(tmp_path, LOCAL), set()
    for exponent in range(-25, 25, 6):

        def moved(secure: SecureSum, value: float = 2.0**exponent) -> SecureSum:
            return replace(secure, terms=replace(secure.terms, **{bound: value}))

        outcome = attack(sites, monkeypatch, Attack(secure=moved))
        assert refused_by_all(outcome)
        assert not outcome.grid.sent("advertise")
        told |= {reason.replace(f"{2.0**exponent}", "BOUND") for reason in outcome.grid.errors()}
    assert len(told) == 1, told
    # Asked with the agreed ones, they answer: what was refused was the bound.
    assert attack(sites, monkeypatch, Attack()).grid.sent("mask") == set(NAMES)


def test_a_site_that_is_not_drawn_answers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It paid for the rounds that it is drawn for: a server that asked for it in every one would get more."""
    config = settings(training={"num-rounds": 1, "fraction-train": 0.75})
    drawn = set(draw_cohort(config, NAMES, 1))
    assert len(drawn) == 3
    monkeypatch.setattr("wardround.server.plan.budget.draw_cohort", lambda *given: NAMES)
    outcome = attack(Sites(tmp_path / "own", config), monkeypatch, Attack())
    assert outcome.grid.sent("advertise") == outcome.grid.sent("mask") == drawn
    without_own_checks(monkeypatch)
    control = attack(Sites(tmp_path / "trusting", config), monkeypatch, Attack())
    assert control.grid.sent("mask") == set(NAMES)
