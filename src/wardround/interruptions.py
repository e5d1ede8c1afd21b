"""Ctrl-C and SIGTERM: that the command line says how to go on, and the exit code that whoever stopped it waits for.

What is left out on purpose: what a run keeps when it is stopped (see `server.round.loop`).
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from wardround.errors import WardroundError

__all__ = ["exit_code_of_failure", "interrupt_on_sigterm", "resumable"]

# Remembered, since no exception can be trusted with it: Ray answers what a handler raises while it waits with an
# interruption of its own, and code that catches too much makes an error of it.
_SIGNALS_RECEIVED: set[int] = set()


def interrupt_on_sigterm() -> None:
    """Let SIGTERM, which a job scheduler sends, interrupt this process as Ctrl-C does; a second one ends it."""
    _SIGNALS_RECEIVED.clear()
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # who asks twice is not kept waiting
    # Ray answers SIGTERM first where it has just started (see `ray_internals`), with an alarm that aborts the process.
    signal.alarm(0)
    _SIGNALS_RECEIVED.add(number)
    raise KeyboardInterrupt


def exit_code_of_failure() -> int:
    """Return the exit code of a process that did not get to its end: 143 after SIGTERM, whatever came of it, else 1."""
    return 128 + signal.SIGTERM if signal.SIGTERM in _SIGNALS_RECEIVED else 1


@contextmanager
def resumable(what_is_kept: Callable[[], str]) -> Iterator[None]:
    """Say on an interruption what is kept and how to go on, which is asked for then.

    Raises:
        WardroundError: in the place of the interruption.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise WardroundError(f"interrupted{what_is_kept()}") from None
