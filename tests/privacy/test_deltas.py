import pytest

from wardround.errors import ConfigError
from wardround.privacy.cells import cell_named
from wardround.privacy.deltas import check_hospital_deltas, check_record_deltas, delta_warning


def test_delta_for_every_hospital():
    assert check_record_deltas(1e-3, {"Basel": 100, "Bern": 999}) == {"Basel": 1e-3, "Bern": 1e-3}
    table = {"Bern": 1e-4, "Basel": 5e-3}
    assert check_record_deltas(table, {"Basel": 100, "Bern": 999}) == {"Basel": 5e-3, "Bern": 1e-4}


@pytest.mark.parametrize(
    ("target_delta", "message"),
    [
        (0.01, r"target-delta = 0\.01 must be > 0 and < 1/50 = 0\.02|< 1/100 = 0\.01 for hospital Basel"),
        (0.02, r"for hospital Basel, which has 100 training records"),
        ({"Basel": 1e-3, "Bern": 2e-3}, r"< 1/999 = 0\.001 for hospital Bern"),
        ({"Basel": 1e-3}, "no value for Bern"),
        ({"Basel": 1e-3, "Bern": 1e-4, "Basle": 1e-3}, r"unknown hospital Basle .*: did you mean Basel\?"),
        ({"Basel": 1e-3, "Bern": 1e-4, "Q": 1e-3}, "the hospitals are Basel, Bern"),
        (0.0, "must be > 0"),
    ],
)
def test_delta_refused(target_delta, message):
    with pytest.raises(ConfigError, match=message):
        check_record_deltas(target_delta, {"Basel": 100, "Bern": 999})


@pytest.mark.parametrize("target_delta", [0.3, 0.02, 0.0101])
def test_a_delta_that_is_no_promise_is_refused_where_hospitals_are_the_unit(target_delta):
    three = ("Basel", "Bern", "Chur")
    with pytest.raises(
        ConfigError, match=r"must be > 0, < 1/3, .* and <= 0\.01, since a promise that fails more often"
    ):
        check_hospital_deltas(target_delta, three, 3)
    assert check_hospital_deltas(0.01, three, 3) == dict.fromkeys(three, 0.01)
    with pytest.raises(ConfigError, match="< 1/200, since one of 200 hospitals"):
        check_hospital_deltas(0.006, ["Basel"], 200)


@pytest.mark.parametrize(
    ("target_delta", "num_units", "unit", "advised"),
    [
        (1e-3, 101, "record", "0.0001"),
        (2e-3, 60, "record", "0.001"),
        (1.2e-2, 10, "record", "0.01"),
        (9e-4, 118, "hospital", "0.0001"),
    ],
)
def test_a_large_delta_is_warned_of_with_one_that_is_not(target_delta, num_units, unit, advised):
    warning = delta_warning({"Basel": target_delta}, {"Basel": num_units}, unit=unit)
    assert f"target-delta = {target_delta:g} is large" in warning and f"to {advised} or less" in warning
    assert delta_warning({"Basel": float(advised)}, {"Basel": num_units}, unit=unit) == ""


def test_no_warning_tells_how_many_records_a_small_hospital_has():
    for target_delta in (5e-3, 0.02, 0.1):
        cell = cell_named("record-local")
        told = {cell.delta_warning({"Basel": target_delta}, {"Basel": number}) for number in range(1, 10)}
        assert len(told) == 1
