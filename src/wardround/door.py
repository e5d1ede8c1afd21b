"""The Python door: run or resume a federation, and leave its page beside the other files of the run's folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.config import Config
from wardround.reports.report import write_report

if TYPE_CHECKING:
    from wardround.server.round.progress import RoundRow
    from wardround.simulations.runs import Run

__all__ = ["resume", "run"]


def run(
    config: Config,
    *,
    out: Path | str | None = None,
    progress: "Callable[[RoundRow], None] | None" = None,
    say: Callable[[str], None] | None = None,
) -> "Run":
    """Run a federation from round 0, write its page and return the run.

    Args:
        config: all settings.
        out: a new or empty folder; None makes runs/<name>-<time>.
        progress: called after every committed round.
        say: called with a few words whenever something that takes a while begins.

    Returns:
        The run: its folder, its summary (epsilon, scores) and its tables as data frames.

    Raises:
        WardroundError: see `errors`; a run that was under way stays resumable.
    """
    from wardround.simulations import runs

    finished = runs.run(config, out=out, progress=progress, say=say)
    write_report(finished.folder)
    return finished


def resume(
    path: Path | str,
    *,
    progress: "Callable[[RoundRow], None] | None" = None,
    say: Callable[[str], None] | None = None,
) -> "Run":
    """Go on with an interrupted run after its last committed round, and write its page anew.

    Args:
        path: the run's folder; a finished one is returned as it is.
        progress: called after every committed round.
        say: called with a few words whenever something that takes a while begins.

    Raises:
        ConfigError: there is no run in the folder.
        ProtocolError: the ledger or the checkpoint was changed.
    """
    from wardround.simulations import runs

    finished = runs.resume(path, progress=progress, say=say)
    write_report(finished.folder)
    return finished
