"""Tests that the collector of garbage is left as it was found, and passes by what it should."""

import gc
import weakref
from contextlib import nullcontext

import pytest

from wardround.collector import count_as_old, passing_by_what_is_there, paused


@pytest.fixture(autouse=True)
def nothing_frozen():
    """Let each test begin with nothing frozen: those before it may have left something so on purpose."""
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("was_enabled", [True, False])
def test_a_pause_ends_as_it_found_the_collector_also_after_an_error(was_enabled):
    (gc.enable if was_enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), paused():
            assert not gc.isenabled()
            _ = 1 / 0
        assert gc.isenabled() is was_enabled
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()


def test_what_was_made_in_a_pause_is_old_after_it_and_can_still_be_collected():
    with paused():
        made = [[number] for number in range(10_000)]
        made.append(made)
    assert gc.get_count()[0] < 10_000
    assert len(made) == 10_001
    assert any(item is made for item in gc.get_objects(generation=2))
    gc.collect()
    del made
    assert gc.collect() > 0


def test_a_pause_leaves_frozen_what_was():
    with passing_by_what_is_there():
        with paused():
            pass
        assert gc.get_freeze_count() > 0


def test_only_the_outermost_gives_back_what_is_passed_by():
    with passing_by_what_is_there():
        before = gc.get_freeze_count()
        with passing_by_what_is_there():
            pass
        assert gc.get_freeze_count() >= before > 0
    assert gc.get_freeze_count() == 0


class Own:
    """Something that refers to itself."""

    def __init__(self) -> None:
        self.own = self


def test_what_a_run_leaves_that_refers_to_itself_is_given_back_when_it_ends() -> None:
    with passing_by_what_is_there():
        left = weakref.ref(Own())
        with paused():
            also = weakref.ref(Own())
        assert left() is not None and also() is not None
    assert left() is None and also() is None


@pytest.mark.parametrize("are_passed_by", [True, False])
def test_what_is_counted_as_old_was_looked_through_where_the_rest_is_passed_by(are_passed_by: bool) -> None:
    with passing_by_what_is_there() if are_passed_by else nullcontext():
        with paused():  # so that nothing but the count looks
            left = weakref.ref(Own())
        count_as_old()
        assert (left() is None) is are_passed_by
