"""Read the folder of a study: every row of its tables as the record it was written of, and what its runs say.

Left out on purpose: means and intervals (see `study_statistics`), and running anything.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from wardround.errors import ProtocolError
from wardround.json_records import json_keys, read_json_record
from wardround.privacy.cells import Cell, CellWords, cell_in_words
from wardround.reports.files import (
    NOT_KNOWN,
    as_written,
    is_small,
    read_count,
    read_json,
    read_number,
    read_rows,
    read_summary,
)
from wardround.reports.score_words import SCORE_WORDS, ScoreWords
from wardround.server.record.summaries import Summary
from wardround.simulations.studies.study_records import HospitalRow, NoiseRow, ResultRow, StudyFacts

__all__ = ["ACCURACY", "Metric", "Setting", "StudyResult", "read_study", "setting_text"]

_Row = TypeVar("_Row", ResultRow, HospitalRow, NoiseRow)
_READERS: Mapping[Any, Callable[[str], Any]] = {str: str, int: int, float: read_number}


Setting = tuple[tuple[str, ...], ...]
"""(setting, value) pairs of a combination of varied values; a value is empty where the setting makes no difference."""


class Metric(NamedTuple):
    """A measure of utility: the field of rows, its column, and its name in charts and sentences."""

    field: str
    column: str
    name: str


ACCURACY = Metric("score", "accuracy", "Accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """A study as its folder has it, finished or not.

    Attributes:
        folder: of the study.
        facts: study.json.
        rows: results.csv, in its order.
        hospitals: hospitals.csv by run; a score on fewer than ten test records is nan.
        failures: reason by run.
        noise: noise_on_average.csv.
        summaries: summary.json of one run per (unit, placement), by these; what is the same for all their runs.
    """

    folder: Path
    facts: StudyFacts
    rows: tuple[ResultRow, ...]
    hospitals: Mapping[str, tuple[HospitalRow, ...]]
    failures: Mapping[str, str]
    noise: tuple[NoiseRow, ...]
    summaries: Mapping[tuple[str, str], Summary]

    @property
    def score_words(self) -> ScoreWords:
        """What is said of `score`."""
        tasks = [row.task for row in self.rows if row.task in SCORE_WORDS]
        return SCORE_WORDS[tasks[0] if tasks else "classification"]

    @property
    def metric(self) -> Metric:
        """What stands for utility: AUC, else accuracy, r2 or C."""
        if not self.score_words.has_auc:
            return Metric("score", "accuracy", self.score_words.name)
        return Metric("auc", "auc", "AUC") if any(row.auc == row.auc for row in self.rows) else ACCURACY

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The combinations of varied values that there are runs of, in the order of the tables; one that is empty
        where nothing is varied.
        """
        with_privacy = [row for row in self.rows if not row.baseline]
        found = (row.varied or () for row in with_privacy or self.rows)
        return tuple(dict.fromkeys(found)) or ((),)

    def cell_of(self, unit: str, placement: str) -> Cell:
        """Return the cell of a row, as its runs state it."""
        summary = self.summaries.get((unit, placement))
        return cell_in_words(unit, placement, summary.protection.mechanism if summary else "")

    def words_of(self, unit: str, placement: str) -> CellWords:
        """Return what is said of the cell of a row, with what the runs state of their records."""
        # One data set for all runs, so that any of them tells.
        any_of_them = next(iter(self.summaries.values()), None)
        own = self.summaries.get((unit, placement))
        record_is = any_of_them.protection.record_is if any_of_them else "row"
        return self.cell_of(unit, placement).words(
            record_is=record_is, protocol=own.settings.protocol if own else "plain"
        )

    def words_of_noise(self, unit: str, placement: str) -> CellWords:
        """Return what is said of noise on the average, which is drawn once: not of what later rounds take back."""
        return cell_in_words(unit, placement).words()

    def cells_of(self, unit: str) -> dict[str, CellWords]:
        """Return what is said of the cells that the study compares for a unit, by placement, in the order of charts."""
        words = {placement: self.words_of(unit, placement) for placement in self.facts.placements}
        return dict(sorted(words.items(), key=lambda item: item[1].chart_order))

    def stated(self, unit: str) -> list[tuple[CellWords, Summary]]:
        """Return those of a unit's cells that a run states, with what is said of them, in the order of charts."""
        found = ((words, self.summaries.get((unit, placement))) for placement, words in self.cells_of(unit).items())
        return [(words, summary) for words, summary in found if summary]

    @property
    def counted(self) -> str:
        """The noun for many of what a hospital's size is counted in: records, or patients."""
        return self.words_of("", "none").counted

    def noun(self, unit: str) -> str:
        """Return the noun for what a unit protects: a record may be a patient."""
        return next((words.unit for words in self.cells_of(unit).values()), unit)


