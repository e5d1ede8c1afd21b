"""With max-records every bound is that of the largest hospital there may be, and the noise covers what that adds."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made_up import PRIVATE
from site_files import site_config
from small_runs import profiles_of, small_config

from wardround.config import Config
from wardround.errors import ConfigError, ProtocolError
from wardround.rounds import HospitalProfile
from wardround.secagg import simulated_roster
from wardround.secagg.quantisation import Quantiser
from wardround.server.plan.alternatives import stddev_on_average
from wardround.server.plan.margins import rounding_distance, update_bound
from wardround.server.plan.planning import assign_round, plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.record.verify import verify_run
from wardround.server.round.introductions import agreed_profile, check_site_profile
from wardround.server.round.secure_terms import secure_sum_for
from wardround.simulations.runs import run

CELLS = [(*cell, False) for cell in PRIVATE] + [("hospital", "distributed", True), ("hospital", "central", True)]
SIZES = (20, 40, 50)


def settings(unit: str, placement: str, adaptive: bool = False, most_records: int | None = 500) -> Config:
    gradient = unit == "record" and placement in ("central", "distributed")
    return small_config(
        federation={"max-records": most_records},
        training={"num-rounds": 2, "local-steps": None if gradient else 2},
        privacy={"unit": unit, "placement": placement, "adaptive-clipping": adaptive or None, "target-delta": 1e-4},
        aggregation={"protocol": "secagg+", "min-survivors": 2},
    )


def planned(config: Config, sizes: Sequence[int] = SIZES, drawn_from: Sequence[str] = ()) -> FederationPlan:
    return plan_federation(config, profiles_of(sizes), 62, drawn_from=drawn_from)


@pytest.mark.parametrize(("unit", "placement", "adaptive"), CELLS)
def test_a_rehearsal_runs_with_the_bounds_of_the_pilot_and_verifies(
    unit: str, placement: str, adaptive: bool, tmp_path: Path
) -> None:
    result = run(settings(unit, placement, adaptive), out=tmp_path / "run")
    assert result.summary["status"] == "done"
    assert verify_run(result.folder)[0] == []


@pytest.mark.parametrize(("unit", "placement", "adaptive"), CELLS)
def test_what_a_hospital_is_asked_hangs_on_no_other_hospital(unit: str, placement: str, adaptive: bool) -> None:
    """Except for its weight in the server's mean: the assignment is the same whoever is there, and however large."""
    config = settings(unit, placement, adaptive)
    names = [profile.hospital_id for profile in profiles_of(SIZES)]
    asked = []
    for sizes in (SIZES, (20, 500, 333), (20, 1, 1)):
        plan = planned(config, sizes, names)
        (first, *_) = assign_round(plan, names, 1, dict.fromkeys(names, 1.7))
        asked.append({key: value for key, value in vars_of(first).items() if key != "weight"})
    alone = planned(config, SIZES[:1], names)
    (first,) = assign_round(alone, names, 1, dict.fromkeys(names, 1.7))
    asked.append({key: value for key, value in vars_of(first).items() if key != "weight"})
    assert all(other == asked[0] for other in asked)
    if (unit, placement) == ("hospital", "distributed"):
        assert asked[0]["contribution"] == 20 / 500


def vars_of(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).__dataclass_fields__}


@pytest.mark.parametrize("unit", ["record", "hospital"])
def test_the_noise_covers_the_coarser_steps_of_the_agreed_bounds(unit: str) -> None:
    """The quantiser's step is taken at max-records, ten times the largest hospital: so is what rounding may add."""
    near, far = (settings(unit, "central", most_records=most) for most in (50, 500))
    distances = []
    for config in (near, far):
        plan = planned(config)
        cohort = assign_round(plan, plan.names, 1, dict.fromkeys(plan.names, 1.0))
        secure = secure_sum_for(
            plan,
            cohort,
            run_id="run",
            roster=simulated_roster(7, plan.names, min_survivors=2, max_colluding=0),
            silent={},
        )
        terms = secure.terms
        quantiser = Quantiser(num_members=3, max_update=terms.max_update, max_weight=terms.max_weight, is_folded=True)
        # In the units of the sum: weights are shares of the cohort, and a gradient's is 1.
        share = 1.0 if unit == "record" else 1 / sum(SIZES)
        step = quantiser.max_update * quantiser.max_weight / quantiser.levels * share
        sides = 1.0 if unit == "record" else 0.5
        distances.append(rounding_distance(plan, cohort))
        assert distances[-1] >= sides * step * math.sqrt(62)
    assert distances[1] > 5 * distances[0]


