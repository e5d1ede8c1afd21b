"""Runs of a study, and a machine that stops under them: which of them can be taken up, and when files are synced.

A single run syncs its ledger twice a round, so that a power cut loses nothing. A study's run draws its noise from its
seed: begun anew, it releases the same bits. So its files are synced once, when it is done and before its rows count;
until then they outlive a killed process, and not a power cut. Runs that were under way when the machine stopped are
set aside with their ledgers, and begun anew. What is left out on purpose: runs that draw from the operating system,
and repetitions of a tune, whose bill is of every attempt: these sync as they go (see docs/decisions/0033).
"""

from collections.abc import Iterable
from itertools import count
from pathlib import Path

from wardround.disk import file_text, start_of_machine
from wardround.server.record.run_folder import writing
from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_files import write_text

__all__ = ["released_alike", "set_aside_what_a_restart_cut_off"]

_STARTED = "machine-started.txt"


def released_alike(item: StudyRun) -> bool:
    """Return whether a run that is begun anew releases the bits of before, here and now."""
    return _may_begin_anew(item) and start_of_machine() != ""


def set_aside_what_a_restart_cut_off(folder: Path, unfinished: Iterable[tuple[StudyRun, Path]]) -> None:
    """Rename the folders of runs that were under way when the machine stopped, and note when it was started.

    Args:
        folder: of the study; it has a file by which a start is told from the next, of this machine or another.
        unfinished: runs that have no rows yet, and where they are.

    Raises:
        WardroundError: a folder can't be renamed, or the note not be read or written.
    """
    note, now = folder / _STARTED, start_of_machine()
    with writing(note, "repeat the command with the same --out"):
        before = file_text(note).strip() if note.exists() else now
    for item, place in unfinished if before != now else ():
        if _may_begin_anew(item) and place.exists():
            with writing(place, "repeat the command with the same --out"):
                place.rename(_free_beside(place))
    write_text(note, f"{now}\n")


def _may_begin_anew(item: StudyRun) -> bool:
    simulation = item.config.simulation
    return simulation.noise == "seeded" and not simulation.repetition


def _free_beside(place: Path) -> Path:
    names = (place.with_name(f"{place.name}-cut-off-{number}") for number in count(1))
    return next(path for path in names if not path.exists())
