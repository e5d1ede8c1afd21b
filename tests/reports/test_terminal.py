"""What the terminal shows: tables that fit, and a progress that says what it knows."""

import io
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_runs import profiles_of, small_config

from wardround.config import FederationConfig
from wardround.datasets import SOURCES, describe, load_federation
from wardround.reports.data_tables import print_catalogue, print_description
from wardround.reports.progress import Progress, round_text
from wardround.reports.terminal import print_plan, print_summary
from wardround.server.plan.planning import plan_federation

WriteRun = Callable[..., Path]
MANY = {f"hospital-{number}": 20 + 7 * number for number in range(1, 119)}


def console(width: int = 100, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False)


def shown(where: Console) -> str:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("changes", [{}, {"task": "regression"}, {"placement": "none"}, {"hospitals": MANY}])
def test_the_summary_fits_and_is_complete(write_run: WriteRun, changes: dict[str, Any], width: int) -> None:
    where = console(width)
    print_summary(write_run(**changes), where)
    lines = shown(where).splitlines()
    assert max(len(line) for line in lines) <= width
    names = changes.get("hospitals", {"Cleveland": 0, "Hungary": 0, "Long Beach VA": 0, "Switzerland": 0})
    listed = [name for name in names if any(line.startswith(f"{name} ") for line in lines)]
    assert len(listed) == min(20, len(names))
    assert any(line.startswith(f"all {len(names)}") for line in lines)
    if len(names) > 20:
        assert f"{len(names) - 20} more hospitals" in shown(where)
    assert ("without privacy" in shown(where)) == (changes.get("placement") == "none")


def test_equal_epsilons_stand_in_natural_order(write_run: WriteRun) -> None:
    where = console()
    names = {f"hospital-{number}": 50 for number in (10, 9, 2, 1)}
    print_summary(write_run(hospitals=names), where)
    order = [line.split()[0] for line in shown(where).splitlines() if line.startswith("hospital-")]
    assert order == ["hospital-1", "hospital-2", "hospital-9", "hospital-10"]


def test_control_characters_in_a_name_do_not_reach_the_terminal(write_run: WriteRun) -> None:
    where = console()
    print_summary(write_run(hospitals={"evil\x1b[31m": 50, "[red]good": 60}), where)
    assert "\x1b" not in shown(where)
    assert "[red]good" in shown(where)


def test_the_plan_has_the_largest_epsilon_first() -> None:
    config = small_config(training={"sample-rate": None, "batch-size": 8})
    plan = plan_federation(config, profiles_of([400, 100]))
    where = console()
    print_plan(plan, where)
    text = shown(where)
    assert text.index("\nhospital-001 ") < text.index("\nhospital-000 ")
    # An upper bound is rounded up.
    largest = math.ceil(max(hospital.epsilon for hospital in plan.hospitals) * 100) / 100
    assert f"Largest epsilon {largest:.2f}, total {largest:.2f} after all rounds, at delta " in text
    assert "Protected is one record" in text and "If a coin toss decides whether a record was used" in text


def test_a_plan_without_noise_promises_nothing() -> None:
    config = small_config(privacy={"placement": "none", "noise-multiplier": None})
    where = console()
    print_plan(plan_federation(config, profiles_of([100])), where)
    assert "epsilon is infinite" in shown(where) and "Protected" not in shown(where)


@pytest.mark.parametrize("record_is", ["row", "patient"])
def test_a_plan_and_what_other_noise_would_do_count_in_the_unit(record_is: str) -> None:
    profiles = [replace(profile, record_is=record_is) for profile in profiles_of([100, 50])]
    plan = plan_federation(small_config(), profiles)
    where = console(200)
    print_plan(plan, where)
    noun = "patient" if record_is == "patient" else "record"
    assert re.search(rf"^hospital +{noun}s ", shown(where), re.M)
    assert f"for {noun}s: noise on the average gradient of a step" in shown(where)
    assert "for whole hospitals: noise on the average update of one round" in shown(where)
    assert len(re.findall(r"^(local|distributed|central) ", shown(where), re.M)) == 6


def test_before_the_first_round_no_bound_is_claimed_that_the_next_line_takes_back() -> None:
    where = console()
    with Progress("round", console=where) as progress:
        progress.show(0, 1, round_text(0.5, "auc", 0.8, 0.0))
        progress.show(1, 1, round_text(0.5, "auc", 0.8, math.inf))
    assert "nothing spent yet" in shown(where) and "<=" not in shown(where) and "no privacy" in shown(where)


def test_a_terminal_gets_a_bar_and_a_file_gets_lines_now_and_then() -> None:
    bar = console(terminal=True)
    with Progress("round", console=bar) as progress:
        for number in range(4):
            progress.show(number, 3, round_text(0.5, "auc", 0.8, 1.25))
    assert "round 3/3" in shown(bar)
    assert "epsilon <= 1.25 (Renyi)" in shown(bar)
    seconds = iter(range(1000))
    lines = console()
    with Progress("round", console=lines, clock=lambda: next(seconds) * 0.01) as progress:
        for number in range(101):
            progress.show(number, 100, round_text(0.5, "auc", 0.8, 1.25))
    printed = shown(lines).splitlines()
    assert 10 <= len(printed) <= 12
    assert printed[0].startswith("round 0/100")
    assert printed[-1].startswith("round 100/100")
    assert "left" in printed[5]


def test_quiet_is_quiet_and_unknown_is_not_a_number() -> None:
    where = console()
    with Progress("round", quiet=True, console=where) as progress:
        progress.show(1, 2, round_text(0.5, "auc", 0.8, 1.0))
    assert shown(where) == ""
    with Progress("round", console=where) as progress:
        progress.show(0, 2, round_text(None, "auc", math.nan, math.inf))
    assert "nan" not in shown(where)
    assert "no privacy" in shown(where)


def test_data_tables() -> None:
    where = console(80)
    print_catalogue(SOURCES.values(), where)
    for name in ("breast-cancer", "heart-disease", "ist", "synthetic-regression", "csv"):
        assert name in shown(where)
    assert max(len(line) for line in shown(where).splitlines()) <= 80
    where = console(100)
    federation = load_federation(FederationConfig(num_hospitals=60))
    print_description(describe(federation), federation.notes, ["one", "two"], where)
    text = shown(where)
    assert "and 20 smaller hospitals" in text
    assert "all 60" in text
    assert "569" in text
    assert "left out: 2 hospitals" in text
