"""What a site holds the terms of a round to, and that it never spends more than its settings say."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from made_up import changed_assignment
from planned_parts import CELLS, asked_by, config_of, part_of
from site_files import site_config
from small_runs import profiles_of

from wardround.clients.assignments import check_sum
from wardround.clients.released import Released
from wardround.clients.site_rounds import check_history, check_round, check_spending, event_in
from wardround.config import Config
from wardround.errors import DataError, Refusal
from wardround.identity import agreed_digest
from wardround.privacy.accounting import headline_epsilon
from wardround.rounds import Assignment
from wardround.secagg import Terms, simulated_roster
from wardround.server.plan.planning import plan_federation
from wardround.server.round.secure_terms import secure_sum_for
from wardround.step_events import StepEvent

SIZES, NAME = (20, 40, 50), "hospital-001"


def terms_by(config: Config, assignments: Mapping[str, Assignment]) -> Terms:
    """Return the terms that the product's own server proposes."""
    plan = plan_federation(config, profiles_of(SIZES), 8)
    secure = secure_sum_for(
        plan,
        tuple(assignments.values()),
        run_id="run",
        roster=simulated_roster(7, plan.names, min_survivors=2, max_colluding=0),
        silent={},
    )
    return secure.terms


@pytest.mark.parametrize(("unit", "placement", "adaptive"), [("record", "none", False), *CELLS])
@pytest.mark.parametrize("noise_multiplier", [1.0, 3.7])
def test_terms_of_an_honest_server_are_each_sites_own(
    unit: str, placement: str, adaptive: bool, noise_multiplier: float
) -> None:
    config = config_of(unit, placement, adaptive)
    asked = asked_by(config, noise_multiplier, 0.37 if adaptive else None)
    terms, agreed = terms_by(config, asked), agreed_digest(config)
    for name, assignment in asked.items():
        for told in (None, assignment):
            check_sum(config, terms, told, agreed=agreed)
            check_round(part_of(config, name), terms, told)


@pytest.mark.parametrize(("unit", "placement", "adaptive"), [("record", "none", False), *CELLS])
@pytest.mark.parametrize("factor", [1e-6, 0.5, 1.001, 1e6])
@pytest.mark.parametrize("bound", ["max_update", "max_weight"])
def test_a_bound_that_a_server_moves_is_refused(
    unit: str, placement: str, adaptive: bool, factor: float, bound: str
) -> None:
    """Larger than a noised update needs it may be: what is held to it has its noise already."""
    config = config_of(unit, placement, adaptive)
    asked = asked_by(config)
    terms = terms_by(config, asked)
    if terms.payload == "residues":
        terms = replace(terms, max_update=factor, max_weight=factor)
    else:
        terms = replace(terms, **{bound: getattr(terms, bound) * factor})
    if bound == "max_update" and (unit, placement) == ("hospital", "local") and factor > 1:
        check_sum(config, terms, asked[NAME], agreed=agreed_digest(config))
        return
    with pytest.raises(Refusal, match=r"the terms' max_(update|weight)"):
        check_sum(config, terms, asked[NAME], agreed=agreed_digest(config))
    if not (adaptive and bound == "max_update" and terms.payload != "residues"):
        with pytest.raises(Refusal, match=r"the terms' max_(update|weight)"):
            check_sum(config, terms, None, agreed=agreed_digest(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings_digest": bytes(32)}, "the server's settings are not this hospital's"),
        ({"payload": "values"}, "the terms' payload = values, and this hospital's settings say parameters"),
        ({"payload": "residues", "max_update": 0.0, "max_weight": 0.0}, "the terms' payload = residues"),
    ],
)
def test_other_terms_are_refused_before_keys_are_advertised(changes: dict[str, Any], message: str) -> None:
    config = config_of("record", "local")
    terms = replace(terms_by(config, asked_by(config)), **changes)
    with pytest.raises(Refusal, match=message):
        check_sum(config, terms, None, agreed=agreed_digest(config))


@pytest.mark.parametrize("round_number", [3, 10_001])
def test_a_round_beyond_the_plan_is_refused_before_keys_are_advertised(round_number: int) -> None:
    config = config_of("record", "local")
    terms = replace(terms_by(config, asked_by(config)), round_number=round_number)
    with pytest.raises(Refusal, match=f"round_number = {round_number} must be one of 1 to 2"):
        check_round(part_of(config, NAME), terms, None)


@pytest.mark.parametrize("changes", [{"attempt": 2}, {"round_number": 2}])
def test_rounds_are_not_redone_nor_mixed_up(changes: dict[str, int]) -> None:
    config = config_of("record", "local")
    asked = asked_by(config)
    with pytest.raises(Refusal, match=f"the assignment's {next(iter(changes))} = 2 must be 1"):
        check_round(part_of(config, NAME), terms_by(config, asked), replace(asked[NAME], **changes))


@pytest.mark.parametrize(
    ("unit", "target_delta", "message"),
    [("record", 0.03, "1/40"), ("hospital", 0.02, "<= 0.01"), ("hospital", 0.5, "1/3")],
)
def test_a_delta_that_promises_nothing_is_refused(unit: str, target_delta: float, message: str) -> None:
    config = config_of(unit, "local", privacy={"target-delta": target_delta})
    terms = terms_by(config_of(unit, "local"), asked_by(config_of(unit, "local")))
    with pytest.raises(Refusal, match=message):
        check_round(part_of(config, NAME), terms, None)


TARGETS = [("record", "local"), ("record", "distributed"), ("hospital", "local"), ("hospital", "distributed")]


