"""Noise that cancels itself between hospitals that answer as real sites do, each of which knows its own turn."""

from pathlib import Path
from typing import Any

import pytest
from site_runs import NAMES, config_between_sites, run_between_sites
from small_runs import charges_of, profiles_of

from wardround.clients.assignments import Part, check_assignment
from wardround.config import Config
from wardround.errors import Refusal
from wardround.server.plan.planning import assign_round, plan_federation
from wardround.server.record.verify import verify_run

TURNS: dict[str, dict[str, Any]] = {
    "training": {"num-rounds": 4, "cohorts": "round-robin", "fraction-train": 0.5},
    "privacy": {"unit": "hospital", "placement": "central", "noise-correlation": "banded", "target-delta": 1e-2},
    "aggregation": {"min-survivors": 2},
}


def config_in_turns() -> Config:
    return config_between_sites(**TURNS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], set[str]]:
    folder, sent = tmp_path_factory.mktemp("sites") / "run", set[str]()
    return folder, run_between_sites(folder, config_in_turns(), sent=sent), sent


def test_sites_take_turns_and_their_bill_is_that_of_independent_noise(whole: Any, tmp_path: Path) -> None:
    folder, summary, _ = whole
    assert summary["status"] == "done" and summary["mechanism"] == "banded-gaussian"
    assert verify_run(folder)[0] == []
    charged = charges_of(folder, "planned")
    assert sorted(charged) == sorted(set(charged)) and len(charged) == 8
    groups = [{name for number, name in charged if number == of} for of in (1, 2, 3, 4)]
    assert groups[0] == groups[2] and groups[1] == groups[3] and groups[0] | groups[1] == set(NAMES)
    independent = config_between_sites(**TURNS | {"privacy": TURNS["privacy"] | {"noise-correlation": "none"}})
    assert run_between_sites(tmp_path / "run", independent)["epsilon"] == summary["epsilon"]


def test_no_noise_travels_and_none_is_left_behind(whole: Any) -> None:
    folder, _, sent = whole
    assert not [name for name in sent if "noise/" in name or "columns" in name]
    assert not list((folder / "checkpoints").glob("noise*"))


def test_a_run_that_is_taken_up_again_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_between_sites(tmp_path / "run", config_in_turns(), num_rounds=2)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("noise*")] == ["noise-000002.safetensors"]
    assert run_between_sites(tmp_path / "run", config_in_turns())["status"] == "done"
    assert verify_run(tmp_path / "run")[0] == []
    assert not list((tmp_path / "run" / "checkpoints").glob("noise*"))


def test_a_site_refuses_a_round_that_is_not_its_turn() -> None:
    sizes = (20, 30, 40, 50)
    config = config_in_turns()
    plan = plan_federation(config, profiles_of(sizes), 8)
    noise = {hospital.profile.hospital_id: hospital.noise_multiplier for hospital in plan.hospitals}
    refused = set()
    for size, name in zip(sizes, plan.names, strict=True):
        part = Part(
            config=config, hospital_id=name, num_train=size, names=plan.names, num_parameters=8, num_records=sum(sizes)
        )
        for number in (1, 2):
            # Asked beside whoever else; the weight it is told is of two.
            cohort = [other for other in plan.names if part.takes_part_in(number) or other in (name, plan.names[0])]
            assignments = {a.hospital_id: a for a in assign_round(plan, cohort, number, noise)}
            if not part.takes_part_in(number):
                with pytest.raises(Refusal, match="round_number"):
                    check_assignment(assignments[name], part)
                refused.add(name)
    assert refused == set(plan.names)
