"""Ctrl-C and SIGTERM: that the command line says how to go on, and the exit code that whoever stopped it waits for.

What is left out on purpose: what a run keeps when it is stopped (see `server.round.loop`).
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from wardround.errors import WardroundError

__all__ = ["exit_code_of", "interrupt_on_sigterm", "resumable"]


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which a job scheduler sends: everything that Ctrl-C does, and the exit code that it waits for."""

    exit_code = 128 + signal.SIGTERM


def interrupt_on_sigterm() -> None:
    """Let SIGTERM interrupt this process as Ctrl-C does; a second one ends it."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # who asks twice is not kept waiting
    raise _Terminated


def exit_code_of(stop: BaseException) -> int:
    """Return the exit code of a process that was interrupted: 143 after SIGTERM, else 1.

    Args:
        stop: the interruption, or what others raised about it.
    """
    while stop.__context__ is not None and not isinstance(stop, KeyboardInterrupt):
        stop = stop.__context__
    return _Terminated.exit_code if isinstance(stop, _Terminated) else 1


@contextmanager
def resumable(what_is_kept: Callable[[], str]) -> Iterator[None]:
    """Say on an interruption what is kept and how to go on, which is asked for then.

    Raises:
        WardroundError: in the place of the interruption, with its exit code.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        error = WardroundError(f"interrupted{what_is_kept()}")
        error.exit_code = exit_code_of(stop)
        raise error from None
