"""Cohorts that take turns: groups of a seeded permutation, and nobody again before all others."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from small_runs import rows_of, small_config

from wardround.agreed.cohorts import cohort_sizes, draw_cohort, rounds_apart, rounds_joined
from wardround.config import Config, config_to_toml
from wardround.errors import ConfigError
from wardround.identity import settings_digest
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import run


def turns(fraction: float, seed: int = 7, num_rounds: int = 8) -> Config:
    training = {"cohorts": "round-robin", "fraction-train": fraction, "num-rounds": num_rounds}
    return small_config(training=training, federation={"seed": seed})


def names_of(number: int) -> list[str]:
    return [f"hospital-{index:03d}" for index in range(number)]


@given(
    number=some.integers(1, 60), fraction=some.floats(0.01, 1.0), seed=some.integers(0, 99), first=some.integers(1, 70)
)
@settings(max_examples=80, deadline=None)
def test_nobody_takes_part_again_before_all_others_have(number: int, fraction: float, seed: int, first: int) -> None:
    config, names = turns(fraction, seed), names_of(number)
    apart, (least, most) = rounds_apart(config, number), cohort_sizes(config, number)
    assert apart == number // max(1, round(fraction * number))
    cohorts = [draw_cohort(config, names, first + turn) for turn in range(apart)]
    assert sorted(name for cohort in cohorts for name in cohort) == names
    assert {len(cohort) for cohort in cohorts} <= {least, most}
    assert most - least <= 1
    assert draw_cohort(config, names, first + apart) == cohorts[0]
    # Noise that hospitals share is sized by the first round's cohort.
    assert len(draw_cohort(config, names, 1)) == most


@given(some.permutations(names_of(10)), some.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_groups_do_not_depend_on_the_order_of_names(names: list[str], round_number: int) -> None:
    config = turns(0.3)
    cohort = draw_cohort(config, names, round_number)
    assert cohort == draw_cohort(config, names_of(10), round_number)
    assert list(cohort) == sorted(cohort)


def test_groups_are_others_with_another_seed() -> None:
    drawn = {draw_cohort(turns(0.3, seed), names_of(10), 1) for seed in range(20)}
    assert len(drawn) > 10


def test_rounds_joined_are_counted_from_any_round() -> None:
    config, names = turns(0.3, num_rounds=20), names_of(10)
    for first in (1, 2, 20):
        counted = {name: sum(name in draw_cohort(config, names, n) for n in range(first, 21)) for name in names}
        assert rounds_joined(config, names, first_round=first) == counted
    assert rounds_joined(turns(1.0), names) == dict.fromkeys(names, 8)


def test_random_cohorts_may_draw_anyone_in_the_next_round() -> None:
    config = small_config(training={"fraction-train": 0.3})
    assert (rounds_apart(config, 10), cohort_sizes(config, 10)) == (1, (3, 3))


def test_settings_without_the_key_have_the_digest_they_had() -> None:
    assert "cohorts" not in config_to_toml(small_config())
    assert settings_digest(small_config(training={"cohorts": "random"})) == settings_digest(small_config())
    assert settings_digest(turns(1.0)) != settings_digest(small_config())


def test_other_words_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"cohorts = \"round\" must be one of random, round-robin"):
        small_config(training={"cohorts": "round"})


def test_more_survivors_than_the_smallest_group_are_refused(tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "federation": {"num-hospitals": 5},
        "training": {"cohorts": "round-robin", "fraction-train": 0.4},
        "aggregation": {"min-survivors": 3},
    }
    with pytest.raises(ConfigError, match=r"min-survivors = 3 must be <= 2"):
        run(small_config(**sections), out=tmp_path / "run")


CELLS = [
    ("record", "local", "plain"),
    ("record", "distributed", "secure-sum"),
    ("record", "central", "plain"),
    ("hospital", "local", "plain"),
    ("hospital", "distributed", "secagg+"),
    ("hospital", "central", "secagg+"),
    ("record", "none", "plain"),
]


@pytest.mark.parametrize(("unit", "placement", "protocol"), CELLS)
def test_every_cell_takes_turns(unit: str, placement: str, protocol: str, tmp_path: Path) -> None:
    is_gradient = unit == "record" and placement in ("central", "distributed")
    noise = None if placement == "none" else 2.0
    config = small_config(
        federation={"num-hospitals": 5},
        training={
            "num-rounds": 3,
            "cohorts": "round-robin",
            "fraction-train": 0.4,
            "local-steps": None if is_gradient else 2,
        },
        privacy={"unit": unit, "placement": placement, "noise-multiplier": noise},
        aggregation={"protocol": protocol, "min-survivors": 2},
    )
    run(config, out=tmp_path / "run")
    rows = rows_of(tmp_path / "run" / "hospitals.csv")
    selected = [{row["hospital"] for row in rows if row["round"] == n and row["selected"] == "1"} for n in "123"]
    assert [len(group) for group in selected] == [3, 2, 3]
    assert selected[0] | selected[1] == {row["hospital"] for row in rows}
    assert selected[2] == selected[0]
    assert verify_run(tmp_path / "run")[0] == []
