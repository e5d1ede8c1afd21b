"""Runs of a study, and a machine that stops under them: which of them can be taken up, and when files are synced.

A single run syncs its ledger twice a round, so that a power cut loses nothing. A study's run draws its noise from its
seed: begun anew, it releases the same bits. So its files are synced once, when it is done and before its rows count;
until then they outlive a killed process, and not a power cut. Runs that were under way when the machine stopped are
set aside with their ledgers, and begun anew. What is left out on purpose: runs that draw from the operating system,
which sync as they go (see docs/decisions/0033).
"""

from collections.abc import Iterable
from itertools import count
from pathlib import Path

from wardround.disk import file_text, start_of_machine
from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_files import write_text

__all__ = ["released_alike", "set_aside_what_a_restart_cut_off"]

_STARTED = "machine-started.txt"


def released_alike(item: StudyRun) -> bool:
    """Return whether a run that is begun anew releases the bits of before, here and now."""
    return item.config.simulation.noise == "seeded" and start_of_machine() != ""


def set_aside_what_a_restart_cut_off(folder: Path, unfinished: Iterable[tuple[StudyRun, Path]]) -> None:
    """Rename the folders of runs that were under way when the machine stopped, and note when it was started.

    Args:
        folder: of the study; it has a file by which a start is told from the next, of this machine or another.
        unfinished: runs that have no rows yet, and where they are.

    Raises:
        WardroundError: the note can't be written.
        OSError: a folder can't be renamed.
    """
    note, now = folder / _STARTED, start_of_machine()
    before = file_text(note).strip() if note.exists() else now
    if before != now:
        for item, place in unfinished:
            if item.config.simulation.noise == "seeded" and place.exists():
                place.rename(next(free for number in count(1) if not (free := _aside(place, number)).exists()))
    write_text(note, f"{now}\n")


def _aside(place: Path, number: int) -> Path:
    return place.with_name(f"{place.name}-cut-off-{number}")
