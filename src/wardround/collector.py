"""Python's collector of garbage, kept from looking again and again at a million objects of modules that are no garbage.

It looks through all there is whenever that has grown by a quarter: five times while PyTorch, Flower and pandas are
imported, and three times as a process ends. What is left out on purpose: all memory but that of objects that refer to
themselves, which is given back as ever.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["count_as_old", "passing_by_what_is_there", "paused"]

_ENTERED: list[None] = []
"""One for each `passing_by_what_is_there` of this process that is under way."""


@contextmanager
def paused() -> Iterator[None]:
    """Look for no garbage: for imports, and other work that ends soon; what it leaves counts as old afterwards."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()  # else the next collection would take all of it for new
            gc.unfreeze()
        if was_enabled:
            gc.enable()


@contextmanager
def passing_by_what_is_there() -> Iterator[None]:
    """Look for garbage among what comes from here on alone, until the outermost of these ends."""
    _ENTERED.append(None)
    gc.freeze()
    try:
        yield
    finally:
        _ENTERED.pop()
        if not _ENTERED:
            gc.collect()  # of what came since alone: a run of much data may refer to itself
            gc.unfreeze()


def count_as_old() -> None:
    """Look once through what came since `passing_by_what_is_there`: next when that has grown by a quarter again."""
    if _ENTERED:
        gc.collect()