def targeting(unit: str, placement: str, num_rounds: int = 4, **privacy: Any) -> Config:
    wanted = {"noise-multiplier": None, "target-epsilon": 1.0} | privacy
    return config_of(unit, placement, training={"num-rounds": num_rounds}, privacy=wanted)


def planned_noise(config: Config) -> dict[str, float]:
    plan = plan_federation(config, profiles_of(SIZES), 8)
    return {hospital.profile.hospital_id: hospital.noise_multiplier for hospital in plan.hospitals}


@pytest.mark.parametrize(("unit", "placement"), TARGETS)
def test_the_noise_that_a_server_plans_for_a_target_is_accepted_in_every_round(unit: str, placement: str) -> None:
    config = targeting(unit, placement)
    for name, noise_multiplier in planned_noise(config).items():
        part = part_of(config, name)
        spent: list[Any] = []
        for round_number in range(1, 5):
            assignment = changed_assignment(asked_by(config, noise_multiplier)[name], round_number=round_number)
            check_spending(part, assignment, spent)
            spent.append(event_in(part, assignment))
        assert headline_epsilon(spent, 1e-3) <= 1.0


@pytest.mark.parametrize(("unit", "placement"), TARGETS)
@pytest.mark.parametrize("share", [0.98, 0.5, 1e-3, 1e-12])
def test_less_noise_than_a_target_takes_is_refused_in_the_first_round(unit: str, placement: str, share: float) -> None:
    """A round of it alone may be within the target; all that are planned would not be."""
    config = targeting(unit, placement)
    noise_multiplier = share * planned_noise(config)[NAME]
    assignment = asked_by(config, noise_multiplier)[NAME]
    with pytest.raises(Refusal, match=r"would take this site to epsilon .*, and target-epsilon = 1 "):
        check_spending(part_of(config, NAME), assignment, [])


def test_what_was_spent_counts() -> None:
    """Rounds with little noise can't be followed by others as if nothing had been spent."""
    config = targeting("record", "local")
    part, noise_multiplier = part_of(config, NAME), planned_noise(config)[NAME]
    assignment = changed_assignment(asked_by(config, noise_multiplier)[NAME], round_number=4)
    three = event_in(part, changed_assignment(assignment, noise_multiplier=0.7 * noise_multiplier))
    assert three is not None
    check_spending(part, assignment, [replace(three, num_steps=0)])
    with pytest.raises(Refusal, match="target-epsilon"):
        check_spending(part, assignment, [replace(three, num_steps=6)])


def test_a_budget_is_held_with_the_round_that_is_asked_for() -> None:
    config = config_of("record", "local", training={"num-rounds": 50}, privacy={"budget-epsilon": 6.0})
    part = part_of(config, NAME)
    spent: list[Any] = []
    for round_number in range(1, 51):
        assignment = changed_assignment(asked_by(config)[NAME], round_number=round_number)
        try:
            check_spending(part, assignment, spent)
        except Refusal as refusal:
            assert "budget-epsilon = 6 " in str(refusal)
            break
        spent.append(event_in(part, assignment))
    assert headline_epsilon(spent, 1e-3) <= 6.0 < headline_epsilon([*spent, spent[0]], 1e-3)
    assert 0 < len(spent) < 50


def test_without_privacy_there_is_nothing_to_spend() -> None:
    config = config_of("record", "none")
    assignment = asked_by(config)[NAME]
    check_spending(part_of(config, NAME), assignment, [])
    assert event_in(part_of(config, NAME), assignment) is None


OURS, OTHERS = "ab" * 32, "cd" * 32


def released(run_id: str, round_number: int, settings: str = OURS, data: str = "data") -> Released:
    event = StepEvent(noise_multiplier=1.0, sample_rate=0.5)
    return Released(run_id=run_id, round_number=round_number, settings=settings, data=data, event=event)


def history(run_id: str, round_number: int, before: list[Released], runs: int = 2, data: str = "data") -> int:
    return len(check_history(released(run_id, round_number, data=data), before, runs=runs))


def test_a_run_more_than_agreed_is_refused_and_no_run_of_other_settings_counts() -> None:
    before = [released("one", 1), released("two", 1), released("one", 2), released("three", 1, OTHERS)]
    assert history("one", 3, before) == 2
    assert history("two", 2, before) == 1
    assert history("three", 1, before, runs=3) == 0
    for run_id in ("three", "four", ""):
        with pytest.raises(Refusal, match="has answered 2 runs of these settings, and runs = 2 is the most"):
            history(run_id, 1, before)


def test_a_round_of_a_run_is_released_once() -> None:
    with pytest.raises(Refusal, match="round 2 of this run was released before"):
        history("one", 2, [released("one", 1), released("one", 2)])
    assert history("two", 2, [released("one", 2)]) == 0


def test_data_that_changed_since_the_run_began_are_no_refusals_matter_to_tell() -> None:
    """The text of this error never leaves a site, as it is no refusal."""
    before = [released("one", 1)]
    with pytest.raises(DataError, match=r"are not those that run one began with"):
        history("one", 2, before, data="other")
    assert history("two", 1, before, data="other") == 0
    assert not issubclass(DataError, Refusal)


def test_bounds_hang_on_max_records_and_not_on_who_is_in_the_round() -> None:
    """So that each site computes them alone: with one hospital less, or a smaller one, they stay what they are."""
    config = site_config(privacy={"placement": "central"}, training={"local-steps": None})
    asked = asked_by(config)
    fewer = {name: asked[name] for name in (NAME, "hospital-000")}
    assert terms_by(config, fewer).max_update == terms_by(config, asked).max_update
    assert math.isclose(terms_by(config, asked).max_update, 50.0, rel_tol=1e-4)
