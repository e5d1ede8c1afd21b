"""What the other placements would cost: the figures of theory, at one epsilon, units apart."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from made_up import PRIVATE
from small_runs import profiles_of, small_config
from typer.testing import CliRunner

from wardround.agreed.cohorts import draw_cohort
from wardround.cli import app
from wardround.config import Config
from wardround.privacy.accounting import headline_epsilon
from wardround.server.plan.alternatives import PlacementRow, compare_placements, plan_notes
from wardround.server.plan.planning import plan_federation
from wardround.simulations.runs import run
from wardround.step_events import StepEvent

COMPARED = {"noise-multiplier": None, "target-epsilon": 2.0, "target-delta": 1e-4}


def compared(config: Config, sizes: list[int], num_parameters: int = 62) -> dict[str, dict[str, PlacementRow]]:
    rows = compare_placements(plan_federation(config, profiles_of(sizes), num_parameters))
    return {unit: {row.placement: row for row in of} for unit, of in rows.items()}


@pytest.mark.parametrize("n", [4, 25, 100])
def test_the_gap_between_local_and_central_is_the_root_of_n(n: int) -> None:
    rows = compared(small_config(privacy=COMPARED), [400] * n)
    record, hospital = rows["record"], rows["hospital"]
    assert record["local"].stddev_on_average / record["central"].stddev_on_average == pytest.approx(
        math.sqrt(n), rel=1e-3
    )
    # At hospital level neighbours are twice as far apart where the noise is local.
    assert hospital["local"].stddev_on_average / hospital["central"].stddev_on_average == pytest.approx(
        2 * math.sqrt(n), rel=1e-3
    )
    for unit in (record, hospital):
        # Integer noise is billed by Renyi divergences, Gaussian noise by its loss distribution.
        ratio = unit["distributed"].stddev_on_average / unit["central"].stddev_on_average
        assert 1.03 < ratio < 1.25
        assert unit["distributed"].num_shares == n


def test_every_row_spends_the_same_epsilon_at_the_worst_hospital() -> None:
    config = small_config(privacy=COMPARED, training={"num-rounds": 10, "local-steps": 3, "sample-rate": 0.1})
    rows = compared(config, [100, 300, 600])
    for unit, of in rows.items():
        for placement, row in of.items():
            noise = row.noise_multiplier[0]
            steps = 30 if unit == "record" else 10
            rate = 0.1 if unit == "record" else 1.0
            if placement != "distributed":
                spent = headline_epsilon([StepEvent(noise_multiplier=noise, sample_rate=rate, num_steps=steps)], 1e-4)
                assert spent == pytest.approx(2.0, rel=1e-3) and spent <= 2.0
            assert row.epsilon == 2.0 and row.relation == PRIVATE[unit, placement].relation
            assert row.readers["server"] == ("inf" if placement == "central" else "bill")


def test_without_a_target_the_epsilon_of_the_noise_is_compared() -> None:
    config = small_config()
    planned = plan_federation(config, profiles_of([200, 400]), 62)
    rows = compare_placements(planned)
    assert {row.epsilon for of in rows.values() for row in of} == {planned.epsilon_max}
    assert rows["record"][0].noise_multiplier == pytest.approx([1.0, 1.0], rel=2e-4)


def test_rows_without_an_answer_say_why() -> None:
    overlap = compared(small_config(privacy=COMPARED | {"patient-overlap": 2}), [200, 300])["record"]
    assert overlap["local"].reason == "" and overlap["central"].noise_multiplier is None
    assert "no bound for a patient in several hospitals" in overlap["central"].reason
    assert compared(small_config(privacy={"noise-multiplier": 0.0}), [200, 300]) == {}
    none = small_config(privacy={"noise-multiplier": None, "placement": "none"})
    assert compared(none, [200, 300]) == {} and plan_notes(plan_federation(none, profiles_of([9, 9]))) == ()


def test_notes_warn_of_one_share_and_of_few_hospitals() -> None:
    config = small_config(
        privacy={"unit": "hospital", "placement": "distributed"}, aggregation={"protocol": "secure-sum"}
    )
    one_share, few = plan_notes(plan_federation(config, profiles_of([200] * 4), 62))
    assert "min-survivors = 1 every hospital adds the whole noise" in one_share
    # Four hospitals each add noise of 1 clip a coordinate: 2 / 4 on the mean, times the root of 62 coordinates.
    assert f"{0.5 * math.sqrt(62):.3g} times as large" in few


def test_plan_prints_and_writes_it() -> None:
    runner = CliRunner()
    arguments = ["plan", "--set", "simulation.engine=inline", "--target-epsilon", "3"]
    text = runner.invoke(app, arguments)
    assert text.exit_code == 0, text.output
    assert "At epsilon 3.00 for records" in text.output and "whole hospitals" in text.output
    assert "against each reader: the server that runs the training 3.00" in " ".join(text.output.split())
    told = json.loads(runner.invoke(app, [*arguments, "--json"]).output)
    assert [row["placement"] for row in told["placements"]["hospital"]] == ["local", "distributed", "central"]
    assert set(told["epsilon"]["readers"]) == {"server", "hospital", "recipient"}


def test_the_plans_own_placement_is_listed_with_its_own_noise_whatever_the_deltas() -> None:
    deltas = {"hospital-000": 1e-6, "hospital-001": 1e-3}
    config = small_config(privacy={"noise-multiplier": 1.0, "target-delta": deltas})
    plan = plan_federation(config, profiles_of([400, 400]), 62)
    row = compared(config, [400, 400])["record"]["local"]
    assert row.epsilon == plan.epsilon_max
    assert row.noise_multiplier == (1.0, 1.0)


def test_a_large_delta_is_warned_of_in_plan_and_summary(tmp_path: Path) -> None:
    config = small_config(privacy={"target-delta": 1e-3}, training={"num-rounds": 1})
    (warning,) = plan_notes(plan_federation(config, profiles_of([200, 300]), 62))
    assert "target-delta = 0.001 is large" in warning
    runner = CliRunner()
    output = " ".join(runner.invoke(app, ["plan", "--set", "privacy.target-delta=5e-3"]).output.split())
    assert "target-delta = 0.005 is large" in output and "set [privacy] target-delta to 0.001 or less" in output
    notes = run(config, out=tmp_path / "run").summary["notes"]
    assert sum("target-delta = 0.001 is large" in note for note in notes) == 1
    assert plan_notes(plan_federation(small_config(), profiles_of([200, 300]), 62)) == ()


@pytest.mark.parametrize("privacy", [{}, {"unit": "hospital", "target-delta": 1e-3}])
def test_a_first_cohort_of_which_nobody_is_there_has_notes_all_the_same(privacy: dict[str, Any]) -> None:
    config = small_config(training={"fraction-train": 0.2, "num-rounds": 9}, privacy=privacy)
    names = [profile.hospital_id for profile in profiles_of([200] * 10)]
    first = draw_cohort(config, names, 1)
    there = [profile for profile in profiles_of([200] * 10) if profile.hospital_id not in first]
    assert plan_notes(plan_federation(config, there, 62, drawn_from=names)) == ()


def test_other_cells_than_microbatches_are_compared_by_records() -> None:
    plain = compare_placements(plan_federation(small_config(privacy=COMPARED), profiles_of([400] * 4), 62))
    groups = small_config(privacy=COMPARED | {"microbatch-size": 4})
    grouped = compare_placements(plan_federation(groups, profiles_of([400] * 4), 62))
    *others, own = grouped["record"]
    assert tuple(others) == tuple(plain["record"]) and grouped["hospital"] == plain["hospital"]
    # Relative to two clips, and divided by a quarter of the records.
    assert own.mechanism == "poisson-subsampled-microbatch-gaussian"
    stddev = 2 * own.noise_multiplier[0] / (0.1 * 100 * math.sqrt(4))
    assert own.stddev_on_average == pytest.approx(stddev, rel=1e-6)
