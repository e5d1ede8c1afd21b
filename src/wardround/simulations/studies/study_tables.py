"""The tables of a study: results.csv, hospitals.csv and failures.csv, which grow as its runs are done.

They are views of the runs' own rows, and made anew of these by whoever goes on with the study. What is left out on
purpose: the rows themselves (see `study_records`, `study_run`).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from wardround.json_records import json_keys, json_values
from wardround.json_text import plain_values
from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_files import csv_text, write_text
from wardround.simulations.studies.study_records import HospitalRow, NoiseRow, ResultRow, RunRows

__all__ = ["StudyTables", "write_noise"]

_Row = TypeVar("_Row", ResultRow, HospitalRow, NoiseRow)


class StudyTables:
    """What is known of a study's runs so far, in the study's order whatever the order they came in.

    Attributes:
        done: the lines of results.csv and of hospitals.csv, by run: made once for each, since a study of n runs is
            written n times.
        failures: why a run has none, by run.
    """

    def __init__(self, folder: Path, runs: Sequence[StudyRun]) -> None:
        """Begin without a row; nothing is written yet."""
        self._folder, self._names = folder, [item.name for item in runs]
        self._varied = [name for name, _ in runs[0].varied or ()]
        self.done: dict[str, tuple[str, str]] = {}
        self.failures: dict[str, str] = {}

    @property
    def num_tried(self) -> int:
        """How many runs have rows, or failed."""
        return len(self.done) + len(self.failures)

    def add(self, item: StudyRun, result: RunRows | None, reason: str = "") -> None:
        """Take in a run's rows, or the reason why it has none."""
        if result is None:
            self.failures[item.name] = reason
        else:
            self.done[item.name] = (
                _text(ResultRow, [result.row], self._varied, header=False),
                _text(HospitalRow, result.hospitals, self._varied, header=False),
            )

    def write(self, *, is_synced: bool = True) -> None:
        """Write all tables anew, durable before it returns if synced.

        Raises:
            WardroundError: one can't be written.
        """
        heads = [_text(ResultRow, [], self._varied), _text(HospitalRow, [], self._varied)]
        for place, name in enumerate(("results.csv", "hospitals.csv")):
            lines = "".join(self.done[run][place] for run in self._names if run in self.done)
            write_text(self._folder / name, heads[place] + lines, is_synced=is_synced)
        failed = [{"run": run, "reason": self.failures[run]} for run in self._names if run in self.failures]
        write_text(self._folder / "failures.csv", csv_text(("run", "reason"), failed), is_synced=is_synced)


def write_noise(folder: Path, rows: Iterable[NoiseRow]) -> None:
    """Write noise_on_average.csv.

    Raises:
        WardroundError: it can't be written.
    """
    write_text(folder / "noise_on_average.csv", _text(NoiseRow, rows))


def _text(kind: type[_Row], rows: Iterable[_Row], varied: Sequence[str] = (), *, header: bool = True) -> str:
    own: list[str] = [key for key in json_keys(kind) if key != "varied"]
    lines = []
    for row in rows:
        values = json_values(row)
        cells = dict(values.pop("varied", None) or ())
        lines.append(plain_values(values | cells))
    return csv_text([*own, *varied], lines, header=header)
