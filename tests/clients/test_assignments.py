"""A hospital computes its assignment for itself, and every field of the server's must be equal to it."""

import math
from dataclasses import replace
from typing import Any

import pytest
from made_up import changed_assignment
from planned_parts import CELLS, SIZES, asked_by, config_of, part_of
from small_runs import profiles_of

from wardround.clients.assignments import check_assignment
from wardround.errors import ProtocolError, Refusal
from wardround.rounds import Assignment
from wardround.typed_records import keys_of, read_record, record_values


@pytest.mark.parametrize("most_records", [50, None])
@pytest.mark.parametrize(("unit", "placement", "adaptive"), [("record", "none", False), *CELLS])
def test_what_an_honest_server_asks_is_what_each_computes(
    unit: str, placement: str, adaptive: bool, most_records: int | None
) -> None:
    config = config_of(unit, placement, adaptive, federation={"max-records": most_records})
    for noise_multiplier, clip in ((1.0, None), (3.7, 0.37 if adaptive else None)):
        for name, assignment in asked_by(config, noise_multiplier, clip).items():
            check_assignment(assignment, part_of(config, name))


def test_hospitals_with_as_many_records_have_one_shape_and_each_its_own_rounds() -> None:
    config = config_of("record", "local", training={"num-rounds": 20, "fraction-train": 0.34})
    part = part_of(config, "hospital-000")
    shape, others = part.shape, [part.of(name) for name in part.names]
    assert all(other.shape is shape for other in others)
    assert part.of("hospital-001") == replace(part, hospital_id="hospital-001")
    for other in others:
        own = part_of(config, other.hospital_id)
        assert [other.takes_part_in(number) for number in range(1, 21)] == [
            own.takes_part_in(number) for number in range(1, 21)
        ]


def changed(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * (1 - 1e-6) if value else 1e-6
    return 1.0 if value is None else "hospital-local" if value != "hospital-local" else "record-local"


FREE = {
    # What the server makes of the sum, and nothing at the hospital.
    "weight",
    # More noise than is set costs nothing but use; less is refused below.
    "event-noise-multiplier",
    # For noise of its own after an interruption, in simulation; a real site refuses all but 1 (see `site_rounds`).
    "attempt",
}


@pytest.mark.parametrize("key", sorted(set(keys_of(Assignment)) - FREE))
@pytest.mark.parametrize(("unit", "placement", "adaptive"), [("record", "none", False), *CELLS])
def test_no_field_may_be_another_by_a_millionth(unit: str, placement: str, adaptive: bool, key: str) -> None:
    """Except for the round, which the hospital is drawn for as well, and the clip that adaptive clipping moves."""
    config = config_of(unit, placement, adaptive)
    for hospital_id, assignment in asked_by(config).items():
        if (key, adaptive) in (("max-grad-norm", True), ("round-number", adaptive)):
            continue
        values = record_values(assignment)
        other = read_record(Assignment, values | {key: changed(values.get(key))})
        said = key.removeprefix("schedule-").removeprefix("event-").replace("-", "_")
        with pytest.raises(Refusal, match="is hospital hospital-local" if key == "hospital-id" else said):
            check_assignment(other, part_of(config, hospital_id))


@pytest.mark.parametrize("round_number", [-1, 0, 3, 10_001, 2**40])
def test_a_round_that_is_not_planned_is_refused(round_number: int) -> None:
    config = config_of("record", "local")
    for name, assignment in asked_by(config).items():
        with pytest.raises(Refusal, match="round_number must be one of 1 to 2"):
            check_assignment(changed_assignment(assignment, round_number=round_number), part_of(config, name))


def test_a_hospital_answers_in_the_rounds_that_it_is_drawn_for_and_in_no_other() -> None:
    config = config_of("record", "local", training={"num-rounds": 200, "fraction-train": 0.34})
    parts = [part_of(config, profile.hospital_id) for profile in profiles_of(SIZES)]
    drawn = [[part.takes_part_in(number) for part in parts] for number in range(-5, 210)]
    assert {sum(row) for row in drawn[6:206]} == {1}
    assert not any(any(row) for row in drawn[:6] + drawn[206:])
    assert all(any(column) for column in zip(*drawn, strict=True))


@pytest.mark.parametrize("noise_multiplier", [1e-12, 1e-3, 0.999, 0.0, 2e7])
@pytest.mark.parametrize(("unit", "placement", "adaptive"), CELLS)
def test_noise_that_is_less_than_set_or_too_much_is_refused(
    unit: str, placement: str, adaptive: bool, noise_multiplier: float
) -> None:
    config = config_of(unit, placement, adaptive)
    for name, assignment in asked_by(config).items():
        with pytest.raises(Refusal, match=r"noise_multiplier must be >= 1\.0 and <= 1e\+07"):
            check_assignment(changed_assignment(assignment, noise_multiplier=noise_multiplier), part_of(config, name))


@pytest.mark.parametrize("noise_multiplier", [-1.0, math.inf, math.nan])
def test_noise_that_is_no_number_makes_no_assignment(noise_multiplier: float) -> None:
    (assignment, *_) = asked_by(config_of("record", "local")).values()
    with pytest.raises(ProtocolError, match=r"noise-multiplier = .* must be finite"):
        read_record(Assignment, record_values(assignment) | {"event-noise-multiplier": noise_multiplier})


@pytest.mark.parametrize("scaled_norm", [1e-12, 0.01, 1.0, 1e9])
@pytest.mark.parametrize("unit", ["record", "hospital"])
def test_the_scale_follows_from_the_noise_and_from_nothing_a_server_says(unit: str, scaled_norm: float) -> None:
    config = config_of(unit, "distributed")
    for name, assignment in asked_by(config).items():
        with pytest.raises(Refusal, match="the assignment's scaled_norm"):
            check_assignment(changed_assignment(assignment, scaled_norm=scaled_norm), part_of(config, name))


def test_a_sum_that_does_not_fit_is_refused() -> None:
    assignment = asked_by(config_of("record", "distributed"))["hospital-000"]
    crowded = config_of("record", "distributed", federation={"max-records": 10**9})
    with pytest.raises(Refusal, match=r"can't be carried out: a sum of up to 3000000000 contributions .* 32 bits"):
        check_assignment(assignment, part_of(crowded, "hospital-000"))