def setting_text(setting: Setting) -> str:
    """Return a combination of varied values in words: settings by their keys, without sections.

    >>> setting_text((("training.learning-rate", "0.1"), ("model.width", "")))
    'learning-rate 0.1'
    """
    return ", ".join(f"{name.partition('.')[2]} {value}".strip() for name, value in setting if value)


def read_study(folder: Path) -> StudyResult:
    """Return the study of a folder.

    Raises:
        ProtocolError: it is not a study's folder, or a file in it is damaged.
    """
    table = read_json(folder / "study.json")
    if table is None or "runs" not in table:
        raise ProtocolError(f"{folder} is not a study's folder (no study.json in it): check the path")
    with as_written(folder):
        return _study(folder, read_json_record(StudyFacts, table, "study.json"))


def _study(folder: Path, facts: StudyFacts) -> StudyResult:
    vary = tuple(facts.vary or ())
    rows = _rows(ResultRow, folder / "results.csv", vary)
    if strangers := [row.run for row in rows if row.run not in facts.runs]:
        raise ValueError(f"results.csv has the run {strangers[0]!r}, which is none of study.json")
    hospitals: dict[str, tuple[HospitalRow, ...]] = {}
    for line in _rows(HospitalRow, folder / "hospitals.csv", vary):
        scored = replace(line, score=NOT_KNOWN, auc=NOT_KNOWN) if is_small(line.num_test) else line
        hospitals[line.run] = (*hospitals.get(line.run, ()), scored)
    summaries: dict[tuple[str, str], Summary] = {}
    for row in rows:
        cell = (row.unit, row.placement)
        if cell not in summaries and (summary := read_summary(folder / "runs" / row.run)):
            summaries[cell] = summary
    return StudyResult(
        folder=folder,
        facts=facts,
        rows=rows,
        hospitals=hospitals,
        failures={cells["run"]: cells["reason"] for cells in read_rows(folder / "failures.csv")},
        noise=_rows(NoiseRow, folder / "noise_on_average.csv"),
        summaries=summaries,
    )


def _rows(kind: type[_Row], path: Path, vary: tuple[str, ...] = ()) -> tuple[_Row, ...]:
    """Return the lines of a table as the records that `compare` wrote; an empty cell is nan where a number belongs."""
    hints = get_type_hints(kind)
    forms = [(item, key, hints[item.name]) for item, key in zip(fields(kind), json_keys(kind), strict=True)]
    forms = [form for form in forms if form[1] != "varied"]
    rows = []
    for cells in read_rows(path):
        known = (form for form in forms if form[1] in cells or form[0].default is MISSING)
        values = {item.name: _value(cells, key, hint, path) for item, key, hint in known}
        if vary:
            values["varied"] = tuple((name, cells.get(name, "")) for name in vary)
        rows.append(kind(**values))
    return tuple(rows)


def _value(cells: Mapping[str, str], key: str, hint: Any, path: Path) -> Any:
    cell = cells[key]
    try:
        return _READERS.get(hint, read_count)(cell)
    except (ProtocolError, ValueError):
        raise ProtocolError(
            f"{path}, {cells.get('run', '')} {key}: {cell!r} stands where a number belongs: restore the file that was "
            "written"
        ) from None
