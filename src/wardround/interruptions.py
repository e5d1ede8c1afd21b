"""Ctrl-C and SIGTERM: what the command line says to go on with, and the exit code that whoever stopped it waits for.

What is left out on purpose: what a run keeps when it is stopped (see `server.round.loop`).
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from wardround.errors import WardroundError

__all__ = ["exit_code_of", "first_interruption", "interrupt_on_sigterm", "resumable_run", "resumable_study"]


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which a job scheduler sends: everything that Ctrl-C does, and the exit code that it waits for."""

    exit_code = 128 + signal.SIGTERM


def interrupt_on_sigterm() -> None:
    """Let SIGTERM interrupt this process as Ctrl-C does; a second one ends it."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # who asks twice is not kept waiting
    raise _Terminated


def first_interruption(error: BaseException) -> KeyboardInterrupt:
    """Return the interruption that others were raised about."""
    while error.__context__ is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt()


def exit_code_of(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a process that was interrupted: 143 after SIGTERM, else 1."""
    return getattr(stop, "exit_code", 1)


@contextmanager
def resumable_run(folder: Path) -> Iterator[None]:
    """Say on an interruption how to go on with a run, or that nothing was begun.

    Raises:
        WardroundError: in the place of the interruption, with its exit code.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if (folder / "ledger.sqlite").is_file():
            raise _interrupted(
                stop,
                f": every committed round is kept; go on with: wardround resume {folder} (a round that was under way "
                "is charged again)",
            ) from None
        raise _interrupted(stop, " before the run began: nothing was trained or charged") from None


@contextmanager
def resumable_study(study: Path, folder: Path) -> Iterator[None]:
    """Say on an interruption how to go on with a study.

    Raises:
        WardroundError: in the place of the interruption, with its exit code.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        message = f": what is done is kept; go on with: wardround compare {study} --out {folder}"
        raise _interrupted(stop, message) from None


def _interrupted(stop: KeyboardInterrupt, message: str) -> WardroundError:
    error = WardroundError(f"interrupted{message}")
    error.exit_code = exit_code_of(stop)
    return error