def test_bounds_are_those_of_max_records() -> None:
    plan = planned(settings("record", "central"))
    cohort = assign_round(plan, plan.names, 1, dict.fromkeys(plan.names, 1.0))
    assert math.isclose(update_bound(plan, cohort), 500.0, rel_tol=1e-4)
    assert plan.most_records(plan.names) == 500
    assert planned(settings("record", "central", most_records=None)).most_records(plan.names) == 50


def test_the_noise_on_the_average_is_relative_to_max_records() -> None:
    """A smaller contribution of everybody leaves the integer noise where it is: the average has ten times as much."""
    values = []
    for most in (50, 500):
        plan = planned(settings("hospital", "distributed", most_records=most))
        values.append(stddev_on_average(plan, plan.cell, dict.fromkeys(plan.names, 1.0), 2))
    assert math.isclose(values[1], 10 * values[0])


def test_a_hospital_with_more_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hospital-002 has 50 training records, and max-records = 49"):
        planned(settings("record", "local", most_records=49))


def test_cohorts_are_drawn_from_the_roster_whoever_of_it_is_there() -> None:
    config = small_config(training={"num-rounds": 40, "fraction-train": 0.5})
    names = [f"hospital-{number:03d}" for number in range(6)]
    whole, part = planned(config, (20,) * 6), planned(config, (20, 20), names)
    rounds = {hospital.profile.hospital_id: hospital.num_participations for hospital in whole.hospitals}
    assert {h.profile.hospital_id: h.num_participations for h in part.hospitals} == {
        name: rounds[name] for name in names[:2]
    }
    with pytest.raises(ConfigError, match="hospital hospital-001 is not in the roster"):
        planned(config, (20, 20), ["hospital-000", "somebody"])


def test_a_hospital_level_delta_counts_all_of_the_roster() -> None:
    config = small_config(privacy={"unit": "hospital", "target-delta": 0.009})
    planned(config, (20, 20))
    with pytest.raises(ConfigError, match="< 1/200"):
        planned(config, (20, 20), [f"hospital-{number:03d}" for number in range(200)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "regression"}, "site north says task = regression, and the schema makes it classification"),
        ({"input_shape": (4,)}, r"input_shape = \(4,\), and the schema makes it \(3,\)"),
        ({"num_outputs": 3}, "num_outputs = 3, and the schema makes it 2"),
        ({"own_statistics": True}, "own_statistics = True"),
        ({"num_train": 51}, r"51 training records, which must be <= 50 \(\[federation\] max-records\)"),
        ({"num_train": 0}, "num_train must be >= 1"),
    ],
)
def test_a_site_whose_profile_is_not_the_schemas_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    config = site_config()
    told = {"num_train": 50, "task": "classification", "input_shape": (3,), "num_outputs": 2}
    check_site_profile(config, HospitalProfile(hospital_id="north", **told))
    with pytest.raises(ProtocolError, match=message):
        check_site_profile(config, HospitalProfile(hospital_id="north", **(told | changes)))


def test_the_schema_makes_the_model_and_no_sites_word() -> None:
    regression = {"dose": {"range": [0, 9]}, "age": {"range": [18, 110], "missing": True}}
    profile = agreed_profile(site_config(federation={"schema": regression, "target": "dose"}))
    assert (profile.task, profile.input_shape, profile.num_outputs) == ("regression", (2,), 1)
    with pytest.raises(ConfigError, match=r"real sites need a \[federation\.schema\]"):
        agreed_profile(small_config())
